"""The five services' pages, where they are at hand: their JSON and their code are read, never stored.

The folder is that of the environment variable ``VENDOR_PAGES``, else ``../shared/seeds`` beside the
repository.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from tests.support.helpers import missing
from tests.support.processes import ROOT

FOLDER = Path(os.environ.get("VENDOR_PAGES") or ROOT.parent / "shared/seeds")


def page(name: str) -> str:
    """The text of a service's page.

    A test is skipped where it is not at hand, and fails with the environment variable
    ``REQUIRE_VENDOR_PAGES``.
    """
    path = FOLDER / f"{name}.txt"
    if not path.exists():
        missing(f"the page of {name} is not at hand: there is no {path}", "REQUIRE_VENDOR_PAGES")
    return path.read_text()


def json_objects(name: str) -> list[dict[str, Any]]:
    """Every JSON object that a page shows, but for those within another one."""
    text = re.sub(r"^\s*//.*$", "", page(name), flags=re.MULTILINE)
    found = []
    position = 0
    while (position := text.find("{", position)) >= 0:
        try:
            value, position = json.JSONDecoder().raw_decode(text, position)
        except ValueError:
            position += 1
        else:
            found.append(value)
    return found


def payloads(name: str) -> list[dict[str, Any]]:
    """The sample payloads of a page, in its order."""
    return [item for item in json_objects(name) if {"event", "timestamp"} <= item.keys()]


#: Where each piece of code stands on its page: from the end of one text to another.
_CODE = {
    ("aureva", "js"): ("Verify it to ensure the request is", "Managing Webhooks"),
    ("authon", "js"): ("Node.js verification example\nJavaScript\n", "Python verification example"),
    ("authon", "py"): (
        "Python verification example\nPython\n",
        "Discord Integration",
    ),
    ("akuworks", "js"): ("(Node.js example)", "Security Best Practices"),
    ("authforge", "js"): (
        "Verification example (Node.js / Express)\n",
        "Verification example (Python / Flask)",
    ),
    ("authforge", "py"): ("Verification example (Python / Flask)\n", "Setup\n"),
}
WITH_CODE = sorted(_CODE)


def code(name: str, language: str) -> str:
    """The code of a receiver as a page shows it."""
    start, end = _CODE[name, language]
    _, found, rest = page(name).partition(start)
    text, found_end, _ = rest.partition(end)
    assert found, f"the page of {name} has no {start!r} any more"
    assert found_end, f"the page of {name} has no {end!r} any more"
    if name == "aureva":
        text = text[text.index("const crypto") :]
    return text
