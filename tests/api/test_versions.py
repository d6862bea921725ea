"""Versions of event data by the API: endpoints are pinned and moved, types tell how they changed and who subscribes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask

from flask_webhooks.app_state import state_of
from tests.support.api_calls import Api
from tests.support.delivering import deliveries, drain, emit, webhooks_of
from tests.support.helpers import add_endpoint, as_tenant
from tests.support.receiver import Receiver

URL = "https://hooks.example.com/in"
NAME = "license.activated"
FIRST, SECOND = "2026-12-01", "2027-03-01"


def add_versions(app: Flask) -> None:
    webhooks = webhooks_of(app)

    @webhooks.version(NAME, FIRST)
    def without_level(data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name != "level"}

    @webhooks.version(NAME, SECOND)
    def with_key(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "key": data["license_key"], "license_id": 7}


def test_endpoint_is_pinned_and_moved(app: Flask, api: Api) -> None:
    old = api.post("/endpoints", {"url": URL}, 201)
    assert old["data_version"] == "initial"
    add_versions(app)
    made = api.post("/endpoints", {"url": URL + "/2"}, 201)
    assert made["data_version"] == SECOND
    path = f"/endpoints/{old['id']}"
    assert api.get(path)["data_version"] == "initial"
    assert api.patch(path, {"name": "x"})["data_version"] == "initial"
    for given, stored in ((FIRST, FIRST), (None, SECOND), ("initial", "initial")):
        assert api.patch(path, {"data_version": given})["data_version"] == stored
    chosen = api.post("/endpoints", {"url": URL + "/3", "data_version": "initial"}, 201)
    assert chosen["data_version"] == "initial"


@pytest.mark.parametrize("given", ["2026-12-02", "", "newest", 5, True, [FIRST], {}])
def test_unknown_version_is_refused_and_changes_nothing(app: Flask, api: Api, given: Any) -> None:
    add_versions(app)
    made = api.post("/endpoints", {"url": URL}, 201)
    for method, path, body, status in (
        ("POST", "/endpoints", {"url": URL + "/2", "data_version": given}, 422),
        ("PATCH", f"/endpoints/{made['id']}", {"data_version": given, "name": "x"}, 422),
        ("POST", f"/endpoints/{made['id']}/test", {"data_version": given}, 422),
    ):
        answer = api.call(method, path, status, json=body)
        assert [item["field"] for item in answer["errors"]] == ["data_version"]
        assert f"There are: {SECOND}, {FIRST}, initial." in answer["detail"]
    [item] = api.get("/endpoints")["items"]
    assert (item["name"], item["data_version"]) == ("", SECOND)
    assert deliveries(app) == []


def test_test_event_is_sent_in_a_version(app: Flask, api: Api, receiver: Receiver) -> None:
    add_versions(app)
    made = add_endpoint(app, receiver.url("/in"))
    body = {"event_type": NAME, "data": {"level": 1, "license_key": "A"}}
    path = f"/endpoints/{made.id}/test"
    assert api.post(path, body, 202)["data_version"] is None
    answer = api.post(path, {**body, "data_version": "initial"}, 202)
    assert answer["data_version"] == "initial"
    drain(app)
    found = [json.loads(item.body)["data"] for item in receiver.requests]
    assert body["data"] in found
    assert {"license_key": "A", "key": "A", "license_id": 7} in found
    # The function needs a member that this data has not.
    refused = api.post(path, {"event_type": NAME, "data": {}, "data_version": FIRST}, 409)
    assert refused["code"] == "conversion_failed"
    assert f"before {SECOND}" in refused["detail"]


def test_type_tells_its_versions_and_what_differs(app: Flask, api: Api) -> None:
    add_versions(app)
    kind = api.get(f"/event-types/{NAME}")
    example = kind["example"]
    newest, middle, first = kind["data_versions"]
    assert [item["version"] for item in kind["data_versions"]] == [SECOND, FIRST, "initial"]
    assert newest["example"] == example
    assert newest["changes"] == [
        {"path": "license_id", "kind": "changed", "before": 7, "after": example["license_id"]},
        {"path": "key", "kind": "removed", "before": example["license_key"], "after": None},
    ]
    assert middle["changes"] == [
        {"path": "level", "kind": "added", "before": None, "after": example["level"]}
    ]
    assert first["changes"] == []
    assert "level" not in first["example"]
    others = {item["name"]: item["data_versions"] for item in api.get("/event-types")["items"]}
    assert others.pop(NAME) == kind["data_versions"]
    assert not any(others.values())


def test_example_that_cannot_be_made_is_null(app: Flask, api: Api) -> None:
    add_versions(app)
    webhooks_of(app).version(NAME, "2027-02-01")(lambda data: data["gone"])
    versions = api.get(f"/event-types/{NAME}")["data_versions"]
    assert [item["example"] is None for item in versions] == [False, False, True, True]
    assert [bool(item["changes"]) for item in versions] == [True, False, False, False]
    path = f"/event-types/{NAME}/example"
    assert api.get(path, 409, data_version=FIRST)["code"] == "conversion_failed"


def test_example_in_a_format_is_of_a_version(app: Flask, api: Api) -> None:
    add_versions(app)
    path = f"/event-types/{NAME}/example"

    def data(**query: str) -> Any:
        return json.loads(api.get(path, 200, **query)["body"])["data"]

    assert "level" in data()
    assert data() == data(data_version=SECOND)
    assert "level" not in data(data_version="initial")
    assert api.get(path, 422, data_version="2020-01-01")["errors"][0]["field"] == "data_version"


def test_deprecated_type_is_marked_and_tells_who_subscribes(app: Flask, api: Api) -> None:
    webhooks_of(app).add_event_type(
        "acme.old", description="Sent no more soon.", deprecated=True, example={"a": 1}
    )
    named = add_endpoint(app, events=["acme.old"], tenant="app_1")
    by_prefix = add_endpoint(app, events=["acme.*", "license.created"], tenant="app_2")
    add_endpoint(app, events=["license.created"], tenant="app_1")
    add_endpoint(app, tenant="app_1")
    kind = api.get("/event-types/acme.old")
    assert kind["deprecated"] is True
    assert [item["id"] for item in kind["subscribers"]] == [by_prefix.id, named.id]
    assert (kind["subscribers_by_name"], kind["subscribers_by_everything"]) == (2, 1)
    assert [x["name"] for x in api.get("/event-types")["items"] if x["deprecated"]] == ["acme.old"]
    # A tenant sees its own only.
    hooks = state_of(app).hooks
    hooks.current_tenant = lambda: "app_2"
    mine = api.get("/event-types/acme.old")
    assert [item["id"] for item in mine["subscribers"]] == [by_prefix.id]
    assert (mine["subscribers_by_name"], mine["subscribers_by_everything"]) == (1, 0)
    assert as_tenant(app, "app_2").tenant == "app_2"
    document = api.document["webhooks"]
    assert document["acme.old"]["post"]["deprecated"] is True
    assert "deprecated" not in document["license.created"]["post"]


def test_pull_for_an_endpoint_is_in_its_version(app: Flask, api: Api) -> None:
    made = add_endpoint(app, URL)
    add_versions(app)
    emit(app, event_type=NAME, data={"level": 1, "license_key": "A"})
    emit(app, event_type=NAME, data={"level": 1})
    query = {"after": "start", "endpoint_id": made.id}
    [item] = api.get("/events", 200, **query, limit=1)["items"]
    assert item["data"] == {"license_key": "A", "key": "A", "license_id": 7}
    assert api.get("/events", 409, **query)["code"] == "conversion_failed"
