"""Text that is no good, in every place that takes some: it is refused, or it stays text, and nothing breaks.

The places are those of the API's types and of the forms on the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from flask_webhooks import actions
from flask_webhooks.api.document_views import routes_of
from flask_webhooks.api.routes import Route
from flask_webhooks.api.security_schemes import Signing
from tests.support.access_matrix import House, fields_of_form
from tests.support.api_calls import PREFIX as API
from tests.support.delivering import close, webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    add_portal_link,
    add_scheduled,
    update,
)
from tests.support.pages import Browser, Page, World, make_app

NUL = "a\0b"
#: From right to left, Cyrillic letters that look Latin, and what would colour a terminal.
ODD = "\u202e\u0440\u0430\u0443\u0440\u0430l.com\u2066\x1b[31m"
#: As bytes that are no UTF-8, a half of a surrogate pair.
HALF = "%ed%a0%80"
MEGABYTES = 10 * 1024 * 1024
DEEP = b'{"a":' * 100_000


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    """Everything on the pages and in the API, for one who may do everything."""
    app = make_app(database_url, redis_url, WTF_CSRF_ENABLED=True, WEBHOOKS_MAX_ENDPOINTS=None)
    app.register_blueprint(
        webhooks_of(app).api_blueprint(authenticate=lambda: True, tokens=True), url_prefix=API
    )
    for name in ("authon", "authforge"):
        vendor = webhooks_of(app).vendor_api_blueprint(name, lambda: True)
        app.register_blueprint(vendor, url_prefix=f"/{name}")
    yield House(app, _world(app), Path())
    close(app)


def _world(app: Flask) -> World:
    endpoint = add_endpoint(app, tenant="app_1")
    delivery = add_delivery(app, endpoint, event_id="evt_1")
    return World(
        {"good": endpoint.id},
        {"pending": delivery},
        {"emitted": "evt_1"},
        {"waiting": actions.start_task(accessing(app), "discard", endpoint.id).id},
        {"active": actions.create_token(accessing(app), "CI", ["view"]).token.id},
        scheduled=add_scheduled(app),
        portal_link=add_portal_link(app),
    )


def check(house: House, answer: TestResponse, what: object) -> None:
    """It was done or refused, and nothing broke."""
    assert answer.status_code < 500, (what, answer.text[:500])
    if answer.status_code < 400 and answer.request.method != "GET":
        # What it changed would keep later requests from getting far.
        endpoint = house.world.endpoints["good"]
        update(house.app, "Endpoint", endpoint, state="active", deleted_at=None)


def routes() -> tuple[Route, ...]:
    return routes_of(Signing(None, True))


def call(house: House, route: Route, **options: Any) -> TestResponse:
    [rule] = house.app.url_map.iter_rules(f"flask_webhooks_api.{route.name}")
    path = house.path(rule, route.name)
    return house.app.test_client().open(path, method=route.method, **options)


def test_every_member_of_every_body_takes_or_refuses_it(house: House) -> None:
    required = {"url": "https://hooks.example.com/x", "name": "x", "actions": ["view"]}
    required |= {"kind": "cancel", "actor": "mira"}
    tried = 0
    for route in routes():
        members = get_type_hints(route.body) if route.body else {}
        good = {name: value for name, value in required.items() if name in members}
        for name in members:
            for value in (NUL, ODD, [NUL], {NUL: NUL}):
                tried += 1
                answer = call(house, route, json={**good, name: value})
                check(house, answer, (route.name, name, value))
    assert tried > 150


def test_every_parameter_of_every_query_takes_or_refuses_it(house: House) -> None:
    tried = 0
    for route in routes():
        for name in get_type_hints(route.query) if route.query else ():
            tried += 1
            for text in (*map(quote, (NUL, ODD)), HALF):
                answer = call(house, route, query_string=f"{name}={text}")
                check(house, answer, (route.name, name, text))
    assert tried > 60


def test_every_id_in_a_path_is_one_or_none(house: House) -> None:
    client = house.app.test_client()
    tried = 0
    for way in ("page", "api"):
        for method, view, rule in house.rules(way):
            if not rule.arguments:
                continue
            tried += 1
            options: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": {}}
            for text in (*map(quote, (NUL, ODD)), HALF, "x" * 5000):
                path = re.sub("<.*?>", text, rule.rule)
                answer = client.open(path, method=method, **options)
                check(house, answer, (method, view))
                assert answer.status_code in (400, 404, 405, 415), (method, view)
    assert tried > 60


def forms(house: House) -> Iterator[tuple[Browser, str, Any]]:
    """Every form that is sent by POST, as it stands on its page."""
    browser = Browser(house.app)
    for method, view, rule in house.rules("page"):
        if method == "POST" and "GET" in (rule.methods or ()):
            path = house.path(rule, view)
            fields = fields_of_form(browser.client.get(path), path)
            if fields is not None:
                yield browser, path, fields


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_every_field_of_every_form_takes_or_refuses_it(house: House) -> None:
    tried = 0
    for browser, path, fields in forms(house):
        names = [name for name in fields if name != "csrf_token"]
        for name in names:
            tried += 1
            check(house, browser.client.post(path, data={**fields, name: NUL}), (path, name))
        odd = dict.fromkeys(names, ODD)
        check(house, browser.client.post(path, data={**fields, **odd}), path)
    assert tried > 40


def lists(house: House) -> Iterator[tuple[str, set[str]]]:
    """Every page that has a form of filters, with the names of these."""
    browser = Browser(house.app)
    for method, view, rule in house.rules("page"):
        if method == "GET":
            path = house.path(rule, view)
            page = Page(browser.client.get(path))
            found = [form for form in page.all("form") if form.attributes["method"] == "get"]
            yield path, {name for form in found for name in Browser.fields(form)}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_every_filter_of_every_page_takes_or_refuses_it(house: House) -> None:
    client = house.app.test_client()
    tried = 0
    for path, names in lists(house):
        for name in {*names, "before"} if names else ():
            tried += 1
            check(house, client.get(f"{path}?{name}={quote(NUL)}"), (path, name))
        for text in (quote(ODD), HALF):
            query = "&".join(f"{name}={text}" for name in names)
            check(house, client.get(f"{path}?{query}"), path)
    assert tried > 30


def changing(house: House) -> Iterator[tuple[str, str, Rule]]:
    for way in ("page", "portal", "api"):
        for method, view, rule in house.rules(way):
            if method not in ("GET", "DELETE") and not view.endswith("_otherwise"):
                yield method, house.path(rule, view), rule


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_route_reads_ten_megabytes_or_what_is_too_deep(house: House) -> None:
    client = house.app.test_client()
    large = b"a=" + b"x" * MEGABYTES
    tried = 0
    for method, path, _ in changing(house):
        tried += 1
        form = "application/x-www-form-urlencoded"
        for body, kind in ((large, form), (large, "application/json"), (DEEP, "application/json")):
            answer = client.open(path, method=method, data=body, content_type=kind)
            assert answer.status_code in (400, 403, 413, 415), (path, answer.status_code)
    assert tried > 60
