"""Bulk tasks in the background of a drain, for times when all workers deliver and none takes a task.

A drain also starts the removal of old events, because a worker that delivers does not sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa

from ..app_state import AppState
from ..columns import utc_now
from ..db.locks import read_only
from . import pruning
from .lease import waiting
from .runner import work_on_next

#: How long a task waits for a free worker first.
OWN_WORKER_FIRST = timedelta(seconds=2)


def anything_waiting(state: AppState, connection: sa.Connection) -> bool:
    """Return whether there is a task that no worker has taken. Only reads."""
    task = state.table("Task").c
    query = sa.select(task.id).where(waiting(task, utc_now())).limit(1)
    return connection.execute(query).first() is not None


class BackgroundTasks:
    """The implementation of `delivery.background` for a drain."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._looked_at = float("-inf")
        self._old = False

    def waits(self, connection: sa.Connection) -> bool:
        """Return whether there is such a task, or one is due. Only reads."""
        task = self._state.table("Task").c
        with read_only(connection):
            now = connection.execute(sa.select(utc_now())).scalar_one()
            query = sa.select(task.id).where(
                waiting(task, now), task.touched_at < now - OWN_WORKER_FIRST
            )
            if connection.execute(query.limit(1)).first() is not None:
                return True
            if time.monotonic() - self._looked_at >= self._state.settings.sweep_interval:
                self._looked_at = time.monotonic()
                self._old = pruning.is_due(self._state, connection, now)
            return self._old

    def work(self, connection: sa.Connection, enough: Callable[[], bool]) -> None:
        """Process a task, after starting one if it is due, until `enough` returns true.

        :raises DBAPIError: the database is unavailable; the task continues after the lease has expired.
        """
        if self._old:
            self._old = False
            with read_only(connection):
                now = connection.execute(sa.select(utc_now())).scalar_one()
            pruning.start_if_due(self._state, connection, now)
        work_on_next(self._state, connection, enough)
