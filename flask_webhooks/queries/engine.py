"""The state of workers in Redis and RQ. Only for operators; deliveries never depend on it."""

from __future__ import annotations

import time
import weakref
from dataclasses import dataclass, replace

import redis
from rq import Worker
from rq.registry import FailedJobRegistry, ScheduledJobRegistry
from rq.scheduler import RQScheduler
from rq.suspension import WORKERS_SUSPENDED
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from ..access import Access
from ..app_state import AllTenants
from ..errors import Forbidden
from ..wakeup.notifier import Notifier
from ..wakeup.redis_trouble import RedisTrouble, explain_error
from ..wakeup.worker_queue import WorkerQueue

#: Seconds for which a report is cached, because pages refresh.
FRESH = 3.0


@dataclass(frozen=True, slots=True)
class EngineReport:
    """The state of our queue in the registries of RQ."""

    queue: str
    #: Whether Redis responded; if not, everything else except `trouble` is unknown and empty.
    reachable: bool
    #: ``rq suspend`` was called: workers take no jobs.
    suspended: bool = False
    #: A worker runs RQ's scheduler for our queue.
    scheduler: bool = False
    #: Workers of our queue with a recent heartbeat in RQ.
    workers: int = 0
    #: Waiting, scheduled and failed jobs. A job is a delivery run, not a single delivery.
    waiting: int = 0
    scheduled: int = 0
    failed: int = 0
    #: The names of those workers.
    names: frozenset[str] = frozenset()
    #: The problem with Redis, which may still respond.
    trouble: RedisTrouble | None = None


def engine(access: Access) -> EngineReport:
    """Return the state of RQ, at most `FRESH` seconds old.

    :raises Forbidden: not allowed to ``view``, or of one tenant only.
    """
    access.require("view")
    if not isinstance(access.tenant, AllTenants):
        raise Forbidden("You are not allowed to see the workers.")
    notifier = access.state.notifier
    watch = _watches.get(notifier)
    if watch is None:
        watch = _watches.setdefault(notifier, _Watch(notifier))
    return watch.report()


class _Watch:
    """Queries Redis occasionally, with the timeout of a wake-up."""

    def __init__(self, notifier: Notifier) -> None:
        # The key of the weak mapping must not be referenced by its value.
        self._notifier = weakref.ref(notifier)
        self._known: tuple[float, EngineReport] | None = None

    def report(self) -> EngineReport:
        known = self._known
        if known is not None and time.monotonic() - known[0] < FRESH:
            return known[1]
        notifier = self._notifier()
        assert notifier is not None
        answer = notifier.read(self._ask)
        if isinstance(answer, RedisTrouble):
            answer = EngineReport(notifier.queue.settings.queue, reachable=False, trouble=answer)
        elif answer.trouble is None and notifier.trouble is not None:
            # Only a wake-up of this process has found the problem.
            answer = replace(answer, trouble=notifier.trouble)
        self._known = (time.monotonic(), answer)
        return answer

    def _ask(self, client: redis.Redis) -> EngineReport:
        notifier = self._notifier()
        assert notifier is not None
        return ask(notifier.queue, client)


def ask(worker_queue: WorkerQueue, client: redis.Redis) -> EngineReport:
    """Read the registries of RQ with a given client.

    :raises redis.RedisError: Redis fails.
    """
    queue = worker_queue.queue(client)
    with client.pipeline(transaction=False) as pipeline:
        pipeline.exists(WORKERS_SUSPENDED)
        pipeline.exists(RQScheduler.get_locking_key(queue.name))
        pipeline.smembers(WORKERS_BY_QUEUE_KEY % queue.name)
        pipeline.llen(queue.key)
        for registry in (ScheduledJobRegistry, FailedJobRegistry):
            pipeline.zcard(registry(queue=queue).key)
        suspended, scheduler, registered, *counts = pipeline.execute()
    waiting, scheduled, failed = map(int, counts)
    # RQ only removes a killed worker from its list during the maintenance of another one.
    names = _living(client, [key.decode(errors="replace") for key in registered])
    trouble = None
    try:
        worker_queue.check(client)
    except redis.ResponseError as error:
        trouble = explain_error(error)
    return EngineReport(
        queue.name,
        True,
        bool(suspended),
        bool(scheduler),
        len(names),
        waiting,
        scheduled,
        failed,
        names,
        trouble,
    )


def _living(client: redis.Redis, keys: list[str]) -> frozenset[str]:
    """Return the names of workers whose record has not expired."""
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.exists(key)
        found = zip(keys, pipeline.execute(), strict=True)
    prefix = Worker.redis_worker_namespace_prefix
    return frozenset(key.removeprefix(prefix) for key, there in found if there)


_watches: weakref.WeakKeyDictionary[Notifier, _Watch] = weakref.WeakKeyDictionary()
