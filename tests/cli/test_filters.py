"""Filters by commands: set, shown, refused, tried, and named as the reason."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from tests.cli.test_cli import refused, run
from tests.support.delivering import emit, endpoint
from tests.support.helpers import add_endpoint, update

URL = "https://hooks.example.com/in"
LARGE = {"data": {"amount": {"$gte": 100}}}


def test_filter_is_set_shown_and_reset(app: Flask) -> None:
    added = run(app, "endpoints", "add", URL, "--filter", json.dumps(LARGE))
    endpoint_id = added.stdout.split()[1]
    assert endpoint(app, endpoint_id).filter == LARGE
    shown = run(app, "endpoints", "show", endpoint_id)
    assert '{"data":{"amount":{"$gte":100}}}' in shown.stdout
    shown = run(app, "endpoints", "show", endpoint_id, "--json")
    assert json.loads(shown.stdout)["filter"] == LARGE
    changed = run(app, "endpoints", "edit", endpoint_id, "--filter", '{"data": {"amount": 1}}')
    assert changed.stdout == f"Changed {endpoint_id}: filter.\n"
    run(app, "endpoints", "edit", endpoint_id, "--reset", "filter")
    assert endpoint(app, endpoint_id).filter is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "--filter is not JSON"),
        ("[]", "Write the filter as a JSON object"),
        ('{"data": {"a": {"$regex": "x"}}}', "unknown operator '$regex'"),
        ('{"data": {"a": {"$in": [%s]}}}' % ",".join("1" * 9999), "more than 500 values"),  # noqa: UP031
    ],
)
def test_malformed_filter_is_one_line(app: Flask, text: str, message: str) -> None:
    result = run(app, "endpoints", "add", URL, "--filter", text)
    assert message in refused(result, result.exit_code)
    assert result.exit_code != 0
    assert "There are no endpoints" in run(app, "endpoints", "list").stdout


def test_filter_is_tried(app: Flask) -> None:
    narrowed = add_endpoint(app, filter=LARGE)
    add_endpoint(app, "https://all.example.com/")
    [event] = emit(app, event_type="payment.succeeded", data={"payment_id": "p", "amount": 5})
    tried = run(app, "endpoints", "try-filter", narrowed.id, "--event", event)
    assert tried.stdout.splitlines() == [
        f"{event} would not be sent:",
        "  data.amount is 5, and must be at least 100.",
    ]
    options = ["--type", "payment.succeeded", "--data", '{"amount": 100}']
    tried = run(app, "endpoints", "try-filter", narrowed.id, *options)
    assert tried.stdout == "payment.succeeded would be sent.\n"
    either = '{"$or": [{"data": {"a": 1}}, {"data": {"b": 2}}]}'
    tried = run(app, "endpoints", "try-filter", "--filter", either)
    assert tried.stdout.splitlines()[1:] == [
        "  data.a is missing, and must be 1.",
        "  data.b is missing, and must be 2.",
        "One of these would have been enough.",
    ]
    tried = run(app, "endpoints", "try-filter", "--filter", either, "--json")
    assert json.loads(tried.stdout)["matches"] is False
    for wrong in ([], [narrowed.id, "--filter", "{}"]):
        result = run(app, "endpoints", "try-filter", *wrong)
        assert "Specify either an endpoint" in refused(result, result.exit_code)


def test_why_names_the_failed_condition(app: Flask) -> None:
    add_endpoint(app)
    narrowed = add_endpoint(app, filter=LARGE)
    [event] = emit(app, event_type="payment.succeeded", data={"payment_id": "p", "amount": 5})
    update(app, "Event", event, created_at=endpoint(app, narrowed.id).created_at)
    told = run(app, "why", event, narrowed.id).stdout
    assert "The filter of the webhook did not let the event through." in told
    assert "data.amount is 5, and must be at least 100." in told
