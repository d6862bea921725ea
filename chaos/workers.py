"""The workers of a run: processes as an operator runs them, restarted when they end, as a service manager does."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.workers import descendants
from demo.processes import ROOT

#: Where Debian and its like have it; it makes the clock of a process wrong.
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
#: Seconds that a worker may take to stop: it promises 8, and the machine is busy.
STOPS_WITHIN = 30.0


class WorkerSlot:
    """A worker that is there again whenever it has ended.

    :param package: the folder that `flask_webhooks` is imported from.
    :param clock: the file that says by how much its clock is wrong, where that can be.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        environment: Mapping[str, str],
        *,
        package: Path = ROOT,
        clock: Path | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.clock = clock
        self._output = folder / f"{name}.out"
        self._environment = {
            **environment,
            "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)]),
            "CHAOS_LOG": str(self.log),
        }
        if clock is not None:
            clock.write_text("+0\n")
            self._environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        #: It is ended by a fault, or at the end of the run.
        self._expected_to_end = False
        #: How often it has ended by itself.
        self.ended_by_itself = 0

    def start(self) -> None:
        """Start it, unless it runs."""
        with self._lock, self._output.open("ab") as output:
            if self.runs:
                return
            self._expected_to_end = False
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rq.cli", "worker", "-w", "flask_webhooks.Worker"],
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def keep_running(self) -> None:
        """Start it again if it has ended, unless a fault has it in hand."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if not self.runs and self._process is not None:
                if not self._expected_to_end:
                    self.ended_by_itself += 1
                self.start()
        finally:
            self._lock.release()

    def work_horses(self) -> list[int]:
        """Process ids of all that it has forked, the scheduler too."""
        process = self._process
        return list(descendants(process.pid)) if process is not None and self.runs else []

    def kill(self) -> None:
        """End worker and work-horse at once."""
        with self._lock:
            if self._process is None:
                return
            self._expected_to_end = True
            with contextlib.suppress(ProcessLookupError):
                # A stopped worker starts no other work-horse while its own is ended.
                self._process.send_signal(signal.SIGSTOP)
            for pid in [*self.work_horses(), self._process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def kill_work_horse(self) -> bool:
        """End what it has forked at once; returns whether there was anything."""
        forked = self.work_horses()
        for pid in forked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(forked)

    def terminate(self) -> float:
        """Ask it to stop, and wait; returns the seconds that took. One that does not is killed."""
        with self._lock:
            if self._process is None:
                return 0.0
            self._expected_to_end = True
            began = time.monotonic()
            if self.runs:
                self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOPS_WITHIN)
            except subprocess.TimeoutExpired:
                self.kill()
            return time.monotonic() - began

    @contextlib.contextmanager
    def without_descriptors(self) -> Iterator[None]:
        """Let its work-horses open no file or socket more than they have open."""
        limits = {}
        for pid in self.work_horses():
            with contextlib.suppress(OSError):
                limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                used = len(os.listdir(f"/proc/{pid}/fd"))
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[pid][1]))
        try:
            yield
        finally:
            for pid, limit in limits.items():
                with contextlib.suppress(OSError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
