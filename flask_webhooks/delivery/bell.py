"""A drain's side of the alarm: saying that it is there, being woken, leaving without missing anything.

Redis may be gone at any moment; then the drain looks for work by the clock, and says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from datetime import datetime

import redis
import rq
from redis.exceptions import RedisError

from ..wakeup.scripts import LEAVE, PRESENT
from ..wakeup.worker_queue import PATIENCE, WorkerQueue
from .errands import Errands

#: Milliseconds after which a drain that says nothing is taken for dead.
PRESENCE = 3000
#: Seconds between two signs of life.
STEP = 1.0


class Bell:
    """One drain's presence in Redis. All calls go through one thread, and so happen in their order."""

    def __init__(self, alarm: WorkerQueue, drain_id: str) -> None:
        self._alarm = alarm
        self._keys = alarm.keys
        self._id = drain_id
        self._errands = Errands(alarm)
        # A sign of life that overtook the farewell would have wake-ups wait for us in vain.
        self._gone = False
        #: Until when others may count on our last sign of life, by `time.monotonic`.
        self._counted_on_until = float("-inf")
        self._closing = threading.Event()
        #: Whether wake-ups come to us, as far as we know.
        self.listening = False
        #: Whether we had one passed on, and have not listened again since.
        self.passed_on = False

    @property
    def away(self) -> bool:
        """Whether Redis does not answer: nobody can wake us."""
        return self._errands.away

    def listen(self, ring: Callable[[], None]) -> None:
        """From now on, call `ring` on the running loop at each wake-up."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(ring)

        threading.Thread(
            target=self._wait_for_bell, args=(tell,), name="flask-webhooks-bell", daemon=True
        ).start()

    async def clear(self) -> None:
        """Take the mark away; call it before looking for work."""
        await self._errands.ask(lambda client: client.delete(self._keys.dirty))

    async def arrive(self) -> bool:
        """Take the mark away and listen, in one go; returns whether we do. Look for work afterwards."""

        def call(client: redis.Redis) -> int:
            client.delete(self._keys.dirty)
            return self._say(client, room=True)

        return await self._present(call, room=True)

    async def present(self, room: bool) -> bool:
        """Give a sign of life; with `room`, wake-ups come to us instead of starting a job.

        :return: whether wake-ups come to us from now on and did not before: look for work once more.
        """
        before = self.listening
        return await self._present(lambda client: self._say(client, room), room) and not before

    async def _present(self, call: Callable[[redis.Redis], int], room: bool) -> bool:
        if self._gone:
            return False
        said = await self._errands.ask(lambda client: 0 if self._gone else call(client))
        self.listening = bool(said) and room
        self.passed_on &= not self.listening
        return self.listening

    def _say(self, client: redis.Redis, room: bool) -> int:
        keys = self._keys
        arguments = (self._id, PRESENCE, int(room))
        said = int(client.eval(PRESENT, 2, keys.drains, keys.listening, *arguments))
        self._counted_on_until = time.monotonic() + PRESENCE / 1000
        return said

    async def leave(self) -> bool:
        """Sign off, unless there was a wake-up since the mark was taken away; returns whether we are gone.

        When not, the mark is taken away: look for work. Without an answer we stay, as long as wake-ups may
        come to us that would else start a job.
        """
        keys = (self._keys.dirty, self._keys.drains, self._keys.listening)

        def call(client: redis.Redis) -> int:
            left = int(client.eval(LEAVE, 3, *keys, self._id))
            # Here, not where it is awaited: the next call must know of it.
            self._gone = left == 1
            return left

        if await self._errands.ask(call) is None:
            self._gone |= time.monotonic() > self._counted_on_until
        return self._gone

    async def vanish(self) -> None:
        """Sign off, whatever there is: somebody else will do it."""
        if not self._gone:
            self._gone = True
            await self._errands.ask(self._forget)

    async def hand_over(self, *, to_others: bool) -> None:
        """Sign off, and have somebody go on.

        :param to_others: our own worker ends, too; otherwise it is free and takes the job.
        """
        self._gone = True

        def call(client: redis.Redis) -> None:
            self._forget(client)
            if to_others:
                self._alarm.notify(client)
            else:
                self._alarm.enqueue(client)

        await self._errands.ask(call)

    def pass_on(self) -> None:
        """Have somebody else woken: we were, and have no room."""
        self.listening, self.passed_on = False, True

        def call(client: redis.Redis) -> None:
            client.zrem(self._keys.listening, self._id)
            self._alarm.notify(client)

        self._errands.post("pass on", call)

    def summon(self) -> None:
        """Have one more worker deliver, if there is one."""
        self._errands.post("summon", self._alarm.request_worker)

    def forget_past(self) -> None:
        """Remove alarms that should have gone off."""
        self._errands.post("forget past", self._alarm.forget_past)

    async def schedule(self, at: datetime) -> None:
        """Have somebody woken at a time by RQ's clock, the local one."""
        await self._errands.ask(lambda client: self._alarm.schedule(client, at))

    async def stop_requested(self, worker_name: str) -> bool:
        """Whether the RQ worker was asked to stop. RQ tells its work-horse in no other way."""
        key = rq.Worker.redis_worker_namespace_prefix + worker_name
        asked = await self._errands.ask(
            lambda client: client.hexists(key, "shutdown_requested_date")
        )
        return bool(asked)

    def close(self) -> None:
        """End the threads, which they do within a second or two."""
        self._closing.set()
        self._errands.close()

    def _forget(self, client: redis.Redis) -> None:
        client.zrem(self._keys.listening, self._id)
        client.zrem(self._keys.drains, self._id)

    def _wait_for_bell(self, tell: Callable[[], None]) -> None:
        # Waiting is what it is for: it needs more patience than it waits.
        with contextlib.closing(self._alarm.connect(patience=2 * PATIENCE)) as client:
            while not self._closing.is_set():
                try:
                    if client.blpop([self._keys.bell(self._id)], timeout=1):
                        # The mark stays: to take it away here could hide the next wake-up from `leave`.
                        tell()
                except (RedisError, OSError):
                    # The signs of life notice it, too, and the drain looks by the clock.
                    self._closing.wait(STEP)
