"""Calls a worker to the tasks that wait. Like every wake-up it may be lost: the next sweep calls again."""

from __future__ import annotations

import hashlib
import logging
import uuid

import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..alarm import FAILURE_TTL
from ..columns import utc_now
from ..logs import without_stop
from ..state import State
from .runner import waiting

logger = logging.getLogger("flask_webhooks.tasks")

#: The job function, by name: the host's processes need not import the worker side.
JOB = "flask_webhooks.tasks.run"
#: Seconds after which RQ ends the job: far longer than it runs, but for one slow statement.
JOB_TIMEOUT = 600


def call(state: State) -> bool:
    """Have somebody work on the tasks that wait. For the host: bounded in time, never raises.

    :return: whether Redis took it.
    """
    patience = state.settings.wake_timeout
    client = redis.Redis.from_url(
        state.settings.redis_url,
        socket_timeout=patience,
        socket_connect_timeout=patience,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        enqueue(state, client)
    except redis.RedisError as error:
        logger.warning(
            "No worker could be called to a task: %s. Nothing is lost: the next sweep calls one.",
            without_stop(str(error)),
        )
        return False
    finally:
        client.close()
    return True


def enqueue(state: State, client: redis.Redis) -> bool:
    """Enqueue a job for the tasks that wait, unless there is one in the queue; returns whether it did.

    Two that are enqueued at once do no harm: the second one finds nothing to do.

    :raises redis.RedisError: Redis did not do it.
    """
    queue = state.alarm.queue(client)
    prefix = _prefix(state.settings.installation)
    if any(job_id.startswith(prefix) for job_id in queue.job_ids):
        return False
    put(state, client, state.settings.installation)
    return True


def put(state: State, client: redis.Redis, installation: str, hops: int = 0) -> None:
    """Enqueue a job without asking whether it is needed.

    :param installation: whose tasks it is for.
    :param hops: how often workers of other installations passed it on.
    :raises redis.RedisError: Redis did not do it.
    """
    state.alarm.queue(client).enqueue(
        JOB,
        args=(installation, hops),
        job_id=_prefix(installation) + uuid.uuid4().hex,
        job_timeout=JOB_TIMEOUT,
        result_ttl=0,
        failure_ttl=FAILURE_TTL,
        description="work on bulk tasks",
    )


def anything_waiting(state: State, connection: sa.Connection) -> bool:
    """Whether there is a task that nobody works on. Only reads."""
    task = state.table("Task").c
    query = sa.select(task.id).where(waiting(task, utc_now())).limit(1)
    return connection.execute(query).first() is not None


def others_wait(state: State, client: redis.Redis) -> bool:
    """Whether there are jobs in our queue.

    :raises redis.RedisError: Redis does not answer.
    """
    return bool(state.alarm.queue(client).count)


def _prefix(installation: str) -> str:
    """What the ids of our jobs begin with; RQ accepts few characters in them."""
    return f"webhooks-task-{hashlib.sha256(installation.encode()).hexdigest()[:12]}-"
