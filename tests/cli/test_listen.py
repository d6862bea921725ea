"""``flask webhooks listen``: a real worker delivers to it, and a real receiver stands behind it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import queries
from flask_webhooks.cli.listener import LocalListener, parse_target
from flask_webhooks.formats.examples import EXAMPLE_SECRET
from flask_webhooks.receiver import verify
from flask_webhooks.security.signing import sign_standard, standard_key
from tests.cli.test_cli import environment, refused, run
from tests.support.delivering import attempts, emit, make_app, states
from tests.support.helpers import accessing, close
from tests.support.processes import COMMAND, ROOT, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

STEERING = "\x1b[2J"


class Listening:
    """The command in a process of its own."""

    def __init__(self, app: Flask, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "flask", "webhooks", "listen", *arguments],
            env=environment(config_of(app)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read(self, beginning: str) -> str:
        """Read up to the next line that holds a text; returns it."""
        assert self.process.stdout is not None
        before = []
        for line in self.process.stdout:
            before.append(line)
            if beginning in line:
                return line.rstrip("\n")
        pytest.fail(f"no {beginning!r} in {before}")

    def end(self, how: int = signal.SIGINT) -> tuple[int, str]:
        """End it; returns its status and what it says last."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            output, _ = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, output


@pytest.fixture
def host(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'a.sqlite'}", redis_url, SQLITE_IMMEDIATE=True)
    with app.app_context():
        yield app
    close(app)


def endpoints(app: Flask) -> list[str]:
    return [row.endpoint.url_shown for row in queries.list_endpoints(accessing(app))]


@pytest.mark.slow
def test_what_a_worker_sends_is_verified_printed_and_forwarded(
    host: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    listening = Listening(host, "--forward-to", receiver.url("/ok/shop"), "--event", "license.*")
    url = listening.read("Listening on").split()[2]
    secret = listening.read("Its secret").split()[-1]
    assert endpoints(host) == [url]
    with WorkerProcess(COMMAND, config_of(host), tmp_path / "worker.log") as worker:
        emit(host, data={"license_id": f"lic{STEERING}"})
        line = listening.read("verified")
        assert re.search(r"license\.created  evt_\w+  forwarded: 200 in \d+ ms$", line)
        shown = listening.read("license_id")
        assert "\x1b" not in shown
        wait_until(lambda: states(host) == {"succeeded": 1}, what=worker.output)
        worker.terminate()
        worker.wait(20)
    [request] = receiver.requests
    assert request.path == "/ok/shop"
    # The same bytes and headers: the receiver verifies by itself.
    assert verify(request.headers, request.body, secret)["type"] == "license.created"
    assert request.headers["host"] != url.split("/")[2]
    status, said = listening.end()
    assert status == 0
    assert "Removed ep_" in said
    assert endpoints(host) == []


@pytest.mark.slow
def test_answer_of_the_receiver_behind_goes_back_to_the_worker(
    host: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    listening = Listening(
        host, "--forward-to", receiver.url("/status/503"), "--secret", EXAMPLE_SECRET, "--quiet"
    )
    assert EXAMPLE_SECRET in listening.read("Its secret")
    with WorkerProcess(COMMAND, config_of(host), tmp_path / "worker.log") as worker:
        emit(host)
        assert "forwarded: 503" in listening.read("verified")
        wait_until(lambda: attempts(host), what=worker.output)
        worker.terminate()
        worker.wait(20)
    assert attempts(host)[0].status == 503
    # As a service manager ends it.
    assert listening.end(signal.SIGTERM)[0] == 0
    assert endpoints(host) == []


# -- one request --------------------------------------------------------------------------------------


def signed(body: bytes, secret: str = EXAMPLE_SECRET) -> dict[str, str]:
    import time

    now = int(time.time())
    signature = sign_standard("evt_1", now, body, [standard_key(secret)])
    return {"webhook-id": "evt_1", "webhook-timestamp": str(now), "webhook-signature": signature}


@pytest.fixture
def listen() -> Iterator[Any]:
    started: list[LocalListener] = []

    def start(forward_to: str | None = None, most: int = 1000) -> LocalListener:
        target = None if forward_to is None else parse_target(forward_to)
        listener = LocalListener(
            "127.0.0.1", 0, format="standard", target=target, most=most, quiet=False
        )
        listener.secret = EXAMPLE_SECRET
        started.append(listener.__enter__())
        return listener

    yield start
    for listener in started:
        listener.__exit__(None, None, None)


def post(listener: LocalListener, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(listener.url.split("/")[2], timeout=10)
    try:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_forged_request_is_refused_and_not_forwarded(
    listen: Any, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = listen(receiver.url("/ok"))
    body = f'{{"type":"{STEERING}"}}'.encode()
    status, said = post(listener, body, signed(body, "whsec_" + "A" * 32))
    assert status == 401
    assert b"No signature matches" in said
    assert post(listener, body, {})[0] == 401
    assert receiver.requests == []
    output = capsys.readouterr().out
    assert "refused: No signature matches" in output
    assert "\x1b" not in output


def test_receiver_that_is_not_there_is_told(
    listen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from demo.services import free_port

    listener = listen(f"http://127.0.0.1:{free_port()}/")
    body = b'{"type":"test"}'
    assert post(listener, body, signed(body))[0] == 502
    assert "not forwarded: " in capsys.readouterr().out


def test_body_is_bounded(listen: Any) -> None:
    listener = listen(most=10)
    body = json.dumps({"type": "test"}).encode()
    assert post(listener, body, signed(body))[0] == 413


# -- options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--forward-to", "localhost:3000"], 2, "not a URL to forward to"),
        (["--no-endpoint"], 2, "needs --secret"),
        (["--no-endpoint", "--secret", "x", "--tenant", "app_1"], 2, "--event and --tenant"),
        (["--secret", "hush"], 1, "whsec_"),
        (["--event", "license.creatd"], 1, "Did you mean license.created"),
    ],
)
def test_bad_options_end_with_one_line(
    host: Flask, arguments: list[str], status: int, words: str
) -> None:
    result = run(host, "listen", *arguments)
    assert result.exit_code == status
    [line] = result.stderr.splitlines()
    assert words in line
    assert endpoints(host) == []


def test_port_that_is_taken_is_told(host: Flask, receiver: Receiver) -> None:
    port = receiver.url().split(":")[2].split("/")[0]
    assert "Choose another --port" in refused(run(host, "listen", "--port", port))


def test_host_that_does_not_allow_it_is_told_what_to_set(tmp_path: Path, redis_url: str) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'b.sqlite'}", redis_url, WEBHOOKS_ALLOWED_NETWORKS=[])
    with app.app_context():
        result = run(app, "listen")
        assert result.exit_code == 1
        assert "WEBHOOKS_ALLOWED_NETWORKS" in result.stderr
    close(app)
