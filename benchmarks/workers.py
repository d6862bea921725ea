"""Worker processes as an operator runs them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import redis
import rq

from demo.processes import Child

#: Seconds after which something that should happen soon will not happen any more.
LIMIT = 300.0


class BenchmarkError(Exception):
    """The benchmark cannot go on; says why."""


class Workers:
    """Some ``rq worker`` processes of one kind.

    :param redis_url: their Redis.
    :param queue: from which nobody else takes jobs.
    """

    def __init__(self, children: list[Child], redis_url: str, queue: str) -> None:
        self.children = children
        self._queue = queue
        self.redis = redis.Redis.from_url(redis_url)

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self.children]

    def wait_until_ready(self) -> None:
        """Wait until each of them takes jobs, or works on one already."""
        ready = {"idle", "busy"}
        wait_for(lambda: ready.issuperset(self._states()), LIMIT, "the workers to be ready")

    def wait_until_idle(self) -> None:
        """Wait until each of them waits for a job, and none is due."""
        queue = rq.Queue(self._queue, connection=self.redis)
        wait_for(
            lambda: len(queue) == 0 and set(self._states()) == {"idle"},
            LIMIT,
            "the workers to be idle",
        )

    def _states(self) -> list[str]:
        for child in self.children:
            child.check()
        queue = rq.Queue(self._queue, connection=self.redis)
        states = [str(worker.get_state()) for worker in rq.Worker.all(queue=queue)]
        missing = len(self.children) - len(states)
        return states + ["starting"] * missing

    def processor_seconds(self) -> float:
        """Seconds of processor that they and all processes below them have used so far.

        :raises BenchmarkError: there is no ``/proc``.
        """
        return sum(
            _used(pid) + sum(_used(child) for child in descendants(pid)) for pid in self.pids
        )


def descendants(pid: int) -> Iterator[int]:
    """The living processes below one."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:  # it has ended
            continue
        for child in children:
            yield child
            yield from descendants(child)


def _used(pid: int) -> float:
    """Seconds of processor of a process and of those below it that have ended (proc(5), ``/proc/pid/stat``)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError as error:
        if not Path("/proc/self/stat").exists():
            raise BenchmarkError(
                "The processor time of workers stands in /proc: this needs Linux."
            ) from error
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(
    arguments: list[str],
    redis_url: str,
    queue: str,
    *,
    count: int,
    logs: Path,
    environment: Mapping[str, str],
) -> Iterator[Workers]:
    """Run ``rq worker`` with these arguments, so many times; ready to work.

    They end with the block, whatever happens.
    """
    command = [sys.executable, "-m", "rq.cli", "worker", *arguments]
    with contextlib.ExitStack() as stack:
        children = []
        for number in range(count):
            name = f"worker-{time.monotonic_ns()}-{number}"
            child = Child(name, command, logs=logs, environment=environment)
            stack.callback(child.stop, threading.Event())
            children.append(child)
        workers = Workers(children, redis_url, queue)
        stack.callback(workers.redis.close)
        workers.wait_until_ready()
        yield workers


def wait_for(done: Callable[[], bool], seconds: float, what: str, step: float = 0.005) -> float:
    """Wait until something is so; returns when that was seen, monotonic.

    :raises BenchmarkError: it is not so in time.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"Waited {seconds:g} s in vain for {what}.")
        time.sleep(step)
    return time.monotonic()
