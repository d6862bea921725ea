"""A worker's connection to PostgreSQL, passed on to the process that it forks.

PostgreSQL starts a process for each connection, and over a network its greeting takes several round trips:
longer than everything else until the first request. The worker looks for lost work every few seconds, so it
has a connection at hand. It takes that out of its pool, forks, and lets go of it without a farewell, which
would end it for the fork as well.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.exc import DBAPIError

#: Drivers over libpq, whose socket is theirs alone and has a number. SQLite forbids to use a connection
#: in a fork.
DRIVERS = {"psycopg", "psycopg2"}


class Inheritance:
    """The connection that one engine of a worker passes on, if it can."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        # Pools that keep nothing have nothing to pass on.
        self._possible = engine.dialect.driver in DRIVERS and hasattr(engine.pool, "checkedin")
        self._owner = os.getpid()
        self._connection: Any = None
        if self._possible:
            sa_event.listen(engine, "do_connect", self._connect)

    def prepare(self) -> None:
        """Have a connection at hand, while there is time.

        :raises sqlalchemy.exc.DBAPIError: the database does not answer.
        """
        if self._possible and not self._idle():
            self._engine.connect().close()

    def take(self) -> None:
        """Before the fork: take the connection out of the pool, if there is one."""
        if not self._possible or not self._idle():
            return
        with contextlib.suppress(DBAPIError):
            pooled = self._engine.raw_connection()
            connection = pooled.dbapi_connection
            pooled.detach()
            self._connection = connection

    def let_go(self) -> None:
        """After the fork, in the parent: forget the connection, which goes on in the fork."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # What closing it says to the server goes nowhere.
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, connection.fileno(), inheritable=False)
        os.close(nowhere)
        connection.close()

    def _idle(self) -> int:
        """How many connections the pool has that nobody uses."""
        pool: Any = self._engine.pool
        return int(pool.checkedin())

    def _connect(self, *_: Any) -> Any:
        """In the fork, the first time: the inherited connection instead of a new one."""
        if self._connection is None or os.getpid() == self._owner:
            return None
        connection, self._connection = self._connection, None
        return connection
