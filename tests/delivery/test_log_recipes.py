"""The recipes of docs/how-to/logs.md, each in a real worker."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.delivering import emit, states, webhooks_of
from tests.support.processes import COMMAND, ROOT, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

PAGE = ROOT / "docs" / "how-to" / "logs.md"
CANARY = "CANARY-KEY-1234"

HOST = """
from flask_webhooks.signals import attempt_recorded
from tests.support.hostapp import create_app as create_host

{recipe}


def create_app():
    {call}
    app = create_host()

    @attempt_recorded.connect_via(app, weak=False)
    def receive(sender, **values):
        license_key = "-".join(["CANARY", "KEY", "1234"])
        raise RuntimeError("a bug of the host")

    return app
"""


def recipe(function: str) -> str:
    """The examples of the page that lead to the definition of a function, and define things only."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    definitions = [block for block in blocks if re.search(r"^(def|class) ", block, re.MULTILINE)]
    end = next(n for n, block in enumerate(definitions) if f"def {function}(" in block)
    return "\n".join(definitions[: end + 1])


@contextmanager
def worker_with(app: Flask, folder: Path, function: str, call: str) -> Iterator[WorkerProcess]:
    """A worker of a host that has set up its log by a function of the page."""
    host = HOST.format(recipe=recipe(function), call=call)
    (folder / "loghost.py").write_text(host)
    (folder / ".flaskenv").write_text("FLASK_APP=loghost:create_app\n")
    config = config_of(app)
    (folder / ".env").write_text(f"TEST_CONFIG='{json.dumps(config)}'\n")
    with WorkerProcess(COMMAND, config, folder / "worker.log", folder=folder) as worker:
        yield worker


def fail_once(app: Flask, receiver: Receiver) -> str:
    """Emit an event that is given up at once; returns the endpoint's id."""
    created = webhooks_of(app).create_endpoint(receiver.url("/status/410"), tenant="app_1")
    emit(app, tenant="app_1", data={"license_id": "lic_1", "license_key": CANARY})
    return str(created.endpoint.id)


@pytest.mark.slow
def test_lines_are_json(app: Flask, receiver: Receiver, tmp_path: Path) -> None:
    id = fail_once(app, receiver)
    with worker_with(app, tmp_path, "log_as_json", "log_as_json()") as worker:
        wait_until(lambda: "is disabled" in worker.output(), what=worker.output)
        worker.terminate()
        worker.wait(20)
        output = worker.output()
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    [disabled] = [line for line in lines if "is disabled" in line["message"]]
    assert disabled["endpoint_id"] == id
    assert disabled["tenant"] == "app_1"
    assert (disabled["status"], disabled["outcome"], disabled["level"]) == (410, "refused", "INFO")
    assert any("Drained: 1 attempts" in line["message"] for line in lines)
    [fault] = [line for line in lines if line["level"] == "ERROR"]
    assert "a bug of the host" in fault["exception"]
    assert CANARY not in output


@pytest.mark.slow
def test_lines_tell_the_journal_their_level(app: Flask, receiver: Receiver, tmp_path: Path) -> None:
    fail_once(app, receiver)
    with worker_with(app, tmp_path, "log_to_journal", "log_to_journal()") as worker:
        wait_until(lambda: "<3>flask_webhooks.delivery: A receiver" in worker.output())
        wait_until(lambda: states(app) == {"failed": 1}, what=worker.output)
        worker.terminate()
        worker.wait(20)
        output = worker.output()
    assert re.search(
        r"^<6>flask_webhooks\.delivery: Endpoint \w+ is disabled", output, re.MULTILINE
    )
    assert "<6>rq.worker: " in output
    assert "\n<3>RuntimeError: a bug of the host\n" in output


# -- Sentry ------------------------------------------------------------------------------------------------


@dataclass
class Sink:
    """Takes what sentry-sdk sends."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        """The events of all envelopes that came."""
        found = []
        for body in self.bodies:
            lines = body.split(b"\n")
            for head, payload in zip(lines[1::2], lines[2::2], strict=False):
                if head and json.loads(head).get("type") == "event":
                    found.append(json.loads(payload))
        return found


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            gzipped = self.headers.get("Content-Encoding") == "gzip"
            sink.bodies.append(gzip.decompress(body) if gzipped else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    sink.url = f"http://public@127.0.0.1:{server.server_port}/1"
    yield sink
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_sentry_gets_the_errors_of_drains_without_their_data(
    app: Flask, receiver: Receiver, tmp_path: Path, sink: Sink
) -> None:
    fail_once(app, receiver)
    with worker_with(app, tmp_path, "init_sentry", f"init_sentry({sink.url!r})") as worker:
        wait_until(lambda: states(app) == {"failed": 1}, what=worker.output)
        # The drain, and with it the fork, ends now.
        worker.terminate()
        worker.wait(20)
        assert worker.process.returncode == 0, worker.output()
    [event] = sink.events()
    assert event["level"] == "error"
    assert event["logger"] == "flask_webhooks.delivery"
    assert event["logentry"]["formatted"].startswith("A receiver of attempt-recorded")
    assert event["exception"]["values"][-1]["value"] == "a bug of the host"
    assert CANARY.encode() not in b"".join(sink.bodies)
