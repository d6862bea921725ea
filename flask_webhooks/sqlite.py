"""SQLite as a host with webhooks should run it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

#: Milliseconds that a statement waits for another process's write lock.
BUSY_TIMEOUT = 15_000

#: Execution option of connections that only read, and so need not wait for the writer.
READ_ONLY = "flask_webhooks_read_only"


def immediate(engine: sa.Engine) -> None:
    """Make an engine begin its transactions with ``BEGIN IMMEDIATE``, in WAL mode.

    Python's driver begins a transaction late, and only before a write: a savepoint outlives the rollback
    around it, and a transaction that reads first fails with "database is locked" when another process has
    written in between. Call this once, within the application context, before the engine is used; it
    does nothing for other databases.

    Connections with the execution option ``flask_webhooks_read_only=True`` begin with a plain ``BEGIN``:
    in WAL mode they wait for nobody.
    """
    if engine.dialect.name == "sqlite":
        # The same functions each time, so that a second call adds nothing.
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)


def _set_up(driver_connection: Any, record: Any) -> None:
    # The driver must not begin and commit on its own account; we do, below.
    driver_connection.isolation_level = None
    cursor = driver_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # In WAL mode this loses at most the last commits when the power fails, and corrupts nothing.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
