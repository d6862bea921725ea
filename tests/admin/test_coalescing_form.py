"""The rules for coalescing in the form of an endpoint, and what pages show of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import queries
from tests.admin.test_forms import check_summary
from tests.support.delivering import deliveries, drain, emit, endpoint
from tests.support.helpers import accessing, activity, add_endpoint, close, update
from tests.support.pages import HOSTILE, Browser, Page, make_app, sent_rows
from tests.support.receiver import Receiver

URL = "https://hooks.example.com/in"
VALIDATED = "license.validated"
BY_KEY = {VALIDATED: {"by": "data.license_key", "seconds": 60}}


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    with app.app_context():
        yield app
    close(app)


def rows(*given: tuple[str, str, str]) -> dict[str, str]:
    """What the form sends of rows."""
    return sent_rows("coalescing", ("type", "by", "seconds"), given)


def add(browser: Browser, values: dict[str, Any], status: int = 200, **options: Any) -> Page:
    page = browser.get("/endpoints/new")
    return browser.send(page, "/endpoints/new", {"url": URL, **values}, status, **options)


def test_rules_are_set_by_rows(app: Flask, browser: Browser) -> None:
    given = [
        (VALIDATED, " license_key ", "60"),
        ("license.rejected", "data.a.b", "1"),
    ]
    add(browser, rows(*given))
    [row] = queries.list_endpoints(accessing(app))
    assert row.endpoint.coalesce == {**BY_KEY, "license.rejected": {"by": "data.a.b", "seconds": 1}}


def test_edit_shows_rules_and_leaves_alone_what_is_unchanged(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app, coalesce=BY_KEY)
    path = f"/endpoints/{made.id}/edit"
    page = browser.get(path)
    assert page.one(id="wh-coalescing-0-by").attributes["value"] == "license_key"
    before = len(activity(app))
    browser.send(page, path, {})
    assert (endpoint(app, made.id).coalesce, len(activity(app))) == (BY_KEY, before)
    browser.send(browser.get(path), path, rows((VALIDATED, "license_key", "90")))
    assert endpoint(app, made.id).coalesce == {VALIDATED: {"by": "data.license_key", "seconds": 90}}
    browser.send(browser.get(path), path, rows(("", "", "")))
    assert endpoint(app, made.id).coalesce is None


@pytest.mark.slow
def test_rule_of_a_type_that_is_gone_can_stay(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app)
    gone = {"acme.gone": {"by": "data.x", "seconds": 5}}
    update(app, "Endpoint", made.id, coalesce=gone)
    path = f"/endpoints/{made.id}/edit"
    browser.send(browser.get(path), path, {"name": "new"})
    assert (endpoint(app, made.id).name, endpoint(app, made.id).coalesce) == ("new", gone)


def test_more_rows_are_added_without_a_script(browser: Browser) -> None:
    page = add(browser, rows((VALIDATED, "a", "1"), (VALIDATED, "b", "2")), button="more_rules")
    assert page.one(id="wh-coalescing-1-by").attributes["value"] == "b"
    assert page.one(id="wh-coalescing-3-by").attributes["value"] == ""


@pytest.mark.parametrize(
    ("row", "part", "message"),
    [
        (("license.validate", "a", "1"), "type", "license.validated"),
        (("", "a", "1"), "type", ""),
        ((VALIDATED, "", "1"), "by", "is not a member of the data"),
        ((VALIDATED, "a..b", "1"), "by", "is not a member of the data"),
        ((VALIDATED, "a", ""), "seconds", "whole seconds from 1 to 86400"),
        ((VALIDATED, "a", "0"), "seconds", "whole seconds from 1 to 86400"),
        ((VALIDATED, "a", "86401"), "seconds", "whole seconds from 1 to 86400"),
        ((VALIDATED, "a", "9" * 5000), "seconds", "whole seconds from 1 to 86400"),
        ((VALIDATED, "a", "1.5"), "seconds", "whole seconds from 1 to 86400"),
        (("license.rejected", "a", "1"), "type", "already a row for this event type"),
    ],
)
def test_faulty_rule_is_told_at_its_field(
    app: Flask, browser: Browser, row: tuple[str, str, str], part: str, message: str
) -> None:
    values = {"name": "x" * 201, **rows(("license.rejected", "a", "1"), row)}
    page = add(browser, values, 422)
    links = {item.attributes["href"]: item.text for item in page.one(id="wh-problems").all("a")}
    field = f"#wh-coalescing-1-{part}"
    assert set(links) == {"#wh-name", field}
    assert message in links[field]
    check_summary(page)
    assert list(queries.list_endpoints(accessing(app))) == []


def test_pages_show_rules_reason_and_count(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    member = "data.<b>" + HOSTILE.replace(".", "").split("\n")[0]
    rules = {**BY_KEY, "license.rejected": {"by": member, "seconds": 5}}
    made = add_endpoint(app, receiver.url(), coalesce=rules)
    data = {"license_id": "lic_1", "license_key": "A", "status": "active"}
    emit(app, 2, VALIDATED, data=data)
    drain(app)
    shown = browser.get(f"/endpoints/{made.id}").text
    assert "license.validated: one for each data.license_key in 60 s" in shown
    assert member in shown
    skipped = deliveries(app)[1]
    assert "It was coalesced" in browser.get(f"/deliveries/{skipped.id}").text
    update(app, "Delivery", deliveries(app)[0].id, coalesced=17)
    page = browser.get(f"/deliveries/{deliveries(app)[0].id}")
    assert "Coalesced since the previous one 17" in " ".join(page.text.split())
