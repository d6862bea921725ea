"""The host's way to Redis: one short wait at most, and then none until Redis is back."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import weakref
from collections.abc import Callable

from .logs import without_stop

logger = logging.getLogger("flask_webhooks.alarm")

#: Seconds after which an idle thread looks whether its application is still there.
_IDLE = 15.0


class _Request:
    """One caller, waiting for a call that begins after it asked."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.succeeded = False


class HostSide:
    """Runs a call in a thread of its own, because nothing else bounds DNS, connect and answer together.

    Callers that ask while a call is under way share the next one. After a failure nobody waits any more:
    the thread goes on trying by itself, some seconds apart, until a call succeeds.

    :param timeout: the longest that a caller waits, in seconds.
    :param pause: seconds between two attempts after a failure.
    """

    def __init__(self, call: Callable[[], None], timeout: float, pause: float) -> None:
        self._call = call
        self._timeout = timeout
        self.pause = pause
        self.restart()
        _host_sides.add(self)

    def restart(self) -> None:
        """Begin anew in a forked process, which has a copy of the lock, maybe held, but not the thread."""
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        #: Somebody who did not wait asked after the call under way had begun.
        self._missed = False
        self.failing = False

    def call(self) -> bool:
        """Have the call made, and wait for it unless the last one failed; returns whether it succeeded."""
        request = _Request()
        with self._lock:
            if self._thread is None:
                self._start()
            if self.failing:
                self._missed = True
                return False
            self._requests.put(request)
        if not request.done.wait(self._timeout):
            with self._lock:
                if not request.done.is_set():
                    self._fail(f"no answer within {self._timeout:g} s")
        return request.succeeded

    def attempt(self, requests: list[_Request]) -> None:
        """Make the call, for these callers. Only for the thread."""
        failure: str | None = None
        with self._lock:
            self._missed = False
        try:
            self._call()
        except Exception as error:
            failure = str(error) or type(error).__name__
        with self._lock:
            if failure is not None:
                self._fail(failure)
            elif self.failing:
                self.failing = False
                logger.info("Redis answers again; webhook workers are woken as usual")
            if self._missed and not self.failing:
                self._requests.put(_Request())
            for request in requests:
                request.succeeded = failure is None
                request.done.set()

    def _start(self) -> None:
        thread = threading.Thread(
            target=_serve,
            args=(weakref.ref(self), self._requests),
            name="flask-webhooks-alarm",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:
            # Too many threads, or the interpreter is about to end.
            self._fail(str(error))
        else:
            self._thread = thread

    def _fail(self, why: str) -> None:
        if not self.failing:
            self.failing = True
            logger.warning(
                "Could not wake the webhook workers: %s. Nothing is lost: they are woken when Redis is "
                "back, and the next sweep delivers.",
                without_stop(why),
            )


def _serve(owner: weakref.ref[HostSide], requests: queue.SimpleQueue[_Request]) -> None:
    """The thread. It keeps its owner alive only while it works: test suites make many applications."""
    pause = 0.0
    while True:
        asked = _take(requests, pause)
        side = owner()
        if side is None:
            return
        if asked or side.failing:
            side.attempt(asked)
        pause = side.pause if side.failing else _IDLE
        del side


def _take(requests: queue.SimpleQueue[_Request], timeout: float) -> list[_Request]:
    """Everything that was asked for, once there is something or the time is over."""
    taken = []
    with contextlib.suppress(queue.Empty):
        taken.append(requests.get(timeout=timeout))
        while True:
            taken.append(requests.get_nowait())
    return taken


_host_sides: weakref.WeakSet[HostSide] = weakref.WeakSet()


def _restart_after_fork() -> None:
    for side in _host_sides:
        side.restart()


os.register_at_fork(after_in_child=_restart_after_fork)
