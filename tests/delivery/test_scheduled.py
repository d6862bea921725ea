"""Events for a time ahead: when they fall due, who gets them, and what a drain does about them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm

from flask_webhooks import actions, jobs
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery import scheduled as module
from flask_webhooks.delivery.retention import prune
from flask_webhooks.delivery.scheduled import record_due, soonest_scheduled
from flask_webhooks.models import ScheduledEvent
from tests.support.delivering import (
    attempts,
    db_of,
    deliveries,
    drain,
    events,
    models_of,
    states,
    webhooks_of,
)
from tests.support.helpers import accessing, database_time
from tests.support.processes import (
    OURS,
    PLAIN,
    PLAIN_SCHEDULER,
    WorkerProcess,
    config_of,
    wait_until,
)
from tests.support.receiver import Receiver
from tests.support.serving import serving

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}
KEY = "expiring:lic_1"


def schedule(app: Flask, seconds: float = 3600, **options: Any) -> ScheduledEvent:
    """Schedule an event for a time ahead, and commit."""
    made = webhooks_of(app).emit(
        "license.created",
        DATA,
        deliver_at=datetime.now(UTC) + timedelta(seconds=seconds),
        **options,
    )
    assert made is not None
    db_of(app).session.commit()
    return made


def scheduled(app: Flask) -> list[ScheduledEvent]:
    """All that is scheduled, oldest first."""
    model = models_of(app).ScheduledEvent
    with orm.Session(state_of(app).engine) as session:
        return list(session.scalars(sa.select(model).order_by(model.id)))


def let_time_come(app: Flask) -> None:
    """Let the time pass until all that is scheduled is due."""
    table = models_of(app).table("ScheduledEvent")
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.update(table).values(deliver_at=datetime.now(UTC) - timedelta(seconds=1))
        )


@pytest.mark.slow
def test_event_is_delivered_when_its_time_has_come(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    made = schedule(app, 0.6, key=KEY)
    assert drain(app) == 0
    assert [row.key for row in scheduled(app)] == [KEY]
    assert events(app) == []
    assert drain(app, linger=3.0) == 1
    assert scheduled(app) == []
    [event] = events(app)
    assert event.data == DATA
    assert event.occurred_at == made.deliver_at
    [request] = receiver.requests
    assert request.headers["webhook-id"] == event.id
    assert json.loads(request.body)["data"] == DATA


def test_it_goes_to_those_who_subscribe_when_it_is_due(app: Flask, receiver: Receiver) -> None:
    webhooks = webhooks_of(app)
    changed = webhooks.create_endpoint(receiver.url("/ok/changed"), ["license.*"]).endpoint
    deleted = webhooks.create_endpoint(receiver.url("/ok/deleted")).endpoint
    paused = webhooks.create_endpoint(receiver.url("/ok/paused")).endpoint
    schedule(app)
    webhooks.create_endpoint(receiver.url("/ok/added"))
    access = accessing(app)
    actions.update_endpoint(access, changed.id, events=["user.*"])
    actions.delete_endpoint(access, deleted.id)
    actions.pause_endpoint(access, paused.id)
    let_time_come(app)
    assert drain(app) == 1
    assert [request.path for request in receiver.requests] == ["/ok/added"]
    assert states(app) == {"succeeded": 1, "held": 1}


def test_what_nobody_subscribes_to_is_dropped_when_due(app: Flask) -> None:
    schedule(app)
    let_time_come(app)
    drain(app)
    assert scheduled(app) == []
    assert events(app) == []


def test_replaced_after_it_was_recorded_both_are_delivered(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    schedule(app, key=KEY)
    let_time_come(app)
    assert drain(app) == 1
    assert webhooks_of(app).cancel(KEY) is False
    schedule(app, key=KEY)
    let_time_come(app)
    assert drain(app) == 1
    assert len(events(app)) == 2


def test_replaced_while_it_is_being_delivered_both_are_delivered(app: Flask) -> None:
    receiver = Flask("receiver")
    replaced: list[bool] = []

    @receiver.post("/")
    def receive() -> str:
        if not replaced:
            with app.app_context():
                replaced.append(webhooks_of(app).cancel(KEY))
                schedule(app, key=KEY)
        return ""

    with serving(receiver) as url:
        webhooks_of(app).create_endpoint(url)
        schedule(app, key=KEY)
        let_time_come(app)
        assert drain(app) == 1
        assert replaced == [False]
        assert (states(app), len(scheduled(app))) == ({"succeeded": 1}, 1)
        let_time_come(app)
        assert drain(app) == 1
    assert states(app) == {"succeeded": 2}


def test_open_replacement_of_a_due_event_is_waited_for(app: Flask, receiver: Receiver) -> None:
    if state_of(app).engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: the drain waits for it")
    webhooks_of(app).create_endpoint(receiver.url())
    schedule(app, key=KEY)
    schedule(app, key="another")
    let_time_come(app)
    state = state_of(app)
    webhooks_of(app).emit(
        "license.created", DATA, deliver_at=datetime.now(UTC) + timedelta(days=1), key=KEY
    )
    with state.own_engine.connect() as connection:
        assert record_due(state, connection, database_time(app)) == 1
        assert record_due(state, connection, database_time(app)) == 0
    db_of(app).session.commit()
    assert [row.key for row in scheduled(app)] == [KEY]
    assert len(events(app)) == 1


def test_workers_side_by_side_record_each_once(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    for _ in range(module.BATCH + 10):
        schedule(app)
    let_time_come(app)
    state = state_of(app)
    with state.own_engine.connect() as one, state.own_engine.connect() as other:
        recorded = [record_due(state, item, database_time(app)) for item in (one, other, one)]
    assert recorded == [module.BATCH, 10, 0]
    assert len(deliveries(app)) == module.BATCH + 10


def test_one_that_cannot_be_recorded_keeps_no_others_waiting(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    for _ in range(3):
        schedule(app)
    let_time_come(app)
    state = state_of(app)
    events_table = state.table("Event")
    bad = scheduled(app)[1]
    table = state.table("ScheduledEvent")
    with state.engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.id == bad.id).values(type="bad.type"))
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                f"ALTER TABLE {events_table.name} ADD CHECK (type <> 'bad.type')"
            )
        else:
            connection.exec_driver_sql(
                f"CREATE TRIGGER refuse BEFORE INSERT ON {events_table.name} WHEN NEW.type = 'bad.type' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
    assert drain(app) == 2
    [left] = scheduled(app)
    assert left.id == bad.id
    assert left.deliver_at > datetime.now(UTC) + timedelta(seconds=30)
    assert "could not be recorded" in caplog.text
    assert "AAAA-BBBB" not in caplog.text


def test_loop_through_scheduled_events_comes_to_an_end(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/ok/tenant"), tenant="app_1")
    webhooks_of(app).create_endpoint(receiver.url("/ok/server"))
    schedule(app, tenant="app_1")
    most = state_of(app).settings.max_hops
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(models_of(app).table("ScheduledEvent")).values(hops=most))
    let_time_come(app)
    assert drain(app) == 1
    assert [request.path for request in receiver.requests] == ["/ok/server"]
    assert [event.hops for event in events(app)] == [most]


def test_retention_leaves_alone_what_is_scheduled(app: Flask) -> None:
    schedule(app)
    table = models_of(app).table("ScheduledEvent")
    long_ago = datetime.now(UTC) - timedelta(days=3000)
    state = state_of(app)
    with state.engine.begin() as connection:
        connection.execute(sa.update(table).values(created_at=long_ago, id="sch_" + "0" * 26))
    with state.own_engine.connect() as connection:
        prune(state, connection, database_time(app), budget=1.0)
    assert len(scheduled(app)) == 1


def test_sweep_finds_what_is_due_after_redis_was_flushed(app: Flask, redis_url: str) -> None:
    schedule(app)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        assert jobs.sweep(state_of(app)) is False
        let_time_come(app)
        assert jobs.sweep(state_of(app)) is True
        assert client.llen("rq:queue:webhooks") == 1


def test_drain_goes_on_where_the_table_is_missing(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    webhooks_of(app).emit("license.created", DATA)
    db_of(app).session.commit()
    models_of(app).table("ScheduledEvent").drop(state_of(app).engine)
    assert drain(app) == 1


def is_up(app: Flask) -> None:
    """Wait until a worker delivers, which takes a while from its start."""
    webhooks_of(app).emit("license.created", DATA)
    db_of(app).session.commit()
    wait_until(lambda: len(attempts(app)) == 1)


def lag(app: Flask) -> float:
    """Seconds from the due time to the start of the last attempt."""
    return (attempts(app)[-1].started_at - events(app)[-1].occurred_at).total_seconds()


@pytest.mark.slow
def test_worker_delivers_within_a_second_of_the_time(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with WorkerProcess(OURS, {**config_of(app), "WEBHOOKS_SWEEP_INTERVAL": 60.0}, tmp_path / "log"):
        is_up(app)
        schedule(app, 3.0)
        wait_until(lambda: len(attempts(app)) == 2)
    assert 0 <= lag(app) < 1.0


@pytest.mark.slow
def test_worker_delivers_after_a_flush_of_redis(
    app: Flask, receiver: Receiver, redis_url: str, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    schedule(app, 4.0)
    with (
        WorkerProcess(OURS, config_of(app), tmp_path / "log"),
        redis.Redis.from_url(redis_url) as client,
    ):
        client.flushall()
        wait_until(lambda: len(attempts(app)) == 1)


@pytest.mark.slow
def test_killed_worker_leaves_it_to_the_next(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with WorkerProcess(OURS, config_of(app), tmp_path / "one") as worker:
        schedule(app, 2.0)
        worker.process.kill()
    with WorkerProcess(OURS, config_of(app), tmp_path / "two"):
        wait_until(lambda: len(attempts(app)) == 1)
    assert len(events(app)) == 1


@pytest.mark.slow
def test_plain_worker_with_scheduler_delivers_by_an_alarm(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with WorkerProcess(PLAIN_SCHEDULER, config_of(app), tmp_path / "log"):
        is_up(app)
        schedule(app, 4.0)
        wait_until(lambda: len(attempts(app)) == 2)
    # Each job of a plain worker imports the application, which takes its time on a busy machine.
    assert 0 <= lag(app) < 15.0


@pytest.mark.slow
def test_plain_worker_delivers_at_the_next_sweep(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with WorkerProcess(PLAIN, config_of(app), tmp_path / "log"):
        schedule(app, 2.0)

        def swept() -> bool:
            app.test_cli_runner().invoke(args=["webhooks", "sweep"])
            return len(attempts(app)) == 1

        wait_until(swept)
    assert lag(app) >= 0


def test_soonest_is_the_next_that_falls_due(app: Flask) -> None:
    state = state_of(app)
    with state.own_engine.connect() as connection:
        assert soonest_scheduled(state, connection) is None
    made = schedule(app, 60)
    schedule(app, 600)
    with state.own_engine.connect() as connection:
        assert soonest_scheduled(state, connection) == made.deliver_at
