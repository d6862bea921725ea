"""A drain's calls to Redis: in a thread, one after the other, and nobody waits long for any of them.

Redis is never worth waiting for: the database tells what is due. A server that hangs costs one short wait,
and is then left alone for some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.exceptions import RedisError

from ..logs import without_stop
from ..wakeup.redis_trouble import Kind, RedisTrouble, explain
from ..wakeup.worker_queue import PATIENCE, WorkerQueue

logger = logging.getLogger("flask_webhooks.delivery")

T = TypeVar("T")

Call = Callable[[redis.Redis], T]
_Request = tuple[Call[Any], asyncio.Future[Any], float]


class Errands:
    """Use it on a running loop, and close it.

    Over everything, DNS included, nobody waits longer than `PATIENCE`; nothing in the sockets bounds that,
    so the thread is left behind with what it cannot end.
    """

    def __init__(self, alarm: WorkerQueue) -> None:
        self._alarm = alarm
        self._pause = alarm.settings.wake_pause
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._posted: dict[str, asyncio.Task[Any]] = {}
        self._failing = False
        self._skip_until = float("-inf")

    @property
    def away(self) -> bool:
        """Whether Redis did not answer the last call."""
        return self._failing

    async def ask(self, call: Call[T]) -> T | None:
        """Make a call; returns its answer, or ``None`` at once or after a second if Redis does not answer."""
        if time.monotonic() < self._skip_until:
            return None
        if self._thread is None:
            self._thread = threading.Thread(
                target=_serve,
                args=(self._requests, self._alarm, asyncio.get_running_loop()),
                name="flask-webhooks-redis",
                daemon=True,
            )
            self._thread.start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._requests.put((call, future, time.monotonic() + PATIENCE))
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await future
        except TimeoutError:
            self.failed(RedisTrouble(Kind.SILENT, f"no answer within {PATIENCE:g} s"))
        except (RedisError, OSError) as error:
            self.failed(explain(error))
        else:
            self._answered()
            return answer
        return None

    def post(self, name: str, call: Call[Any]) -> None:
        """Make a call some time soon. While one of this name is under way, another one is not needed."""
        if name not in self._posted:
            task = asyncio.create_task(self.ask(call))
            self._posted[name] = task
            task.add_done_callback(lambda _: self._posted.pop(name))

    def close(self) -> None:
        """End the thread, once it has nothing left to do."""
        self._requests.put(None)

    def failed(self, trouble: RedisTrouble) -> None:
        """Leave Redis alone for a while."""
        self._skip_until = time.monotonic() + self._pause
        if not self._failing:
            self._failing = True
            logger.warning("%s. Looking for work by the clock", without_stop(str(trouble)))

    def _answered(self) -> None:
        if self._failing:
            self._failing = False
            logger.info("Redis answers again")


def _serve(
    requests: queue.SimpleQueue[_Request | None],
    alarm: WorkerQueue,
    loop: asyncio.AbstractEventLoop,
) -> None:
    with contextlib.closing(alarm.connect()) as client:
        while (request := requests.get()) is not None:
            call, future, deadline = request
            if time.monotonic() > deadline:
                # Whoever asked has gone on without.
                continue
            try:
                answer = call(client)
            except Exception as error:
                settle: Callable[..., None] = future.set_exception
                value: Any = error
            else:
                settle, value = future.set_result, answer
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, future, settle, value)


def _settle(future: asyncio.Future[Any], settle: Callable[..., None], value: Any) -> None:
    if not future.done():
        settle(value)
