"""A drain under our Worker stays while no other job waits, and costs next to nothing meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from rq import Queue

from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.drain import Drain
from tests.delivery.test_drain import DrainThread
from tests.support.delivering import emit, models_of, states, webhooks_of, with_settings
from tests.support.helpers import statements
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

#: The key of a queue in which no job waits; in ours is the one that the commit made.
OTHER = "rq:queue:other"


def drains(app: Flask) -> dict[str, int]:
    """The process ids of the drains that live, by their names."""
    table = models_of(app).table("Heartbeat").c
    with state_of(app).engine.connect() as connection:
        rows = connection.execute(sa.select(table.name, table.pid).where(table.kind == "drain"))
        return {row.name: row.pid for row in rows}


@pytest.mark.slow
def test_drain_stays_until_another_job_waits(
    app: Flask, receiver: Receiver, redis_url: str, tmp_path: Path
) -> None:
    app.config["WEBHOOKS_LINGER"] = 0.2
    webhooks_of(app).create_endpoint(receiver.url())
    with (
        WorkerProcess(OURS, config_of(app), tmp_path / "log") as worker,
        redis.Redis.from_url(redis_url) as client,
    ):
        emit(app)
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
        [first] = drains(app)
        time.sleep(3.0)
        assert list(drains(app)) == [first]
        emit(app)
        wait_until(lambda: states(app) == {"succeeded": 2}, what=worker.output)
        assert list(drains(app)) == [first]
        job = Queue("webhooks", connection=client).enqueue("os.getpid", result_ttl=60)
        began = time.monotonic()
        wait_until(lambda: job.get_status() == "finished", 20)
        assert time.monotonic() - began < 10
        wait_until(lambda: first not in drains(app), 10)
        emit(app)
        wait_until(lambda: states(app) == {"succeeded": 3}, what=worker.output)
        worker.terminate()
        worker.wait(15)
    assert "Traceback" not in (tmp_path / "log").read_text()


@contextmanager
def staying(app: Flask, **settings: object) -> Iterator[Drain]:
    """A drain that stays, in a thread."""
    thread = DrainThread(app)
    thread.drain.discard()
    thread.drain = Drain(with_settings(state_of(app), **settings), queues=[OTHER])
    thread.start()
    yield thread.drain
    assert thread.is_alive()
    thread.drain.stop()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.slow
def test_drain_that_stays_asks_the_database_nothing(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    others = {thread.native_id for thread in threading.enumerate()}
    with staying(app, linger=0.0, sweep_interval=600.0):
        wait_until(lambda: states(app) == {"succeeded": 1})
        time.sleep(1.0)
        with statements(app) as executed:
            before = processor_seconds(others)
            time.sleep(4.0)
            used = processor_seconds(others) - before
    assert [item for item in executed if not item.startswith("SELECT webhooks_heartbeat")] == []
    # Half a percent of a core is two of the ticks in which it is counted.
    assert used / 4.0 <= 0.005


def processor_seconds(others: Container[int | None]) -> float:
    """What the threads of this process have used, but for others (proc(5))."""
    ticks = 0
    for thread in threading.enumerate():
        if thread.native_id not in others:
            stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_drain_that_stays_ends_with_its_time(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    began = time.monotonic()
    state = with_settings(state_of(app), linger=0.0, drain_time=2.0)
    assert Drain(state, queues=[OTHER]).run() == 1
    assert 2.0 <= time.monotonic() - began < 20
