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

from tests.support.processes import ROOT

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


#: The extra of the API is not installed: pages and commands do without it, and the API says what to install.
WITHOUT_PYDANTIC = (
    """
import sys
sys.modules["pydantic"] = sys.modules["pydantic_core"] = None
"""
    + PROGRAM
    + """
    runner = app.test_cli_runner()
    for command in ("endpoints", "deliveries", "tasks"):
        result = runner.invoke(args=["webhooks", command, "list", "--json"])
        assert result.exit_code == 0 and result.output == "[]\\n", result.output
try:
    webhooks.api_blueprint()
except flask_webhooks.errors.ConfigurationError as error:
    assert "pip install 'flask-webhooks[api]'" in str(error), error
else:
    raise AssertionError("no error")
"""
)


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
    assert_runs(PROGRAM, tmp_path)


@pytest.mark.slow
def test_pages_and_commands_need_no_pydantic() -> None:
    assert_runs(WITHOUT_PYDANTIC, ROOT)


def assert_runs(program: str, path: Path) -> None:
    """A program ends well with the package at a path."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, path],
        cwd=path,
        env={"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_everything_that_is_imported_is_required() -> None:
    """Also what comes with something else comes: Flask brings Werkzeug."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = _declared(config["options"]["install_requires"])
    of_api = _declared(config["options.extras_require"]["api"])
    everywhere, in_api = declared | _brought(declared), of_api | _brought(of_api)
    distributions = packages_distributions()
    package = ROOT / "flask_webhooks"
    unknown = {
        f"{path.name}: {name}"
        for path in package.rglob("*.py")
        # The fixtures for pytest are imported by nothing but pytest.
        if path != package / "testing/plugin.py"
        for name in _imported(path) - sys.stdlib_module_names
        if not {_normal(found) for found in distributions.get(name, [name])}
        & (everywhere | (in_api if path.is_relative_to(package / "api") else set()))
    }
    assert unknown == set()
    assert len(declared) <= 12, "a host has to install all of them"


def _declared(requirements: str) -> set[str]:
    return {_normal(line) for line in requirements.splitlines() if line and line[0] != "#"}


def _brought(names: set[str]) -> set[str]:
    """The names that those of distributions require."""
    return {
        _normal(line) for name in names for line in requires(name) or () if "extra ==" not in line
    }


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
