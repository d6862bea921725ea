"""What RQ calls, apart from delivering: finding the application, foreign jobs, lost wake-ups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import redis
from flask import Flask
from rq import Queue, SimpleWorker
from rq.job import Job

from flask_webhooks import Worker, jobs
from flask_webhooks.app_state import state_of
from flask_webhooks.bulk.background import BackgroundTasks
from flask_webhooks.delivery.claim import targets
from flask_webhooks.delivery.claim.plan import Capacity
from flask_webhooks.delivery.drain import Drain
from flask_webhooks.delivery.warmup import warm_up
from flask_webhooks.errors import ConfigurationError, WebhooksError
from flask_webhooks.wakeup.worker_queue import TEST_TTL
from tests.support.delivering import close, drain, emit, make_app, make_due, states, webhooks_of
from tests.support.processes import ROOT, config_of
from tests.support.receiver import Receiver
from tests.support.working import Worker as ClaimingWorker


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def jobs_of(client: redis.Redis) -> list[Job]:
    return Queue("webhooks", connection=client).get_jobs()


def rq_worker(*arguments: str, config: object = None, **environment: str) -> tuple[int, str]:
    """Run ``rq worker`` with our class, until it ends by itself."""
    result = subprocess.run(
        [sys.executable, "-m", "rq.cli", "worker", "-w", "flask_webhooks.Worker", *arguments],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if "REDIS" not in name},
            "TEST_CONFIG": json.dumps(config),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result.returncode, result.stdout + result.stderr


def test_without_flask_app_the_worker_says_in_one_line_what_to_set() -> None:
    status, output = rq_worker()
    assert status == 1
    assert output.startswith("Error: The worker cannot find the application. Set FLASK_APP")
    assert output.count("\n") == 1


def test_a_flask_app_that_cannot_be_imported_is_one_line() -> None:
    status, output = rq_worker(FLASK_APP="nonesuch")
    assert status == 1
    assert output == "Error: FLASK_APP cannot be loaded: Could not import 'nonesuch'.\n"


@pytest.mark.slow
def test_redis_and_queue_come_from_the_application(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    status, output = rq_worker(
        "--burst", config=config_of(app), FLASK_APP="tests.support.hostapp:create_app"
    )
    assert status == 0, output
    assert "Listening on webhooks" in output
    assert states(app) == {"succeeded": 1}, output


@pytest.mark.slow
def test_a_queue_on_the_command_line_wins(app: Flask) -> None:
    _, output = rq_worker(
        "--burst", "mails", config=config_of(app), FLASK_APP="tests.support.hostapp:create_app"
    )
    assert "Listening on mails" in output


@pytest.mark.slow_on_postgresql
def test_a_redis_on_the_command_line_wins(app: Flask, tmp_path: Path) -> None:
    config = {**config_of(app), "WEBHOOKS_REDIS_URL": "redis://127.0.0.1:1/0"}
    url = str(app.config["WEBHOOKS_REDIS_URL"])
    _, output = rq_worker(
        "--burst", "--url", url, config=config, FLASK_APP="tests.support.hostapp:create_app"
    )
    assert "Listening on webhooks" in output


def test_jobs_carry_neither_payload_nor_secret(
    app: Flask, receiver: Receiver, client: redis.Redis
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url())
    emit(app, data={"license_id": "lic_1", "license_key": "TOP-SECRET-KEY"})
    (job,) = jobs_of(client)
    assert job.args == (state_of(app).settings.installation, 0)
    for key in client.keys("*"):
        value = client.dump(key) or b""
        assert b"TOP-SECRET-KEY" not in value
        assert str(created.secret).encode() not in value


def test_a_foreign_job_goes_back_into_the_queue(app: Flask, client: redis.Redis) -> None:
    assert jobs.drain("somebody-else") == 0
    (job,) = jobs_of(client)
    assert job.args == ("somebody-else", 1)


def test_a_foreign_job_that_nobody_takes_is_dropped_in_the_end(
    app: Flask, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    assert jobs.drain("somebody-else", jobs.MAX_HOPS) == 0
    assert jobs_of(client) == []
    assert "WEBHOOKS_QUEUE" in caplog.text


@pytest.mark.slow
def test_jobs_of_a_test_suite_on_a_shared_redis_do_not_stay(
    app: Flask, receiver: Receiver, client: redis.Redis
) -> None:
    """The worker of another installation has no trouble with them, and they go by themselves."""
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    (job,) = jobs_of(client)
    assert client.ttl(job.key) == -1
    client.flushall()
    app.testing = True
    emit(app)
    state_of(app).notifier.request_task_worker()
    found = jobs_of(client)
    assert len(found) == 2
    assert all(0 < int(client.ttl(job.key)) <= TEST_TTL for job in found)
    config = config_of(app) | {"WEBHOOKS_INSTALLATION": "developing"}
    _, output = rq_worker(
        *("--burst", "--url", str(app.config["WEBHOOKS_REDIS_URL"]), "webhooks"),
        config=config,
        FLASK_APP="tests.support.hostapp:create_app",
    )
    assert "Dropped" not in output
    assert "ERROR" not in output
    assert jobs_of(client) == []


def test_sweep_wakes_nobody_when_nothing_is_due(
    app: Flask, receiver: Receiver, client: redis.Redis
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/status/500"))
    emit(app)
    drain(app, retry_schedule=(60.0,))
    client.flushall()
    assert states(app) == {"pending": 1}
    assert jobs.sweep(state_of(app)) is False
    assert jobs_of(client) == []


def test_sweep_finds_work_whose_wake_up_was_lost(
    app: Flask, receiver: Receiver, client: redis.Redis
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/flaky/1"))
    emit(app)
    drain(app, retry_schedule=(60.0,))
    client.flushall()
    make_due(app)
    assert jobs.sweep(state_of(app)) is True
    SimpleWorker(["webhooks"], connection=client).work(burst=True)
    assert states(app) == {"succeeded": 1}


def test_rq_can_list_our_workers(app: Flask, client: redis.Redis) -> None:
    worker = Worker(["webhooks"], connection=client, name="one")
    worker.register_birth()  # type: ignore[no-untyped-call]
    assert [found.name for found in Worker.all(connection=client)] == ["one"]
    worker.register_death()  # type: ignore[no-untyped-call]


def test_find_app_outside_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLASK_APP", raising=False)
    monkeypatch.setattr(jobs, "_app", None)
    with pytest.raises(ConfigurationError, match="Set FLASK_APP"):
        jobs.find_app()


def test_warm_up_leaves_nothing_to_compile_for_the_first_claim(
    app: Flask, worker: ClaimingWorker, receiver: Receiver
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 2)
    warm_up(state_of(app))
    assert states(app) == {"pending": 2}
    compiled = state_of(app).engine._compiled_cache
    assert compiled is not None
    known = set(compiled)
    worker.catch_up()
    claim = worker.claimer.claim(worker.connection, worker.now, Capacity(10))
    assert len(claim.claimed) == 2
    assert set(compiled) <= known


def test_error_of_a_job_shows_no_variables(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Error trackers send them with the traceback, and they hold secrets."""
    webhooks_of(app).create_endpoint("https://hooks.example.com/in")
    emit(app)

    def fail(stored: object, *_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(targets, "live_secrets", fail)
    with pytest.raises(RuntimeError, match="a bug of ours") as caught:
        jobs.drain(state_of(app).settings.installation)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    [ended] = [frame for frame in frames if frame.f_code is fail.__code__]
    assert ended.f_locals == {}
    assert not any("connection" in frame.f_locals for frame in frames)


@pytest.mark.slow
def test_drain_says_so_if_the_database_cannot_be_opened(redis_url: str, tmp_path: Path) -> None:
    """Its background thread has not started then."""
    path = tmp_path / "database.sqlite"
    app = make_app(f"sqlite:///{path}", redis_url)
    close(app)
    path.unlink()
    path.mkdir()
    with app.app_context():
        state = state_of(app)
        with pytest.raises(WebhooksError, match="The database failed"):
            Drain(state, other=BackgroundTasks(state)).run()
    close(app)
