"""Workers that die or are stopped, and endpoints that change in the middle."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.holding import cancel_waiting, hold_pending
from flask_webhooks.delivery.outcome import Outcome, Released
from flask_webhooks.models import DeliveryState
from tests.support.delivering import (
    attempts,
    db_of,
    deliveries,
    emit,
    endpoint,
    health,
    states,
    statistics,
    the_delivery,
    webhooks_of,
)
from tests.support.helpers import accessing, add_delivery, add_endpoint, database_time, update
from tests.support.working import Worker

DAY = 86_400.0

# -- invariant 5 ---------------------------------------------------------------------------------------


def test_invariant_5_an_answer_after_the_take_over_changes_nothing(
    app: Flask, worker: Worker
) -> None:
    created = add_endpoint(app)
    emit(app)
    with closing(Worker(app)) as slow:
        late = slow.take_one()
        assert worker.recover() == 0
        worker.wait(slow.state.settings.lease + 1)
        assert worker.recover() == 1
        [lost] = attempts(app)
        assert (lost.number, lost.outcome, lost.status) == (1, "interrupted", None)
        assert (lost.error or "").startswith("The worker stopped before")
        assert (lost.trigger, lost.url, lost.duration_ms) == ("event", created.url_shown, None)
        again = worker.take_one()
        assert again[0].event.id == late[0].event.id
        assert (again[0].number, again[0].trigger) == (2, "retry")
        # Neither as success nor as failure, nor given back.
        for status in (200, 500, 410):
            assert slow.answer(late, status).stale == 1
        slow.settle(released=[Released(late[0])])
        row = the_delivery(app)
        assert (row.state, row.lease_token) == ("sending", again[0].token)
        assert len(attempts(app)) == 1
        assert endpoint(app, created.id).state == "active"
        worker.answer(again, 200)
        assert slow.answer(late, 500).stale == 1
    row = the_delivery(app)
    assert (row.state, row.attempt_count, row.failure_count) == ("succeeded", 2, 0)
    assert [item.outcome for item in attempts(app)] == ["interrupted", "succeeded"]
    [counted] = statistics(app)
    assert (counted.succeeded, counted.failed) == (1, 0)
    assert health(app, created.id).consecutive_failures == 0


def test_answer_within_the_lease_counts_although_it_has_run_out(app: Flask, worker: Worker) -> None:
    """Nobody has taken over yet: the answer is as good as any."""
    add_endpoint(app)
    emit(app)
    flying = worker.take_one()
    worker.wait(60)
    assert worker.answer(flying).stale == 0
    assert states(app) == {"succeeded": 1}
    assert worker.recover() == 0


def test_delivery_that_kills_workers_fails_in_the_end(app: Flask) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app)
    with closing(Worker(app, max_interruptions=3)) as worker:
        for _ in range(3):
            worker.take_one()
            worker.wait(10)
            worker.recover(chance=lambda: 0.0)
    row = the_delivery(app)
    assert (row.state, row.reason, row.interruption_count) == ("failed", "interrupted", 3)
    assert (row.attempt_count, row.failure_count, row.due_at) == (3, 0, None)
    assert row.completed_at == worker.now
    assert [item.outcome for item in attempts(app)] == ["interrupted"] * 3
    # It was not the receiver's fault.
    assert health(app, created.id).consecutive_failures == 0


@pytest.mark.parametrize("answer", [500, None])
def test_attempt_that_ends_clears_a_delivery_of_suspicion(app: Flask, answer: int | None) -> None:
    """Only interruptions in a row look like a delivery that kills workers."""
    add_endpoint(app)
    emit(app)
    with closing(Worker(app, max_interruptions=3, failing_after=100)) as worker:
        for _ in range(4):
            for _ in range(2):
                worker.take_one()
                worker.wait(10)
                worker.recover(chance=lambda: 0.0)
            assert the_delivery(app).interruption_count == 2
            # Stopped in between: that shows nothing either way.
            worker.answer(worker.take_one(), None, outcome=Outcome.INTERRUPTED)
            assert the_delivery(app).interruption_count == 2
            worker.answer(worker.take_one(), answer)
            assert (the_delivery(app).state, the_delivery(app).interruption_count) == ("pending", 0)
            worker.wait(DAY)
            if the_delivery(app).failure_count == 3:
                break
        worker.take_one()
        worker.wait(10)
        worker.recover(chance=lambda: 0.0)
        worker.answer(worker.take_one(), 200)
    assert (the_delivery(app).state, the_delivery(app).interruption_count) == ("succeeded", 0)


def test_request_that_we_broke_off_is_sent_again_and_counts_for_nothing(
    app: Flask, worker: Worker
) -> None:
    created = add_endpoint(app)
    emit(app)
    for number in range(1, 8):
        flying = worker.take_one()
        assert flying[0].number == number
        worker.answer(flying, None, outcome=Outcome.INTERRUPTED)
    row = the_delivery(app)
    assert (row.state, row.interruption_count, row.failure_count) == ("pending", 0, 0)
    assert row.due_at == worker.now
    assert health(app, created.id).consecutive_failures == 0


def test_what_was_in_flight_beside_a_killer_is_scattered(app: Flask) -> None:
    """Claimed together each time, all of them would share its fate and fail."""
    add_endpoint(app)
    emit(app, 16)
    with closing(Worker(app, lease=60.0)) as worker:
        worker.take()
        worker.wait(61)
        assert worker.recover() == 16
        assert len(worker.take()) == 16
        worker.wait(61)
        assert worker.recover() == 16
        waits = [(row.due_at - worker.now).total_seconds() for row in deliveries(app) if row.due_at]
        assert len(waits) == 16
        assert max(waits) - min(waits) > 20
        assert max(waits) <= 60


@pytest.mark.parametrize("trigger", ["manual", "test"])
def test_what_a_person_asked_for_is_still_that_after_an_interruption(
    app: Flask, worker: Worker, trigger: str
) -> None:
    created = add_endpoint(app)
    update(app, "Endpoint", created.id, state="paused")
    add_delivery(app, created, trigger=trigger)
    worker.answer(worker.take_one(), None, outcome=Outcome.INTERRUPTED)
    assert (the_delivery(app).state, the_delivery(app).trigger) == ("pending", trigger)
    worker.take_one()
    worker.wait(60)
    worker.recover()
    assert (the_delivery(app).state, the_delivery(app).trigger) == ("pending", trigger)
    worker.answer(worker.take_one())
    assert states(app) == {"succeeded": 1}


def test_recovery_goes_on_over_many_rows(app: Flask, worker: Worker) -> None:
    for _ in range(3):
        add_endpoint(app)
    emit(app, 10)
    assert len(worker.take()) == 30
    worker.wait(60)
    assert [worker.recover(limit=20) for _ in range(3)] == [20, 10, 0]
    assert states(app) == {"pending": 30}


def test_two_workers_recover_each_row_once(app: Flask) -> None:
    for _ in range(10):
        add_endpoint(app)
    emit(app, 10)
    with closing(Worker(app)) as dead:
        dead.take()
    barrier = threading.Barrier(3)

    def run() -> None:
        with closing(Worker(app)) as worker:
            worker.wait(60)
            barrier.wait(10)
            while worker.recover(limit=7):
                pass

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert states(app) == {"pending": 100}
    assert len(attempts(app)) == 100


# -- an endpoint that changes while requests are in flight ---------------------------------------------

#: What becomes of a delivery by what ended its request, once the endpoint is paused, and once it is deleted.
MEANWHILE = {
    "succeeds": ("succeeded", "succeeded"),
    "fails": ("held", "cancelled"),
    "fails for good": ("failed", "failed"),
    "is broken off": ("held", "cancelled"),
    "is given back": ("held", "cancelled"),
    "is lost": ("held", "cancelled"),
}


@pytest.mark.parametrize("end", MEANWHILE)
@pytest.mark.parametrize("change", ["pause", "delete"])
def test_endpoint_paused_or_deleted_while_a_request_is_in_flight(
    app: Flask, worker: Worker, end: str, change: str
) -> None:
    created = add_endpoint(app)
    emit(app)
    flying = worker.take_one()
    if change == "pause":
        actions.pause_endpoint(accessing(app), created.id)
    else:
        actions.delete_endpoint(accessing(app), created.id)
    match end:
        case "succeeds":
            worker.answer(flying, 200)
        case "fails":
            worker.answer(flying, 500)
        case "fails for good":
            worker.answer(flying, None, outcome=Outcome.BLOCKED)
        case "is broken off":
            worker.answer(flying, None, outcome=Outcome.INTERRUPTED)
        case "is given back":
            worker.settle(released=[Released(flying[0], 5.0)])
        case "is lost":
            worker.wait(60)
            worker.recover()
    [row] = [row for row in deliveries(app) if row.id == flying[0].delivery_id]
    assert row.state == MEANWHILE[end][change == "delete"]
    assert row.due_at is None
    if row.state == "cancelled":
        assert row.reason == "endpoint_deleted"
        assert row.completed_at is not None


# -- deliveries that missed a pause or a resume --------------------------------------------------------


def test_event_that_missed_a_pause_is_held(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app)
    actions.pause_endpoint(accessing(app), created.id)
    late = add_delivery(app, created, "pending")
    asked = add_delivery(app, created, "pending", trigger="manual")
    worker.release_stragglers()
    found = {row.id: row for row in deliveries(app)}
    assert (found[late].state, found[late].due_at) == ("held", None)
    assert found[asked].state == "pending"


def test_event_that_missed_a_resume_is_sent(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app)
    actions.pause_endpoint(accessing(app), created.id)
    actions.resume_endpoint(accessing(app), created.id)
    # Its transaction began long before the resume, and ended after it.
    before = database_time(app) - timedelta(minutes=30)
    add_delivery(app, created, "held", created_at=before)
    worker.release_stragglers()
    assert worker.answer_all() == 1
    assert states(app) == {"succeeded": 1}


@pytest.mark.parametrize("change", ["pause", "resume"])
def test_event_of_a_transaction_that_did_not_see_the_change(
    app: Flask, worker: Worker, change: str
) -> None:
    if state_of(app).engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: nothing falls in between")
    created = add_endpoint(app)
    if change == "resume":
        actions.pause_endpoint(accessing(app), created.id)
    webhooks_of(app).emit("license.created", {"license_id": "lic_1"})
    if change == "pause":
        actions.pause_endpoint(accessing(app), created.id)
    else:
        actions.resume_endpoint(accessing(app), created.id)
    db_of(app).session.commit()
    assert states(app) == ({"pending": 1} if change == "pause" else {"held": 1})
    worker.release_stragglers()
    assert states(app) == ({"held": 1} if change == "pause" else {"pending": 1})


def test_event_of_a_transaction_that_did_not_see_the_deletion(app: Flask, worker: Worker) -> None:
    if state_of(app).engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: nothing falls in between")
    created = add_endpoint(app)
    webhooks_of(app).emit("license.created", {"license_id": "lic_1"})
    actions.delete_endpoint(accessing(app), created.id)
    db_of(app).session.commit()
    assert states(app) == {"pending": 1}
    worker.release_stragglers()
    assert states(app) == {"cancelled": 1}


def test_what_was_to_stay_held_stays_held(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app)
    actions.pause_endpoint(accessing(app), created.id)
    emit(app, 2)
    actions.resume_endpoint(accessing(app), created.id, held="keep")
    worker.release_stragglers()
    assert states(app) == {"held": 2}
    actions.pause_endpoint(accessing(app), created.id)
    actions.resume_endpoint(accessing(app), created.id, held="send")
    assert states(app) == {"pending": 2}


def test_nothing_is_mended_where_nothing_is_wrong(app: Flask, worker: Worker) -> None:
    paused, active = add_endpoint(app), add_endpoint(app)
    actions.pause_endpoint(accessing(app), paused.id)
    emit(app)
    add_delivery(app, paused, trigger="manual")
    before = {row.id: row.state for row in deliveries(app)}
    written: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.lstrip().upper().startswith("SELECT"):
            written.append(statement)

    sa.event.listen(state_of(app).engine, "before_cursor_execute", note)
    worker.release_stragglers()
    worker.recover()
    sa.event.remove(state_of(app).engine, "before_cursor_execute", note)
    assert {row.id: row.state for row in deliveries(app)} == before
    assert written == []
    assert endpoint(app, active.id).state == "active"


def test_holding_and_cancelling_tell_how_many(app: Flask) -> None:
    one, other = add_endpoint(app), add_endpoint(app)
    for state in DeliveryState:
        add_delivery(app, one, state)
        add_delivery(app, other, state)
    add_delivery(app, one, "pending", trigger="manual")
    with state_of(app).engine.begin() as connection:
        assert hold_pending(state_of(app), connection, [one.id]) == 1
        assert cancel_waiting(state_of(app), connection, [one.id]) == 3
        assert cancel_waiting(state_of(app), connection, []) == 0
    assert {row.state for row in deliveries(app) if row.endpoint_id == other.id} == set(
        DeliveryState
    )
