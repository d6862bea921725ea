"""The state machine of a delivery: what each thing that can happen does in each state, allowed or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.access import Access
from flask_webhooks.delivery.outcome import Outcome, Released
from flask_webhooks.errors import InvalidTransition
from flask_webhooks.models import AT_REST, DeliveryState
from tests.support.delivering import deliveries, endpoint
from tests.support.helpers import accessing, add_delivery, add_endpoint, database_time, update
from tests.support.working import Flying, Worker, ended

REFUSED = "refused"
STATES = [str(state) for state in DeliveryState]


@dataclass
class Scene:
    """One delivery in one state, and all who may act on it."""

    app: Flask
    worker: Worker
    access: Access
    endpoint_id: str
    delivery_id: str
    #: The claim that holds it, or held it before it came to its state in another way.
    flying: Flying

    @property
    def state(self) -> str:
        [row] = deliveries(self.app)
        return str(row.state)


def scene(app: Flask, worker: Worker, state: str) -> Scene:
    endpoint_id = add_endpoint(app, events=["license.created"]).id
    past = database_time(app) - timedelta(seconds=1)
    delivery_id = add_delivery(app, endpoint(app, endpoint_id), due_at=past)
    flying = worker.take_one()
    if state != DeliveryState.SENDING:
        pending = state == DeliveryState.PENDING
        values = {"due_at": past if pending else None, "lease_token": None, "lease_until": None}
        update(app, "Delivery", delivery_id, state=state, **values)
    return Scene(app, worker, accessing(app), endpoint_id, delivery_id, flying)


def claim(at: Scene) -> None:
    at.worker.take()


def fail_last(at: Scene) -> None:
    """The schedule is used up."""
    claimed, target = at.flying
    used_up = len(at.worker.state.settings.retry_schedule)
    at.worker.answer((replace(claimed, failure_count=used_up), target), 500)


def lease_ends(at: Scene) -> None:
    at.worker.wait(1000)
    at.worker.recover(chance=lambda: 0.0)


def lease_ends_again_and_again(at: Scene) -> None:
    most = at.worker.state.settings.max_interruptions
    update(at.app, "Delivery", at.delivery_id, interruption_count=most - 1)
    lease_ends(at)


def resume(choice: str) -> Callable[[Scene], None]:
    def run(at: Scene) -> None:
        update(at.app, "Endpoint", at.endpoint_id, state="paused")
        actions.resume_endpoint(at.access, at.endpoint_id, choice)

    return run


def answer(status: int | None, **values: object) -> Callable[[Scene], object]:
    return lambda at: at.worker.answer(at.flying, status, **values)


def blocked(at: Scene) -> None:
    at.worker.settle(ended(at.flying, None, outcome=Outcome.BLOCKED))


def released(at: Scene) -> None:
    at.worker.settle(released=[Released(at.flying[0])])


#: What can happen, and the states that it changes. In all others it is refused, or changes nothing.
TABLE: dict[str, tuple[Callable[[Scene], object], dict[str, str]]] = {
    "claim": (claim, {"pending": "sending"}),
    "success": (answer(200), {"sending": "succeeded"}),
    "failure": (answer(500), {"sending": "pending"}),
    "last failure": (fail_last, {"sending": "failed"}),
    "410 Gone": (answer(410), {"sending": "failed"}),
    "blocked address": (blocked, {"sending": "failed"}),
    "worker stopped": (answer(None, outcome=Outcome.INTERRUPTED), {"sending": "pending"}),
    "given back": (released, {"sending": "pending"}),
    "lease ends": (lease_ends, {"sending": "pending"}),
    "lease ends again and again": (lease_ends_again_and_again, {"sending": "failed"}),
    "cancel": (
        lambda at: actions.cancel(at.access, at.delivery_id),
        {
            "pending": "cancelled",
            "held": "cancelled",
            **dict.fromkeys(("sending", "succeeded", "failed", "cancelled"), REFUSED),
        },
    ),
    "resend": (
        lambda at: actions.resend(at.access, at.delivery_id),
        {**{str(state): "pending" for state in AT_REST}, "sending": REFUSED},
    ),
    "pause": (lambda at: actions.pause_endpoint(at.access, at.endpoint_id), {"pending": "held"}),
    "resume": (resume("send"), {"held": "pending"}),
    # What is pending then came while the endpoint was paused, and missed it.
    "resume and discard": (resume("discard"), {"held": "cancelled", "pending": "cancelled"}),
    "resume and keep": (resume("keep"), {"pending": "held"}),
    "delete": (
        lambda at: actions.delete_endpoint(at.access, at.endpoint_id),
        {"pending": "cancelled", "held": "cancelled"},
    ),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("what", TABLE)
def test_every_transition(app: Flask, worker: Worker, what: str, state: str) -> None:
    act, changes = TABLE[what]
    at = scene(app, worker, state)
    expected = changes.get(state, state)
    if expected == REFUSED:
        with pytest.raises(InvalidTransition) as caught:
            act(at)
        assert caught.value.state == state
        assert at.state == state
        return
    act(at)
    assert at.state == expected
    [row] = deliveries(app)
    # Invariant 4: at rest, or with a due time, or with a lease.
    assert (row.due_at is not None) == (expected == DeliveryState.PENDING)
    assert (row.lease_until is not None) == (expected == DeliveryState.SENDING)


def test_every_state_is_reached_and_left_by_something() -> None:
    """But for the end of history, which retention removes."""
    changes = [change for _, table in TABLE.values() for change in table.items()]
    changed = {(before, after) for before, after in changes if after != REFUSED}
    assert {after for _, after in changed} == set(STATES)
    assert {before for before, _ in changed} == set(STATES)
