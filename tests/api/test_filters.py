"""Filters by the API: set, shown, refused, tried, and named as the reason."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_webhooks.access import MEANINGS
from tests.support.api_calls import Api
from tests.support.delivering import emit, endpoint, webhooks_of
from tests.support.helpers import add_endpoint, update

URL = "https://hooks.example.com/in"
LARGE = {"data": {"amount": {"$gte": 100}}}


def pay(app: Flask, amount: Any) -> str:
    [event] = emit(app, event_type="payment.succeeded", data={"payment_id": "p", "amount": amount})
    return event


def test_filter_is_created_shown_changed_and_removed(api: Api) -> None:
    made = api.post("/endpoints", {"url": URL, "filter": LARGE}, 201)
    path = f"/endpoints/{made['id']}"
    assert made["filter"] == LARGE
    assert api.get(path)["filter"] == LARGE
    assert [item["filter"] for item in api.get("/endpoints")["items"]] == [LARGE]
    assert api.patch(path, {"name": "x"})["filter"] == LARGE
    other = {"$or": [LARGE, {"type": "license.created"}]}
    assert api.patch(path, {"filter": other})["filter"] == other
    nothings: list[Any] = [None, {}]
    for nothing in nothings:
        assert api.patch(path, {"filter": nothing})["filter"] is None
        api.patch(path, {"filter": LARGE})


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("amount", "as a JSON object"),
        ([LARGE], "as a JSON object"),
        ({"data": {"a": {"$where": "1"}}}, "unknown operator '$where'"),
        ({"data": {"a": {"$gt": {}}}}, "needs a number or a text"),
        ({"data": {"a": {"$in": list(range(10_000))}}}, "more than 500 values"),
    ],
)
def test_malformed_filter_is_a_problem(api: Api, filter: Any, message: str) -> None:
    problem = api.post("/endpoints", {"url": URL, "filter": filter}, 422)
    [error] = problem["errors"]
    assert (error["field"], message in error["detail"]) == ("filter", True), problem
    assert api.get("/endpoints")["items"] == []


def test_hundred_levels_are_refused(api: Api) -> None:
    deep: Any = 1
    for _level in range(100):
        deep = {"a": deep}
    problem = api.post("/endpoints", {"url": URL, "filter": {"data": deep}}, 422)
    assert "more than 20 levels deep" in problem["detail"]


def test_routing_names_the_failed_condition(app: Flask, api: Api) -> None:
    add_endpoint(app)
    narrowed = add_endpoint(app, filter=LARGE)
    event = pay(app, 5)
    update(app, "Event", event, created_at=endpoint(app, narrowed.id).created_at)
    [found] = api.get(f"/events/{event}/routing")["items"]
    assert (found["why"], found["filter"]) == ("filtered", LARGE)
    assert found["failed"] == [
        {
            "path": "data.amount",
            "operator": "$gte",
            "expected": "100",
            "found": "5",
            "missing": False,
            "alternative": False,
        }
    ]


def test_filter_is_tried(app: Flask, api: Api) -> None:
    add_endpoint(app)
    small, large = pay(app, 5), pay(app, 100)
    path = "/endpoints/filter-test"
    answer = api.post(path, {"filter": LARGE, "event_id": small})
    assert (answer["matches"], answer["event_type"]) == (False, "payment.succeeded")
    assert [item["path"] for item in answer["failed"]] == ["data.amount"]
    assert api.post(path, {"filter": LARGE, "event_id": large})["matches"]
    given = {"filter": LARGE, "event_type": "payment.succeeded", "data": {"amount": 100}}
    assert api.post(path, given)["failed"] == []
    [failed] = api.post(path, {"filter": LARGE})["failed"]
    assert (failed["found"], failed["missing"]) == (None, True)
    assert api.post(path, {"filter": None})["matches"]
    assert api.post(path, {})["matches"]
    api.post(path, {"filter": {"x": 1}}, 422)
    api.post(path, {"filter": LARGE, "event_id": "evt_1"}, 404)
    api.post(path, {"filter": LARGE, "event_type": "no.such"}, 422)
    api.post(path, {"filter": LARGE, "event_id": small, "data": {}}, 422)


def test_hidden_data_cannot_be_found_out_by_filters(app: Flask, api: Api) -> None:
    add_endpoint(app)
    event = pay(app, 5)
    assert "view_payload" in MEANINGS
    webhooks_of(app).hooks.authorize = lambda action, endpoint: action != "view_payload"
    api.post("/endpoints/filter-test", {"filter": LARGE, "event_id": event}, 403)
    assert api.post("/endpoints/filter-test", {"filter": None})["matches"]
