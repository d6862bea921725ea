"""Bulk tasks that no worker has taken, since all workers deliver: a drain works on them in the background.

So it is with the removal of old events, which no other process might start: a worker that delivers does not sweep.
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

#: How long a task waits for a worker of its own first.
OWN_WORKER_FIRST = timedelta(seconds=2)


def anything_waiting(state: AppState, connection: sa.Connection) -> bool:
    """Return whether there is a task that no worker works on. Only reads."""
    task = state.table("Task").c
    query = sa.select(task.id).where(waiting(task, utc_now())).limit(1)
    return connection.execute(query).first() is not None


class BackgroundTasks:
    """The work of `delivery.background` for a drain."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._looked_at = float("-inf")
        self._old = False

    def waits(self, connection: sa.Connection) -> bool:
        """Whether there is such a task, or there ought to be one. Only reads."""
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
        """Work on a task, one that is begun for it if need be, until `enough` says so.

        :raises DBAPIError: the database is away; the task goes on once the lease has run out.
        """
        if self._old:
            self._old = False
            with read_only(connection):
                now = connection.execute(sa.select(utc_now())).scalar_one()
            pruning.start_if_due(self._state, connection, now)
        work_on_next(self._state, connection, enough)
