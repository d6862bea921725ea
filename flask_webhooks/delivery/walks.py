"""Resumable walks through the rows of a table in the order of ids, for periodic work that no index supports.

A row is examined when it is old enough, and again in a *round*, because it may not have been ready the first time.
A round starts once a day, and continues one window at a time, so that it is cheap for any number of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..app_state import AppState
from ..db.locks import read_only, take_write_lock
from ..db.upsert import insert_missing

#: Time between the starts of two rounds.
PAUSE = timedelta(days=1)

#: The position of a round that has ended.
RESTS = ""

#: Processes any number of rows between two ids; returns the last examined id, or ``None`` if there are none.
Work = Callable[[str, str], str | None]


class Walk:
    """A walk through rows that are old enough.

    :param name: the name of the `Mark` that stores its position.
    :param column: the column with the ids.
    :param floor: older rows are ignored.
    :param ceiling: newer rows are not old enough.
    """

    def __init__(
        self, state: AppState, name: str, column: Any, floor: str, ceiling: str, now: datetime
    ) -> None:
        self._state = state
        self._name = name
        self._column = column
        self._floor = floor
        self._ceiling = ceiling
        self._now = now
        self._table = state.table("Mark")

    def forward(self, connection: sa.Connection, work: Work) -> bool:
        """Continue by one window in a separate transaction; return whether there may be more."""
        with read_only(connection):
            mark = self._read(connection)
            if not self._reaches(connection, self._front(mark)):
                return False
        with connection.begin():
            mark = self._lock(connection)
            if mark is None:
                return False
            end = work(self._front(mark), self._ceiling)
            if end is not None:
                self._write(connection, front=end)
        return end is not None

    def round(self, connection: sa.Connection, work: Work) -> None:
        """Continue a current or due round by one window in a separate transaction."""
        with read_only(connection):
            if not self._is_due(self._read(connection)):
                return
        with connection.begin():
            mark = self._lock(connection)
            if not self._is_due(mark):
                return
            end = work(max(mark.again, self._floor), mark.front)
            since = mark.again_since if mark.again != RESTS else self._now
            over = end is None or end >= mark.front
            self._write(connection, again=RESTS if over else end, again_since=since)

    def _is_due(self, mark: Any) -> bool:
        if mark is None:
            return False
        return mark.again != RESTS or bool(mark.again_since <= self._now - PAUSE)

    def _front(self, mark: Any) -> str:
        return self._floor if mark is None else max(mark.front, self._floor)

    def _reaches(self, connection: sa.Connection, start: str) -> bool:
        query = sa.select(self._column).where(self._column > start, self._column <= self._ceiling)
        return connection.execute(query.order_by(self._column).limit(1)).first() is not None

    def _read(self, connection: sa.Connection) -> Any:
        query = sa.select(self._table).where(self._table.c.name == self._name)
        return connection.execute(query).first()

    def _lock(self, connection: sa.Connection) -> Any:
        """Return the locked mark; ``None`` if another worker has locked it."""
        take_write_lock(self._state, connection)
        missing = insert_missing(self._table, connection.dialect.name, ["name"])
        first = {"front": self._floor, "again": RESTS, "again_since": self._now}
        connection.execute(missing.values(name=self._name, **first))
        query = sa.select(self._table).where(self._table.c.name == self._name)
        return connection.execute(query.with_for_update(skip_locked=True)).first()

    def _write(self, connection: sa.Connection, **values: Any) -> None:
        table = self._table
        connection.execute(sa.update(table).where(table.c.name == self._name).values(values))
