"""Every public name of the modules that hosts and receivers import is documented, as it is in the code."""

from __future__ import annotations

import importlib
import inspect
import json
import re

import pytest
import yaml  # type: ignore[import-untyped]

from tests.test_docs import DOCS, PAGES, PYTHON_PAGE, Block, blocks, name_of

#: The modules that the reference has a section of, with the page that explains each.
PAGE_OF = {
    "flask_webhooks.formats": "how-to/formats.md",
    "flask_webhooks.metrics": "how-to/metrics.md",
    "flask_webhooks.receiver": "receiving.md",
    "flask_webhooks.testing": "how-to/testing.md",
}
#: Called from the reference by their parameters.
CALLED = [
    *(("flask_webhooks.receiver", name) for name in ("verify", "verified", "Ledger")),
    *(("flask_webhooks.testing", name) for name in ("capture", "deliver_now", "Receiver")),
]


@pytest.mark.parametrize("module", PAGE_OF)
def test_public_names_of_modules_are_documented(module: str) -> None:
    reference = PYTHON_PAGE.read_text()
    assert f"\n## {module}\n" in reference
    section = reference.partition(f"\n## {module}\n")[2].partition("\n## ")[0]
    text = section + (DOCS / PAGE_OF[module]).read_text()
    public = importlib.import_module(module).__all__
    assert [name for name in public if not re.search(rf"[`\s(.]{name}[`,(\n]", text)] == []


@pytest.mark.parametrize(("module", "name"), CALLED)
def test_functions_stand_in_the_reference_with_their_parameters(module: str, name: str) -> None:
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    plain = signature.replace(
        parameters=[item.replace(annotation=item.empty) for item in signature.parameters.values()],
        return_annotation=signature.empty,
    )
    assert f"\n### {name}{plain}\n".replace("'", '"') in PYTHON_PAGE.read_text()


DATA = [item for page in PAGES for item in blocks(page, "json", "yaml")]


@pytest.mark.parametrize("example", DATA, ids=lambda item: f"{name_of(item.page)}:{item.line}")
def test_data_of_the_pages_can_be_read(example: Block) -> None:
    if example.language == "json":
        json.loads(example.code)
    else:
        yaml.safe_load(example.code)
