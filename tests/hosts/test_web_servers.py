"""The servers that hosts run: patched, forked, and without threads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from flask import Flask
from rq import Queue

from demo.services import HOST, RedisServer, free_port
from tests.support.delivering import close, drain, webhooks_of
from tests.support.middlebox import Middlebox
from tests.support.pages import make_app
from tests.support.processes import ROOT, config_of, wait_until
from tests.support.receiver import Receiver

PROGRAM = """
{first}
import time

from tests.support.hostapp import create_app

app = create_app()
api = app.extensions["test_webhooks"].api_blueprint(authenticate=lambda: True)
app.register_blueprint(api, url_prefix="/api")


@app.post("/emit")
def emit():
    webhooks = app.extensions["test_webhooks"]
    began = time.monotonic()
    webhooks.emit("license.created", {{"license_id": "1"}})
    webhooks.db.session.commit()
    return {{"seconds": time.monotonic() - began}}
"""

PATCHED_AT_THE_START = "from gevent import monkey; monkey.patch_all()"

GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "{address}", "--no-control-socket"]
UWSGI = ["uwsgi", "--http-socket", "{address}", "--callable", "app", "--wsgi-file", "{file}"]
UWSGI += ["--home", sys.prefix, "--die-on-term", "--need-app"]


class Server:
    """A server process with the host in it."""

    def __init__(self, address: str, log: Path) -> None:
        self.url = f"http://{address}"
        self._log = log

    def emit(self) -> float:
        """Let the host emit an event; returns the seconds that the host took for it."""
        answer = requests.post(f"{self.url}/emit", timeout=10)
        assert answer.status_code == 200, self.output()
        return float(answer.json()["seconds"])

    def answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=5).status_code == 404
        except requests.RequestException:  # it listens before it has loaded the application
            return False

    def output(self) -> str:
        return self._log.read_text(errors="replace")


@contextlib.contextmanager
def serve(
    command: list[str], config: dict[str, Any], directory: Path, first: str
) -> Iterator[Server]:
    """Run the host in a server of its own.

    :param first: what the host's module does before anything else.
    """
    address = f"{HOST}:{free_port()}"
    file = directory / "host_to_serve.py"
    file.write_text(PROGRAM.format(first=first))
    values = {"address": address, "file": str(file)}
    log = directory / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [part.format(**values) for part in command],
            cwd=directory,
            env={
                **os.environ,
                "TEST_CONFIG": json.dumps(config),
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]),
                "PYTHONWARNINGS": "ignore",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(address, log)
    try:
        wait_until(server.answers, 30, what=server.output)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.fixture
def host(tmp_path: Path, redis_url: str, receiver: Receiver) -> Iterator[Flask]:
    """The host with one endpoint, for which each event is a wake-up."""
    app = make_app(f"sqlite:///{tmp_path / 'db.sqlite'}", redis_url, WEBHOOKS_WAKE_TIMEOUT=1.0)
    with app.app_context():
        webhooks_of(app).create_endpoint(receiver.url())
    yield app
    close(app)


@pytest.fixture
def config(host: Flask) -> dict[str, Any]:
    """Its settings in another process."""
    return config_of(host)


def check_arrival(host: Flask, server: Server, receiver: Receiver, count: int) -> None:
    """What the server emitted is delivered, and its pages show it."""
    with host.app_context():
        assert drain(host) == count
    receiver.wait_for(count)
    answer = requests.get(f"{server.url}/webhooks/deliveries", timeout=10)
    assert answer.text.count("license.created") >= count
    assert answer.text.count("Succeeded") >= count


def check_first_wake_up(host: Flask, server: Server, receiver: Receiver, redis_url: str) -> None:
    """The first events wake a worker once, and arrive."""
    for _ in range(6):
        assert server.emit() < 5
    assert jobs(redis_url) == 1
    assert "Could not wake" not in server.output()
    check_arrival(host, server, receiver, 6)


def jobs(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as client:
        return Queue("webhooks", connection=client).count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "first"),
    [
        (["-k", "gevent", "--preload"], ""),
        (["-k", "gevent"], ""),
        (["-k", "gevent"], PATCHED_AT_THE_START),
        (["-k", "gthread", "--threads", "4", "--preload"], ""),
        # Everything patched before the application is loaded, as eventlet's users do.
        (["-k", "sync", "--preload"], PATCHED_AT_THE_START),
    ],
    ids=["gevent-preload", "gevent", "gevent-first", "threads-preload", "patched-preload"],
)
def test_first_wake_up_in_a_worker_of_gunicorn(
    options: list[str],
    first: str,
    host: Flask,
    config: dict[str, Any],
    redis_url: str,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    command = [*GUNICORN, "--workers", "2", *options, "host_to_serve:app"]
    with serve(command, config, tmp_path, first) as server:
        check_first_wake_up(host, server, receiver, redis_url)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--master", "--processes", "2", "--lazy-apps"],
        # The application is loaded before the fork.
        ["--master", "--processes", "2"],
    ],
    ids=["lazy", "forked"],
)
def test_first_wake_up_in_a_worker_of_uwsgi(
    options: list[str],
    host: Flask,
    config: dict[str, Any],
    redis_url: str,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    with serve([*UWSGI, *options], config, tmp_path, "") as server:
        check_first_wake_up(host, server, receiver, redis_url)


#: Emits at each line that it reads. While it waits for the next one it holds Python's lock, and so keeps other
#: threads from running, as uWSGI does where it is built and run without threads.
WITHOUT_THREADS = """
import ctypes, select, sys

from tests.support.hostapp import create_app

app = create_app()
libc = ctypes.PyDLL(None)


class Waiting(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


webhooks = app.extensions["test_webhooks"]
while True:
    libc.poll(ctypes.byref(Waiting(0, select.POLLIN, 0)), 1, -1)
    if not sys.stdin.buffer.raw.readline():
        break
    with app.app_context():
        webhooks.emit("license.created", {"license_id": "1"})
        webhooks.db.session.commit()
    print("emitted", flush=True)
"""


@pytest.mark.slow
def test_wake_up_after_an_outage_where_threads_run_in_requests_only(
    config: dict[str, Any], redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> None:
    config = {**config, "WEBHOOKS_WAKE_PAUSE": 0.5, "WEBHOOKS_WAKE_TIMEOUT": 2.0}
    log = tmp_path / "log"
    # Answers must take longer than the pauses of the host's own in which other threads run.
    with Middlebox(redis_server.port, delay=0.05) as box, log.open("ab") as output:
        config["WEBHOOKS_REDIS_URL"] = f"redis://{HOST}:{box.port}/0"
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WITHOUT_THREADS],
            cwd=ROOT,
            env={**os.environ, "TEST_CONFIG": json.dumps(config)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )

        def emit() -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "emitted\n", log.read_text()

        with process:
            emit()
            assert jobs(redis_url) == 1
            redis_server.stop()
            emit()
            assert "Could not wake" in log.read_text()
            redis_server.start()
            # Long after a thread would have tried again.
            time.sleep(7)
            assert jobs(redis_url) == 0
            emit()
            assert jobs(redis_url) == 1
            process.communicate(timeout=10)


@pytest.mark.slow
def test_wake_up_is_made_up_for_after_an_outage_in_uwsgi(
    config: dict[str, Any], redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> None:
    """uWSGI of today lets threads run between requests by itself, so that no other event is needed."""
    config = {**config, "WEBHOOKS_WAKE_PAUSE": 0.5}
    with serve([*UWSGI, "--master", "--processes", "1"], config, tmp_path, "") as server:
        server.emit()
        assert jobs(redis_url) == 1
        redis_server.stop()
        server.emit()
        wait_until(lambda: "Could not wake" in server.output(), what=server.output)
        redis_server.start()
        wait_until(lambda: jobs(redis_url) == 1, what=server.output)
