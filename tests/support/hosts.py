"""The applications of ``docs/how-to/hosts.md``, as they stand there."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from flask import Flask

from tests.support.delivering import close
from tests.support.hostapp import DEFAULTS
from tests.support.processes import ROOT
from tests.test_docs import blocks

PAGE = ROOT / "docs/how-to/hosts.md"
#: Their text, by the name of the file.
FILES = {example.marks["file"]: example.code for example in blocks(PAGE, "python", "html")}
#: What tests want otherwise than an operator. Forms are protected, as they are for everybody.
SETTINGS = {name: value for name, value in DEFAULTS.items() if name != "WTF_CSRF_ENABLED"}


class Host:
    """One of them, with its tables."""

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module
        self.app: Flask = module.app
        self.app.extensions["test_webhooks"] = module.webhooks
        with self.app.app_context():
            self.module.db.create_all()

    def add(self, *rows: Any) -> None:
        """Write rows of the host's own."""
        with self.app.app_context():
            self.module.db.session.add_all(rows)
            self.module.db.session.commit()


@contextmanager
def running(name: str, folder: Path, redis_url: str, **settings: Any) -> Iterator[Host]:
    """Load an application, with its settings in the environment as the page says.

    :param folder: what it takes for its own; the templates of the page are in it.
    """
    values = {
        **SETTINGS,
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder / 'database.sqlite'}",
        "WEBHOOKS_REDIS_URL": redis_url,
        **settings,
    }
    for file, text in FILES.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".html" or file == name:
            path.write_text(text)
    # Not the name of a module that is installed.
    spec = importlib.util.spec_from_file_location(f"host_{Path(name).stem}", folder / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    environment = {f"FLASK_{key}": json.dumps(value) for key, value in values.items()}
    with mock.patch.dict(os.environ, environment), mock.patch.dict(sys.modules):
        # Flask looks there for its folder.
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        host = Host(module)
        yield host
        close(host.app)
