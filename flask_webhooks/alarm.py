"""The Redis side: waking workers, never more often than needed and never at the host's expense.

The database holds the truth; everything here may be lost at any time and only costs time until the next
sweep. Keys carry the installation's id, so that hosts that share a Redis do not wake each other.

A wake-up marks the installation *dirty*. If a drain *listens* (it runs and has room), its *bell* rings;
otherwise one job is enqueued, unless one is *waiting* in the queue already, or just *entering* it. A drain
clears the mark before it looks for work and checks it once more, in one step, as it leaves: no wake-up falls
between.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import uuid
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from .config import Settings
from .logs import without_stop

logger = logging.getLogger("flask_webhooks.alarm")

#: The job function, by name: the host's processes need not import the delivery side.
JOB = "flask_webhooks.jobs.drain"
#: Seconds that RQ keeps a failed drain job for people to look at.
FAILURE_TTL = 24 * 3600

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

#: Milliseconds that the others count on a job that was announced and is not in the queue yet.
_ENTERING = 500

_NOBODY_WAITS = f"""
local function nobody_waits(waiting, entering, queue, job)
    if redis.call('EXISTS', entering) == 1 then
        return 0
    end
    local id = redis.call('GET', waiting)
    if id and redis.call('LPOS', queue, id) then
        return 0
    end
    redis.call('SET', waiting, job, 'EX', 86400)
    redis.call('SET', entering, 1, 'PX', {_ENTERING})
    return 1
end
"""

#: KEYS dirty, listening, bell, waiting, entering, RQ queue; ARGV new job id. Returns 1: enqueue that job.
WAKE = (
    _NOW
    + _NOBODY_WAITS
    + """
redis.call('SET', KEYS[1], 1)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) > 0 then
    if redis.call('LLEN', KEYS[3]) == 0 then
        redis.call('RPUSH', KEYS[3], 1)
        redis.call('EXPIRE', KEYS[3], 60)
    end
    return 0
end
return nobody_waits(KEYS[4], KEYS[5], KEYS[6], ARGV[1])
"""
)

#: KEYS drains, RQ's workers of the queue, waiting, entering, RQ queue; ARGV new job id. Returns 1: enqueue it.
SUMMON = (
    _NOW
    + _NOBODY_WAITS
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= redis.call('SCARD', KEYS[2]) then
    return 0
end
return nobody_waits(KEYS[3], KEYS[4], KEYS[5], ARGV[1])
"""
)

#: KEYS alarm; ARGV Unix milliseconds. Returns 1: schedule a job for then.
SCHEDULE = (
    _NOW
    + """
local set = tonumber(redis.call('GET', KEYS[1]))
local at = tonumber(ARGV[1])
if set and set > now and set <= at then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', math.max(at - now, 0) + 1000)
return 1
"""
)


class Keys:
    """The names of one installation's Redis keys."""

    def __init__(self, installation: str) -> None:
        base = f"flask_webhooks:{{{installation}}}:"
        self.dirty = base + "dirty"
        self.listening = base + "listening"
        self.drains = base + "drains"
        self.bell = base + "bell"
        self.waiting = base + "waiting"
        self.entering = base + "entering"
        self.alarm = base + "alarm"


class Alarm:
    """Wakes the workers of one application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.installation)
        self._host = _HostSide(self._ring, settings.wake_timeout, settings.wake_pause)
        self._host_client: tuple[int, redis.Redis] | None = None

    def wake(self) -> bool:
        """Tell the workers that there is work due. For the host: bounded in time, never raises.

        :return: whether Redis took it; when not, the next sweep finds the work.
        """
        return self._host.call()

    def connect(self) -> redis.Redis:
        """A client for the worker side, with redis-py's usual patience."""
        return redis.Redis.from_url(
            self.settings.redis_url, socket_timeout=5, socket_connect_timeout=5
        )

    def queue(self, client: redis.Redis) -> Queue:
        """Our RQ queue."""
        return Queue(self.settings.queue, connection=client)

    def ring(self, client: redis.Redis) -> bool:
        """Wake up through a given client.

        :return: whether a job was enqueued (otherwise somebody listens, or a job is waiting already).
        :raises redis.RedisError: Redis did not do it.
        """
        keys = self.keys
        return self._enqueue_if(client, WAKE, keys.dirty, keys.listening, keys.bell)

    def summon(self, client: redis.Redis) -> bool:
        """Wake one more worker, if there is one that does not deliver yet.

        :raises redis.RedisError: Redis did not do it.
        """
        workers = WORKERS_BY_QUEUE_KEY % self.settings.queue
        return self._enqueue_if(client, SUMMON, self.keys.drains, workers)

    def schedule(self, client: redis.Redis, at: datetime) -> bool:
        """Have RQ's scheduler wake us at a time, unless it does so sooner anyway.

        :raises redis.RedisError: Redis did not do it.
        """
        if not client.eval(SCHEDULE, 1, self.keys.alarm, int(at.timestamp() * 1000)):
            return False
        self.queue(client).enqueue_at(at.astimezone(UTC), JOB, **self._job_options())
        return True

    def enqueue(self, client: redis.Redis, hops: int = 0, installation: str | None = None) -> None:
        """Enqueue a drain without asking whether it is needed.

        :param hops: how often workers of other installations passed it on.
        :param installation: whose it is; our own when not given.
        :raises redis.RedisError: Redis did not do it.
        """
        options = self._job_options(hops, installation)
        self.queue(client).enqueue(JOB, **options)

    def _enqueue_if(self, client: redis.Redis, script: str, *keys: str) -> bool:
        """Enqueue a drain if a script finds that it is needed; returns whether it was."""
        rq_queue = self.queue(client)
        job_id = str(uuid.uuid4())
        all_keys = [*keys, self.keys.waiting, self.keys.entering, rq_queue.key]
        if not client.eval(script, len(all_keys), *all_keys, job_id):
            return False
        with client.pipeline() as pipeline:
            rq_queue.enqueue(JOB, **self._job_options(), job_id=job_id, pipeline=pipeline)
            pipeline.delete(self.keys.entering)
            pipeline.execute()
        return True

    def _job_options(self, hops: int = 0, installation: str | None = None) -> dict[str, Any]:
        return {
            "args": (installation or self.settings.installation, hops),
            # RQ raises in the middle of the event loop when this runs out; a drain ends long before.
            "job_timeout": int(self.settings.drain_time * 2 + self.settings.timeout + 60),
            "result_ttl": 0,
            "failure_ttl": FAILURE_TTL,
            "description": "deliver webhooks",
        }

    def _ring(self) -> None:
        client = self._client_of_this_process()
        try:
            self.ring(client)
        except redis.TimeoutError:
            raise
        except redis.ConnectionError:
            # A pooled connection may be from before a restart of Redis: one more, on a fresh one.
            client.connection_pool.disconnect()
            self.ring(client)

    def _client_of_this_process(self) -> redis.Redis:
        pid = os.getpid()
        if self._host_client is None or self._host_client[0] != pid:
            client = redis.Redis.from_url(
                self.settings.redis_url,
                socket_timeout=self.settings.wake_timeout,
                socket_connect_timeout=self.settings.wake_timeout,
                retry=Retry(NoBackoff(), 0),
            )
            self._host_client = (pid, client)
        return self._host_client[1]


class _Request:
    """One caller, waiting for a call that begins after it asked."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.succeeded = False


class _HostSide:
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
        self.failing = False

    def call(self) -> bool:
        """Have the call made, and wait for it unless the last one failed; returns whether it succeeded."""
        request = _Request()
        with self._lock:
            if self._thread is None:
                self._start()
            if self.failing:
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


#: Seconds after which an idle thread looks whether its application is still there.
_IDLE = 15.0


def _serve(owner: weakref.ref[_HostSide], requests: queue.SimpleQueue[_Request]) -> None:
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


_host_sides: weakref.WeakSet[_HostSide] = weakref.WeakSet()


def _restart_after_fork() -> None:
    for side in _host_sides:
        side.restart()


os.register_at_fork(after_in_child=_restart_after_fork)
