"""Coalescing by the API: rules are set, shown and refused, and deliveries tell of it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from tests.support.api_calls import Api
from tests.support.delivering import deliveries, drain, emit
from tests.support.receiver import Receiver

URL = "https://hooks.example.com/in"
VALIDATED = "license.validated"
BY_KEY = {VALIDATED: {"by": "data.license_key", "seconds": 60}}


def test_rules_are_created_shown_changed_and_removed(api: Api) -> None:
    made = api.post("/endpoints", {"url": URL, "coalesce": BY_KEY}, 201)
    path = f"/endpoints/{made['id']}"
    assert made["coalesce"] == BY_KEY
    assert [item["coalesce"] for item in api.get("/endpoints")["items"]] == [BY_KEY]
    assert api.patch(path, {"name": "x"})["coalesce"] == BY_KEY
    other = {"license.rejected": {"by": "data.user.email", "seconds": 86400}}
    assert api.patch(path, {"coalesce": other})["coalesce"] == other
    nothings: list[Any] = [None, {}]
    for nothing in nothings:
        assert api.patch(path, {"coalesce": nothing})["coalesce"] is None
        api.patch(path, {"coalesce": BY_KEY})


def rule(**changes: Any) -> dict[str, Any]:
    return {VALIDATED: {**BY_KEY[VALIDATED], **changes}}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("license.validated", "as a JSON object"),
        ([BY_KEY], "as a JSON object"),
        ({"license.validate": BY_KEY[VALIDATED]}, "license.validated"),
        ({"license.*": BY_KEY[VALIDATED]}, "license.*"),
        ({VALIDATED: 60}, "with these two members"),
        ({VALIDATED: {"by": "data.a"}}, "with these two members"),
        (rule(limit=1), "with these two members"),
        (rule(by="license_key"), "is not a member of the data"),
        (rule(by="data"), "is not a member of the data"),
        (rule(by="data."), "is not a member of the data"),
        (rule(by=7), "is not a member of the data"),
        (rule(by="data." + "x" * 500), "more than 500"),
        (rule(seconds=0), "from 1 to 86400"),
        (rule(seconds=86401), "from 1 to 86400"),
        (rule(seconds=1.5), "from 1 to 86400"),
        (rule(seconds=True), "from 1 to 86400"),
        (rule(seconds="60"), "from 1 to 86400"),
        ({f"a.b{number}": {} for number in range(11)}, "more than 10"),
    ],
)
def test_malformed_rule_is_a_problem(api: Api, rules: Any, message: str) -> None:
    problem = api.post("/endpoints", {"url": URL, "coalesce": rules}, 422)
    assert {error["field"] for error in problem["errors"]} == {"coalesce"}, problem
    assert message in problem["errors"][0]["detail"]
    assert api.get("/endpoints")["items"] == []


def test_all_that_is_wrong_is_told_at_once(api: Api) -> None:
    rules = {"no.such": {"by": "x", "seconds": 0}, **BY_KEY}
    problem = api.post("/endpoints", {"url": URL, "coalesce": rules}, 422)
    assert len(problem["errors"]) == 3


def test_deliveries_tell_of_it(app: Flask, api: Api, receiver: Receiver) -> None:
    api.post("/endpoints", {"url": receiver.url(), "coalesce": BY_KEY}, 201)
    data = {"license_id": "lic_1", "license_key": "A", "status": "active"}
    emit(app, 2, VALIDATED, data=data)
    drain(app)
    sent, skipped = (api.get(f"/deliveries/{row.id}") for row in deliveries(app))
    assert (sent["state"], sent["coalesced"]) == ("succeeded", 0)
    assert (skipped["state"], skipped["reason"]) == ("cancelled", "coalesced")
    assert skipped["coalesced"] is None
