"""The pages of API tokens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.token_access import GRANTABLE, token_access
from tests.support.delivering import webhooks_of
from tests.support.helpers import accessing, close
from tests.support.pages import Browser, make_app


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    yield app
    close(app)


def test_token_is_created_shown_once_and_revoked(app: Flask, browser: Browser) -> None:
    page = browser.get("/tokens")
    assert "No tokens have been created yet." in page.text
    page = browser.get(page.link("Create token"))
    values = {
        "name": "Nightly build",
        "actions": ["view", "manage"],
        "tenant": "app_1",
        "days": "30",
    }
    shown = browser.send(page, "/tokens/new", values, 200)
    secret = shown.one(id="wh-secret").text
    assert shown.response.headers["Cache-Control"] == "no-store"
    access = token_access(state_of(app), secret)
    assert (access.tenant, access.may("manage", None), access.may("send", None)) == (
        "app_1",
        True,
        False,
    )
    # Reloading the page sends the form again, and makes no second one.
    again = browser.send(page, "/tokens/new", values)
    assert "already created" in again.text
    assert secret not in again.text
    [row] = queries.list_tokens(accessing(app)).items
    assert row.token.expires_at is not None
    assert secret[-4:] in again.text
    page = browser.get(browser.get("/tokens").link("Revoke Nightly build"))
    page = browser.send(page, "/revoke")
    assert "can no longer be used" in page.text
    assert "Revoke Nightly build" not in page.links()
    assert "revoked an API token" in browser.get("/activity").text


def test_refusals_stand_at_their_fields(app: Flask, browser: Browser) -> None:
    page = browser.get("/tokens/new")
    refused = browser.send(page, "/tokens/new", {"name": " ", "actions": None}, 422)
    assert refused.one(id="wh-name-error").text
    assert refused.one(id="wh-actions-error").text
    for values, field in (({"days": "31"}, "days"), ({"tenant": "x" * 256}, "tenant")):
        form = {"name": "CI", **values}
        assert browser.send(page, "/tokens/new", form, 422).one(id=f"wh-{field}-error").text
    assert queries.list_tokens(accessing(app)).items == []
    browser.post("/tokens/new", {"name": "CI", "actions": "view"}, 400)
    assert queries.list_tokens(accessing(app)).items == []


def test_form_offers_what_the_person_may(app: Flask, browser: Browser) -> None:
    hooks = webhooks_of(app).hooks
    hooks.authorize = lambda action, endpoint: action in ("view", "send", "tokens")
    hooks.current_tenant = lambda: "app_1"
    page = browser.get("/tokens/new")
    offered = [item.attributes["value"] for item in page.all("input", name="actions")]
    assert offered == ["view", "send"]
    assert page.all(name="tenant") == []
    browser.send(page, "/tokens/new", {"name": "CI", "actions": "manage"}, 403)
    fields = Browser.fields(page.form("/tokens/new"))
    for name, value in (("name", "CI"), ("tenant", "app_2")):
        fields[name] = value
    browser.post("/tokens/new", fields, 403)
    assert queries.list_tokens(accessing(app)).items == []


def test_who_may_not_sees_no_tokens(app: Flask, browser: Browser) -> None:
    token = actions.create_token(accessing(app), "Secret project", GRANTABLE).token
    assert "API tokens" in browser.get("/").links()
    webhooks_of(app).authorize(lambda action, endpoint: action != "tokens")
    assert "API tokens" not in browser.get("/").links()
    for path in ("/tokens", "/tokens/new", f"/tokens/{token.id}/revoke"):
        browser.get(path, 403)
    browser.post("/tokens/new", {"name": "CI", "actions": "view"}, 403)
    browser.post(f"/tokens/{token.id}/revoke", {}, 403)
    assert queries.get_token(accessing(app), token.id).condition == "active"


def test_there_is_no_page_where_no_api_takes_tokens(app: Flask, browser: Browser) -> None:
    webhooks_of(app).hooks.tokens = False
    assert "API tokens" not in browser.get("/").links()
    browser.get("/tokens", 404)
    browser.get("/tokens/new", 404)
