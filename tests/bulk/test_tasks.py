"""Bulk tasks with real workers: they go on after a crash, stop when told to, and leave others their turn."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from rq import Queue, SimpleWorker

from flask_webhooks import actions, jobs, tasks
from flask_webhooks.app_state import state_of
from flask_webhooks.bulk import runner
from flask_webhooks.bulk.background import BackgroundTasks
from flask_webhooks.wakeup.worker_queue import TASK_JOB
from tests.support.delivering import add_backlog, attempts, deliveries, emit, states, webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    database_time,
    task_of,
    update,
)
from tests.support.processes import OURS, PLAIN, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def add_failed(app: Flask, endpoint_id: str, count: int) -> None:
    """Many deliveries that failed, older than any task."""
    state = state_of(app)
    values = {"state": "failed", "due_at": None, "reason": "exhausted"}
    add_backlog(app, endpoint_id, count, completed_at=database_time(app), **values)
    table = state.table("Delivery")
    with state.engine.begin() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.endpoint_id == endpoint_id)
            .values(id="dlv_00" + sa.func.substr(table.c.id, 5), attempt_count=3)
        )


def counts(app: Flask, endpoint_id: str) -> Counter[str]:
    """Deliveries of an endpoint by state, without reading them all."""
    table = state_of(app).table("Delivery").c
    query = (
        sa.select(table.state, sa.func.count())
        .where(table.endpoint_id == endpoint_id)
        .group_by(table.state)
    )
    with state_of(app).engine.connect() as connection:
        return Counter({row[0]: row[1] for row in connection.execute(query)})


def never_resting(app: Flask) -> dict[str, Any]:
    """Settings of a worker whose drain stays, and has patience with a busy machine."""
    return {
        **config_of(app),
        "WEBHOOKS_LINGER": 30.0,
        "WEBHOOKS_TIMEOUT": 20.0,
        "WEBHOOKS_LEASE": 40.0,
    }


def tasks_in_queue(client: redis.Redis) -> list[str]:
    return [str(job.func_name) for job in Queue("webhooks", connection=client).get_jobs()]


@pytest.mark.slow
def test_what_failed_is_recovered_by_a_worker_and_arrives_once(
    app: Flask, receiver: Receiver, log: Path
) -> None:
    """The whole way: it fails, is mended, is recovered, and arrives under the same webhook-id."""
    created = webhooks_of(app).create_endpoint(receiver.url("/status/500"))
    endpoint_id = created.endpoint.id
    ids = emit(app, 5)
    config = {**config_of(app), "WEBHOOKS_RETRY_SCHEDULE": [0.1], "WEBHOOKS_FAILING_AFTER": 1000}
    with WorkerProcess(OURS, config, log) as worker:
        wait_until(lambda: states(app) == {"failed": 5}, 30, worker.output)
        actions.update_endpoint(accessing(app), endpoint_id, url=receiver.url("/ok"))
        task = actions.start_task(accessing(app), "recover", endpoint_id, since=LONG_AGO)
        wait_until(lambda: states(app) == {"succeeded": 5}, 30, worker.output)
        wait_until(lambda: task_of(app, task.id).state == "finished", 30, worker.output)
    arrived = Counter(request.id for request in receiver.requests if request.path == "/ok")
    assert arrived == Counter(ids)
    for row in deliveries(app):
        mine = [item for item in attempts(app) if item.delivery_id == row.id]
        assert [(item.number, item.trigger, item.outcome) for item in mine] == [
            (1, "event", "refused"),
            (2, "retry", "refused"),
            (3, "replay", "succeeded"),
        ]
        assert mine[-1].actor == "tester"


@pytest.mark.slow
def test_what_was_missed_is_replayed_by_a_plain_worker(
    app: Flask, receiver: Receiver, log: Path
) -> None:
    actions.pause_endpoint(accessing(app), add_endpoint(app).id)
    ids = emit(app, 3)
    late = webhooks_of(app).create_endpoint(receiver.url()).endpoint
    task = actions.start_task(accessing(app), "replay", late.id, since=LONG_AGO)
    with WorkerProcess(PLAIN, config_of(app), log) as worker:
        receiver.wait_for(3, 30)
        wait_until(lambda: counts(app, late.id) == {"succeeded": 3}, 30, worker.output)
    assert receiver.ids() == Counter(ids)
    assert task_of(app, task.id).done == 3


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_five_thousand_are_recovered_and_delivered(
    app: Flask, receiver: Receiver, log: Path
) -> None:
    endpoint_id = webhooks_of(app).create_endpoint(receiver.url()).endpoint.id
    add_failed(app, endpoint_id, 5000)
    task = actions.start_task(accessing(app), "recover", endpoint_id, since=LONG_AGO)
    assert task.total == 5000
    with WorkerProcess(OURS, config_of(app), log) as worker:
        # Whoever reads a SQLite without WAL all the time keeps its writers waiting.
        receiver.wait_for(5000, 110)
        wait_until(lambda: counts(app, endpoint_id) == {"succeeded": 5000}, 30, worker.output)
    assert task_of(app, task.id).done == 5000
    assert set(receiver.ids().values()) == {1}


@pytest.mark.slow
def test_a_killed_worker_leaves_a_task_that_goes_on_where_it_was(
    app: Flask, client: redis.Redis, log: Path
) -> None:
    endpoint_id = add_endpoint(app).id
    actions.pause_endpoint(accessing(app), endpoint_id)
    add_failed(app, endpoint_id, 5000)
    task = actions.start_task(accessing(app), "recover", endpoint_id, since=LONG_AGO)
    with WorkerProcess(OURS, config_of(app), log) as worker:
        wait_until(lambda: task_of(app, task.id).done > 0, 30, worker.output)
        worker.kill()
    left = task_of(app, task.id)
    assert left.state == "running"
    assert 0 < left.done < 5000
    # What the cursor says was done is what was done: both are one transaction.
    assert counts(app, endpoint_id) == {"held": left.done, "failed": 5000 - left.done}
    client.flushall()
    update(app, "Task", task.id, lease_until=database_time(app) - timedelta(seconds=1))
    with WorkerProcess(OURS, config_of(app), log) as worker:
        wait_until(lambda: task_of(app, task.id).state == "finished", 60, worker.output)
    assert task_of(app, task.id).done == 5000
    assert counts(app, endpoint_id) == {"held": 5000}


@pytest.mark.slow
def test_a_stop_amid_a_task_is_final(app: Flask, log: Path) -> None:
    endpoint_id = add_endpoint(app).id
    actions.pause_endpoint(accessing(app), endpoint_id)
    add_failed(app, endpoint_id, 5000)
    task = actions.start_task(accessing(app), "recover", endpoint_id, since=LONG_AGO)
    with WorkerProcess(OURS, config_of(app), log) as worker:
        wait_until(lambda: task_of(app, task.id).done > 0, 30, worker.output)
        stopped = actions.stop_task(accessing(app), task.id)
        assert counts(app, endpoint_id) == {"held": stopped.done, "failed": 5000 - stopped.done}
        time.sleep(2)
    assert 0 < stopped.done < 5000
    assert counts(app, endpoint_id) == {"held": stopped.done, "failed": 5000 - stopped.done}
    assert task_of(app, task.id).state == "stopped"


@pytest.mark.slow
def test_cancelling_amid_deliveries_cancels_what_waits_and_nothing_that_was_sent(
    app: Flask, receiver: Receiver, log: Path
) -> None:
    endpoint_id = webhooks_of(app).create_endpoint(receiver.url("/slow/0.05")).endpoint.id
    add_backlog(app, endpoint_id, 3000)
    table = state_of(app).table("Delivery")
    with state_of(app).engine.begin() as connection:
        # Older than the task.
        connection.execute(sa.update(table).values(id="dlv_00" + sa.func.substr(table.c.id, 5)))
    with WorkerProcess(OURS, config_of(app), log) as worker:
        receiver.wait_for(20, 30)
        task = actions.start_task(accessing(app), "cancel", endpoint_id)
        with WorkerProcess(OURS, config_of(app), log):
            wait_until(lambda: task_of(app, task.id).state == "finished", 60, worker.output)
            at_rest = {"succeeded", "cancelled"}
            wait_until(lambda: counts(app, endpoint_id).keys() <= at_rest, 30, worker.output)
    found = counts(app, endpoint_id)
    assert found["cancelled"] == task_of(app, task.id).done > 0
    assert found.total() == 3000
    sent = Counter(request.id for request in receiver.requests)
    assert set(sent.values()) == {1}
    succeeded = {row.event_id for row in deliveries(app) if row.state == "succeeded"}
    assert set(sent) == succeeded


@pytest.mark.slow
def test_sigterm_gives_the_task_back_at_once(app: Flask, log: Path) -> None:
    endpoint_id = add_endpoint(app).id
    actions.pause_endpoint(accessing(app), endpoint_id)
    add_failed(app, endpoint_id, 5000)
    task = actions.start_task(accessing(app), "recover", endpoint_id, since=LONG_AGO)
    with WorkerProcess(OURS, config_of(app), log) as worker:
        wait_until(lambda: task_of(app, task.id).done > 0, 30, worker.output)
        worker.terminate()
        worker.wait(20)
    left = task_of(app, task.id)
    assert (left.state, left.lease_token) == ("waiting", None), worker.output()
    assert counts(app, endpoint_id) == {"held": left.done, "failed": 5000 - left.done}


@pytest.mark.slow
def test_a_flushed_redis_loses_no_task(app: Flask, client: redis.Redis, log: Path) -> None:
    endpoint_id = add_endpoint(app).id
    delivery_id = add_delivery(app, add_endpoint(app), "held", reason="kept")
    task = actions.start_task(accessing(app), "cancel", endpoint_id)
    other = actions.start_task(accessing(app), "discard")
    client.flushall()
    with WorkerProcess(OURS, config_of(app), log) as worker:
        wait_until(
            lambda: {task_of(app, item.id).state for item in (task, other)} == {"finished"},
            30,
            worker.output,
        )
    [row] = [item for item in deliveries(app) if item.id == delivery_id]
    assert row.state == "cancelled"


def test_without_redis_a_task_is_saved_and_the_sweep_calls_a_worker(
    app: Flask, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint_id = add_endpoint(app).id
    state = state_of(app)
    url = state.settings.redis_url
    object.__setattr__(state.settings, "redis_url", "redis://127.0.0.1:1/0")
    task = actions.start_task(accessing(app), "cancel", endpoint_id)
    object.__setattr__(state.settings, "redis_url", url)
    assert "Could not wake the webhook workers" in caplog.text
    assert tasks_in_queue(client) == []
    assert jobs.sweep(state) is True
    assert jobs.sweep(state) is True
    assert tasks_in_queue(client) == [TASK_JOB], "once, however often it is swept"
    SimpleWorker(["webhooks"], connection=client).work(burst=True)
    assert task_of(app, task.id).state == "finished"
    assert jobs.sweep(state) is False


def test_a_job_carries_neither_filter_nor_endpoint(app: Flask, client: redis.Redis) -> None:
    endpoint_id = add_endpoint(app).id
    actions.start_task(accessing(app), "resend", endpoint_id, event_type="license.created")
    [job] = Queue("webhooks", connection=client).get_jobs()
    assert job.args == (state_of(app).settings.installation, 0)


@pytest.mark.slow
def test_a_foreign_job_is_passed_on_and_dropped_in_the_end(
    app: Flask, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    tasks.run("somebody-else")
    [job] = Queue("webhooks", connection=client).get_jobs()
    assert (job.func_name, job.args) == (TASK_JOB, ("somebody-else", 1))
    client.flushall()
    tasks.run("somebody-else", jobs.MAX_HOPS)
    assert tasks_in_queue(client) == []
    assert "WEBHOOKS_QUEUE" in caplog.text


def test_a_long_task_lets_a_waiting_delivery_go_first(
    app: Flask, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one worker, which works on a task: it returns to the queue, behind the drain."""
    monkeypatch.setattr(tasks, "SHORT_SLICE", 0.0)
    monkeypatch.setattr(runner, "BATCH", 1)
    endpoint_id = add_endpoint(app).id
    add_failed(app, endpoint_id, 3)
    task = actions.start_task(accessing(app), "recover", endpoint_id, since=LONG_AGO)
    Queue("webhooks", connection=client).empty()  # type: ignore[no-untyped-call]
    tasks.run(state_of(app).settings.installation)
    left = task_of(app, task.id)
    assert (left.state, left.done) == ("waiting", 1)
    # The first batch has woken the drain.
    assert tasks_in_queue(client) == ["flask_webhooks.jobs.drain", TASK_JOB]


@pytest.mark.slow
def test_a_lone_worker_that_never_rests_works_on_a_task_beside(
    app: Flask, client: redis.Redis, receiver: Receiver, log: Path
) -> None:
    """Its drain does not end, so that it takes no other job of the queue."""
    webhooks_of(app).create_endpoint(receiver.url("/slow/1"), ["license.*"])
    paused = add_endpoint(app, events=["user.*"])
    actions.pause_endpoint(accessing(app), paused.id)
    add_failed(app, paused.id, 600)
    sent = emit(app)
    with WorkerProcess(OURS, never_resting(app), log) as worker:
        receiver.wait_for(1)
        task = actions.start_task(accessing(app), "recover", paused.id, since=LONG_AGO)

        def finished() -> bool:
            sent.extend(emit(app))
            return task_of(app, task.id).state == "finished"

        wait_until(finished, what=worker.output)
        receiver.wait_for(len(sent))
        # Perhaps behind a job for the drain, which asks for help when all its places are taken.
        assert TASK_JOB in tasks_in_queue(client), "nobody came for it"
    assert counts(app, paused.id) == {"held": 600}
    assert receiver.ids() == Counter(sent)


@pytest.mark.slow
def test_a_drain_that_is_told_to_stop_gives_its_task_back(
    app: Flask, receiver: Receiver, log: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/slow/2"), ["license.*"])
    paused = add_endpoint(app, events=["user.*"])
    actions.pause_endpoint(accessing(app), paused.id)
    add_failed(app, paused.id, 5000)
    with WorkerProcess(OURS, never_resting(app), log) as worker:
        emit(app)
        receiver.wait_for(1)
        task = actions.start_task(accessing(app), "recover", paused.id, since=LONG_AGO)

        def begun() -> bool:
            emit(app)
            return task_of(app, task.id).done > 0

        wait_until(begun, what=worker.output)
        worker.terminate()
        assert worker.wait(30) < 10, worker.output()
    left = task_of(app, task.id)
    assert (left.state, left.lease_token) == ("waiting", None), worker.output()
    assert counts(app, paused.id) == {"held": left.done, "failed": 5000 - left.done}


def test_only_a_task_that_no_worker_takes_goes_to_a_drain(app: Flask) -> None:
    state = state_of(app)
    background = BackgroundTasks(state)
    task = actions.start_task(accessing(app), "cancel", add_endpoint(app).id)
    long_ago = database_time(app) - timedelta(minutes=1)
    with state.engine.connect() as connection:
        assert not background.waits(connection)
        update(app, "Task", task.id, touched_at=long_ago)
        assert background.waits(connection)
        # Somebody has it.
        lease_until = database_time(app) + timedelta(minutes=1)
        update(app, "Task", task.id, state="running", lease_until=lease_until)
        assert not background.waits(connection)
        update(app, "Task", task.id, state="waiting", lease_until=None)
        background.work(connection, lambda: False)
        assert task_of(app, task.id).state == "finished"
        assert not background.waits(connection)


def test_a_slice_ends_though_nobody_waits(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is told to stop waits for the job, and RQ does not tell the job."""
    monkeypatch.setattr(tasks, "LONG_SLICE", 0.0)
    endpoint_id = add_endpoint(app).id
    task = actions.start_task(accessing(app), "cancel", endpoint_id)
    tasks.run(state_of(app).settings.installation)
    assert task_of(app, task.id).state == "waiting"
