"""A drain's side of the alarm: saying that it is there, being woken, leaving without missing anything.

Redis may be gone at any moment; then the drain looks for work by the clock, and says nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import redis.asyncio
import rq
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ..alarm import Alarm

logger = logging.getLogger("flask_webhooks.delivery")

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

#: KEYS drains, listening; ARGV id, milliseconds, whether there is room (1 or 0).
_PRESENT = (
    _NOW
    + """
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if ARGV[3] == '1' then
    redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
else
    redis.call('ZREM', KEYS[2], ARGV[1])
end
"""
)

#: KEYS dirty, drains, listening; ARGV id. Returns 0 when there is new work: stay.
_LEAVE = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
"""

#: Milliseconds after which a drain that says nothing is taken for dead.
PRESENCE = 3000
#: Seconds between two signs of life.
STEP = 1.0


class Bell:
    """One drain's presence in Redis."""

    def __init__(self, alarm: Alarm, drain_id: str) -> None:
        self._keys = alarm.keys
        self._id = drain_id
        self._client: Any = redis.asyncio.Redis.from_url(
            alarm.settings.redis_url,
            socket_connect_timeout=2,
            socket_timeout=5,
            # The drain tries again every second anyway; retries in between would hold it up.
            retry=Retry(NoBackoff(), 0),
        )
        self._quiet_since: float | None = None
        # A sign of life that overtook the farewell would have wake-ups wait for us in vain.
        self._presence = asyncio.Lock()
        self._gone = False
        #: Set when the drain ends; loops that use this end with it.
        self.closing = False

    async def close(self) -> None:
        await self._client.aclose()

    async def clear(self) -> None:
        """Take the mark away; call it before looking for work."""
        await self._safely(self._client.delete(self._keys.dirty))

    async def present(self, room: bool) -> None:
        """Give a sign of life; with `room`, wake-ups come to us instead of starting a job."""
        keys = self._keys
        async with self._presence:
            if self._gone:
                return
            await self._safely(
                self._client.eval(
                    _PRESENT, 2, keys.drains, keys.listening, self._id, PRESENCE, int(room)
                )
            )

    async def leave(self) -> bool:
        """Sign off, unless there was a wake-up since `clear`; returns whether we are gone."""
        keys = self._keys
        async with self._presence:
            left = await self._safely(
                self._client.eval(_LEAVE, 3, keys.dirty, keys.drains, keys.listening, self._id)
            )
            self._gone = left != 0
        return self._gone

    async def vanish(self) -> None:
        """Sign off, whatever there is: somebody else will do it."""
        async with self._presence:
            self._gone = True
            await self._safely(self._client.zrem(self._keys.listening, self._id))
            await self._safely(self._client.zrem(self._keys.drains, self._id))

    async def stop_requested(self, worker_name: str) -> bool:
        """Whether the RQ worker was asked to stop. RQ tells its work-horse in no other way."""
        return bool(
            await self._safely(
                self._client.hexists(
                    rq.Worker.redis_worker_namespace_prefix + worker_name, "shutdown_requested_date"
                )
            )
        )

    async def listen(self, ring: Callable[[], None]) -> None:
        """Call `ring` at each wake-up, for ever; without Redis, every second."""
        while not self.closing:
            try:
                if await self._client.blpop([self._keys.bell], timeout=2):
                    # The mark stays: to take it away here could hide the next wake-up from `leave`.
                    ring()
                self._answered()
            except (RedisError, OSError) as error:
                self._failed(error)
                await asyncio.sleep(STEP)
                ring()

    async def _safely(self, call: Any) -> Any:
        try:
            answer = await call
        except (RedisError, OSError) as error:
            self._failed(error)
            return None
        self._answered()
        return answer

    def _failed(self, error: BaseException) -> None:
        if self._quiet_since is None:
            self._quiet_since = time.monotonic()
            logger.warning("Redis does not answer (%s); looking for work by the clock", error)

    def _answered(self) -> None:
        if self._quiet_since is not None:
            self._quiet_since = None
            logger.info("Redis answers again")
