"""What Redis and RQ know of the workers. Only for operators; deliveries never depend on it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.registry import FailedJobRegistry, ScheduledJobRegistry
from rq.scheduler import RQScheduler
from rq.suspension import WORKERS_SUSPENDED
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from ..access import Access
from ..alarm import Alarm
from ..errors import Forbidden
from ..state import AllTenants

#: Seconds that an answer is good for: pages ask again and again.
FRESH = 3.0
#: Seconds that Redis is given, to connect and for each answer.
PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class EngineReport:
    """RQ's own registries, as far as our queue is concerned."""

    queue: str
    #: Whether Redis answered; if not, the rest is unknown and empty.
    reachable: bool
    #: ``rq suspend`` was called: workers take no jobs.
    suspended: bool = False
    #: Somebody runs RQ's scheduler for our queue.
    scheduler: bool = False
    #: Workers that serve our queue, and have given RQ a sign of life in the last minutes.
    workers: int = 0
    #: Jobs that wait, are set for a time, and failed. A job is a run of deliveries, not one of them.
    waiting: int = 0
    scheduled: int = 0
    failed: int = 0
    #: The names of those workers.
    names: frozenset[str] = frozenset()


def engine(access: Access) -> EngineReport:
    """What RQ says, at most `FRESH` seconds old.

    :raises Forbidden: not allowed to ``view``, or of one tenant only.
    """
    access.require("view")
    if not isinstance(access.tenant, AllTenants):
        raise Forbidden("You are not allowed to see the workers.")
    alarm = access.state.alarm
    watch = _watches.get(alarm)
    if watch is None:
        watch = _watches.setdefault(alarm, _Watch(alarm))
    return watch.report()


class _Watch:
    """Asks Redis now and then; whoever comes while somebody asks gets the answer before."""

    def __init__(self, alarm: Alarm, clock: Callable[[], float] = time.monotonic) -> None:
        settings = alarm.settings
        self._queue = settings.queue
        self._clock = clock
        self._asking = threading.Lock()
        self._known: tuple[float, EngineReport] | None = None
        self._client = redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 0),
        )

    def report(self) -> EngineReport:
        known = self._known
        if known is not None and self._clock() - known[0] < FRESH:
            return known[1]
        # Only the very first ones wait for each other.
        if not self._asking.acquire(blocking=known is None):
            assert known is not None
            return known[1]
        try:
            answer = self._ask()
            self._known = (self._clock(), answer)
        finally:
            self._asking.release()
        return answer

    def _ask(self) -> EngineReport:
        name, client = self._queue, self._client
        try:
            with client.pipeline(transaction=False) as pipeline:
                pipeline.exists(WORKERS_SUSPENDED)
                pipeline.exists(RQScheduler.get_locking_key(name))
                pipeline.smembers(WORKERS_BY_QUEUE_KEY % name)
                pipeline.llen(f"rq:queue:{name}")
                for registry in (ScheduledJobRegistry, FailedJobRegistry):
                    pipeline.zcard(registry(name, connection=client).key)
                suspended, scheduler, registered, *counts = pipeline.execute()
            # RQ takes one that was killed off its list only when another one looks after it.
            names = self._living(registered)
        except redis.RedisError:
            # A connection from before a restart of Redis must not be used once more.
            client.connection_pool.disconnect()
            return EngineReport(name, reachable=False)
        waiting, scheduled, failed = map(int, counts)
        return EngineReport(
            name,
            True,
            bool(suspended),
            bool(scheduler),
            len(names),
            waiting,
            scheduled,
            failed,
            names,
        )

    def _living(self, keys: Iterable[bytes | str]) -> frozenset[str]:
        """Names of those workers whose record has not run out."""
        # Text where the URL asks for that.
        known = [key if isinstance(key, str) else key.decode(errors="replace") for key in keys]
        if not known:
            return frozenset()
        with self._client.pipeline(transaction=False) as pipeline:
            for key in known:
                pipeline.exists(key)
            found = zip(known, pipeline.execute(), strict=True)
        return frozenset(key.removeprefix("rq:worker:") for key, there in found if there)


_watches: weakref.WeakKeyDictionary[Alarm, _Watch] = weakref.WeakKeyDictionary()
