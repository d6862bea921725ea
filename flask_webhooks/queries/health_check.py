"""The health check.

A load balancer or a monitor may call it every second. It never takes long, whatever hangs: the check runs in a
separate thread, callers share it, and its result is cached for a second.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from dataclasses import dataclass

import redis
import sqlalchemy as sa
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from ..access import system_access
from ..app_state import AppState
from ..columns import utc_now
from ..delivery.overdue import seconds_overdue
from ..errors import WebhooksError
from ..log import get_logger, log_failure
from ..wakeup.redis_trouble import explain_error
from ..wakeup.worker_queue import WorkerQueue

logger = get_logger("flask_webhooks")

#: Seconds for which a result is cached.
FRESH = 1.0
#: Seconds that a caller waits for a check, from its start.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """The reasons why webhooks do not work; healthy if all are ``None``."""

    #: The problems with the database and with Redis.
    database: str | None = None
    redis: str | None = None
    #: Seconds for which a delivery has been overdue, if longer than ``WEBHOOKS_HEALTH_OVERDUE``.
    overdue: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there are no problems."""
        return self.database is None and self.redis is None and self.overdue is None


def readiness(state: AppState) -> Readiness:
    """Check database, Redis and overdue deliveries; the result may be `FRESH` seconds old.

    It needs no access, because it reveals nothing about tenants.
    """
    checks = _checks.setdefault(state.worker_queue, {})
    # A fork has a copy of the lock, possibly locked, but not the thread.
    check = checks.get(os.getpid())
    if check is None:
        checks.clear()
        check = checks.setdefault(os.getpid(), _Check(state))
    return check.answer()


class _Run:
    """One check with its waiting callers."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.ended = threading.Event()
        #: The current step.
        self.stage = "redis"
        self.found = Readiness()


class _Check:
    """The checks of one process, one at a time."""

    def __init__(self, state: AppState) -> None:
        # The application's queue is the key of the weak mapping, and must not be referenced by its value.
        self._state = weakref.ref(state)
        self._lock = threading.Lock()
        self._run: _Run | None = None

    def answer(self) -> Readiness:
        with self._lock:
            run = self._run
            if run is None or (run.ended.is_set() and time.monotonic() - run.began >= FRESH):
                run = self._run = _Run()
                self._start(run)
        if run.ended.wait(max(0.0, run.began + PATIENCE - time.monotonic())):
            return run.found
        silence = f"no response within {PATIENCE:g} s"
        return Readiness(redis=silence) if run.stage == "redis" else Readiness(database=silence)

    def _start(self, run: _Run) -> None:
        state = self._state()
        assert state is not None
        if isinstance(state.engine.pool, SingletonThreadPool | StaticPool):
            # An in-memory SQLite, whose only connection is this thread's.
            _look(state, run)
            return
        threading.Thread(
            target=_look, args=(state, run), name="flask-webhooks-health", daemon=True
        ).start()


def _look(state: AppState, run: _Run) -> None:
    trouble_of_redis = trouble_of_database = late = None
    try:
        trouble_of_redis = _trouble_of_redis(state.worker_queue)
        run.stage = "database"
        late = _late(state)
    except WebhooksError as error:
        trouble_of_database = error.message
    except Exception as error:
        log_failure(logger, "The health check failed", error=error)
        if run.stage == "redis":
            trouble_of_redis = type(error).__name__
        else:
            trouble_of_database = type(error).__name__
    limit = state.settings.health_overdue
    overdue = late if late is not None and limit is not None and late > limit else None
    run.found = Readiness(trouble_of_database, trouble_of_redis, overdue)
    run.ended.set()


def _trouble_of_redis(worker_queue: WorkerQueue) -> str | None:
    with contextlib.closing(worker_queue.connect()) as client:
        try:
            worker_queue.check(client)
        except (redis.RedisError, OSError) as error:
            return str(explain_error(error))
    return None


def _late(state: AppState) -> float | None:
    """Return how many seconds the oldest delivery has been overdue; ``None`` if none is."""
    with system_access(state, "health").read() as session:
        limit = state.settings.health_overdue
        if limit is None:
            # Does the database respond?
            session.execute(sa.select(utc_now()))
            return None
        return seconds_overdue(state, session.connection(), limit)


_checks: weakref.WeakKeyDictionary[WorkerQueue, dict[int, _Check]] = weakref.WeakKeyDictionary()
