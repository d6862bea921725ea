"""Tests, resends and cancellations."""

from __future__ import annotations

import enum
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.access import Access
from flask_webhooks.app_state import ALL_TENANTS, state_of
from flask_webhooks.errors import (
    InvalidData,
    InvalidInput,
    InvalidTransition,
    NotFound,
    UnknownEventType,
)
from flask_webhooks.models import AT_REST, Delivery, DeliveryState
from tests.support.delivering import deliveries, drain, emit, health, webhooks_of
from tests.support.helpers import (
    accessing,
    activity,
    add_delivery,
    add_endpoint,
    at_once,
    database_time,
    update,
)
from tests.support.receiver import Receiver


@pytest.fixture
def access(app: Flask) -> Access:
    return accessing(app)


def the_delivery(app: Flask, delivery_id: str) -> Delivery:
    [found] = [row for row in deliveries(app) if row.id == delivery_id]
    return found


# -- send_test ----------------------------------------------------------------------------------------


def test_a_test_goes_to_one_endpoint_only(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, tenant="app_1", events=["license.*"])
    add_endpoint(app, tenant="app_1")
    delivery = actions.send_test(access, endpoint.id)
    assert [row.id for row in deliveries(app)] == [delivery.id]
    assert (delivery.state, delivery.trigger, delivery.actor) == ("pending", "test", "tester")
    assert (delivery.event_type, delivery.tenant) == ("test", "app_1")
    event = queries.get_event(access, delivery.event_id).event
    assert (event.type, event.tenant) == ("test", "app_1")
    assert event.data == {"message": "This is a test ping from Flask-Webhooks"}
    row = activity(app)[-1]
    assert (row.action, row.endpoint_id, row.delivery_id) == (
        "endpoint.tested",
        endpoint.id,
        delivery.id,
    )


@pytest.mark.parametrize("state", ["active", "paused", "disabled"])
def test_a_test_arrives_whatever_the_state_of_the_endpoint(
    app: Flask, access: Access, state: str
) -> None:
    with Receiver() as receiver:
        endpoint = add_endpoint(app, receiver.url("/ok"))
        update(app, "Endpoint", endpoint.id, state=state)
        delivery = actions.send_test(access, endpoint.id, "license.created", {"a": 1})
        drain(app)
        [request] = receiver.requests
    assert request.id == delivery.event_id
    assert b'"type":"license.created"' in request.body
    assert b'"data":{"a":1}' in request.body
    assert the_delivery(app, delivery.id).state == "succeeded"


def test_every_type_of_the_catalogue_can_be_tested_with_its_example(
    app: Flask, access: Access
) -> None:
    webhooks_of(app).add_event_type("my.thing", description="A thing.", example={"b": 2, "a": 1})
    endpoint = add_endpoint(app)
    for name in ("license.created", "endpoint.failing", "my.thing"):
        delivery = actions.send_test(access, endpoint.id, name)
        data = queries.get_event(access, delivery.event_id).event.data
        assert list(data.items()) == list(access.state.catalog[name].example.items())


class Colour(enum.Enum):
    RED = "red"


REFUSED: list[tuple[str | None, Any, type[InvalidInput], str, str]] = [
    ("license.creatd", None, UnknownEventType, "event_type", "license.created"),
    ("", None, UnknownEventType, "event_type", "no event type ''"),
    (7, None, UnknownEventType, "event_type", "text"),  # type: ignore[list-item]
    (None, [], InvalidData, "data", "must be a dict"),
    (None, "text", InvalidData, "data", "must be a dict"),
    (None, {"user": {"avatar": b"\x00"}}, InvalidData, "data", "data.user.avatar"),
    (None, {"items": [1, {2}]}, InvalidData, "data", "data.items[1]"),
    (None, {"a": float("nan")}, InvalidData, "data", "data.a"),
    (None, {1: "a"}, InvalidData, "data", "Member names must be text"),
    (None, {"a": "\ud800"}, InvalidData, "data", "data.a"),
    (None, {"a": "x" * 256 * 1024}, InvalidData, "data", "262,144"),
]


def test_bad_tests_are_refused_with_their_field_and_what_to_write(
    app: Flask, access: Access
) -> None:
    endpoint = add_endpoint(app)
    for event_type, data, error, field, words in REFUSED:
        with pytest.raises(error) as caught:
            actions.send_test(access, endpoint.id, event_type, data)
        assert caught.value.field == field
        assert words in caught.value.message
    assert deliveries(app) == []
    assert queries.list_events(access).items == []


def test_nul_in_test_data_is_escaped_and_stored(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    delivery = actions.send_test(access, endpoint.id, data={"a": "x\0y"})
    assert queries.get_event(access, delivery.event_id).event.data == {"a": "x\0y"}


# -- resend -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*sorted(AT_REST), DeliveryState.PENDING])
def test_a_resend_reopens_the_same_delivery(app: Flask, access: Access, state: str) -> None:
    now = database_time(app)
    delivery_id = add_delivery(
        app,
        add_endpoint(app),
        state,
        reason="exhausted",
        attempt_count=4,
        failure_count=4,
        interruption_count=2,
        completed_at=now,
        last_status=500,
    )
    again = actions.resend(access, delivery_id)
    assert (again.id, again.state, again.trigger, again.actor) == (
        delivery_id,
        "pending",
        "manual",
        "tester",
    )
    assert (again.failure_count, again.interruption_count, again.attempt_count) == (0, 0, 4)
    assert (again.reason, again.completed_at, again.last_status) == (None, None, 500)
    assert again.due_at is not None
    assert abs((again.due_at - database_time(app)).total_seconds()) < 10
    row = activity(app)[-1]
    assert (row.action, row.delivery_id) == ("delivery.resent", delivery_id)


def test_a_test_that_is_resent_stays_a_test(app: Flask, access: Access, receiver: Receiver) -> None:
    endpoint = webhooks_of(app).create_endpoint(receiver.url("/status/500")).endpoint
    delivery = actions.send_test(access, endpoint.id)
    drain(app)
    assert the_delivery(app, delivery.id).state == "failed"
    assert actions.resend(access, delivery.id).trigger == "test"
    drain(app)
    again = the_delivery(app, delivery.id)
    assert (again.state, again.attempt_count) == ("failed", 2)
    assert health(app, endpoint.id).consecutive_failures == 0


def test_a_resend_arrives_under_the_same_id_and_attempts_go_on_counting(
    app: Flask, access: Access
) -> None:
    with Receiver() as receiver:
        endpoint = add_endpoint(app, receiver.url("/ok"))
        emit(app)
        drain(app)
        [delivery] = deliveries(app)
        actions.pause_endpoint(access, endpoint.id)
        actions.resend(access, delivery.id)
        drain(app)
        assert [request.id for request in receiver.requests] == [delivery.event_id] * 2
    detail = queries.get_delivery(access, delivery.id)
    assert [(item.number, item.trigger) for item in detail.attempts] == [
        (1, "event"),
        (2, "manual"),
    ]
    assert [item.actor for item in detail.attempts] == [None, "tester"]


def test_what_is_being_sent_is_neither_sent_again_nor_cancelled(app: Flask, access: Access) -> None:
    delivery_id = add_delivery(app, add_endpoint(app), "sending", lease_token="x")
    for action in (actions.resend, actions.cancel):
        with pytest.raises(InvalidTransition, match="wait until") as caught:
            action(access, delivery_id)
        assert caught.value.state == "sending"
    row = the_delivery(app, delivery_id)
    assert (row.state, row.lease_token) == ("sending", "x")
    assert [item.action for item in activity(app)] == ["endpoint.created"]


@pytest.mark.parametrize("action", [actions.resend, actions.cancel])
def test_what_was_removed_meanwhile_is_not_there(app: Flask, action: Any) -> None:
    delivery_id = add_delivery(app, add_endpoint(app), "pending")

    def remove(*asked: object) -> bool:
        # Between the look for it and the change: that is when it is asked who may.
        table = state_of(app).table("Delivery")
        with state_of(app).engine.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.id == delivery_id))
        return True

    with pytest.raises(NotFound, match=delivery_id):
        action(Access(state_of(app), "tester", ALL_TENANTS, remove), delivery_id)
    assert "delivery" not in activity(app)[-1].action


def test_nothing_is_sent_again_to_a_deleted_endpoint(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    delivery_id = add_delivery(app, endpoint, "failed")
    actions.delete_endpoint(access, endpoint.id)
    with pytest.raises(InvalidTransition, match="was deleted") as caught:
        actions.resend(access, delivery_id)
    assert caught.value.state == "failed"


def test_a_resend_beside_a_deletion_leaves_nothing_pending(app: Flask, access: Access) -> None:
    for _ in range(15):
        endpoint = add_endpoint(app)
        delivery_id = add_delivery(app, endpoint, "failed")
        results = at_once(
            partial(actions.resend, access, delivery_id),
            partial(actions.delete_endpoint, access, endpoint.id),
        )
        assert results[1] is None
        assert isinstance(results[0], Delivery | InvalidTransition | NotFound)
        assert the_delivery(app, delivery_id).state != "pending"


# -- cancel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "held"])
def test_what_waits_can_be_cancelled(app: Flask, access: Access, state: str) -> None:
    delivery_id = add_delivery(app, add_endpoint(app), state)
    row = actions.cancel(access, delivery_id)
    assert (row.state, row.reason, row.due_at) == ("cancelled", "cancelled", None)
    assert row.completed_at is not None
    assert activity(app)[-1].action == "delivery.cancelled"


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_what_has_ended_cannot_be_cancelled(app: Flask, access: Access, state: str) -> None:
    delivery_id = add_delivery(app, add_endpoint(app), state)
    with pytest.raises(InvalidTransition, match=f"already {state}") as caught:
        actions.cancel(access, delivery_id)
    assert caught.value.state == state


def test_people_and_a_worker_at_once_leave_a_sound_state(app: Flask, access: Access) -> None:
    with Receiver() as receiver:
        endpoint = add_endpoint(app, receiver.url("/ok"))
        ids = [actions.send_test(access, endpoint.id).id for _ in range(10)]
        results = at_once(
            lambda: drain(app),
            *[partial(actions.cancel, access, id_) for id_ in ids[:5]],
            *[partial(actions.resend, access, id_) for id_ in ids[5:]],
        )
        drain(app)
        sent = {request.id for request in receiver.requests}
    assert not [
        item
        for item in results
        if isinstance(item, Exception) and not isinstance(item, InvalidTransition)
    ]
    for row in deliveries(app):
        assert row.state in {"succeeded", "cancelled"}
        assert (row.state == "succeeded") == (row.event_id in sent)
