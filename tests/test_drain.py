"""The loop of a drain: many at once, lingering, rows that the database refuses, handing over."""

from __future__ import annotations

import threading
import time

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from rq import Queue

from flask_webhooks.delivery.drain import Drain
from flask_webhooks.state import state_of
from tests.delivering import (
    attempts,
    drain,
    emit,
    expire_leases,
    make_due,
    states,
    webhooks_of,
    with_settings,
)
from tests.processes import wait_until
from tests.receiver import Receiver


class DrainThread(threading.Thread):
    """A drain that runs beside the test."""

    def __init__(self, app: Flask, **settings: object) -> None:
        super().__init__(daemon=True)
        self.drain = Drain(with_settings(state_of(app), **settings))

    def run(self) -> None:
        self.drain.run()


def test_requests_run_at_the_same_time(app: Flask, receiver: Receiver) -> None:
    for number in range(10):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.5/{number}"))
    emit(app, 10)
    began = time.monotonic()
    assert drain(app) == 100
    assert time.monotonic() - began < 5
    assert states(app) == {"succeeded": 100}


def test_no_more_requests_in_flight_than_configured(app: Flask, receiver: Receiver) -> None:
    for number in range(4):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.05/{number}"))
    emit(app, 10)
    drain(app, concurrency=6, endpoint_concurrency=2)
    assert len(receiver.requests) == 40
    assert max(receiver.most_in_flight.values()) <= 2
    assert receiver.most_in_flight.total() <= 8


def test_a_lingering_drain_takes_the_next_event_at_once(
    app: Flask, receiver: Receiver, redis_url: str
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    thread = DrainThread(app, linger=20.0)
    thread.start()
    receiver.wait_for(1)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(Queue("webhooks", connection=client).key)
        for count in range(2, 12):
            began = time.monotonic()
            emit(app)
            receiver.wait_for(count)
            assert time.monotonic() - began < 1
        # They rang its bell: no job was needed.
        assert Queue("webhooks", connection=client).count == 0
    thread.drain.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert states(app) == {"succeeded": 11}


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


def test_a_full_drain_summons_another_worker(
    app: Flask, receiver: Receiver, redis_url: str
) -> None:
    for number in range(4):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.2/{number}"))
    emit(app, 10)
    with redis.Redis.from_url(redis_url) as client:
        queue = Queue("webhooks", connection=client)
        client.delete(queue.key)
        client.delete(state_of(app).alarm.keys.waiting)
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
    drain(app)
    assert time.monotonic() - began < 5
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
