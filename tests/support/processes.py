"""Real worker processes for tests, and waiting for what they do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from flask import Flask

ROOT = Path(__file__).resolve().parents[2]

#: What FLASK_APP is.
APP = "tests.support.hostapp:create_app"

#: Command lines by which an operator may run workers, after ``python -m``.
OURS = ["rq.cli", "worker", "-w", "flask_webhooks.Worker"]
COMMAND = ["flask", "webhooks", "worker"]
PLAIN = ["rq.cli", "worker", "webhooks"]
PLAIN_SCHEDULER = ["rq.cli", "worker", "--with-scheduler", "webhooks"]
SIMPLE = ["rq.cli", "worker", "-w", "rq.SimpleWorker", "webhooks"]
POOL = ["rq.cli", "worker-pool", "-n", "2", "webhooks"]


class WorkerProcess:
    """A worker as a child process with a process group of its own; use it as a context manager.

    :param config: the settings of the application, as given to `tests.support.hostapp.create_app`.
    :param log: file that its output goes to.
    :param folder: where it runs; one that is given has FLASK_APP and the settings in its ``.flaskenv`` and ``.env``.
    :param variables: of its environment, over those that it would have.
    """

    def __init__(
        self,
        command: list[str],
        config: dict[str, Any],
        log: Path,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._folder = folder or ROOT
        plain = command[0] == "rq.cli" and "flask_webhooks.Worker" not in command
        redis = ["--url", config["WEBHOOKS_REDIS_URL"]] if plain else []
        self._command = [sys.executable, "-m", *command[:2], *redis, *command[2:]]
        self._environment = {
            **{name: value for name, value in os.environ.items() if "REDIS" not in name},
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PYTHONWARNINGS": "default",
        }
        if folder is None:
            self._environment["FLASK_APP"] = APP
            self._environment["TEST_CONFIG"] = json.dumps(config)
        self._environment |= variables or {}

    def __enter__(self) -> WorkerProcess:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        # RQ's scheduler outlives a worker that was killed, and shows in the next test.
        for pid in _session(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def terminate(self) -> None:
        """Ask the worker alone to stop, as ``kill`` does."""
        self.process.send_signal(signal.SIGTERM)

    def terminate_all(self) -> None:
        """Ask every process to stop, as a service manager does."""
        for pid in [self.process.pid, *children(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the worker and its work-horses at once, with no chance to tidy up."""
        # A stopped worker starts no other work-horse while its own is ended.
        self.process.send_signal(signal.SIGSTOP)
        # RQ puts each work-horse into a process group of its own.
        for pid in [*children(self.process.pid), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(10)

    def wait(self, seconds: float) -> float:
        """Wait until it has ended; returns the seconds that took."""
        began = time.monotonic()
        self.process.wait(seconds)
        return time.monotonic() - began


def _session(leader: int) -> list[int]:
    """Processes of the session that a process has begun, whatever became of it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            session = int(path.read_text().rpartition(")")[2].split()[3])
        except (FileNotFoundError, ProcessLookupError):  # it ended since it was listed
            continue
        if session == leader:
            found.append(int(path.parent.name))
    return found


def children(pid: int) -> list[int]:
    """All descendants of a process that are alive, the youngest first."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            listed = path.read_text().split()
        except (FileNotFoundError, ProcessLookupError):  # it ended since it was listed
            continue
        for child in map(int, listed):
            found += [*children(child), child]
    return found


def wait_until(
    condition: Callable[[], Any],
    seconds: float = 60.0,
    what: Callable[[], str] | str | None = None,
) -> None:
    """Wait for something to become true.

    :param what: what that is, or says how things stand where it does not, such as the output of a worker.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            stands = what() if callable(what) else what
            pytest.fail(f"not within {seconds:g} s: {stands or condition}")
        time.sleep(0.02)


def config_of(app: Flask) -> dict[str, Any]:
    """The settings that make the same application in another process."""
    names = ("SECRET_KEY", "SQLALCHEMY_DATABASE_URI", "SQLITE_IMMEDIATE", "DATA_VERSIONS")
    return {
        name: value
        for name, value in app.config.items()
        if name in names or name.startswith("WEBHOOKS_")
    }
