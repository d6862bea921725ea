"""Recommended settings of SQLite for hosts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

#: Milliseconds that a statement waits for another process's write lock.
BUSY_TIMEOUT = 15_000

#: Seconds between attempts to get the write lock.
POLL = 0.001

#: Execution option of connections that only read, and so do not need to wait for the writer.
READ_ONLY = "flask_webhooks_read_only"


def immediate(engine: sa.Engine) -> None:
    """Make an engine begin its transactions with ``BEGIN IMMEDIATE``, in WAL mode.

    Python's driver begins a transaction late, and only before a write: a savepoint outlives the rollback
    around it, and a transaction that reads first fails with "database is locked" when another process has
    written in between. Call this once, within the application context, before the engine is used; it
    does nothing for other databases.

    Connections with the execution option ``flask_webhooks_read_only=True`` begin with a plain ``BEGIN``:
    in WAL mode they never wait.
    """
    if engine.dialect.name == "sqlite":
        # The same functions each time, so that a second call adds nothing.
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)


def _set_up(driver_connection: Any, record: Any) -> None:
    # Disable the driver's own transaction control, which is replaced below.
    driver_connection.isolation_level = None
    cursor = driver_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # In WAL mode a power failure loses at most the last commits, without corruption.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get(READ_ONLY, False)
    if reads:
        connection.exec_driver_sql("BEGIN")
    else:
        lock(connection, "BEGIN IMMEDIATE")


def lock(connection: sa.Connection, statement: str) -> None:
    """Run a statement that takes the write lock.

    SQLite itself waits longer after each attempt, up to 0.1 s: with steady traffic of others, which hold the lock
    for a millisecond each, one in a hundred would be a tenth of a second late. So try often, with the same total
    timeout.

    :raises sqlalchemy.exc.OperationalError: others held the lock for longer than the connection's timeout.
    """
    driver: Any = connection.connection.dbapi_connection
    (timeout,) = driver.execute("PRAGMA busy_timeout").fetchone()
    give_up_at = time.monotonic() + timeout / 1000
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < give_up_at:
            try:
                driver.execute(statement)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(POLL)
            else:
                return
        # Once more, through SQLAlchemy, which logs and wraps errors.
        connection.exec_driver_sql(statement)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {timeout}")


@contextmanager
def waiting_at_most(connection: sa.Connection, seconds: float) -> Iterator[None]:
    """Limit the wait of each statement in the block for SQLite's locks to this time, or to the host's setting."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    (timeout,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout = {min(timeout, int(seconds * 1000))}")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {timeout}")
