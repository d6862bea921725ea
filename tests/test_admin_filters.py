"""Filters of the lists, in the words of what they list, and by tenants that there may not be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_webhooks.admin.wording import delivery_status
from flask_webhooks.models import DeliveryState, Trigger

from .helpers import add_endpoint, close
from .pages import Browser, make_app


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    with app.app_context():
        yield app
    close(app)


def words_of_filter(browser: Browser) -> list[str]:
    return [option.text for option in browser.get("/deliveries").one(id="wh-state").all("option")]


def test_status_filter_has_every_word_that_rows_have(app: Flask) -> None:
    offered = " ".join(words_of_filter(Browser(app))).lower()
    rows = {
        delivery_status(state, attempts, trigger).word
        for state in DeliveryState
        for attempts in (0, 3)
        for trigger in Trigger
    }
    assert {"Queued", "Retrying"} <= rows
    assert [word for word in rows if word.lower() not in offered] == []


def test_hint_of_the_form_is_true_for_every_format(app: Flask) -> None:
    browser = Browser(app)
    hint = browser.get("/endpoints/new").one(id="wh-url-hint").text
    assert hint.startswith("Ensure your endpoint can verify signatures")
    assert "Chats" in hint
    signed = add_endpoint(app).id
    unsigned = add_endpoint(app, format="aureva", secret=False).id
    assert browser.get(f"/endpoints/{signed}/edit").one(id="wh-url-hint").text == (
        "Ensure your endpoint can verify signatures."
    )
    assert browser.get(f"/endpoints/{unsigned}/edit").all(id="wh-url-hint") == []
