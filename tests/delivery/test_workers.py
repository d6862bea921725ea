"""Every way to run workers, with real processes: retries fall due, SIGTERM comes, Redis forgets everything."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from flask_webhooks.app_state import state_of
from tests.support.delivering import (
    attempts,
    close,
    deliveries,
    emit,
    make_app,
    states,
    webhooks_of,
)
from tests.support.processes import (
    APP,
    COMMAND,
    OURS,
    PLAIN,
    PLAIN_SCHEDULER,
    POOL,
    SIMPLE,
    WorkerProcess,
    children,
    config_of,
    wait_until,
)
from tests.support.receiver import Receiver

WAYS = {
    "ours": OURS,
    "flask-webhooks-worker": COMMAND,
    "plain": PLAIN,
    "plain-with-scheduler": PLAIN_SCHEDULER,
    "simple": SIMPLE,
    "pool": POOL,
}

#: Ways that find lost work by themselves; the others need a scheduled job, an event or a sweep.
SWEEPING = {"ours", "flask-webhooks-worker"}
#: Ways in which RQ's scheduler runs.
SCHEDULING = {"ours", "flask-webhooks-worker", "plain-with-scheduler", "pool"}


#: Ways that differ in what RQ does, not in what we do: on the second database they can wait.
ALIKE = {"flask-webhooks-worker", "plain-with-scheduler", "simple", "pool"}


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow_on_postgresql] if name in ALIKE else [])
        for name in WAYS
    ]
)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


#: Seconds after which Docker kills what it has asked to stop; so a stop must end before, also on a busy machine.
DOCKERS_PATIENCE = 10

#: For requests that are under way when something happens, and must not be over before that on a busy machine.
PATIENT: dict[str, Any] = {"WEBHOOKS_TIMEOUT": 5.0, "WEBHOOKS_LEASE": 10.0}


def start(way: str, app: Flask, log: Path, **config: Any) -> WorkerProcess:
    return WorkerProcess(WAYS[way], {**config_of(app), **config}, log)


def _is_drain(app: Flask, pid: int) -> bool:
    """Whether a process has said in the database that it delivers."""
    state = state_of(app)
    heartbeat = state.table("Heartbeat").c
    query = sa.select(heartbeat.pid).where(heartbeat.kind == "drain", heartbeat.pid == pid)
    with state.engine.connect() as connection:
        return connection.execute(query).first() is not None


def drains_of(app: Flask, worker: WorkerProcess) -> list[int]:
    """Process ids of the work-horses that deliver; waits for the one."""

    def found() -> list[int]:
        return [pid for pid in children(worker.process.pid) if _is_drain(app, pid)]

    wait_until(lambda: len(found()) == 1, what=worker.output)
    return found()


def sweep(app: Flask) -> str:
    result = app.test_cli_runner().invoke(args=["webhooks", "sweep"])
    assert result.exit_code == 0, result.output
    return result.output


def test_event_is_delivered(way: str, app: Flask, receiver: Receiver, log: Path) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with start(way, app, log) as worker:
        ids = emit(app, 3)
        receiver.wait_for(3)
        wait_until(lambda: states(app) == {"succeeded": 3}, what=worker.output)
    assert set(receiver.ids()) == set(ids)


@pytest.mark.parametrize("way", ["ours", "plain", "flask-webhooks-worker"])
@pytest.mark.slow_on_postgresql
def test_settings_in_dotenv_files_are_those_of_every_worker(
    way: str, app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    config = config_of(app)
    (tmp_path / ".flaskenv").write_text(f"FLASK_APP={APP}\n")
    (tmp_path / ".env").write_text(f"TEST_CONFIG='{json.dumps(config)}'\n")
    with WorkerProcess(WAYS[way], config, tmp_path / "worker.log", folder=tmp_path) as worker:
        emit(app, 1)
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)


@pytest.mark.slow
def test_retry_falls_due(way: str, app: Flask, receiver: Receiver, log: Path) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/flaky/2"))
    with start(way, app, log) as worker:
        emit(app)
        receiver.wait_for(1)
        if way not in SCHEDULING:
            # The weaker form: nothing wakes a plain worker until somebody sweeps.
            wait_until(lambda: states(app) == {"pending": 1}, what=worker.output)
            for count in (2, 3):
                time.sleep(0.7)
                sweep(app)
                receiver.wait_for(count)
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
    assert [attempt.outcome for attempt in attempts(app)] == ["refused", "refused", "succeeded"]


def finishes_what_is_in_flight(
    way: str, app: Flask, receiver: Receiver, log: Path, stop: Callable[[WorkerProcess], None]
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/slow/1.5"))
    with start(way, app, log) as worker:
        emit(app, 3)
        receiver.wait_for(3)
        stop(worker)
        assert worker.wait(25) < DOCKERS_PATIENCE, worker.output()
    assert states(app) == {"succeeded": 3}, worker.output()
    assert len(receiver.requests) == 3


@pytest.mark.slow
def test_sigterm_finishes_requests_in_flight(
    way: str, app: Flask, receiver: Receiver, log: Path
) -> None:
    finishes_what_is_in_flight(way, app, receiver, log, WorkerProcess.terminate)


@pytest.mark.parametrize("way", ["ours", pytest.param("plain", marks=pytest.mark.slow)])
@pytest.mark.slow_on_postgresql
def test_sigterm_to_every_process_finishes_requests_in_flight(
    way: str, app: Flask, receiver: Receiver, log: Path
) -> None:
    """As systemd sends it. A work-horse of RQ would die of it at once."""
    finishes_what_is_in_flight(way, app, receiver, log, WorkerProcess.terminate_all)


@pytest.mark.slow
def test_sigterm_gives_back_what_takes_too_long(
    way: str, app: Flask, receiver: Receiver, log: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/never"))
    with start(way, app, log, WEBHOOKS_TIMEOUT=30.0, WEBHOOKS_LEASE=60.0) as worker:
        emit(app, 2)
        receiver.wait_for(2)
        worker.terminate()
        assert worker.wait(25) < DOCKERS_PATIENCE, worker.output()
    assert states(app) == {"pending": 2}, worker.output()
    assert {attempt.outcome for attempt in attempts(app)} == {"interrupted"}
    assert all(delivery.failure_count == 0 for delivery in deliveries(app))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_invariant_3_lost_wake_up_is_delivered_without_a_further_event(
    way: str, app: Flask, receiver: Receiver, log: Path, redis_url: str
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/flaky/1"))
    with start(way, app, log) as worker:
        emit(app)
        receiver.wait_for(1)
        wait_until(lambda: states(app) == {"pending": 1}, what=worker.output)
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()

        def delivered() -> bool:
            if way not in SWEEPING:
                sweep(app)
            return states(app) == {"succeeded": 1}

        # A job that RQ has lost is believed in for a minute.
        wait_until(delivered, 100, worker.output)
        if way in SWEEPING:
            with redis.Redis.from_url(redis_url) as client:
                wait_until(lambda: client.scard("rq:workers:webhooks") == 1, 15)


@pytest.mark.slow
def test_invariant_3_the_schedulers_next_job_finds_what_nobody_was_woken_for(
    app: Flask, receiver: Receiver, log: Path
) -> None:
    """Plain RQ with its scheduler, without any sweep."""
    webhooks_of(app).create_endpoint(receiver.url("/retry-after/5/503"))
    deaf = make_app(app.config["SQLALCHEMY_DATABASE_URI"], "redis://127.0.0.1:1/0")
    with start("plain-with-scheduler", app, log) as worker:
        [first] = emit(app)
        receiver.wait_for(1)
        # The drain is gone, and has set the alarm for the retry.
        wait_until(lambda: "Job OK" in worker.output(), what=worker.output)
        with deaf.app_context():
            [second] = emit(deaf)
            close(deaf)
        assert states(app) == {"pending": 2}, worker.output()
        wait_until(lambda: states(app) == {"succeeded": 2}, what=worker.output)
    assert receiver.ids() == {first: 2, second: 1}


@pytest.mark.slow
def test_invariant_5_worker_killed_in_mid_request_is_sent_again_after_the_lease(
    app: Flask, receiver: Receiver, log: Path
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/slow/1.9"))
    with start("ours", app, log, **PATIENT) as worker:
        ids = emit(app)
        receiver.wait_for(1)
        worker.kill()
    assert states(app) == {"sending": 1}
    with start("ours", app, log, **PATIENT) as worker:
        receiver.wait_for(2)
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
    assert receiver.ids() == {ids[0]: 2}
    first, second = attempts(app)
    assert (first.number, first.outcome) == (1, "interrupted")
    assert (second.number, second.outcome) == (2, "succeeded")
    assert created.endpoint.id == second.endpoint_id


@pytest.mark.slow
def test_work_horse_alone_killed(app: Flask, receiver: Receiver, log: Path) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/slow/1.9"))
    with start("ours", app, log, **PATIENT) as worker:
        emit(app)
        receiver.wait_for(1)
        horses = drains_of(app, worker)
        os.kill(horses[0], signal.SIGKILL)
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
    assert [attempt.outcome for attempt in attempts(app)] == ["interrupted", "succeeded"]


@pytest.mark.slow
def test_work_horse_ends_when_its_worker_is_gone(app: Flask, receiver: Receiver, log: Path) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with start("ours", app, log, WEBHOOKS_LINGER=600.0) as worker:
        emit(app)
        receiver.wait_for(1)
        horses = drains_of(app, worker)
        worker.process.kill()
        worker.process.wait(5)
        wait_until(lambda: not Path(f"/proc/{horses[0]}").exists(), what=worker.output)


@pytest.mark.slow
def test_redis_down_at_emit_is_delivered_once_redis_is_back(
    app: Flask, receiver: Receiver, log: Path, redis_server: Any
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    redis_server.stop()
    began = time.monotonic()
    emit(app)
    assert time.monotonic() - began < 1
    redis_server.start()
    with start("ours", app, log) as worker:
        receiver.wait_for(1)
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)


@pytest.mark.slow
def test_redis_restarted_under_a_running_worker(
    app: Flask, receiver: Receiver, log: Path, redis_server: Any
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with start("ours", app, log) as worker:
        emit(app)
        receiver.wait_for(1)
        redis_server.stop()
        emit(app)
        time.sleep(0.5)
        redis_server.start()
        receiver.wait_for(2)
        wait_until(lambda: states(app) == {"succeeded": 2}, what=worker.output)


@pytest.mark.slow
def test_two_hosts_on_one_redis_do_not_eat_each_others_alarms(
    app: Flask, receiver: Receiver, tmp_path: Path, redis_url: str
) -> None:
    other = make_app(f"sqlite:///{tmp_path / 'other.sqlite'}", redis_url, SECRET_KEY="another")
    with other.app_context():
        webhooks_of(other).create_endpoint(receiver.url("/ok/other"))
    webhooks_of(app).create_endpoint(receiver.url("/ok/one"))
    # Plain workers: what one of them eats, nobody finds again.
    with (
        WorkerProcess(PLAIN, config_of(app), tmp_path / "one.log") as one,
        WorkerProcess(PLAIN, config_of(other), tmp_path / "other.log") as two,
    ):
        for _ in range(3):
            emit(app)
            with other.app_context():
                emit(other)
            time.sleep(0.3)
        wait_until(
            lambda: len(receiver.requests) == 6, 30, what=lambda: one.output() + two.output()
        )
    assert {request.path for request in receiver.requests} == {"/ok/other", "/ok/one"}
    close(other)


@pytest.mark.slow
def test_many_workers_share_a_backlog(app: Flask, receiver: Receiver, log: Path) -> None:
    for number in range(20):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.05/{number}"))
    emit(app, 30)
    with (
        start("ours", app, log, WEBHOOKS_CONCURRENCY=16),
        start("ours", app, log, WEBHOOKS_CONCURRENCY=16) as worker,
    ):
        wait_until(lambda: states(app) == {"succeeded": 600}, 40, what=worker.output)
    # Each event once to each of 20 endpoints.
    assert sorted(receiver.ids().values()) == [20] * 30


@pytest.mark.slow
def test_a_drain_hands_over_before_its_time_is_up(
    app: Flask, receiver: Receiver, log: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.05"))
    # More than a second's worth. On a busy machine each job has time for a few only, after a slow start.
    emit(app, 50)
    with start(
        "plain", app, log, WEBHOOKS_DRAIN_TIME=1.0, WEBHOOKS_ENDPOINT_CONCURRENCY=2
    ) as worker:
        wait_until(lambda: states(app) == {"succeeded": 50}, 120, what=worker.output)
        wait_until(lambda: worker.output().count("Job OK") >= 2, what=worker.output)
    assert len(receiver.requests) == 50


@pytest.mark.slow
def test_worker_outlives_a_job_that_is_longer_than_its_heartbeat(
    app: Flask, receiver: Receiver, log: Path, redis_url: str
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with start("ours", app, log, WEBHOOKS_LINGER=7.0) as worker:
        emit(app)
        receiver.wait_for(1)
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
            # Not from the sweep: the job still runs, and the worker says that it is there.
            wait_until(lambda: client.scard("rq:workers:webhooks") == 1, what=worker.output)
        worker.terminate()
        assert worker.wait(25) < DOCKERS_PATIENCE, worker.output()
        assert "unhandled exception" not in worker.output()


@pytest.mark.slow
def test_sigterm_ends_the_worker_while_redis_hangs(
    app: Flask, receiver: Receiver, log: Path, redis_server: Any
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/never"))
    with start("ours", app, log, WEBHOOKS_TIMEOUT=30.0, WEBHOOKS_LEASE=60.0) as worker:
        emit(app, 2)
        receiver.wait_for(2)
        redis_server.pause()
        worker.terminate()
        # The work-horse takes its time, and then RQ waits for Redis.
        assert worker.wait(30) < DOCKERS_PATIENCE, worker.output()
        assert children(worker.process.pid) == []
    assert states(app) == {"pending": 2}, worker.output()
    assert {attempt.outcome for attempt in attempts(app)} == {"interrupted"}


@pytest.mark.slow
def test_sigterm_ends_an_idle_worker_while_redis_hangs(
    app: Flask, receiver: Receiver, log: Path, redis_server: Any
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with start("ours", app, log) as worker:
        emit(app)
        receiver.wait_for(1)
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
        time.sleep(1)
        redis_server.pause()
        worker.terminate()
        assert worker.wait(30) < DOCKERS_PATIENCE, worker.output()
