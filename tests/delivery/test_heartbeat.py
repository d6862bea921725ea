"""Signs of life in the database."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import redis
import rq
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from flask_webhooks import queries
from flask_webhooks.admin import banners
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.heartbeat import FORGET_AFTER, Sign, beat, end
from flask_webhooks.models import Heartbeat
from flask_webhooks.serializers import HealthObject
from flask_webhooks.signals import attempt_recorded
from tests.support.delivering import drain, emit, models_of, webhooks_of
from tests.support.helpers import accessing, database_time
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

SIGN = Sign("worker-1", "worker", "host.example.com", 123)


def signs(app: Flask) -> list[Heartbeat]:
    model = models_of(app).Heartbeat
    with Session(state_of(app).engine) as session:
        return list(session.scalars(sa.select(model).order_by(model.name)))


def test_first_sign_and_later_ones(app: Flask) -> None:
    state = state_of(app)
    now = database_time(app)
    later = now + timedelta(seconds=30)
    with state.engine.connect() as connection:
        beat(state, connection, SIGN, now)
        beat(state, connection, SIGN, later)
        assert not connection.in_transaction()
    [found] = signs(app)
    assert (found.name, found.kind, found.host, found.pid) == (
        "worker-1",
        "worker",
        "host.example.com",
        123,
    )
    assert (found.started_at, found.seen_at) == (now, later)


@pytest.mark.slow
def test_worker_whose_drain_is_alive_is_alive(
    app: Flask, receiver: Receiver, redis_url: str, tmp_path: Path
) -> None:
    """In our list and in RQ's: it waits for its work-horse, which may take minutes."""
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    config = {**config_of(app), "WEBHOOKS_LINGER": 100.0}
    with (
        WorkerProcess(OURS, config, tmp_path / "worker.log") as process,
        redis.Redis.from_url(redis_url) as client,
    ):
        receiver.wait_for(1, 60)
        wait_until(lambda: {found.kind for found in signs(app)} == {"drain", "worker"}, 30)

        def seen() -> datetime:
            [found] = [found for found in signs(app) if found.kind == "worker"]
            return found.seen_at

        [worker] = rq.Worker.all(connection=client)
        assert worker.get_state() == "busy"
        ours, theirs = seen(), worker.last_heartbeat
        wait_until(lambda: seen() > ours, 60, what=process.output)

        def heard() -> bool:
            worker.refresh()  # type: ignore[no-untyped-call]
            return worker.last_heartbeat != theirs

        wait_until(heard, 60, what=process.output)
        # RQ forgets a worker whose key runs out.
        assert int(client.ttl(worker.key)) > 2 * 5
        assert worker.get_state() == "busy"


def test_silent_processes_are_forgotten_when_another_one_comes(app: Flask) -> None:
    state = state_of(app)
    now = database_time(app)
    other = replace(SIGN, name="worker-2", host="x" * 300)
    with state.engine.connect() as connection:
        beat(state, connection, SIGN, now)
        beat(state, connection, other, now + timedelta(seconds=FORGET_AFTER - 1))
        assert [found.name for found in signs(app)] == ["worker-1", "worker-2"]
        third = replace(SIGN, name="worker-3")
        beat(state, connection, third, now + timedelta(seconds=FORGET_AFTER + 1))
    assert [found.name for found in signs(app)] == ["worker-2", "worker-3"]


def test_process_that_ends_is_remembered_until_another_one_ends(app: Flask) -> None:
    state = state_of(app)
    now = database_time(app)
    access = accessing(app)
    other = replace(SIGN, name="worker-2")
    with state.engine.connect() as connection:
        beat(state, connection, SIGN, now)
        beat(state, connection, other, now)
        end(state, connection, "somebody else")
        assert [found.kind for found in signs(app)] == ["worker", "worker"]
        end(state, connection, SIGN.name)
        assert [(found.name, found.kind) for found in signs(app)] == [
            ("worker-1", "stopped"),
            ("worker-2", "worker"),
        ]
        assert queries.backlog(access).alive_at == now
        end(state, connection, other.name)
        assert [(found.name, found.kind) for found in signs(app)] == [("worker-2", "stopped")]
        report = queries.health(access)
        assert (report.last_seen_at, report.alive_at) == (now, None)
        # It starts again under the same name.
        again = replace(other, pid=7)
        later = now + timedelta(seconds=5)
        beat(state, connection, again, later)
    [found] = signs(app)
    assert (found.kind, found.pid, found.started_at) == ("worker", 7, later)


def test_last_worker_that_stopped_is_told_of_as_that(app: Flask, redis_url: str) -> None:
    """By the page, the API and the command alike, and not as one that is alive."""
    state = state_of(app)
    with state.engine.connect() as connection:
        beat(state, connection, SIGN, database_time(app) - timedelta(seconds=77))
        end(state, connection, SIGN.name)
    access = accessing(app)
    [row] = HealthObject.serialize(queries.health(access), queue=None)["heartbeats"]
    assert (row["name"], row["kind"]) == (SIGN.name, "stopped")
    assert [banner.title for banner in banners.current(access)] == [
        "No worker has sent a heartbeat."
    ]


def test_drain_is_on_the_list_while_it_runs(app: Flask, receiver: Receiver) -> None:
    seen: list[Heartbeat] = []
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)

    def look(sender: Flask, **values: object) -> None:
        seen.extend(signs(app))

    with attempt_recorded.connected_to(look):
        drain(app)
    [found] = seen
    assert (found.kind, found.pid) == ("drain", os.getpid())
    assert [sign.kind for sign in signs(app)] == ["stopped"]
