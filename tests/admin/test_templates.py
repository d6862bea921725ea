"""Any template of the pages gives way to the host's of the same name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from jinja2 import DictLoader

from flask_webhooks import admin
from tests.support.helpers import close
from tests.support.pages import Browser, make_app, populate
from tests.support.receiver import Receiver

TEMPLATES = Path(admin.__file__).with_name("templates")


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url, WEBHOOKS_MAX_ENDPOINTS=20
    )
    yield app
    close(app)


@pytest.mark.slow
def test_every_template_gives_way_to_the_hosts(app: Flask, receiver: Receiver) -> None:
    world = populate(app, receiver)
    ours = {
        path.relative_to(TEMPLATES).as_posix(): path.read_text()
        for path in TEMPLATES.rglob("*.html")
    }
    assert len(ours) > 30
    used: set[str] = set()

    def note(name: str) -> str:
        used.add(name)
        return ""

    # The host's own say that they were taken, and go on as ours do.
    app.jinja_loader = DictLoader(
        {name: f"{{{{ note('{name}') }}}}{text}" for name, text in ours.items()}
    )
    app.jinja_env.globals["note"] = note
    browser = Browser(app)
    for path in world.paths():
        browser.get(path)
    browser.get("/endpoints/nothing", 404)
    browser.client.get("/webhooks/health", headers={"Flask-Webhooks-Fragment": "live"})
    form = browser.get("/endpoints/new")
    added = browser.send(form, "/endpoints/new", {"url": "https://shop.example/"}, 200)
    assert added.heading == "Save your webhook secret"
    browser.send(browser.get("/tokens/new"), "/tokens/new", {"name": "CI"}, 200)
    wanted = {"tenant": "app_1", "actor": "mira"}
    browser.send(browser.get("/portal-links/new"), "/portal-links/new", wanted, 200)
    assert set(ours) - used == set()
