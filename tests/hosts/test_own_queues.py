"""Hosts with RQ queues of their own: their jobs and our deliveries, by one worker and by one each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from flask import Flask
from rq import Queue

from tests.support.delivering import close, emit, states, webhooks_of
from tests.support.pages import Browser, make_app
from tests.support.processes import COMMAND, PLAIN, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

FLASK_RQ = {"FLASK_APP": "tests.hosts.flask_rq_host:create_app"}

Command = tuple[list[str], dict[str, str]]

#: The workers of a host, each a command and what its environment has.
WORKERS: dict[str, list[Command]] = {
    "one-of-ours": [
        (["rq.cli", "worker", "-w", "flask_webhooks.Worker", "default", "webhooks"], {})
    ],
    "one-of-rq": [([*PLAIN, "default"], {})],
    "one-each": [(["rq.cli", "worker", "default"], {}), (COMMAND, {})],
    "flask-rq": [(["flask", "rq", "worker"], FLASK_RQ)],
    "flask-rq-and-ours": [(["flask", "rq", "worker", "default"], FLASK_RQ), (COMMAND, FLASK_RQ)],
}
#: Their parts are in the others.
SLOW = {"one-of-rq", "flask-rq-and-ours"}


@pytest.fixture
def host(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'db'}", redis_url)
    with app.app_context():
        yield app
    close(app)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in WORKERS],
)
def test_jobs_and_deliveries(
    name: str, host: Flask, redis_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    webhooks_of(host).create_endpoint(receiver.url("/ok/shop"))
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                WorkerProcess(command, config_of(host), tmp_path / f"{number}.log", variables=more)
            )
            for number, (command, more) in enumerate(WORKERS[name])
        ]

        def said() -> str:
            return "\n".join(worker.output() for worker in workers)

        wait_until(lambda: said().count("Listening on") == len(workers), what=said)
        with redis.Redis.from_url(redis_url) as client:
            Queue("default", connection=client).enqueue("os.mkdir", str(tmp_path / "made"))
        emit(host)
        wait_until(lambda: states(host) == {"succeeded": 1}, what=said)
        wait_until((tmp_path / "made").exists, what=said)
        assert "Traceback" not in said()
    assert len(receiver.requests) == 1
    assert "Succeeded" in Browser(host).get("/deliveries").text
