"""Filters of endpoints, from the setting to what arrives: at emit, at a replay, and in the answer to why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.access import Access
from flask_webhooks.app_state import ALL_TENANTS, state_of
from flask_webhooks.errors import DuplicateEndpoint, InvalidFilter, InvalidInput
from flask_webhooks.queries import Why
from tests.support.delivering import (
    db_of,
    deliveries,
    drain,
    emit,
    endpoint,
    events,
    webhooks_of,
    with_settings,
)
from tests.support.helpers import accessing, activity, add_endpoint, statements, update
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

PAID = "payment.succeeded"
LARGE = {"data": {"amount": {"$gte": 100}}}


def pay(app: Flask, *amounts: Any, **options: Any) -> list[str]:
    found = []
    for amount in amounts:
        data = {"payment_id": "pay_1", "amount": amount, "currency": "eur"}
        found += emit(app, event_type=PAID, data=data, **options)
    return found


def owed(app: Flask, endpoint_id: str) -> list[str]:
    """The events that an endpoint has deliveries of."""
    return [row.event_id for row in deliveries(app) if row.endpoint_id == endpoint_id]


def why(
    app: Flask, event_id: str, endpoint_id: str, access: Access | None = None
) -> queries.Routing:
    access = access or accessing(app)
    [routing] = queries.explain_routing(access, queries.get_event(access, event_id), endpoint_id)
    return routing


@pytest.mark.slow
def test_worker_delivers_what_the_filter_lets_through(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    """The whole way, with a worker's process."""
    webhooks = webhooks_of(app)
    narrowed = webhooks.create_endpoint(receiver.url("/large"), filter=LARGE).endpoint
    webhooks.create_endpoint(receiver.url("/all"))
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        small, large, unpriced = pay(app, 99, 100, None)
        receiver.wait_for(4, 30)
        wait_until(
            lambda: {row.state for row in deliveries(app)} == {"succeeded"}, 30, worker.output
        )
    arrived = sorted((request.path, request.id) for request in receiver.requests)
    assert arrived == sorted(
        [("/large", large), *(("/all", id_) for id_ in (small, large, unpriced))]
    )
    assert owed(app, narrowed.id) == [large]


def test_what_no_filter_lets_through_writes_nothing(app: Flask) -> None:
    add_endpoint(app, filter=LARGE)
    with statements(app) as executed:
        assert webhooks_of(app).emit(PAID, {"payment_id": "pay_1", "amount": 1}) is None
        db_of(app).session.commit()
    assert [text.split()[0] for text in executed if "webhooks_" in text] == ["SELECT"]
    assert events(app) == []


def test_unmatched_event_is_kept_where_the_host_wants_it(app: Flask) -> None:
    narrowed = add_endpoint(app, filter=LARGE)
    state_of(app).settings = with_settings(state_of(app), keep_unmatched=True).settings
    [event] = pay(app, 1)
    assert deliveries(app) == []
    assert why(app, event, narrowed.id).why == Why.FILTERED


def test_without_a_filter_an_emit_reads_as_much_as_before(app: Flask) -> None:
    add_endpoint(app)
    with statements(app) as executed:
        pay(app, 1)
    assert len([text for text in executed if text.startswith("SELECT")]) == 1


def test_new_filter_holds_from_the_next_event_on(app: Flask) -> None:
    """Also in a process that has used the old one: the text is read with each event."""
    add_endpoint(app)
    narrowed = add_endpoint(app, filter=LARGE)
    pay(app, 1)
    actions.update_endpoint(accessing(app), narrowed.id, filter={"data": {"amount": {"$lt": 10}}})
    [small, _large] = pay(app, 1, 100)
    assert owed(app, narrowed.id) == [small]
    actions.update_endpoint(accessing(app), narrowed.id, filter={})
    assert endpoint(app, narrowed.id).filter is None
    [large] = pay(app, 100)
    assert owed(app, narrowed.id) == [small, large]
    changes = [row.changes for row in activity(app) if row.action == "endpoint.updated"]
    assert changes == [
        {"filter": [LARGE, {"data": {"amount": {"$lt": 10}}}]},
        {"filter": [{"data": {"amount": {"$lt": 10}}}, None]},
    ]


def test_test_event_and_resend_pass_the_filter_by(app: Flask, receiver: Receiver) -> None:
    narrowed = add_endpoint(app, receiver.url(), filter=LARGE)
    access = accessing(app)
    test = actions.send_test(access, narrowed.id, PAID, {"amount": 1})
    [large] = pay(app, 100)
    actions.update_endpoint(access, narrowed.id, filter={"data": {"amount": 1}})
    drain(app)
    [sent] = [row for row in deliveries(app) if row.event_id == large]
    actions.resend(access, sent.id)
    drain(app)
    assert [request.id for request in receiver.requests] == [test.event_id, large, large]


@pytest.mark.slow
def test_replay_sends_what_the_filter_lets_through(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    access = accessing(app)
    actions.pause_endpoint(access, add_endpoint(app).id)
    _small, large, _other = pay(app, 1, 100, "100")
    late = add_endpoint(app, receiver.url(), filter=LARGE)
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        task = actions.start_task(access, "replay", late.id, since=events(app)[0].created_at)
        wait_until(
            lambda: queries.get_task(access, task.id).task.state == "finished", 30, worker.output
        )
        receiver.wait_for(1, 30)
    assert queries.get_task(access, task.id).task.done == 1
    assert owed(app, late.id) == [large]


def test_operational_events_pass_the_filter_too(app: Flask, receiver: Receiver) -> None:
    failing = add_endpoint(app, receiver.url("/status/410"))
    told = add_endpoint(app, events=["endpoint.*"], filter={"data": {"reason": "gone"}})
    deaf = add_endpoint(app, events=["endpoint.*"], filter={"data": {"reason": "failing"}})
    pay(app, 1)
    drain(app)
    assert endpoint(app, failing.id).state == "disabled"
    notice = next(event for event in events(app) if event.type == "endpoint.disabled")
    assert (owed(app, told.id), owed(app, deaf.id)) == ([notice.id], [])


def test_why_names_the_condition_that_failed(app: Flask) -> None:
    add_endpoint(app)
    narrowed = add_endpoint(app, filter=LARGE)
    [event] = pay(app, 5)
    update(app, "Event", event, created_at=endpoint(app, narrowed.id).created_at)
    found = why(app, event, narrowed.id)
    assert (found.why, found.filter) == (Why.FILTERED, LARGE)
    [failed] = found.failed
    assert (failed.path, failed.operator, failed.expected, failed.found) == (
        "data.amount",
        "$gte",
        "100",
        "5",
    )


def test_why_goes_by_the_filter_of_the_time(app: Flask) -> None:
    access = accessing(app)
    add_endpoint(app)
    narrowed = add_endpoint(app, filter=LARGE)
    [event] = pay(app, 5)
    actions.update_endpoint(access, narrowed.id, filter=None)
    actions.update_endpoint(access, narrowed.id, filter={"data": {"amount": 5}})
    found = why(app, event, narrowed.id)
    assert (found.why, found.filter) == (Why.FILTERED, LARGE)
    assert found.change is not None
    assert found.change.changes == {"filter": [LARGE, None]}


def test_why_shows_no_value_to_those_who_may_not_see_it(app: Flask) -> None:
    add_endpoint(app)
    narrowed = add_endpoint(app, filter=LARGE)
    [event] = pay(app, 5)
    state = state_of(app)
    blind = Access(state, "me", ALL_TENANTS, lambda action, endpoint: action != "view_payload")
    found = why(app, event, narrowed.id, blind)
    [failed] = found.failed
    assert (failed.path, failed.found, failed.missing) == ("data.amount", None, False)


def test_large_filter_is_whole_in_the_audit_log(app: Flask) -> None:
    add_endpoint(app)
    many = {"data": {"amount": {"$in": list(range(1000, 1450))}}}
    narrowed = add_endpoint(app, filter=many)
    [event] = pay(app, 5)
    actions.update_endpoint(accessing(app), narrowed.id, filter=None)
    found = why(app, event, narrowed.id)
    assert (found.why, found.filter) == (Why.FILTERED, many)


def test_malformed_filter_changes_nothing(app: Flask) -> None:
    narrowed = add_endpoint(app, filter=LARGE)
    access = accessing(app)
    wrong = {"data": {"a": {"$regex": "x"}}}
    with pytest.raises(InvalidFilter) as caught:
        actions.update_endpoint(access, narrowed.id, name="new", filter=wrong)
    assert caught.value.field == "filter"
    with pytest.raises(InvalidFilter):
        actions.create_endpoint(access, "https://hooks.example.com/", filter=wrong)
    row = endpoint(app, narrowed.id)
    assert (row.filter, row.name) == (LARGE, "")
    assert len(queries.list_endpoints(access)) == 1


def test_filter_tells_two_endpoints_of_one_url_apart(app: Flask) -> None:
    access = accessing(app)
    url = "https://hooks.example.com/"
    add_endpoint(app, url, filter=LARGE)
    actions.create_endpoint(access, url, allow_duplicate=False, filter={"data": {"amount": 1}})
    with pytest.raises(DuplicateEndpoint):
        actions.create_endpoint(access, url, allow_duplicate=False, filter=LARGE)


def test_idempotency_key_stands_for_the_filter_as_well(app: Flask) -> None:
    access = accessing(app)
    url = "https://hooks.example.com/"
    first = actions.create_endpoint(access, url, idempotency_key="k", filter=LARGE)
    again = actions.create_endpoint(access, url, idempotency_key="k", filter=LARGE)
    assert (again.repeated, again.endpoint.id) == (True, first.endpoint.id)
    with pytest.raises(InvalidInput, match="was used for an endpoint with another"):
        actions.create_endpoint(access, url, idempotency_key="k")


def test_filter_is_tried_against_examples_events_and_data(app: Flask) -> None:
    access = accessing(app)
    add_endpoint(app)
    [small, large] = pay(app, 5, 100)
    assert queries.try_filter(access, LARGE, event_id=large).matches
    refused = queries.try_filter(access, LARGE, event_id=small)
    assert (refused.matches, refused.event_type, refused.event_id) == (False, PAID, small)
    assert [item.path for item in refused.failed] == ["data.amount"]
    assert queries.try_filter(access, LARGE, event_type=PAID, data={"amount": 100}).matches
    example = queries.try_filter(access, {"data": {"license_id": {"$exist": True}}})
    assert (example.event_type, example.matches) == ("license.created", True)
    assert queries.try_filter(access, None).matches
    update(app, "Event", small, erased_at=endpoint(app, deliveries(app)[0].endpoint_id).created_at)
    with pytest.raises(InvalidInput, match="was erased"):
        queries.try_filter(access, LARGE, event_id=small)
    with pytest.raises(InvalidInput, match="either an event or an event type"):
        queries.try_filter(access, LARGE, event_id=large, event_type=PAID)
