"""Tasks that no worker has come for, since all of them deliver: a drain works on them beside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa

from ..columns import utc_now
from ..delivery.locks import reading
from ..state import State
from .runner import waiting, work_on_next

#: How long a task waits for a worker of its own first.
NEGLECTED_AFTER = timedelta(seconds=2)


class Neglected:
    """What `delivery.aside` does for a drain."""

    def __init__(self, state: State) -> None:
        self._state = state

    def waits(self, connection: sa.Connection) -> bool:
        """Whether there is such a task. Only reads."""
        task = self._state.table("Task").c
        with reading(connection):
            now = connection.execute(sa.select(utc_now())).scalar_one()
            query = sa.select(task.id).where(
                waiting(task, now), task.touched_at < now - NEGLECTED_AFTER
            )
            return connection.execute(query.limit(1)).first() is not None

    def work(self, connection: sa.Connection, enough: Callable[[], bool]) -> None:
        """Work on a task until `enough` says so.

        :raises DBAPIError: the database is away; the task goes on once the lease has run out.
        """
        work_on_next(self._state, connection, enough)
