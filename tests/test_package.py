"""What `pip install` brings: every file, and every package that they import."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from .processes import ROOT

#: What a page needs of the package besides its code.
PROGRAM = """
import pathlib, sys
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
import flask_webhooks

assert pathlib.Path(flask_webhooks.__file__).is_relative_to(sys.argv[1]), flask_webhooks.__file__
app, db = Flask("host"), SQLAlchemy()
app.config.update(SECRET_KEY="s", SQLALCHEMY_DATABASE_URI="sqlite://")
db.init_app(app)
webhooks = flask_webhooks.Webhooks(db, app)
webhooks.authorize(lambda action, endpoint: True)
with app.app_context():
    db.create_all()
    for path in ("", "static/webhooks.css", "static/webhooks.js", "event-types/license.created"):
        response = app.test_client().get(f"/webhooks/{path}")
        assert response.status_code == 200 and response.data, path
        response.close()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """Built from a copy: setuptools leaves files beside what it builds from."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "flask_webhooks", source / "flask_webhooks", ignore=ignored)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", built, source],
        check=True,
        timeout=120,
    )
    [path] = built.glob("*.whl")
    return zipfile.Path(path)


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.Path) -> None:
    names = {name for name in wheel.root.namelist() if not name.endswith("/")}
    info = {name for name in names if ".dist-info/" in name}
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "flask_webhooks").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names - info == files
    assert "flask_webhooks/py.typed" in files
    assert any(name.endswith("/licenses/LICENSE") for name in info)


@pytest.mark.slow
def test_pages_work_from_the_wheel_alone(wheel: zipfile.Path, tmp_path: Path) -> None:
    wheel.root.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_everything_that_is_imported_is_required() -> None:
    """Also what comes with something else comes: Flask brings Werkzeug."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = {
        _normal(line)
        for line in config["options"]["install_requires"].splitlines()
        if line and not line.startswith("#")
    }
    brought = {
        _normal(line)
        for name in declared
        for line in requires(name) or ()
        if "extra ==" not in line
    }
    distributions = packages_distributions()
    unknown = {
        f"{path.name}: {name}"
        for path in (ROOT / "flask_webhooks").rglob("*.py")
        # The fixtures for pytest are imported by nothing but pytest.
        if path != ROOT / "flask_webhooks/testing/plugin.py"
        for name in _imported(path) - sys.stdlib_module_names
        if not {_normal(found) for found in distributions.get(name, [name])} & (declared | brought)
    }
    assert unknown == set()
    assert len(declared) <= 12, "a host has to install all of them"


def _normal(requirement: str) -> str:
    """The name in a requirement, as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip())[0]).lower()


def _imported(path: Path) -> set[str]:
    """What a module imports when it is imported itself, without what it can do without."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names
