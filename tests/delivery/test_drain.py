"""The loop of a drain: many at once, lingering, rows that the database refuses, handing over."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from rq import Queue

from demo.services import RedisServer
from flask_webhooks.app_state import state_of
from flask_webhooks.columns import utc_now
from flask_webhooks.db.clock import DatabaseClock
from flask_webhooks.delivery import maintenance
from flask_webhooks.delivery.drain import SETTLE_PAUSE, Drain
from flask_webhooks.delivery.http.client import Client
from flask_webhooks.signals import delivery_succeeded
from tests.support.delivering import (
    attempts,
    drain,
    emit,
    expire_leases,
    make_due,
    models_of,
    states,
    webhooks_of,
    with_settings,
)
from tests.support.helpers import slow_clock, statements
from tests.support.processes import wait_until
from tests.support.receiver import Receiver


class DrainThread(threading.Thread):
    """A drain that runs beside the test."""

    def __init__(self, app: Flask, **settings: object) -> None:
        super().__init__(daemon=True)
        self.drain = Drain(with_settings(state_of(app), **settings))

    def run(self) -> None:
        self.drain.run()


def listening(app: Flask, redis_url: str) -> set[str]:
    """The drains that wake-ups go to."""
    with redis.Redis.from_url(redis_url) as client:
        now = client.time()[0] * 1000
        found = client.zrangebyscore(state_of(app).worker_queue.keys.listening, now, "+inf")
        return {item.decode() for item in found}


def test_requests_run_at_the_same_time(app: Flask, receiver: Receiver) -> None:
    for number in range(10):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.5/{number}"))
    emit(app, 10)
    began = time.monotonic()
    assert drain(app) == 100
    # One after another they would take 50.
    assert time.monotonic() - began < 25
    assert states(app) == {"succeeded": 100}


def test_no_more_requests_in_flight_than_configured(app: Flask, receiver: Receiver) -> None:
    for number in range(4):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.05/{number}"))
    emit(app, 10)
    drain(app, concurrency=6, endpoint_concurrency=2)
    assert len(receiver.requests) == 40
    assert max(receiver.most_in_flight.values()) <= 2
    assert receiver.most_in_flight.total() <= 8


@pytest.mark.slow
def test_outcomes_that_trickle_in_are_settled_together(app: Flask, receiver: Receiver) -> None:
    """Claims go first: a settlement for each answer would keep the next delivery waiting."""
    webhooks_of(app).create_endpoint(receiver.url())
    thread = DrainThread(app, linger=0.5)
    with statements(app) as executed:
        began = time.monotonic()
        thread.start()
        for _ in range(60):
            emit(app, 1)
            time.sleep(0.005)
        wait_until(lambda: states(app) == {"succeeded": 60}, 20)
        took = time.monotonic() - began
        thread.join(20)
    settlements = sum("INTO webhooks_statistic" in statement for statement in executed)
    assert settlements <= took / SETTLE_PAUSE + 1


def test_a_lingering_drain_takes_the_next_event_at_once(
    app: Flask, receiver: Receiver, redis_url: str
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    # It does not look by itself in time.
    thread = DrainThread(app, linger=60.0, sweep_interval=60.0)
    thread.start()
    receiver.wait_for(1)
    wait_until(lambda: listening(app, redis_url) == {thread.drain.id})
    with redis.Redis.from_url(redis_url) as client:
        client.delete(Queue("webhooks", connection=client).key)
        for count in range(2, 12):
            began = time.monotonic()
            emit(app)
            receiver.wait_for(count)
            assert time.monotonic() - began < 30
        # The wake-ups went to its channel: no job was needed.
        assert Queue("webhooks", connection=client).count == 0
    thread.drain.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert states(app) == {"succeeded": 11}


def test_first_request_is_a_few_statements_away(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the worker's clock no more than a claim needs; BEGIN, which only SQLite shows, is not counted."""
    # On a busy machine it would come in between.
    monkeypatch.setattr(maintenance, "FIRST", 60.0)
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    clock = DatabaseClock()
    with state_of(app).engine.connect() as connection:
        clock.read(connection)
    before: list[list[str]] = []
    start = Client.start
    with statements(app) as executed:

        def note(*arguments: Any) -> Any:
            before.append([item for item in executed if item.split()[0] != "BEGIN"])
            return start(*arguments)

        monkeypatch.setattr(Client, "start", note)
        assert Drain(state_of(app), clock=clock).run() == 1
    [needed] = before
    # Look, lock, terms, in flight, pick, lease, endpoint; on SQLite one that takes the lock, one that reads.
    assert len(needed) <= 9, needed
    assert states(app) == {"succeeded": 1}


def test_a_drain_that_stops_leaves_the_rest_due(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.3"))
    emit(app, 30)
    thread = DrainThread(app, endpoint_concurrency=2)
    thread.start()
    receiver.wait_for(2)
    thread.drain.stop()
    thread.join(8)
    assert not thread.is_alive()
    found = states(app)
    assert found["succeeded"] == len(receiver.requests) == len(attempts(app))
    assert found["pending"] == 30 - found["succeeded"]


@pytest.mark.slow
def test_a_full_drain_summons_another_worker(
    app: Flask, receiver: Receiver, redis_url: str
) -> None:
    for number in range(4):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.2/{number}"))
    emit(app, 10)
    with redis.Redis.from_url(redis_url) as client:
        queue = Queue("webhooks", connection=client)
        client.delete(queue.key)
        client.delete(state_of(app).worker_queue.keys.waiting)
        # Two workers are there; one of them runs this drain.
        client.sadd("rq:workers:webhooks", "rq:worker:one", "rq:worker:two")
        drain(app, concurrency=4, endpoint_concurrency=4)
        assert queue.count == 1


def test_an_attempt_that_the_database_refuses_stops_no_other(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/ok/good"), ["license.*"])
    webhooks_of(app).create_endpoint(receiver.url("/ok/poison"), ["license.*"])
    engine = state_of(app).engine
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            refuse = (
                "CREATE TRIGGER refuse BEFORE INSERT ON webhooks_attempt "
                "WHEN new.url LIKE '%poison' AND new.outcome != 'interrupted' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        else:
            refuse = (
                "ALTER TABLE webhooks_attempt ADD CHECK "
                "(url NOT LIKE '%poison' OR outcome = 'interrupted')"
            )
        connection.execute(sa.text(refuse))
    emit(app, 5)
    began = time.monotonic()
    # So long would be tried again what the database does not respond.
    drain(app, lease=60.0)
    assert time.monotonic() - began < 50
    assert states(app) == {"succeeded": 5, "sending": 5}
    assert "cannot be recorded" in caplog.text
    assert "AAAA-BBBB" not in caplog.text
    # In the end it fails by itself, without stopping anything.
    for _ in range(state_of(app).settings.max_interruptions):
        expire_leases(app)
        drain(app)
        make_due(app)
        drain(app)
    assert states(app) == {"succeeded": 5, "failed": 5}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_event_that_somebody_removed_by_hand_stops_no_other(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Elsewhere its deliveries go with it."""
    webhooks_of(app).create_endpoint(receiver.url())
    ids = emit(app, 10)
    gone, others = ids[:8], ids[8:]
    table = state_of(app).table("Event")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.id.in_(gone)))
    assert drain(app, concurrency=4, endpoint_concurrency=4) == 2
    assert set(receiver.ids()) == set(others)
    assert states(app) == {"succeeded": 2}
    assert "because their events no longer exist" in caplog.text


def test_lost_redis_in_the_middle_does_not_matter(
    app: Flask, receiver: Receiver, redis_server: object
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.3"))
    emit(app, 20)
    thread = DrainThread(app, endpoint_concurrency=4, linger=0.0)
    thread.start()
    receiver.wait_for(1)
    redis_server.stop()  # type: ignore[attr-defined]
    wait_until(lambda: states(app) == {"succeeded": 20}, 20)
    thread.join(15)
    assert not thread.is_alive()


# -- Redis that hangs ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_deliveries_go_on_at_full_speed_while_redis_hangs(
    app: Flask, receiver: Receiver, redis_server: RedisServer
) -> None:
    for number in range(10):
        webhooks_of(app).create_endpoint(receiver.url(f"/ok/{number}"))
    # Every claim but the last one is full, and summons another worker.
    emit(app, 60)
    began = time.monotonic()
    drain(app, concurrency=20, wake_pause=60.0)
    usual = time.monotonic() - began
    emit(app, 60)
    redis_server.pause()
    began = time.monotonic()
    assert drain(app, concurrency=20, wake_pause=60.0) == 600
    # Once a second for the first call; saying goodbye is skipped then. Thirty claims would wait as often.
    assert time.monotonic() - began < 2 * usual + 15
    assert states(app) == {"succeeded": 1200}


@pytest.mark.slow
def test_a_drain_stops_within_its_time_while_redis_hangs(
    app: Flask, receiver: Receiver, redis_server: RedisServer
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/never"))
    emit(app, 3)
    # It takes some 4 seconds, of the 8 that are promised; its requests would take a minute.
    thread = DrainThread(app, timeout=60.0, lease=90.0)
    thread.start()
    receiver.wait_for(3)
    redis_server.pause()
    began = time.monotonic()
    thread.drain.stop()
    thread.join(60)
    assert time.monotonic() - began < 20
    assert states(app) == {"pending": 3}


def test_an_idle_drain_leaves_soon_while_redis_hangs(
    app: Flask, receiver: Receiver, redis_server: RedisServer
) -> None:
    redis_server.pause()
    began = time.monotonic()
    assert drain(app) == 0
    assert time.monotonic() - began < 5


def test_a_drain_that_lost_redis_looks_by_the_clock_and_listens_again_when_it_is_back(
    app: Flask, receiver: Receiver, redis_server: RedisServer, redis_url: str
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    thread = DrainThread(app, linger=60.0, wake_pause=0.2, sweep_interval=60.0)
    thread.start()
    wait_until(lambda: listening(app, redis_url) == {thread.drain.id})
    redis_server.stop()
    emit(app)
    receiver.wait_for(1, 10)
    redis_server.start()
    wait_until(lambda: listening(app, redis_url) == {thread.drain.id})
    emit(app)
    receiver.wait_for(2, 10)
    thread.drain.stop()
    thread.join(10)
    assert not thread.is_alive()


# -- who is woken -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_full_drain_leaves_wake_ups_to_one_that_is_idle(
    app: Flask, receiver: Receiver, redis_url: str
) -> None:
    busy = webhooks_of(app).create_endpoint(receiver.url("/never/busy"), tenant="busy")
    webhooks_of(app).create_endpoint(receiver.url("/ok/idle"), tenant="idle")
    patient: dict[str, Any] = {
        "timeout": 30.0,
        "lease": 60.0,
        "linger": 60.0,
        "sweep_interval": 60.0,
    }
    idle = DrainThread(app, **patient)
    full = DrainThread(app, concurrency=2, **patient)
    full.start()
    wait_until(lambda: listening(app, redis_url) == {full.drain.id})
    emit(app, 2, tenant="busy")
    receiver.wait_for(2)
    idle.start()
    wait_until(lambda: idle.drain.id in listening(app, redis_url))
    with redis.Redis.from_url(redis_url) as client:
        keys = state_of(app).worker_queue.keys
        for count in range(3, 8):
            # As if it had room still: the last to say so is the first to be rung.
            client.zadd(keys.listening, {full.drain.id: int(time.time() * 1000) + 60_000})
            emit(app, tenant="idle")
            # Well before either of them would look by itself.
            receiver.wait_for(count, 10)
            wait_until(lambda: full.drain.id not in listening(app, redis_url))
        assert Queue("webhooks", connection=client).count <= 1
    for thread in (full, idle):
        thread.drain.stop()
    for thread in (full, idle):
        thread.join(10)
        assert not thread.is_alive()
    assert busy.endpoint.id


@pytest.mark.slow
def test_a_wake_up_that_meets_only_full_drains_makes_a_job(
    app: Flask, receiver: Receiver, redis_url: str
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/never"))
    thread = DrainThread(app, concurrency=2, timeout=30.0, lease=60.0)
    emit(app, 2)
    with redis.Redis.from_url(redis_url) as client:
        queue = Queue("webhooks", connection=client)
        client.delete(queue.key)
        thread.start()
        receiver.wait_for(2)
        emit(app)
        wait_until(lambda: queue.count == 1)
    thread.drain.stop()
    thread.join(10)


@pytest.mark.slow
def test_a_worker_finds_the_free_endpoint_behind_many_that_are_at_their_limit(
    app: Flask, receiver: Receiver
) -> None:
    """More than fit into one claim have something due, and another worker has all that they may have."""
    webhooks_of(app)
    created = [
        webhooks_of(app).create_endpoint(receiver.url(f"/ok/{number}")).endpoint.id
        for number in range(200)
    ]
    emit(app, 2)
    last = max(created)
    model = models_of(app).Delivery
    with state_of(app).engine.begin() as connection:
        first = sa.select(sa.func.min(model.id)).where(model.endpoint_id != last)
        first = first.group_by(model.endpoint_id)
        lease_until = connection.execute(sa.select(utc_now())).scalar_one() + timedelta(minutes=5)
        taken = {"state": "sending", "lease_token": "x", "lease_until": lease_until, "due_at": None}
        ids = list(connection.scalars(first))
        connection.execute(sa.update(model).where(model.id.in_(ids)).values(taken))
    thread = DrainThread(app, endpoint_concurrency=1, sweep_interval=60.0)
    began = time.monotonic()
    thread.start()
    receiver.wait_for(2, 20)
    elapsed = time.monotonic() - began
    thread.drain.stop()
    thread.join(10)
    assert {request.path for request in receiver.requests} == {f"/ok/{created.index(last)}"}
    # A second for each claim that brought nothing would be four.
    assert elapsed < 3


@pytest.mark.slow
def test_a_drain_that_can_take_nothing_looks_once_a_second(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 2)
    model = models_of(app).Delivery
    with state_of(app).engine.begin() as connection:
        now = connection.execute(sa.select(utc_now())).scalar_one()
        first = connection.execute(sa.select(sa.func.min(model.id))).scalar_one()
        until = now + timedelta(minutes=5)
        taken = {"state": "sending", "lease_token": "x", "lease_until": until, "due_at": None}
        connection.execute(sa.update(model).where(model.id == first).values(taken))
    with statements(app) as executed:
        thread = DrainThread(app, endpoint_concurrency=1, linger=3.0, sweep_interval=60.0)
        thread.start()
        time.sleep(4)
        thread.drain.stop()
        thread.join(10)
    looks = [statement for statement in executed if "WITH RECURSIVE" in statement]
    # A few at the start; then a claim and a look at what falls due next, each second.
    assert 4 <= len(looks) <= 20


def test_event_is_not_left_behind_by_a_clock_that_was_read_slowly(
    app: Flask, receiver: Receiver, redis_url: str
) -> None:
    """Its wake-up is spent on the look that finds it not due yet; nothing else may come of it."""
    webhooks_of(app).create_endpoint(receiver.url())
    reads = iter([1, 2])

    def commit_at_the_second() -> None:
        if next(reads, 0) == 2:
            # It rings the drain, and no job is made.
            wait_until(lambda: listening(app, redis_url))
            with app.app_context():
                emit(app)

    with slow_clock(app, commit_at_the_second):
        drain(app, linger=0.0)
    assert states(app) == {"succeeded": 1}
    assert next(reads, None) is None


def test_retry_that_falls_due_within_a_short_linger_is_waited_for(
    app: Flask, receiver: Receiver
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/flaky/2"))
    emit(app)
    assert drain(app, linger=0.6, retry_schedule=(0.3, 0.3), retry_jitter=0.0) == 3
    assert states(app) == {"succeeded": 1}


def test_retry_that_falls_due_later_is_left_to_the_scheduler(
    app: Flask, receiver: Receiver, redis_url: str
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/flaky/2"))
    with redis.Redis.from_url(redis_url) as client:
        registry = Queue("webhooks", connection=client).scheduled_job_registry
        for _ in range(5):
            emit(app)
            drain(app, linger=0.0, retry_schedule=(30.0,), retry_jitter=0.0)
            assert len(registry.get_job_ids()) == 1
        [job_id] = registry.get_job_ids()
        due = registry.get_scheduled_time(job_id).timestamp() - time.time()
        assert 0 < due <= 31


# -- the host's receivers -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_slow_receiver_of_signals_holds_up_no_delivery(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 20)
    told: list[str] = []

    def hear(sender: Flask, **values: Any) -> None:
        # All of them had been delivered long before the first few are told.
        time.sleep(0.2)
        told.append(values["delivery_id"])

    with delivery_succeeded.connected_to(hear):
        thread = DrainThread(app, endpoint_concurrency=1)
        thread.start()
        wait_until(lambda: states(app) == {"succeeded": 20}, 20)
        assert len(told) < 20
        thread.join(20)
        assert not thread.is_alive()
    # In the order in which they were delivered.
    assert told == sorted(told, key=[item.delivery_id for item in attempts(app)].index)
    assert len(told) == len(set(told)) == 20


def test_receiver_that_raises_stops_nothing(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 3)
    told: list[str] = []

    def hear(sender: Flask, **values: Any) -> None:
        told.append(values["delivery_id"])
        raise ZeroDivisionError

    with delivery_succeeded.connected_to(hear):
        assert drain(app) == 3
    assert len(told) == 3
    assert caplog.text.count("raised an exception") == 3
    assert states(app) == {"succeeded": 3}


def test_receiver_whose_own_database_work_fails_is_told_once(
    app: Flask, receiver: Receiver
) -> None:
    """Its error looks as if the database were away; the batch that it is told of is committed."""
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    told: list[str] = []

    def hear(sender: Flask, **values: Any) -> None:
        told.append(values["delivery_id"])
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("gone"))

    with delivery_succeeded.connected_to(hear):
        assert drain(app) == 1
    assert len(told) == 1
    assert len(attempts(app)) == 1


def test_receiver_that_never_ends_does_not_keep_a_drain_from_stopping(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 2)
    go_on = threading.Event()

    def hear(sender: Flask, **values: Any) -> None:
        go_on.wait(30)

    with delivery_succeeded.connected_to(hear):
        thread = DrainThread(app)
        thread.start()
        wait_until(lambda: states(app) == {"succeeded": 2})
        thread.drain.stop()
        thread.join(8)
        assert not thread.is_alive()
        go_on.set()
    assert "2 signals were not sent" in caplog.text
