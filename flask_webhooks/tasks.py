"""The RQ job that processes bulk tasks in slices, so that deliveries are not delayed."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import redis

from .app_state import AppState, state_of
from .bulk.background import anything_waiting
from .bulk.runner import run_next
from .db.locks import read_only
from .jobs import after_fork, current_ttl, find_app, pass_on
from .log import get_logger, hides_locals, without_stop
from .wakeup.redis_trouble import explain_error

logger = get_logger("flask_webhooks.tasks")

#: Duration of a slice while other jobs are waiting, and otherwise, in seconds: RQ does not inform a job that the
#: worker must stop.
SHORT_SLICE, LONG_SLICE = 1.0, 5.0


@hides_locals
def run(installation: str, hops: int = 0) -> None:
    """The RQ job: process waiting tasks for a few seconds, and enqueue the next job if there is more.

    :param installation: the installation of the tasks.
    :param hops: how often workers of other installations have passed it on.
    :raises ConfigurationError: the worker has no application: FLASK_APP is not set.
    :raises DBAPIError: the database does not respond; the next sweep starts the job again.
    """
    state = state_of(find_app())
    after_fork(state)
    client = state.worker_queue.connect()
    try:
        if installation != state.settings.installation:
            enqueue, ttl = state.worker_queue.enqueue_task, current_ttl()
            again = partial(enqueue, client, hops + 1, installation, ttl)
            pass_on(state, installation, hops, again, ttl)
            return
        with told_to_stop() as stopping:
            clock = Slice(state, client, stopping)
            while not clock.over() and run_next(state, clock.over):
                pass
        with state.own_engine.connect() as connection, read_only(connection):
            more = anything_waiting(state, connection)
        if more:
            _call_again(state, client)
    finally:
        client.close()


class Slice:
    """How long we may go on."""

    def __init__(self, state: AppState, client: redis.Redis, stopping: threading.Event) -> None:
        self._state = state
        self._client = client
        self._stopping = stopping
        self._began = time.monotonic()

    def over(self) -> bool:
        """Return whether the slice is over."""
        spent = time.monotonic() - self._began
        if self._stopping.is_set() or spent >= LONG_SLICE:
            return True
        if spent < SHORT_SLICE:
            return False
        try:
            return bool(self._state.worker_queue.queue(self._client).count)
        except redis.RedisError:
            return False


@contextlib.contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """Return an event that SIGTERM sets; with RQ's default a work-horse would end in the middle of a batch."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before: Any = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: Any) -> None:
        stopping.set()
        if callable(before):
            # SimpleWorker: RQ's own handler is in this process, and may raise to end its loop.
            with contextlib.suppress(Exception):
                before(number, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGTERM, before)


def _call_again(state: AppState, client: redis.Redis) -> None:
    try:
        state.worker_queue.request_task_worker(client)
    except redis.RedisError as error:
        logger.warning(
            "%s. The next sweep continues the tasks", without_stop(str(explain_error(error)))
        )
