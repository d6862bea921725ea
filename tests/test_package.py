"""What `pip install` brings: every file, and every package that they import."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.metadata import Metadata

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

#: What the example in the README takes for given.
BEFORE_README = """
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

app = Flask("host")
app.config.update(SECRET_KEY="s", SQLALCHEMY_DATABASE_URI="sqlite:///host.sqlite", TESTING=True)
app.instance_path = "."
db = SQLAlchemy(app)


class License(db.Model):
    key = db.Column(db.String(40), primary_key=True)
    id = application_id = "app_1"
    status = "active"

    @classmethod
    def activate(cls, key):
        db.session.add(made := cls(key=key))
        return made
"""

#: A licence is activated, its webhook arrives, and the page shows the delivery.
AFTER_README = """
from flask_webhooks.receiver import verify
from flask_webhooks.testing import Receiver, deliver_now

browser = app.test_client()
with browser.session_transaction() as saved:
    saved["is_staff"] = True
with Receiver() as receiver, app.app_context():
    db.create_all()
    receiver.subscribe(webhooks, ["license.*"], tenant="app_1")
    assert browser.post("/licenses/K7QF-29XM/activate").status_code == 200
    [attempt] = deliver_now(webhooks)
    assert attempt.status == 200, attempt
    [request] = receiver.requests
    assert b"K7QF-29XM" in request.body
    page = browser.get("/webhooks/deliveries").text
    assert "license.activated" in page and "Succeeded" in page, page
"""


@dataclass(frozen=True)
class Distributions:
    """What is uploaded for a release."""

    sdist: Path
    wheel: Path

    @classmethod
    def in_folder(cls, folder: Path) -> Distributions:
        [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
        return cls(sdist, wheel)

    def names(self) -> set[str]:
        """The files in the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Those of `make dist`, or built from a copy: setuptools leaves files beside what it builds from."""
    if folder := os.environ.get("DISTRIBUTIONS"):
        return Distributions.in_folder(Path(folder))
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    # The wheel is built from the sdist.
    build = ["build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    _run("uv", *build, "--out-dir", output, cwd=source)
    return Distributions.in_folder(output)


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package_and_nothing_else(built: Distributions) -> None:
    names = built.names()
    info = {name for name in names if ".dist-info/" in name}
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "flask_webhooks").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names - info == files
    assert "flask_webhooks/py.typed" in files
    assert {Path(name).suffix for name in files} >= {".css", ".html", ".jinja", ".js", ".mo"}
    assert any(name.endswith("/licenses/LICENSE") for name in info)


@pytest.mark.slow
def test_sdist_holds_what_a_distributor_needs_and_no_tests(built: Distributions) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml"}
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert {name for name in folders if not name.endswith(".egg-info")} == {"flask_webhooks"}


@pytest.mark.slow
def test_metadata_is_valid(built: Distributions) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        [name] = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        found = Metadata.from_email(archive.read(name), validate=True)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert str(found.version) == config["metadata"]["version"]
    assert str(found.requires_python) == config["options"]["python_requires"]
    assert found.license_expression == "MIT"
    assert found.description_content_type == "text/markdown"
    assert str(found.description).startswith("# Flask-Webhooks")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_host_of_the_readme_works_in_a_clean_environment(
    built: Distributions, tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    _run("uv", "venv", "--quiet", "--python", sys.executable, environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    _run("uv", "pip", "install", "--quiet", "--python", python, built.wheel, cwd=tmp_path)
    section = (ROOT / "README.md").read_text().partition("## Put it into your app")[2]
    example = section.partition("```python\n")[2].partition("```")[0]
    assert "webhooks.init_app(app)" in example
    assert_runs(PROGRAM, tmp_path, python=python)
    assert_runs(BEFORE_README + example + AFTER_README, tmp_path, python=python)


@pytest.mark.slow
def test_pages_and_commands_need_no_pydantic() -> None:
    assert_runs(WITHOUT_PYDANTIC, ROOT, PYTHONPATH=str(ROOT))


def _run(name: str, *arguments: str | Path, cwd: Path) -> None:
    """Run a program of this environment."""
    program = Path(sys.executable).parent / name
    subprocess.run([program, *arguments], cwd=cwd, check=True, timeout=120)


def assert_runs(
    program: str, path: Path, *, python: str | Path = sys.executable, **environment: str
) -> None:
    """A program ends well with the package at a path."""
    done = subprocess.run(
        [python, "-W", "ignore", "-c", program, path],
        cwd=path,
        env=environment,
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
