"""What becomes of deliveries and endpoints once an attempt has ended, or its worker has."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, signals
from flask_webhooks.actions.switches import HELD_CHOICES
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.outcome import Claimed, Outcome, Released
from flask_webhooks.delivery.settle.health import Hold
from flask_webhooks.errors import InvalidTransition, WebhooksError
from flask_webhooks.formats import OutgoingEvent, Target
from flask_webhooks.models import BUCKET_COLUMNS, BUCKETS, Delivery
from tests.support.delivering import (
    attempts,
    deliveries,
    drain,
    emit,
    endpoint,
    health,
    models_of,
    states,
    statistics,
    the_delivery,
    webhooks_of,
)
from tests.support.helpers import accessing, add_delivery, add_endpoint, database_time, update
from tests.support.processes import wait_until
from tests.support.receiver import Receiver
from tests.support.working import Flying, Worker, ended

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
SECOND = timedelta(seconds=1)


# -- the states of a delivery --------------------------------------------------------------------------

STATES = ("pending", "sending", "succeeded", "failed", "cancelled", "held")

#: What each operation makes of a delivery in each of `STATES`; a dash is a refusal, or no effect.
TRANSITIONS: dict[str, str] = {
    # pending, sending, succeeded, failed, cancelled, held
    "claim": "sending - - - - -",
    "settle a success": "- succeeded - - - -",
    "settle a failure": "- pending - - - -",
    "settle the last failure": "- failed - - - -",
    "settle a blocked address": "- failed - - - -",
    "settle an interruption": "- pending - - - -",
    "give back": "- pending - - - -",
    "settle too late": "- - - - - -",
    "recover": "- pending - - - -",
    "recover for the last time": "- failed - - - -",
    "cancel": "cancelled - - - - cancelled",
    "delete the endpoint": "cancelled - - - - cancelled",
    "pause": "held - - - - -",
    "resume and send": "- - - - - pending",
    "resume and discard": "cancelled - - - - cancelled",
    "resume and keep": "held - - - - -",
    "resend": "- - pending pending pending pending",
}


def perform(worker: Worker, operation: str, delivery: Delivery) -> None:
    """Do it as the product does."""
    access = accessing(worker.app)
    claimed = Claimed(
        delivery_id=delivery.id,
        endpoint_id=delivery.endpoint_id,
        event=OutgoingEvent(delivery.event_id, "license.created", None, worker.now, "{}"),
        number=1,
        trigger="event",
        actor=None,
        failure_count=0,
        token=delivery.lease_token or "a token of old",
        lease_until=worker.now,
    )
    target = Target(delivery.endpoint_id, None, "", "", "standard", (), {}, None, 1)
    flying = claimed, target
    match operation.split():
        case ["claim"]:
            worker.take()
        case ["settle", "a", "success"]:
            worker.answer(flying, 200)
        case ["settle", "a", "failure"]:
            worker.answer(flying, 500)
        case ["settle", "the", "last", "failure"]:
            with closing(Worker(worker.app, retry_schedule=())) as other:
                other.answer(flying, 500)
        case ["settle", "a", "blocked", "address"]:
            worker.answer(flying, None, outcome=Outcome.BLOCKED)
        case ["settle", "an", "interruption"]:
            worker.answer(flying, None, outcome=Outcome.INTERRUPTED)
        case ["settle", "too", "late"]:
            late = Claimed(**{**fields_of(claimed), "token": "another token"})
            worker.answer((late, target), 200)
            worker.settle(released=[Released(late)])
        case ["give", "back"]:
            worker.settle(released=[Released(claimed)])
        case ["recover", *last]:
            with closing(Worker(worker.app, max_interruptions=1 if last else 5)) as other:
                other.wait(60)
                other.recover()
        case ["cancel"]:
            actions.cancel(access, delivery.id)
        case ["resend"]:
            actions.resend(access, delivery.id)
        case ["delete", "the", "endpoint"]:
            actions.delete_endpoint(access, delivery.endpoint_id)
        case ["pause"]:
            actions.pause_endpoint(access, delivery.endpoint_id)
        case ["resume", "and", choice]:
            update(worker.app, "Endpoint", delivery.endpoint_id, state="paused")
            actions.resume_endpoint(access, delivery.endpoint_id, held=choice)
        case _:
            raise AssertionError(operation)


def fields_of(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__slots__}


@pytest.mark.parametrize("operation", TRANSITIONS)
def test_every_transition_is_allowed_or_refused(app: Flask, operation: str) -> None:
    for before, after in zip(STATES, TRANSITIONS[operation].split(), strict=True):
        leased: dict[str, Any] = {
            "lease_token": "the token",
            "lease_until": database_time(app) + timedelta(seconds=30),
            "last_attempt_at": database_time(app),
            "attempt_count": 1,
        }
        delivery_id = add_delivery(
            app, add_endpoint(app), before, **(leased if before == "sending" else {})
        )
        found = {row.id: row for row in deliveries(app)}[delivery_id]
        with closing(Worker(app)) as worker:
            refused: str | None = None
            try:
                perform(worker, operation, found)
            except InvalidTransition as error:
                refused = error.state
            assert refused in (None, before)
        [row] = [row for row in deliveries(app) if row.id == delivery_id]
        expected = before if after == "-" else after
        # Resending what is pending already makes it due now, and keeps the state.
        assert row.state == expected, (before, operation)
        if row.state not in ("pending",) or before != "pending":
            assert (row.due_at is not None) == (row.state == "pending")
        assert (row.lease_token is not None) == (row.state == "sending")


# -- success and failure -------------------------------------------------------------------------------


@pytest.mark.slow
def test_success_is_recorded(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app)
    emit(app)
    worker.answer(worker.take_one(), 202)
    row = the_delivery(app)
    assert (row.state, row.reason, row.last_status) == ("succeeded", None, 202)
    assert (row.attempt_count, row.failure_count, row.due_at) == (1, 0, None)
    assert (row.lease_token, row.lease_until) == (None, None)
    assert row.completed_at == worker.now
    assert health(app, created.id).last_success_at == worker.now


def test_failures_follow_the_schedule_to_its_end(app: Flask) -> None:
    schedule = (5.0, 300.0, 1800.0)
    add_endpoint(app, events=["license.*"])
    emit(app)
    with closing(Worker(app, retry_schedule=schedule, retry_jitter=0.2)) as worker:
        for number, delay in enumerate(schedule, 1):
            claimed, target = worker.take_one()
            assert (claimed.number, claimed.failure_count) == (number, number - 1)
            assert claimed.trigger == ("event" if number == 1 else "retry")
            worker.answer((claimed, target), 500)
            row = the_delivery(app)
            assert (row.state, row.failure_count, row.completed_at) == ("pending", number, None)
            assert row.due_at is not None
            waits = (row.due_at - worker.now).total_seconds()
            assert delay * 0.8 <= waits <= delay * 1.2
            assert waits != delay
            worker.wait(delay * 0.75)
            assert worker.take() == []
            worker.wait(delay * 0.5)
        worker.answer(worker.take_one(), 503)
        row = the_delivery(app)
        assert (row.state, row.reason, row.last_status) == ("failed", "exhausted", 503)
        assert (row.due_at, row.completed_at) == (None, worker.now)
        assert (row.attempt_count, row.failure_count) == (4, 4)
    assert [item.number for item in attempts(app)] == [1, 2, 3, 4]


def test_resent_delivery_gets_the_whole_schedule_again(app: Flask) -> None:
    add_endpoint(app, events=["license.*"])
    emit(app)
    with closing(Worker(app, retry_schedule=(1.0,))) as worker:
        for _ in range(2):
            worker.answer(worker.take_one(), 500)
            worker.wait(2)
        assert the_delivery(app).state == "failed"
        actions.resend(accessing(app), the_delivery(app).id)
        claimed, target = worker.take_one()
        assert (claimed.number, claimed.trigger, claimed.actor) == (3, "manual", "tester")
        worker.answer((claimed, target), 500)
        row = the_delivery(app)
        assert (row.state, row.trigger, row.failure_count) == ("pending", "retry", 1)
        worker.wait(2)
        worker.answer(worker.take_one(), 500)
    assert (the_delivery(app).state, the_delivery(app).attempt_count) == ("failed", 4)
    assert [item.trigger for item in attempts(app)] == ["event", "retry", "manual", "retry"]
    assert [item.actor for item in attempts(app)][2:] == ["tester", "tester"]


def test_test_event_is_tried_once_and_does_not_count(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app)
    for _ in range(6):
        actions.send_test(accessing(app), created.id)
    assert worker.answer_all(500) == 6
    assert states(app) == {"failed": 6}
    assert health(app, created.id).consecutive_failures == 0
    actions.send_test(accessing(app), created.id)
    worker.answer(worker.take_one(), 410)
    assert endpoint(app, created.id).state == "active"
    actions.send_test(accessing(app), created.id)
    worker.answer(worker.take_one(), 200)
    assert health(app, created.id).last_success_at == worker.now


def test_given_back_delivery_has_spent_nothing(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app)
    emit(app)
    claimed, _ = worker.take_one()
    worker.settle(released=[Released(claimed, 30.0)])
    row = the_delivery(app)
    assert (row.state, row.attempt_count, row.failure_count) == ("pending", 0, 0)
    assert row.trigger == "event"
    assert row.due_at == worker.now + timedelta(seconds=30)
    assert attempts(app) == []
    assert health(app, created.id).hold_until is None
    worker.wait(31)
    claimed, _ = worker.take_one()
    assert claimed.number == 1


def test_reason_to_hold_an_endpoint_is_written_whatever_its_history(
    app: Flask, worker: Worker
) -> None:
    created = add_endpoint(app)
    emit(app, 2)
    worker.answer(worker.take_one(), 200)
    claimed, _ = worker.take_one()
    worker.settle(released=[Released(claimed, 60.0, Hold.UNREADABLE_SECRET)])
    found = health(app, created.id)
    assert found.hold_reason == "unreadable_secret"
    assert found.hold_until == worker.now + timedelta(seconds=60)


def test_health_of_a_busy_endpoint_is_written_once_a_second(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app)
    emit(app, 4)
    worker.answer(worker.take_one())
    first = health(app, created.id).last_success_at
    worker.wait(0.5)
    worker.answer(worker.take_one())
    assert health(app, created.id).last_success_at == first
    worker.wait(0.6)
    worker.answer(worker.take_one())
    assert health(app, created.id).last_success_at == worker.now
    worker.wait(0.1)
    worker.answer(worker.take_one(), 500)
    assert health(app, created.id).consecutive_failures == 1


# -- invariant 4 ---------------------------------------------------------------------------------------


class Chaos:
    """Everything that can happen to deliveries, in a random order, with workers that crash."""

    def __init__(self, app: Flask, seed: int) -> None:
        self.app = app
        self.random = random.Random(seed)
        self.access = accessing(app)
        self.workers = [Worker(app, max_interruptions=3) for _ in range(2)]
        self.flying: list[tuple[Worker, Flying]] = []
        self.log: list[str] = []
        self.endpoints = [add_endpoint(app).id for _ in range(3)]
        self.owed = 0

    def close(self) -> None:
        for worker in self.workers:
            worker.close()

    def step(self) -> None:
        worker = self.random.choice(self.workers)
        name = self.random.choice(
            [
                "emit",
                "emit",
                "claim",
                "claim",
                "claim",
                "answer",
                "answer",
                "answer",
                "answer",
                "crash",
                "wait",
                "recover",
                "stragglers",
                "pause",
                "resume",
                "resend",
                "cancel",
                "test",
                "delete",
                "give_back",
            ]
        )
        self.log.append(name)
        try:
            getattr(self, name)(worker)
        except WebhooksError as error:
            self.log.append(f"({type(error).__name__})")
        self.check()

    def emit(self, worker: Worker) -> None:
        emit(self.app)

    def claim(self, worker: Worker) -> None:
        self.flying += [(worker, flying) for flying in worker.take(self.random.randint(1, 8))]

    def take(self) -> tuple[Worker, Flying] | None:
        if not self.flying:
            return None
        return self.flying.pop(self.random.randrange(len(self.flying)))

    def answer(self, worker: Worker) -> None:
        if taken := self.take():
            sender, flying = taken
            status = self.random.choice([200, 200, 200, 500, 503, 410, None])
            values: dict[str, Any] = {"outcome": Outcome.INTERRUPTED} if status is None else {}
            sender.answer(flying, status, retry_after=30.0 if status == 503 else None, **values)

    def give_back(self, worker: Worker) -> None:
        if taken := self.take():
            sender, (claimed, _) = taken
            sender.settle(released=[Released(claimed, 5.0, Hold.NO_DNS)])

    def crash(self, worker: Worker) -> None:
        # Some of its answers come after all, when others have long taken over.
        if self.random.random() < 0.5:
            self.flying = [(sender, flying) for sender, flying in self.flying if sender != worker]

    def wait(self, worker: Worker) -> None:
        seconds = self.random.choice([1, 10, 100])
        for each in self.workers:
            each.wait(seconds)

    def recover(self, worker: Worker) -> None:
        worker.recover()

    def stragglers(self, worker: Worker) -> None:
        worker.release_stragglers()

    def pause(self, worker: Worker) -> None:
        actions.pause_endpoint(self.access, self.random.choice(self.endpoints))

    def resume(self, worker: Worker) -> None:
        choice = self.random.choice(HELD_CHOICES)
        actions.resume_endpoint(self.access, self.random.choice(self.endpoints), held=choice)

    def delete(self, worker: Worker) -> None:
        if self.random.random() < 0.3:
            old = self.random.choice(self.endpoints)
            actions.delete_endpoint(self.access, old)
            self.endpoints.remove(old)
            self.endpoints.append(add_endpoint(self.app).id)

    def test(self, worker: Worker) -> None:
        actions.send_test(self.access, self.random.choice(self.endpoints))

    def resend(self, worker: Worker) -> None:
        if rows := deliveries(self.app):
            actions.resend(self.access, self.random.choice(rows).id)

    def cancel(self, worker: Worker) -> None:
        if rows := deliveries(self.app):
            actions.cancel(self.access, self.random.choice(rows).id)

    def check(self) -> None:
        recorded = Counter(item.delivery_id for item in attempts(self.app))
        known = endpoints_of(self.app)
        for row in deliveries(self.app):
            where = f"{row.id} after {' '.join(self.log)}"
            sending = row.state == "sending"
            assert (row.due_at is not None) == (row.state == "pending"), where
            assert (row.lease_token is not None) == sending, where
            assert (row.lease_until is not None) == sending, where
            assert row.attempt_count == recorded[row.id] + sending, where
            ended = row.state in ("succeeded", "failed", "cancelled")
            assert (row.completed_at is not None) == ended, where
            assert (row.reason is not None) >= (row.state in ("failed", "cancelled")), where
            of = known[row.endpoint_id]
            if of.deleted_at is not None:
                assert row.state not in ("pending", "held"), where
            elif row.state == "held":
                assert of.state != "active" or row.reason == "kept", where
            elif row.state == "pending":
                assert of.state == "active" or row.trigger in ("manual", "test"), where

    def finish(self) -> None:
        """Let everything come to its end: nothing is stuck."""
        self.log.append("finish")
        [worker, _] = self.workers
        for id_, of in endpoints_of(self.app).items():
            if of.deleted_at is None and of.state != "active":
                actions.resume_endpoint(self.access, id_)
        for _ in range(10):
            worker.wait(DAY)
            worker.recover(chance=lambda: 0.0)
            worker.answer_all(200)
            self.check()
        left = Counter(row.state for row in deliveries(self.app) if row.reason != "kept")
        assert left.keys() <= {"succeeded", "failed", "cancelled"}, left


def endpoints_of(app: Flask) -> dict[str, Any]:
    table = models_of(app).table("Endpoint")
    with state_of(app).engine.connect() as connection:
        return {row.id: row for row in connection.execute(sa.select(table))}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_invariant_4_every_delivery_is_at_rest_or_due_or_leased(app: Flask, seed: int) -> None:
    with closing(Chaos(app, seed)) as chaos:
        for _ in range(120):
            chaos.step()
        chaos.finish()


# -- invariant 6 ---------------------------------------------------------------------------------------


@contextmanager
def requests_in_flight(app: Flask, receiver: Receiver, count: int = 3) -> Iterator[None]:
    """A drain in a thread of its own, waiting for a receiver that does not answer yet."""
    webhooks_of(app).create_endpoint(receiver.url("/wait"))
    emit(app, count)
    thread = threading.Thread(target=drain, args=(app,), kwargs={"timeout": 20.0, "lease": 60.0})
    thread.start()
    try:
        receiver.wait_for(count)
        wait_until(lambda: states(app) == {"sending": count})
        yield
    finally:
        receiver.open_gate()
        thread.join(20)
    assert states(app) == {"succeeded": count}


def _transactions(engine: sa.Engine) -> set[tuple[str, Any]]:
    """What the other connections to a PostgreSQL database do, and since when."""
    with engine.connect() as connection:
        seen = connection.execute(
            sa.text(
                "SELECT state, xact_start FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        return {(row.state, row.xact_start) for row in seen}


def test_invariant_6_no_transaction_is_open_while_a_request_is_in_flight(
    app: Flask, receiver: Receiver
) -> None:
    engine = state_of(app).engine
    with requests_in_flight(app, receiver):
        if engine.dialect.name == "postgresql":
            # Housekeeping has short ones of its own: none may stay.
            wait_until(lambda: _transactions(engine) == {("idle", None)})
        else:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA busy_timeout = 2000")
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
                connection.rollback()


# -- statistics ----------------------------------------------------------------------------------------


def test_statistics_add_up_to_the_attempts(app: Flask) -> None:
    for _ in range(3):
        add_endpoint(app, events=["license.*"])
    emit(app, 30)
    chance = random.Random(7)
    start = datetime(2026, 3, 1, 10, 59, tzinfo=UTC)
    with closing(Worker(app)) as worker:
        for _ in range(4):
            worker.settle(
                *(
                    ended(
                        flying,
                        chance.choice([200, 200, 204, 500, 410, None]),
                        started_at=start + timedelta(seconds=chance.uniform(0, 7200)),
                        duration_ms=chance.choice([*BUCKETS, 0.1, 10.1, 99.9, 20_000.0]),
                    )
                    for flying in worker.take(24)
                )
            )
        lost = worker.take(3)
        worker.settle(*(ended(flying, None, outcome=Outcome.INTERRUPTED) for flying in lost))
    expected: dict[tuple[str, datetime], Counter[str]] = defaultdict(Counter)
    for item in attempts(app):
        if item.outcome == "interrupted":
            continue
        assert item.duration_ms is not None
        row = expected[item.endpoint_id, item.started_at.replace(minute=0, second=0, microsecond=0)]
        row["succeeded" if item.outcome == "succeeded" else "failed"] += 1
        bucket = next((b for b in BUCKETS if item.duration_ms <= b), None)
        row[f"ms_{bucket}" if bucket else "ms_more"] += 1
    found = {(row.endpoint_id, row.hour): row for row in statistics(app)}
    assert found.keys() == expected.keys()
    assert len(found) > 3
    for key, counts in expected.items():
        for name in ("succeeded", "failed", *BUCKET_COLUMNS):
            assert getattr(found[key], name) == counts[name]
    took = sum(item.duration_ms or 0 for item in attempts(app) if item.outcome != "interrupted")
    assert sum(row.duration_ms for row in found.values()) == pytest.approx(took)


def test_workers_count_together(app: Flask) -> None:
    """Two transactions add to the same row, in whatever order."""
    for _ in range(5):
        add_endpoint(app)
    emit(app, 40)

    def run() -> None:
        with closing(Worker(app, endpoint_concurrency=4)) as worker:
            for _ in range(200):
                worker.settle(*(ended(flying) for flying in worker.take(10)))
                if states(app) == {"succeeded": 200}:
                    return

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert states(app) == {"succeeded": 200}
    assert sum(row.succeeded for row in statistics(app)) == 200


# -- endpoints that fail -------------------------------------------------------------------------------


def test_failing_endpoint_is_probed_and_released_by_the_first_success(app: Flask) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 30)
    with closing(Worker(app, endpoint_concurrency=5)) as worker:
        assert worker.answer_all(500) == 5
        found = health(app, created.id)
        assert (found.consecutive_failures, found.hold_reason) == (5, "failing")
        assert found.hold_until is not None
        assert abs(found.hold_until - worker.now - timedelta(seconds=MINUTE)) < SECOND
        untouched = [row for row in deliveries(app) if row.attempt_count == 0]
        assert len(untouched) == 25
        for pause in (MINUTE, 2 * MINUTE, 4 * MINUTE):
            worker.wait(pause - 1)
            assert worker.take() == []
            worker.wait(2)
            [probe] = worker.take()
            assert worker.take() == []
            worker.answer(probe, 500)
        worker.wait(8 * MINUTE + 1)
        worker.answer(worker.take_one(), 200)
        found = health(app, created.id)
        assert (found.consecutive_failures, found.probe_interval) == (0, None)
        assert (found.hold_until, found.hold_reason) == (None, None)
        worker.wait(HOUR)
        assert worker.answer_all(200) == 29
    assert states(app) == {"succeeded": 30}


@pytest.mark.slow
def test_endpoint_is_disabled_after_five_days_with_two_warnings(app: Flask) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 400)
    heard: list[tuple[str, int | None]] = []

    def failing(sender: Any, disable_progress: int, **values: Any) -> None:
        heard.append(("failing", disable_progress))

    def disabled(sender: Any, reason: str, **values: Any) -> None:
        heard.append((reason, None))

    with (
        signals.endpoint_failing.connected_to(failing),
        signals.endpoint_disabled.connected_to(disabled),
        closing(Worker(app, endpoint_concurrency=16)) as worker,
    ):
        for _ in range(200):
            if not (claimed := worker.take()):
                worker.wait(HOUR + 1)
                claimed = worker.take()
            worker.settle(*(ended(flying, 500) for flying in claimed))
            if endpoint(app, created.id).state != "active":
                break
        assert worker.take() == []
    found = endpoint(app, created.id)
    assert found.state == "disabled"
    assert found.state_reason == "It failed for more than 5 days."
    assert found.state_actor == "Flask-Webhooks"
    assert found.state_since == worker.now
    assert found.version == created.version + 1
    assert heard == [("failing", 0), ("failing", 50), ("failing", 90), ("failing", None)]
    assert "pending" not in states(app)
    assert states(app)["held"] > 200


def test_many_answers_of_gone_disable_once(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 10)
    heard: list[dict[str, Any]] = []

    def disabled(sender: Any, **values: Any) -> None:
        heard.append(values)

    claimed = worker.take()
    with signals.endpoint_disabled.connected_to(disabled):
        worker.settle(*(ended(flying, 410) for flying in claimed[:5]))
        for flying in claimed[5:]:
            worker.answer(flying, 410)
    assert [values["reason"] for values in heard] == ["gone"]
    assert endpoint(app, created.id).version == created.version + 1
    assert states(app) == {"failed": 10}


def test_paused_endpoint_is_not_disabled_behind_the_persons_back(
    app: Flask, worker: Worker
) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app)
    flying = worker.take_one()
    actions.pause_endpoint(accessing(app), created.id, "moving house")
    heard: list[Any] = []

    def disabled(sender: Any, **values: Any) -> None:
        heard.append(values)

    with signals.endpoint_disabled.connected_to(disabled):
        worker.answer(flying, 410)
    found = endpoint(app, created.id)
    assert (found.state, found.state_reason) == ("paused", "moving house")
    assert heard == []
