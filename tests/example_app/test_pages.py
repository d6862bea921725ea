"""The pages of the example: login, dashboards, and who sees which webhooks."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from example_app.extensions import db, webhooks

from .product import DEVICE, Product


def _token(page: TestResponse) -> str:
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def _sign_in(
    browser: FlaskClient, url: str = "/login", password: str = "open sesame", name: str = "admin"
) -> TestResponse:
    form = {"name": name, "password": password, "csrf_token": _token(browser.get(url))}
    return browser.post(url, data=form)


def test_pages_ask_for_a_login(app: Flask) -> None:
    browser = app.test_client()
    assert browser.get("/").location == "/login"
    answer = browser.get("/webhooks/")
    assert answer.location == "/login?next=/webhooks/"
    assert _sign_in(browser, answer.location).location == "/webhooks/"


def test_webhooks_are_for_the_administrator(app: Flask) -> None:
    browser = app.test_client()
    assert browser.get("/webhooks/").status_code == 302
    _sign_in(browser)
    assert browser.get("/webhooks/").status_code == 200


def test_applications_look_at_their_own_webhooks(new_product: Callable[[str], Product]) -> None:
    one, other = new_product("Aurora"), new_product("Borealis")
    with one.app.app_context():
        created = webhooks.create_endpoint("https://shop.example/hooks", tenant=one.id).endpoint
    path = f"webhooks/endpoints/{created.id}"
    assert one.send("GET", path).get_json()["tenant"] == one.id
    assert other.send("GET", path).status_code == 404
    stranger = one.http.get(f"/api/v1/{path}")
    assert (stranger.status_code, stranger.mimetype) == (401, "application/problem+json")
    assert stranger.get_json()["code"] == "invalid_api_key"
    items = one.send("GET", "webhooks/endpoints").get_json()["items"]
    assert [item["id"] for item in items] == [created.id]
    assert other.send("GET", "webhooks/endpoints").get_json()["items"] == []


def test_the_key_of_client_software_changes_no_webhooks(product: Product) -> None:
    with product.app.app_context():
        created = webhooks.create_endpoint("https://shop.example/hooks", tenant=product.id).endpoint
    path = f"webhooks/endpoints/{created.id}"
    # Not even beside an administrator's session.
    _sign_in(product.http)
    for method, where, body in (
        ("POST", "webhooks/endpoints", {"url": "https://thief.example/"}),
        ("PATCH", path, {"url": "https://thief.example/"}),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate", {}),
        ("POST", f"{path}/test", {}),
        ("POST", "webhooks/tasks", {"kind": "cancel"}),
        ("POST", "webhooks/endpoints/delete-all", {}),
        ("GET", "webhooks/deliveries?text=lic", None),
    ):
        assert product.send(method, where, body).status_code == 403, (method, where)
    assert product.send("GET", path).get_json()["url"] == "https://shop.example/hooks"


def test_wrong_password_is_refused(app: Flask) -> None:
    browser = app.test_client()
    assert _sign_in(browser, password="open says me").status_code == 401
    assert browser.get("/").status_code == 302


def test_login_without_csrf_token_is_refused(app: Flask) -> None:
    browser = app.test_client()
    browser.post("/login", data={"name": "admin", "password": "open sesame"})
    assert browser.get("/").status_code == 302


def test_nobody_signs_in_without_a_configured_password(app: Flask) -> None:
    app.config["ADMIN_PASSWORD"] = None
    browser = app.test_client()
    assert "EXAMPLE_ADMIN_PASSWORD" in browser.get("/login").text
    form = {"name": "admin", "password": "", "csrf_token": _token(browser.get("/login"))}
    browser.post("/login", data=form)
    assert browser.get("/").status_code == 302


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "evil", ""]
)
def test_login_leads_to_this_server_only(app: Flask, target: str) -> None:
    browser = app.test_client()
    assert _sign_in(browser, f"/login?next={target}").location == "/"


def test_sign_out(app: Flask) -> None:
    browser = app.test_client()
    _sign_in(browser)
    assert browser.post("/logout").status_code == 400
    browser.post("/logout", data={"csrf_token": _token(browser.get("/"))})
    assert browser.get("/").status_code == 302


# -- dashboards ------------------------------------------------------------------------------------


def test_owners_see_only_their_own_application(new_product: Callable[[str], Product]) -> None:
    one, other = new_product("Aurora"), new_product("Borealis")
    with one.app.app_context():
        made = [
            webhooks.create_endpoint("https://shop.example/hooks", tenant=product.id).endpoint.id
            for product in (one, other)
        ]
    browser = one.app.test_client()
    assert _sign_in(browser, name="Aurora", password=other.owner_password).status_code == 401
    assert _sign_in(browser, name="Aurora", password=one.owner_password).location == "/"
    assert browser.get("/").location == f"/applications/{one.id}"
    assert browser.get(f"/applications/{one.id}").status_code == 200
    assert browser.get(f"/applications/{other.id}").status_code == 404
    assert browser.get(f"/webhooks/endpoints/{made[0]}").status_code == 200
    assert browser.get(f"/webhooks/endpoints/{made[1]}").status_code == 404
    with browser:
        browser.get("/")
        hooks = webhooks.hooks
        assert hooks.current_tenant is not None
        assert hooks.current_actor is not None
        assert (hooks.current_tenant(), hooks.current_actor()) == (one.id, "Aurora")


def test_dashboard_leads_to_the_webhook_and_to_its_failed_deliveries(product: Product) -> None:
    with product.app.app_context():
        url = "https://shop.example/hooks"
        endpoint = webhooks.create_endpoint(url, tenant=product.id, name="Shop").endpoint.id
    key = product.sell(duration="3d")
    product.post("activate", license_key=key, hwid=DEVICE)
    with product.app.app_context():
        delivery = webhooks.models.table("Delivery")
        mine = sa.update(delivery).where(delivery.c.endpoint_id == endpoint)
        db.session.execute(mine.where(delivery.c.event_type == "hwid.bound").values(state="failed"))
        health = sa.update(webhooks.models.table("EndpointHealth"))
        db.session.execute(health.values(probe_interval=60, last_success_at=datetime.now(UTC)))
        db.session.commit()
    browser = product.app.test_client()
    _sign_in(browser)
    assert f"/applications/{product.id}" in browser.get("/").text
    page = browser.get(f"/applications/{product.id}").text
    assert "1 active" in page
    assert key in page
    assert "failing" in page
    for path, text in (
        (f"/webhooks/endpoints/{endpoint}", "Shop"),
        (f"/webhooks/deliveries?webhook={endpoint}&amp;state=failed", "1"),
        (f"/webhooks/deliveries?tenant={product.id}", "All deliveries"),
        (f"/webhooks/endpoints/new?tenant={product.id}", "Add a webhook"),
    ):
        assert f'<a href="{path}">{text}</a>' in page
        assert browser.get(path.replace("&amp;", "&")).status_code == 200
    latest = re.findall(r'<a href="/webhooks/deliveries/dlv_\w+">([\w.]+)</a>', page)
    assert latest == ["hwid.bound", "license.activated", "license.created"]


def test_dashboard_of_an_unknown_application(app: Flask) -> None:
    browser = app.test_client()
    assert browser.get("/applications/app_else").location == "/login?next=/applications/app_else"
    _sign_in(browser)
    assert browser.get("/applications/app_else").status_code == 404
