"""Versions of event data and deprecated types on pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import queries
from flask_webhooks.app_state import state_of
from tests.support.delivering import deliveries, drain, emit, endpoint, webhooks_of
from tests.support.helpers import accessing, activity, add_endpoint, close, update
from tests.support.pages import HOSTILE, Browser, Element, make_app
from tests.support.receiver import Receiver

URL = "https://hooks.example.com/in"
NAME = "license.activated"
FIRST, SECOND = "2026-12-01", "2027-03-01"


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    with app.app_context():
        yield app
    close(app)


def add_versions(app: Flask) -> None:
    webhooks = webhooks_of(app)
    webhooks.version(NAME, FIRST)(lambda data: {**data, "level": "<b>"})
    webhooks.version(NAME, SECOND)(lambda data: {**data, "key": data["license_key"]})


def offered(form: Element) -> dict[str, str]:
    """What the field offers, and in capitals what is chosen."""
    field = form.one("select", name="data_version")
    return {
        item.attributes["value"]: item.text.upper() if "selected" in item.attributes else item.text
        for item in field.all("option")
    }


def test_new_endpoint_is_pinned_to_what_is_chosen(app: Flask, browser: Browser) -> None:
    add_versions(app)
    page = browser.get("/endpoints/new")
    assert offered(page) == {
        SECOND: f"{SECOND} (the newest)",
        FIRST: FIRST,
        "initial": "Before the first version",
    }
    for number, (wanted, stored) in enumerate(
        ((SECOND, SECOND), (FIRST, FIRST), ("initial", None))
    ):
        page = browser.get("/endpoints/new")
        values = {"url": f"{URL}/{number}", "data_version": wanted}
        browser.send(page, "/endpoints/new", values, 200)
        [row, *_older] = queries.list_endpoints(accessing(app))
        assert row.endpoint.data_version == stored


def test_edit_moves_an_endpoint_and_leaves_alone_what_is_unchanged(
    app: Flask, browser: Browser
) -> None:
    made = add_endpoint(app)
    add_versions(app)
    path = f"/endpoints/{made.id}/edit"
    page = browser.get(path)
    assert offered(page)["initial"] == "BEFORE THE FIRST VERSION"
    before = len(activity(app))
    browser.send(page, path, {})
    assert (endpoint(app, made.id).data_version, len(activity(app))) == (None, before)
    shown = browser.send(page, path, {"data_version": FIRST})
    assert endpoint(app, made.id).data_version == FIRST
    assert f"Version of the data {FIRST}" in shown.text
    assert "Version of the data" in browser.get("/activity").text


def test_without_versions_nothing_is_asked_or_said(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app)
    for path in ("/endpoints/new", f"/endpoints/{made.id}/edit", f"/endpoints/{made.id}/test"):
        assert not browser.get(path).all("select", name="data_version")
    assert "Version of the data" not in browser.get(f"/endpoints/{made.id}").text
    assert "Versions of the data" not in browser.get(f"/event-types/{NAME}").text


@pytest.mark.slow
def test_removed_version_is_told_and_kept(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app)
    update(app, "Endpoint", made.id, data_version="2025-01-01")
    told = "2025-01-01 (removed from the application)"
    for known in (False, True):
        if known:
            add_versions(app)
        assert told in browser.get(f"/endpoints/{made.id}").text
        page = browser.get(f"/endpoints/{made.id}/edit")
        assert offered(page)["2025-01-01"] == told.upper()
        browser.send(page, "/edit", {"name": "x"})
        assert endpoint(app, made.id).data_version == "2025-01-01"


def test_unknown_version_is_refused_beside_the_field(app: Flask, browser: Browser) -> None:
    add_versions(app)
    page = browser.get("/endpoints/new")
    refused = browser.send(page, "/endpoints/new", {"url": URL, "data_version": "2020-01-01"}, 422)
    assert "There are: 2027-03-01, 2026-12-01, initial." in refused.text
    assert refused.all("a", href="#wh-data_version")
    assert queries.list_endpoints(accessing(app)) == []


def test_test_event_is_sent_in_a_version(app: Flask, browser: Browser, receiver: Receiver) -> None:
    add_versions(app)
    made = add_endpoint(app, receiver.url())
    path = f"/endpoints/{made.id}/test"
    page = browser.get(f"{path}?event_type={NAME}")
    assert offered(page)[""] == f"That of the webhook: {SECOND} (the newest)".upper()
    shown = browser.send(page, path, {"data_version": "initial"})
    assert "Version of the data Before the first version" in shown.text
    drain(app)
    assert json.loads(receiver.requests[0].body)["data"]["level"] == "<b>"
    assert [item.data_version for item in deliveries(app)] == ["initial"]


@pytest.mark.parametrize("version", ["", "initial"])
def test_test_event_that_cannot_be_turned_back_is_refused(
    app: Flask, browser: Browser, version: str
) -> None:
    made = add_endpoint(app)
    add_versions(app)
    page = browser.get(f"/endpoints/{made.id}/test?event_type={NAME}")
    values = {"data_version": version, "sample": '{"a": 1}'}
    refused = browser.send(page, "/test", values, 409)
    assert f"The data of {NAME} cannot be turned into what it was before {SECOND}." in refused.text
    assert "raised KeyError" in refused.text
    assert json.loads(refused.one("textarea", name="sample").raw_text) == {"a": 1}
    assert deliveries(app) == []


def test_customers_are_told_nothing_of_the_function(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app, tenant="app_1")
    add_versions(app)
    state_of(app).hooks.current_tenant = lambda: "app_1"
    page = browser.get(f"/endpoints/{made.id}/test?event_type={NAME}")
    refused = browser.send(page, "/test", {"sample": "{}"}, 409)
    assert f"before {SECOND}." in refused.text
    assert "KeyError" not in refused.text


def test_type_shows_what_differs(app: Flask, browser: Browser) -> None:
    add_versions(app)
    page = browser.get(f"/event-types/{NAME}")
    example = state_of(app).catalog[NAME].example
    newest = page.one(id=f"wh-version-{SECOND}").text
    assert "key : removed" in newest
    middle = page.one(id=f"wh-version-{FIRST}").text
    assert f'level : changed from "<b>" to {json.dumps(example["level"])}' in middle
    first = page.one(id="wh-version-initial").text
    assert '"level": "<b>"' in first
    assert f"Changed on {SECOND}" in browser.get("/event-types").text
    webhooks_of(app).version(NAME, "2027-04-01")(lambda data: data["gone"])
    page = browser.get(f"/event-types/{NAME}")
    assert "The example cannot be shown in this version." in page.text


def test_deprecated_type_is_marked_and_tells_who_subscribes(app: Flask, browser: Browser) -> None:
    webhooks_of(app).add_event_type(
        "acme.old", description=f"Old {HOSTILE}", group="Acme", deprecated=True
    )
    add_endpoint(app, name="mine", events=["acme.old"], tenant="app_1")
    add_endpoint(app, name="yours", events=["acme.*"], tenant="app_2")
    add_endpoint(app, name="all of it")
    page = browser.get("/event-types/acme.old")
    assert "It will be removed in the future." in page.text
    assert "2 webhooks still name it." in page.text
    assert {"mine", "yours"} <= set(page.links())
    assert "1 webhook gets it among all event types." in page.text
    assert "Deprecated" in browser.get("/event-types").text
    assert "Deprecated" in browser.get("/endpoints/new").text
    state_of(app).hooks.current_tenant = lambda: "app_1"
    page = browser.get("/event-types/acme.old")
    assert "1 webhook still names it." in page.text
    assert "yours" not in page.links()


def test_failing_function_is_a_banner_for_operators(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    made = add_endpoint(app, receiver.url(), tenant="app_1")
    add_versions(app)
    emit(app, event_type=NAME, data={"a": 1}, tenant="app_1")
    drain(app)
    told = "A function of the application cannot turn data into the version that the webhook gets."
    shown: list[Any] = [browser.get(path).text for path in ("/", f"/endpoints/{made.id}")]
    assert all(told in text for text in shown)
    assert "their log says which one it is." in shown[0]
    state_of(app).hooks.current_tenant = lambda: "app_1"
    assert told not in browser.get("/").text
    assert told in browser.get(f"/endpoints/{made.id}").text
