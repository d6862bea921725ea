"""Calls a worker to the tasks that wait. Like every wake-up it may be lost: the next sweep calls again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import redis
import sqlalchemy as sa
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus

from ..alarm import FAILURE_TTL
from ..columns import utc_now
from ..state import State, prepared
from .runner import waiting

#: The job function, by name: the host's processes need not import the worker side.
JOB = "flask_webhooks.tasks.run"
#: Seconds after which RQ ends the job: far longer than it runs, but for one slow statement.
JOB_TIMEOUT = 600
#: Seconds for which a job that RQ holds to be queued is believed to be in the queue.
BELIEVED = 60


def call(state: State) -> bool:
    """Have somebody work on the tasks that wait. For the host: bounded in time, never raises.

    :return: whether Redis took it.
    """
    return state.alarm.host.submit(_enqueue_for(state))


@prepared
def _enqueue_for(state: State) -> Callable[[redis.Redis], bool]:
    return lambda client: enqueue(state, client)


def enqueue(state: State, client: redis.Redis) -> bool:
    """Enqueue a job for the tasks that wait, unless there is one in the queue; returns whether it did.

    Two that are enqueued at once do no harm: the second one finds nothing to do.

    :raises redis.RedisError: Redis did not do it.
    """
    key = state.alarm.keys.task
    # Not a look into the queue, which may be long.
    if _waits(client, client.get(key)):
        return False
    job_id = put(state, client, state.settings.installation, ttl=state.alarm.job_ttl)
    client.set(key, job_id, ex=BELIEVED)
    return True


def _waits(client: redis.Redis, job_id: Any) -> bool:
    if job_id is None:
        return False
    try:
        job = Job.fetch(job_id.decode(), connection=client)
    except NoSuchJobError:
        return False
    return job.get_status(refresh=False) == JobStatus.QUEUED


def put(
    state: State,
    client: redis.Redis,
    installation: str,
    hops: int = 0,
    ttl: int | None = None,
) -> str:
    """Enqueue a job without asking whether it is needed; returns its id.

    :param installation: whose tasks it is for.
    :param hops: how often workers of other installations passed it on.
    :param ttl: seconds that it may wait for a worker.
    :raises redis.RedisError: Redis did not do it.
    """
    job_id = f"webhooks-task-{uuid.uuid4().hex}"
    state.alarm.queue(client).enqueue(
        JOB,
        args=(installation, hops),
        job_id=job_id,
        job_timeout=JOB_TIMEOUT,
        ttl=ttl,
        result_ttl=0,
        failure_ttl=FAILURE_TTL,
        description="work on bulk tasks",
    )
    return job_id


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
