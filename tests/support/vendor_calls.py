"""A host with the APIs of the services, in a server process of its own, and the curl commands of pages."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from flask import Flask, g, request

from demo.services import HOST, free_port
from flask_webhooks import ALL_TENANTS
from tests.support import hostapp
from tests.support.delivering import webhooks_of
from tests.support.processes import ROOT, wait_until

#: The key of the application's program, and of one that sees all.
TOKEN = "key-of-app-1"
STAFF = "key-of-staff"
_TENANTS = {TOKEN: "app_1", STAFF: None}
SERVICES = ("authon", "authforge")
#: By service: where the webhooks of an application are, and an event type in its words and in ours.
PATHS = {"authon": "/v1/admin/apps/{}/webhooks", "authforge": "/v1/apps/{}/webhooks"}
EVENTS = {
    "authon": ("license.activate", "license.activated"),
    "authforge": ("license.activated", "license.reinstated"),
}


def create_app() -> Flask:
    """The host of `tests.support.hostapp`, as a server process loads it."""
    return with_services(hostapp.create_app())


def with_services(app: Flask) -> Flask:
    """Mount the APIs for programs that have a key, below ``/v1`` as the services do."""
    webhooks = webhooks_of(app)

    def program() -> bool:
        key = request.authorization.token if request.authorization else None
        g.key = key
        return key in _TENANTS

    webhooks.current_tenant(lambda: _TENANTS[g.key] or ALL_TENANTS)
    for name in SERVICES:
        app.register_blueprint(webhooks.vendor_api_blueprint(name, program), url_prefix="/v1")
    return app


@contextlib.contextmanager
def serve(config: dict[str, Any], log: Path) -> Iterator[str]:
    """Run the host in a server process; its URL."""
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "run", "--host", HOST, "--port", str(port)],
            cwd=ROOT,
            env={
                **os.environ,
                "FLASK_APP": "tests.support.vendor_calls:create_app",
                "TEST_CONFIG": json.dumps(config),
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://{HOST}:{port}"
    try:
        wait_until(lambda: _answers(url), 30, what=lambda: log.read_text(errors="replace"))
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 404
    except requests.RequestException:
        return False


def curl_commands(text: str) -> list[list[str]]:
    """The words of each curl command in a text, in its order."""
    found = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("curl "):
            while (words := _words(line)) is None:
                line += "\n" + next(lines)
            found.append(words)
    return found


def _words(command: str) -> list[str] | None:
    """The words of a command; ``None`` where it goes on in the next line."""
    try:
        return None if command.endswith("\\") else shlex.split(command.replace("\\\n", " "))
    except ValueError:  # within quotation marks
        return None


def curl(words: list[str], **replaced: str) -> tuple[int, Any]:
    """Run a curl command; returns the status and the JSON of the answer.

    :param replaced: what stands for what in its words.
    """
    for before, after in replaced.items():
        words = [word.replace(before, after) for word in words]
    if shutil.which("curl") is None:
        return _request(words[1:])
    done = subprocess.run(
        [*words, "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None


def _request(words: list[str]) -> tuple[int, Any]:
    """The same request where there is no curl."""
    options: dict[str, list[str]] = {"-X": [], "-H": [], "-d": [], "": []}
    rest = iter(words)
    for word in rest:
        name = word if word in options else ""
        options[name].append(next(rest) if name else word)
    [method], [url] = options["-X"] or ["GET"], options[""]
    headers = dict(line.split(": ", 1) for line in options["-H"])
    body = options["-d"][0] if options["-d"] else None
    answer = requests.request(method, url, headers=headers, data=body, timeout=30)
    return answer.status_code, answer.json() if answer.content else None
