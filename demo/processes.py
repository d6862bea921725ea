"""Child processes of the demo: started with a log file each, and ended without leaving any behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: The directory that `example_app` is imported from.
ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a child gets to end by itself, after each of two requests.
GRACE = (12.0, 4.0)
_TAIL = 20


class DemoError(Exception):
    """The demo cannot go on; says why."""


class Stopped(Exception):
    """Somebody wants the demo to end before its time."""


class ChildDied(Exception):
    """A process of the demo ended unexpectedly."""


class Child:
    """A process in a session of its own, so that Ctrl-C in the terminal reaches only the demo itself."""

    def __init__(
        self, name: str, command: Sequence[str], *, logs: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """:raises ChildDied: with the end of its log, if it is gone."""
        status = self._process.poll()
        if status is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-_TAIL:]
            tail = "\n".join(f"  {line}" for line in lines)
            raise ChildDied(
                f"{self.name} ended with status {status}. The end of {self.log}:\n{tail}"
            )

    def stop(self, hurry: threading.Event) -> None:
        """Ask it to end, twice if need be (RQ drops its job at the second time), then kill it.

        :param hurry: once set, there is no more waiting.
        """
        for grace in GRACE:
            if self._process.poll() is not None or hurry.is_set():
                break
            self._process.terminate()
            wait_until(lambda: self._process.poll() is not None, grace, hurry)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pid in _session(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _session(leader: int) -> list[int]:
    """What a process has left behind: others of its session, where ``/proc`` lists them.

    RQ gives each job a process group of its own, and does not take it along when it is killed.
    """
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything; state, parent, group and session follow.
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                found.append(int(status.parent.name))
    return found


def wait_until(done: Callable[[], bool], seconds: float, stop: threading.Event) -> bool:
    """Wait until something is done, but no longer than that and not after `stop` was set."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline or stop.wait(0.05):
            return False
    return True
