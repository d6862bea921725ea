"""A drain's calls to Redis: sequential, in one thread, for which the drain never waits long, because the database
has all due work.

A server that hangs costs one short wait, and is then not called for some seconds.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import redis
from redis.exceptions import RedisError

from ..log import get_logger, without_stop
from .redis_trouble import RedisTrouble, TroubleKind, explain_error
from .worker_queue import PATIENCE, WorkerQueue

logger = get_logger("flask_webhooks.delivery")

T = TypeVar("T")

Call = Callable[[redis.Redis], T]
#: The call, its result, its deadline by `time.monotonic`, and its name if it was submitted.
_Request = tuple[Call[Any], "Future[Any]", float, str | None]


class RedisThread:
    """The thread and its client.

    A caller waits at most `PATIENCE`, or its own timeout, for everything including DNS; sockets cannot limit this,
    so the thread is abandoned if it hangs.
    """

    def __init__(self, worker_queue: WorkerQueue) -> None:
        self._worker_queue = worker_queue
        self._pause = worker_queue.settings.wake_pause
        self._periodic: Callable[[], None] | None = None
        self._interval = 0.0
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._submitted: set[str | None] = set()
        self._failing = False
        self._skip_until = float("-inf")
        self._client: redis.Redis | None = None
        self._thread = threading.Thread(
            target=self._serve, name="flask-webhooks-redis", daemon=True
        )

    def start(self, periodic: Callable[[], None] | None = None, interval: float = 1.0) -> None:
        """Start the thread.

        :param periodic: called in the thread every `interval` seconds, whether Redis responds or not.
        """
        self._periodic, self._interval = periodic, interval
        self._thread.start()

    @property
    def away(self) -> bool:
        """Whether Redis did not respond to the last call."""
        return self._failing

    def call(self, call: Call[T], patience: float = PATIENCE) -> T | None:
        """Make a call; return its result, or ``None`` at once or after a second if Redis does not respond.

        :param patience: timeout in seconds, for calls with several round trips.
        """
        if threading.current_thread() is self._thread:
            return self._make(call)
        if time.monotonic() < self._skip_until or not self._thread.is_alive():
            return None
        future: Future[T | None] = Future()
        self._requests.put((call, future, time.monotonic() + patience, None))
        try:
            return future.result(patience)
        except TimeoutError:
            self._failed(RedisTrouble(TroubleKind.SILENT, f"no response within {patience:g} s"))
            return None

    def submit(self, name: str, call: Call[Any]) -> None:
        """Queue a call, unless one of this name is already waiting."""
        if name in self._submitted or time.monotonic() < self._skip_until:
            return
        self._submitted.add(name)
        self._requests.put((call, Future(), float("inf"), name))

    def close(self) -> None:
        """End the thread after its remaining calls."""
        self._requests.put(None)

    def _serve(self) -> None:
        with contextlib.closing(self._worker_queue.connect()) as self._client:
            due = time.monotonic() if self._periodic is not None else float("inf")
            while True:
                wait = max(due - time.monotonic(), 0.0) if due < float("inf") else None
                try:
                    request = self._requests.get(timeout=wait)
                except queue.Empty:
                    assert self._periodic is not None
                    self._periodic()
                    due = time.monotonic() + self._interval
                    continue
                if request is None:
                    return
                call, future, deadline, name = request
                # Before the call, so that later submissions are separate calls.
                self._submitted.discard(name)
                # The caller may have continued without the result.
                if time.monotonic() <= deadline:
                    future.set_result(self._make(call))

    def _make(self, call: Call[T]) -> T | None:
        if self._client is None or time.monotonic() < self._skip_until:
            return None
        try:
            answer = call(self._client)
        except (RedisError, OSError) as error:
            self._failed(explain_error(error))
            return None
        except Exception:
            logger.exception("A call to Redis failed")
            return None
        # A late response changes nothing: Redis counts as unavailable for the pause.
        if self._failing and time.monotonic() >= self._skip_until:
            self._failing = False
            logger.info("Redis responds again")
        return answer

    def _failed(self, trouble: RedisTrouble) -> None:
        """Stop calling Redis for a while."""
        self._skip_until = time.monotonic() + self._pause
        if not self._failing:
            self._failing = True
            logger.warning("%s. Polling for work instead", without_stop(str(trouble)))
