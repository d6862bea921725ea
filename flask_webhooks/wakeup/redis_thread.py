"""A drain's calls to Redis: in one thread, one after the other, and the drain never waits long for any of them.

Redis is never worth waiting for: the database tells what is due. A server that hangs costs one short wait,
and is then left alone for some seconds.
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
#: The call, its answer, its deadline by `time.monotonic`, and its name if it was submitted.
_Request = tuple[Call[Any], "Future[Any]", float, str | None]


class RedisThread:
    """The thread, and its client.

    Over everything, DNS included, a caller waits no longer than `PATIENCE`, or than it says; nothing in the sockets
    bounds that, so the thread is left behind with what it cannot end.
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
        """Take calls.

        :param periodic: called in the thread every `interval` seconds, whether Redis answers or not.
        """
        self._periodic, self._interval = periodic, interval
        self._thread.start()

    @property
    def away(self) -> bool:
        """Whether Redis did not respond the last call."""
        return self._failing

    def call(self, call: Call[T], patience: float = PATIENCE) -> T | None:
        """Make a call; returns its answer, or ``None`` at once or after a second if Redis does not respond.

        :param patience: seconds, for a call that asks Redis more than once.
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
        """Make a call some time soon. While one of this name waits for its turn, another one is not needed."""
        if name in self._submitted or time.monotonic() < self._skip_until:
            return
        self._submitted.add(name)
        self._requests.put((call, Future(), float("inf"), name))

    def close(self) -> None:
        """End the thread, once it has nothing left to do."""
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
                # Before the call, which may be skipped: what is submitted from now on is another one.
                self._submitted.discard(name)
                # The caller may have gone on without the answer.
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
        # An answer that came too late changes nothing: we leave Redis alone, and are `away` for as long.
        if self._failing and time.monotonic() >= self._skip_until:
            self._failing = False
            logger.info("Redis responds again")
        return answer

    def _failed(self, trouble: RedisTrouble) -> None:
        """Leave Redis alone for a while."""
        self._skip_until = time.monotonic() + self._pause
        if not self._failing:
            self._failing = True
            logger.warning("%s. Polling for work instead", without_stop(str(trouble)))
