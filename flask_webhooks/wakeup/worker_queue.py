"""The RQ queue of an installation and its keys in Redis, through a given client.

The database is the source of truth; everything here may be lost at any time, which only causes a delay until the
next sweep. Keys contain the installation's id, so that hosts that share a Redis do not wake each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import WatchError
from redis.retry import Retry
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import ScheduledJobRegistry
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from ..config import Settings
from .redis_client import connect
from .redis_keys import Keys, hash_tag
from .scripts import FORGET_PAST, NOTIFY, REQUEST_WORKER, SCHEDULE

#: The name of the job function, because the host's processes need not import the delivery side.
JOB = "flask_webhooks.jobs.drain"
#: The job function of bulk tasks.
TASK_JOB = "flask_webhooks.tasks.run"
#: Seconds after which RQ ends such a job: much longer than it runs, except for a slow statement.
TASK_TIMEOUT = 600
#: Seconds for which RQ's state *queued* of a job is trusted.
BELIEVED = 60
#: Seconds for which RQ keeps a failed job for inspection.
FAILURE_TTL = 24 * 3600
#: Seconds after which a job of an application in testing mode expires.
TEST_TTL = 60
#: Seconds that workers wait for a connection to Redis, and then for a response.
PATIENCE = 1.0


class WorkerQueue:
    """Wakes the workers of one application, no more often than needed.

    :param testing: whether the application is in testing mode. Each test may have its own database, and so its own
        installation, whose jobs no worker takes.
    """

    def __init__(self, settings: Settings, testing: Callable[[], bool] = lambda: False) -> None:
        self.settings = settings
        self._testing = testing
        # In a cluster, scripts only access the keys of one slot: ours share the slot of RQ's keys.
        self.keys = Keys(settings.installation, hash_tag(Queue.redis_queue_namespace_prefix))
        self._queue_key = Queue.redis_queue_namespace_prefix + settings.queue
        digest = hashlib.sha256(settings.installation.encode()).hexdigest()[:12]
        #: RQ accepts no other characters in the id of a job.
        self._alarm_prefix = f"webhooks-alarm-{digest}-"

    def connect(self, patience: float = PATIENCE) -> redis.Redis:
        """Return a client with timeouts.

        :param patience: seconds for connecting, and for each response.
        """
        return connect(
            self.settings.redis_url,
            socket_timeout=patience,
            socket_connect_timeout=patience,
            retry=Retry(NoBackoff(), 0),
        )

    def queue(self, client: redis.Redis) -> Queue:
        """Return our RQ queue."""
        return Queue(self.settings.queue, connection=client)

    def notify(self, client: redis.Redis) -> bool:
        """Notify the workers that work is due.

        :return: whether a job was enqueued (otherwise a drain listens, or a job is already waiting).
        :raises redis.RedisError: Redis did not execute it.
        """
        keys = self.keys
        return self._enqueue_if(client, NOTIFY, [keys.dirty, keys.listening], [keys.channels])

    def check(self, client: redis.Redis) -> None:
        """Check whether Redis allows the commands of a wake-up, without executing them.

        :raises redis.RedisError: it does not.
        """
        keys = [self.keys.dirty, self.keys.listening, self.keys.waiting, self.keys.entering]
        with client.pipeline() as pipeline:
            pipeline.watch(self.keys.check)  # type: ignore[no-untyped-call]
            # Redis checks each command as it is queued, and then discards all of them, because a watched key has
            # changed.
            pipeline.set(self.keys.check, 1, px=1000)
            pipeline.multi()
            pipeline.eval(NOTIFY, len(keys) + 1, *keys, self._queue_key, "", self.keys.channels)
            self.queue(client).enqueue(JOB, **self._job_options(), pipeline=pipeline)
            with contextlib.suppress(WatchError):
                pipeline.execute()
        self._check_types(client)

    def _check_types(self, client: redis.Redis) -> None:
        """Look for keys that another program uses with another type.

        :raises redis.ResponseError: there is one; commands would fail with this error.
        """
        keys, rq_queue = self.keys, self.queue(client)
        expected = {
            self._queue_key: b"list",
            self._scheduled(rq_queue): b"zset",
            WORKERS_BY_QUEUE_KEY % rq_queue.name: b"set",
            **dict.fromkeys((keys.listening, keys.drains), b"zset"),
            **dict.fromkeys((keys.waiting, keys.alarm, keys.task), b"string"),
        }
        with client.pipeline(transaction=False) as pipeline:
            for key in expected:
                pipeline.type(key)
            found = pipeline.execute()
        for (key, usual), kind in zip(expected.items(), found, strict=True):
            if kind not in (usual, b"none"):
                raise redis.ResponseError(
                    f"WRONGTYPE {key} is a {kind.decode()}, where RQ and Flask-Webhooks use a {usual.decode()}"
                )

    def request_worker(self, client: redis.Redis) -> bool:
        """Wake another worker, if there is one that is not delivering yet.

        :raises redis.RedisError: Redis did not execute it.
        """
        workers = WORKERS_BY_QUEUE_KEY % self.settings.queue
        return self._enqueue_if(client, REQUEST_WORKER, [self.keys.drains, workers])

    def schedule(self, client: redis.Redis, at: datetime) -> bool:
        """Schedule a wake-up with RQ's scheduler, accurate to a second, unless an earlier one is scheduled.

        There is at most one such job. It has a new id each time: RQ removes a job that has run, and with it one
        that was scheduled under the same id meanwhile.

        :raises redis.RedisError: Redis did not execute it.
        """
        rq_queue = self.queue(client)
        job_id = self._alarm_prefix + uuid.uuid4().hex
        keys = [self.keys.alarm, self._scheduled(rq_queue)]
        milliseconds = int(at.timestamp() * 1000)
        if not client.eval(SCHEDULE, 2, *keys, milliseconds, job_id, Job.key_for("")):
            return False
        # RQ truncates fractions of a second; a drain that is woken too early would find nothing.
        moment = datetime.fromtimestamp(math.ceil(at.timestamp()), UTC)
        options = self._job_options()
        if options["ttl"] is not None:
            options["ttl"] += max(0, math.ceil(at.timestamp() - time.time()))
        rq_queue.enqueue_at(moment, JOB, **options, job_id=job_id)
        return True

    def forget_past(self, client: redis.Redis) -> int:
        """Remove past alarms, which would accumulate without a scheduler. Returns their number.

        :raises redis.RedisError: Redis did not execute it.
        """
        keys = [self._scheduled(self.queue(client))]
        arguments = [str(int(time.time())), self._alarm_prefix, Job.key_for("")]
        return int(client.eval(FORGET_PAST, 1, *keys, *arguments))

    @property
    def job_ttl(self) -> int | None:
        """Return the seconds that a job may wait for a worker; ``None`` is unlimited."""
        return TEST_TTL if self._testing() else None

    def enqueue(
        self,
        client: redis.Redis,
        hops: int = 0,
        installation: str | None = None,
        ttl: int | None = None,
    ) -> None:
        """Enqueue a drain unconditionally.

        :param hops: how often workers of other installations have passed it on.
        :param installation: the installation; by default this one.
        :param ttl: the lifetime of a job that is passed on.
        :raises redis.RedisError: Redis did not execute it.
        """
        options = self._job_options(hops, installation, ttl)
        self.queue(client).enqueue(JOB, **options)

    def request_task_worker(self, client: redis.Redis) -> bool:
        """Enqueue a job for waiting bulk tasks, unless there is one in the queue; return whether it was enqueued.

        Two concurrent jobs are harmless: the second one finds nothing to do.

        :raises redis.RedisError: Redis did not execute it.
        """
        # Without searching the queue, which may be long.
        waiting: Any = client.get(self.keys.task)
        with contextlib.suppress(NoSuchJobError):
            if waiting is not None:
                job = Job.fetch(waiting.decode(), connection=client)
                if job.get_status(refresh=False) == JobStatus.QUEUED:
                    return False
        job_id = self.enqueue_task(client, ttl=self.job_ttl)
        client.set(self.keys.task, job_id, ex=BELIEVED)
        return True

    def enqueue_task(
        self,
        client: redis.Redis,
        hops: int = 0,
        installation: str | None = None,
        ttl: int | None = None,
    ) -> str:
        """Enqueue a job for bulk tasks unconditionally; return its id.

        :param hops: how often workers of other installations have passed it on.
        :param installation: the installation; by default this one.
        :param ttl: seconds that it may wait for a worker.
        :raises redis.RedisError: Redis did not execute it.
        """
        job_id = f"webhooks-task-{uuid.uuid4().hex}"
        self.queue(client).enqueue(
            TASK_JOB,
            args=(installation or self.settings.installation, hops),
            job_id=job_id,
            job_timeout=TASK_TIMEOUT,
            ttl=ttl,
            result_ttl=0,
            failure_ttl=FAILURE_TTL,
            description="work on bulk tasks",
        )
        return job_id

    def _enqueue_if(
        self, client: redis.Redis, script: str, keys: list[str], arguments: list[str] | None = None
    ) -> bool:
        """Enqueue a drain if a script requires it; return whether it did."""
        job_id = str(uuid.uuid4())
        all_keys = [*keys, self.keys.waiting, self.keys.entering, self._queue_key]
        if not client.eval(script, len(all_keys), *all_keys, job_id, *(arguments or ())):
            return False
        try:
            self._enter(client, job_id)
        except redis.TimeoutError:
            raise
        except redis.ConnectionError:
            # Others rely on this job: retry on a new connection. A duplicate is harmless.
            client.connection_pool.disconnect()
            self._enter(client, job_id)
        return True

    def _enter(self, client: redis.Redis, job_id: str) -> None:
        with client.pipeline() as pipeline:
            options = self._job_options()
            self.queue(client).enqueue(JOB, **options, job_id=job_id, pipeline=pipeline)
            pipeline.delete(self.keys.entering)
            pipeline.execute()

    def _job_options(
        self, hops: int = 0, installation: str | None = None, ttl: int | None = None
    ) -> dict[str, Any]:
        return {
            "ttl": self.job_ttl if installation is None else ttl,
            "args": (installation or self.settings.installation, hops),
            # RQ raises an exception anywhere when this time is over; a drain ends long before. Its last claim,
            # requests and settlement take at most a lease each, whatever endpoints and the database do.
            "job_timeout": int(self.settings.drain_time * 2 + self.settings.lease * 3 + 60),
            "result_ttl": 0,
            "failure_ttl": FAILURE_TTL,
            "description": "deliver webhooks",
        }

    def _scheduled(self, rq_queue: Queue) -> str:
        """Return the key of RQ's scheduled jobs of a queue."""
        registry = ScheduledJobRegistry(queue=rq_queue)  # type: ignore[no-untyped-call]
        return str(registry.key)
