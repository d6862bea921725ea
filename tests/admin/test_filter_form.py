"""The filter of an endpoint in its form: as rows, as JSON, and tried."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import queries
from flask_webhooks.admin.filter_rows import FilterRow, filter_from_rows, rows_from_filter
from flask_webhooks.errors import InvalidFilter
from flask_webhooks.filters.notation import parse_filter
from tests.admin.test_forms import check_summary
from tests.support.delivering import emit, endpoint
from tests.support.helpers import accessing, activity, add_endpoint, close, update
from tests.support.pages import HOSTILE, Browser, Page, make_app, sent_rows

URL = "https://hooks.example.com/in"
PAID = "payment.succeeded"
LARGE = {"data": {"amount": {"$gte": 100}}}


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    with app.app_context():
        yield app
    close(app)


def rows(*given: tuple[str, str, str]) -> dict[str, str]:
    """What the form sends of rows."""
    return sent_rows("filter_rows", ("path", "operator", "value"), given)


def fields(page: Page) -> dict[str, str]:
    """What a browser would send of the filter."""
    sent = Browser.fields(page.form("/edit"))
    return {name: value for name, value in sent.items() if name.startswith(("filter", "combine"))}


def add(browser: Browser, values: dict[str, Any], status: int = 200, **options: Any) -> Page:
    page = browser.get("/endpoints/new")
    return browser.send(page, "/endpoints/new", {"url": URL, **values}, status, **options)


def stored(app: Flask) -> Any:
    """The filter of the only endpoint."""
    [row] = queries.list_endpoints(accessing(app))
    return row.endpoint.filter


@pytest.mark.parametrize(
    ("combine", "given", "expected"),
    [
        ("all", [("amount", "at_least", "100")], LARGE),
        ("all", [("plan", "is", "pro")], {"data": {"plan": "pro"}}),
        ("all", [("number", "is", '"100"')], {"data": {"number": "100"}}),
        ("all", [("trial", "is", "true")], {"data": {"trial": True}}),
        ("all", [("note", "is_not", "null")], {"data": {"note": {"$neq": None}}}),
        (
            "all",
            [("user.email", "ends_with", "@x.com")],
            {"data": {"user": {"email": {"$endsWith": "@x.com"}}}},
        ),
        ("all", [("plan", "one_of", "pro, max,7")], {"data": {"plan": {"$in": ["pro", "max", 7]}}}),
        (
            "all",
            [("plan", "none_of", '["a, b", "c"]')],
            {"data": {"plan": {"$nin": ["a, b", "c"]}}},
        ),
        ("all", [("note", "contains", "100")], {"data": {"note": {"$in": "100"}}}),
        ("all", [("note", "contains_not", "x")], {"data": {"note": {"$nin": "x"}}}),
        ("all", [("note", "exists", "")], {"data": {"note": {"$exist": True}}}),
        ("all", [("note", "exists_not", "")], {"data": {"note": {"$exist": False}}}),
        (
            "all",
            [("amount", "greater", "1"), ("plan", "starts_with", "p"), ("amount", "less", "9")],
            {
                "data": {"amount": {"$gt": 1}, "plan": {"$startsWith": "p"}},
                "$and": [{"data": {"amount": {"$lt": 9}}}],
            },
        ),
        (
            "any",
            [("amount", "at_most", "1.5"), ("plan", "is", "pro")],
            {"$or": [{"data": {"amount": {"$lte": 1.5}}}, {"data": {"plan": "pro"}}]},
        ),
    ],
)
def test_rows_say_a_filter_and_are_read_back(
    combine: str, given: list[tuple[str, str, str]], expected: Any
) -> None:
    found = filter_from_rows(combine, list(enumerate(FilterRow(*row) for row in given)))
    assert found == expected
    parse_filter(found)
    again = rows_from_filter(found)
    assert again is not None
    assert filter_from_rows(again[0], list(enumerate(again[1]))) == expected
    assert {row.path for row in again[1]} == {path for path, _, _ in given}


@pytest.mark.parametrize(
    "filter",
    [
        {"type": PAID},
        {"$not": LARGE},
        {"data": {"items": {"id": 1, "count": 2}}},
        {"data": {"tags": ["a", "b"], "x": {"$eq": [1]}}},
        {"data": {"a.b": 1}},
        {"$or": [{"data": {"a": 1, "b": 2}}, LARGE]},
        {"data": {"a": {"$startsWith": ["x", "y"]}}},
        {"data": {"a": {"$in": 5}}},
    ],
)
def test_what_rows_cannot_say_is_shown_as_json(filter: Any) -> None:
    parse_filter(filter)
    assert rows_from_filter(filter) is None


@pytest.mark.parametrize(
    ("row", "part", "message"),
    [
        (("", "is", "x"), "path", "Enter the member"),
        (("a..b", "is", "x"), "path", "with dots"),
        (("$a", "is", "x"), "path", "with dots"),
        (("a", "is", ""), "value", "Enter a value to compare with"),
        (("a", "like", "x"), "value", "Choose a comparison"),
        (("a", "one_of", "[1"), "value", "Enter a list such as"),
        (("a", "less", "true"), "value", "needs a number or a text"),
        (("a", "one_of", ","), "value", "needs a list of single values"),
    ],
)
def test_faulty_row_is_named(row: tuple[str, str, str], part: str, message: str) -> None:
    with pytest.raises(InvalidFilter, match=message) as caught:
        filter_from_rows("all", [(3, FilterRow(*row))])
    assert (caught.value.row, caught.value.part) == (3, part)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_filter_is_set_by_rows(app: Flask, browser: Browser) -> None:
    values = rows(("amount", "at_least", "100"), ("", "is", ""), ("currency", "is", "eur"))
    add(browser, {"filter_by": "rows", **values})
    assert stored(app) == {"data": {"amount": {"$gte": 100}, "currency": "eur"}}


def test_rows_count_only_where_they_are_chosen(app: Flask, browser: Browser) -> None:
    add(browser, rows(("amount", "at_least", "100")))
    assert stored(app) is None


def test_filter_is_set_as_json(app: Flask, browser: Browser) -> None:
    text = json.dumps({"$not": LARGE})
    add(browser, {"filter_by": "json", "filter_json": text})
    assert stored(app) == {"$not": LARGE}


def test_more_rows_are_added_without_a_script(browser: Browser) -> None:
    values = rows(*[(f"m{number}", "is", "1") for number in range(3)])
    page = add(browser, {"filter_by": "rows", **values}, 200, button="more_conditions")
    assert (
        len(
            [
                item
                for item in page.all("input")
                if item.attributes.get("name", "").endswith("-path")
            ]
        )
        == 6
    )
    assert page.one(id="wh-filter_rows-2-path").attributes["value"] == "m2"


def test_edit_shows_rows_or_json_and_leaves_alone_what_is_unchanged(
    app: Flask, browser: Browser
) -> None:
    """Also where the API has written it otherwise than the form does."""
    otherwise = {"data": {"amount": {"$gte": 100, "$lt": 500}}}
    for filter, by in ((otherwise, "rows"), ({"$not": LARGE}, "json")):
        made = add_endpoint(app, f"https://{by}.example.com/", filter=filter)
        path = f"/endpoints/{made.id}/edit"
        page = browser.get(path)
        assert fields(page)["filter_by"] == by
        before = len(activity(app))
        browser.send(page, path, {})
        assert endpoint(app, made.id).filter == filter
        assert len(activity(app)) == before
        browser.send(browser.get(path), path, {"filter_by": "none"})
        assert endpoint(app, made.id).filter is None


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"filter_by": "rows"}, "#wh-filter_by", "Write a condition"),
        ({"filter_by": "json", "filter_json": "{}"}, "#wh-filter_json", "Write a condition"),
        ({"filter_by": "json", "filter_json": "{"}, "#wh-filter_json", "This is not JSON"),
        ({"filter_by": "json", "filter_json": "[]"}, "#wh-filter_json", "as a JSON object"),
        ({"filter_by": "json", "filter_json": '{"a": 1}'}, "#wh-filter_json", "Begin with data"),
        ({"filter_by": "json", "filter_json": "[" * 100_000}, "#wh-filter_json", "not JSON"),
        (
            {"filter_by": "rows", **rows(("a", "is", "1"), ("", "is", "2"))},
            "#wh-filter_rows-1-path",
            "Enter the member",
        ),
    ],
)
def test_faulty_filter_is_told_at_its_field(
    app: Flask, browser: Browser, values: dict[str, str], field: str, message: str
) -> None:
    page = add(browser, {"name": "x" * 201, **values}, 422)
    links = {item.attributes["href"]: item.text for item in page.one(id="wh-problems").all("a")}
    assert set(links) == {"#wh-name", field}
    assert message in links[field]
    check_summary(page)
    made = add_endpoint(app, filter=LARGE)
    path = f"/endpoints/{made.id}/edit"
    emptied = {
        f"filter_rows-{number}-{name}": "" for number in range(2) for name in ("path", "value")
    }
    page = browser.send(browser.get(path), path, {**emptied, **values, "name": "new"}, 422)
    check_summary(page)
    assert endpoint(app, made.id).name == ""


@pytest.mark.slow
def test_filter_is_tried_in_the_form(app: Flask, browser: Browser) -> None:
    add_endpoint(app)
    [event] = emit(app, event_type=PAID, data={"payment_id": "pay_1", "amount": 5})
    chosen = {"filter_by": "rows", **rows(("amount", "at_least", "100"))}
    page = add(browser, {**chosen, "try_event": event}, 200, button="try_filter")
    answer = page.one(id="wh-trial").text
    assert "This payment.succeeded would not be sent." in answer
    assert "data.amount is 5, and must be at least 100." in answer
    assert page.one(id="wh-filter_rows-0-path").attributes["value"] == "amount"
    chosen["filter_rows-0-value"] = "5"
    page = add(browser, {**chosen, "try_event": event}, 200, button="try_filter")
    assert "This payment.succeeded would be sent." in page.one(id="wh-trial").text
    page = add(browser, {**chosen, "try_type": "license.created"}, 200, button="try_filter")
    assert "data.amount is missing" in page.one(id="wh-trial").text
    page = add(browser, {**chosen, "try_event": "evt_1"}, 422, button="try_filter")
    assert "There is no event 'evt_1'" in page.one(id="wh-try_event-error").text
    assert len(activity(app)) == 1


def test_filter_is_on_the_page_of_the_endpoint(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app, filter={"data": {"note": HOSTILE}})
    page = browser.get(f"/endpoints/{made.id}")
    assert HOSTILE.split("\n")[0] in page.text


def test_event_page_names_the_condition_that_failed(app: Flask, browser: Browser) -> None:
    add_endpoint(app)
    narrowed = add_endpoint(app, name="Large ones", filter={"data": {"note": HOSTILE}})
    [event] = emit(app, event_type=PAID, data={"payment_id": "pay_1", "note": HOSTILE + "!"})
    update(app, "Event", event, created_at=endpoint(app, narrowed.id).created_at)
    page = browser.get(f"/events/{event}")
    assert "Filtered out" in page.text
    assert "The filter of the webhook did not let the event through." in page.text
    assert "data.note is" in page.text


def test_activity_shows_the_filter_as_json(app: Flask, browser: Browser) -> None:
    add_endpoint(app, filter=LARGE)
    assert "Filter" in browser.get("/activity").text
    assert '{"data":{"amount":{"$gte":100}}}' in browser.get("/activity").text
