"""Every kind of host, the whole way: mounted, an event in its transaction, delivered, and seen on the pages."""

from __future__ import annotations

import ast
import configparser
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks.receiver import verify
from tests.hosts import licensing
from tests.hosts.licensing import HOSTS, Build, Server, module_level_app
from tests.support.delivering import close, drain
from tests.support.hosts import SETTINGS
from tests.support.pages import Browser
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

Mount = Callable[..., Server]

#: The most lines that a host writes for us.
MAX_LINES = 10


@pytest.fixture
def mount(tmp_path: Path, redis_url: str) -> Iterator[Mount]:
    """Makes hosts, each with a database of its own."""
    made: list[Flask] = []
    # Waiting for the disk takes longer than the rest.
    sa.event.listen(sa.Engine, "connect", without_waiting)

    def mount(build: Build, **settings: Any) -> Server:
        url = f"sqlite:///{tmp_path / f'{len(made)}.sqlite'}"
        config = {**SETTINGS, "SQLALCHEMY_DATABASE_URI": url, "WEBHOOKS_REDIS_URL": redis_url}
        app, webhooks = build(config | settings)
        made.append(app)
        app.extensions["test_webhooks"] = webhooks
        with app.app_context():
            webhooks.db.create_all()
        return app, webhooks

    yield mount
    sa.event.remove(sa.Engine, "connect", without_waiting)
    for app in made:
        close(app)
        if "own_engine" in app.extensions:
            app.extensions["own_engine"].dispose()


def without_waiting(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def subscribe(app: Flask, receiver: Receiver, path: str) -> str:
    """Add a webhook on the pages; returns its secret."""
    browser = Browser(app)
    page = browser.send(browser.get("/endpoints/new"), "/new", {"url": receiver.url(path)}, 200)
    return page.one("code", id="wh-secret").text


def check_arrival(app: Flask, receiver: Receiver, path: str, secret: str, key: str) -> None:
    """The receiver has the event, genuine and once, and the pages say so."""
    [request] = [found for found in receiver.requests if found.path == path]
    assert verify(request.headers, request.body, secret)["data"] == {"license_key": key}
    browser = Browser(app)
    page = browser.get("/deliveries")
    assert "license.created" in page.text
    [link] = {item for item in map(href, page.all("a")) if "/deliveries/dlv_" in item}
    page = browser.get(link)
    assert "Succeeded" in page.text
    assert key in page.text


def href(link: Any) -> str:
    return str(link.attributes["href"])


@pytest.mark.parametrize("name", HOSTS)
def test_event_goes_the_whole_way(name: str, mount: Mount, receiver: Receiver) -> None:
    if name == "dataclass-base" and sa.__version__ >= "2.1":
        pytest.skip("Flask-SQLAlchemy 3.1 cannot make such a base with SQLAlchemy 2.1")
    app, _ = mount(HOSTS[name])
    secret = subscribe(app, receiver, "/ok/shop")
    client = app.test_client()
    assert client.post("/licenses", data={"key": "AAAA", "refused": "y"}).status_code == 409
    assert client.post("/licenses", data={"key": "BBBB"}).status_code == 200
    assert client.get("/licenses").json == ["BBBB"]
    with app.app_context():
        assert drain(app) == 1
    check_arrival(app, receiver, "/ok/shop", secret, "BBBB")


def test_two_applications_in_one_process(mount: Mount, receiver: Receiver) -> None:
    apps = {key: mount(module_level_app, SECRET_KEY=key)[0] for key in ("AAAA", "BBBB")}
    secrets = {key: subscribe(app, receiver, f"/ok/{key}") for key, app in apps.items()}
    for key, app in apps.items():
        assert app.test_client().post("/licenses", data={"key": key}).status_code == 200
    for app in apps.values():
        with app.app_context():
            assert drain(app) == 1
    for key, app in apps.items():
        check_arrival(app, receiver, f"/ok/{key}", secrets[key], key)


def test_api_without_pages(mount: Mount, receiver: Receiver) -> None:
    app, webhooks = mount(module_level_app, WEBHOOKS_URL_PREFIX=None)
    app.register_blueprint(webhooks.api_blueprint(authenticate=lambda: True), url_prefix="/api")
    client = app.test_client()
    created = client.post("/api/endpoints", json={"url": receiver.url("/ok/shop")})
    assert created.status_code == 201, created.text
    assert client.post("/licenses", data={"key": "AAAA"}).status_code == 200
    with app.app_context():
        assert drain(app) == 1
    [request] = receiver.requests
    assert created.json is not None
    assert (
        verify(request.headers, request.body, created.json["secret"])["type"] == "license.created"
    )
    listed = client.get("/api/deliveries")
    assert listed.json is not None
    [delivery] = listed.json["items"]
    assert (delivery["state"], delivery["event_type"]) == ("succeeded", "license.created")
    assert client.get("/webhooks/").status_code == 404


def lines_for_webhooks(function: Callable[..., Any]) -> int:
    """How many lines of a function there would not be without us."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef)
    return sum(map(_lines, definition.body))


def _lines(statement: ast.stmt) -> int:
    if "webhooks" not in ast.unparse(statement).lower() or isinstance(statement, ast.Return):
        return 0
    decorators = getattr(statement, "decorator_list", [])
    if isinstance(statement, ast.FunctionDef) and not _about_webhooks(decorators):
        return sum(map(_lines, statement.body))
    assert statement.end_lineno is not None
    return statement.end_lineno - statement.lineno + 1 + len(decorators)


def _about_webhooks(nodes: list[ast.expr]) -> bool:
    return any("webhooks" in ast.unparse(node) for node in nodes)


def test_host_writes_ten_lines_or_fewer() -> None:
    """And the line that imports `Webhooks`."""
    common = lines_for_webhooks(licensing.serve) + 1
    assert common >= 5
    built = [value for _, value in inspect.getmembers(licensing, inspect.isfunction)]
    counts = {
        build.__name__: common + lines_for_webhooks(build)
        for build in built
        if build.__module__ == licensing.__name__ and build is not licensing.serve
    }
    assert max(counts.values()) > common
    assert {name: count for name, count in counts.items() if count > MAX_LINES} == {}


# -- what the page says -----------------------------------------------------------------------------


def test_page_lists_every_host() -> None:
    page = (ROOT / "docs/how-to/hosts.md").read_text()
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)(?:\[(.+)\])?`", page))
    folder = ROOT / "tests/hosts"
    missing = [name for file, name, _ in named if f"def {name}(" not in (folder / file).read_text()]
    assert missing == []
    assert {host for _, _, host in named} - {""} == set(HOSTS)
    files = {path.name for path in folder.glob("test_*.py")}
    # It is about no kind of host.
    assert {file for file, _, _ in named} == files - {"test_footprint.py"}


def test_both_versions_of_sqlalchemy_are_tested() -> None:
    """And each dependency in the lowest version that we allow."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    pinned = {
        name: dict(
            line.partition(" ;")[0].split("==")
            for line in (ROOT / "requirements" / name).read_text().lower().splitlines()
        )
        for name in ("lowest.txt", "tested.txt")
    }
    for requirement in config["options"]["install_requires"].lower().split():
        dependency, lowest = requirement.split(">=")
        found = pinned["lowest.txt"][dependency]
        assert found == lowest or found.startswith(f"{lowest}."), requirement
    assert [versions["sqlalchemy"][:4] for versions in pinned.values()] == ["2.0.", "2.1."]
