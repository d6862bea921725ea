"""Upgrade the tables of an earlier version while its workers are running.

Tables, columns and indexes are only added, each in a separate transaction, so that an interrupted upgrade can
continue. No statement blocks the host's statements for longer than `LOCK_WAIT`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable
from sqlalchemy.sql.ddl import BaseDDLElement

from ..app_state import AppState
from ..errors import DatabaseError
from .errors import is_locked

#: Seconds that a statement waits for a lock, during which later statements wait as well.
LOCK_WAIT = 0.2
#: The initial and maximum pause between attempts to get a lock, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

_MYSQL = ("mysql", "mariadb")
#: The advisory lock of an upgrade on PostgreSQL; an arbitrary number.
_ADVISORY_LOCK = 0x77_68_75_70

_INVALID_INDEXES = sa.text(
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE i.indrelid = to_regclass(:name) AND NOT i.indisvalid"
)


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A missing object, and the statements that add it."""

    #: ``Created the table webhooks_task``.
    done: str
    table: str
    statements: tuple[str, ...]
    #: It is built concurrently, and so may wait for writers.
    online: bool = False


def missing(state: AppState, connection: sa.Connection) -> list[SchemaChange]:
    """Return the missing objects, in the order in which they can be added.

    :raises DatabaseError: one cannot be added to existing rows.
    """
    inspector = sa.inspect(connection)
    tables = state.models.tables()
    there = [table for table in tables if inspector.has_table(table.name, table.schema)]
    created = [_new_table(connection, table) for table in tables if table not in there]
    columns = [
        change for table in there for change in _missing_columns(connection, inspector, table)
    ]
    indexes = [
        change for table in there for change in _missing_indexes(connection, inspector, table)
    ]
    return [*created, *columns, *indexes]


def upgrade(state: AppState, report: Callable[[SchemaChange], None], wait: float) -> None:
    """Add missing objects.

    :param report: called after each change.
    :param wait: timeout for each lock in seconds.
    :raises DatabaseError: an object cannot be added, or a lock was not free in time.
    """
    with _connection(state) as connection, _alone(connection, wait):
        tried: set[str] = set()
        while left := [item for item in _left(state, connection) if item.done not in tried]:
            tried.add(left[0].done)
            if _make(state, connection, left[0], wait):
                report(left[0])


def _left(state: AppState, connection: sa.Connection) -> list[SchemaChange]:
    with connection.begin():
        return missing(state, connection)


def _make(state: AppState, connection: sa.Connection, change: SchemaChange, wait: float) -> bool:
    """Make one change; return ``False`` if another process has made it, or only its first statements could be run."""
    give_up_at = time.monotonic() + wait
    pause = FIRST_PAUSE
    while True:
        try:
            _limit_waiting(connection, online=change.online)
            for statement in change.statements:
                with connection.begin():
                    connection.exec_driver_sql(statement)
            return True
        except DBAPIError as error:
            locked = is_locked(error)
            if locked and time.monotonic() + pause > give_up_at:
                raise DatabaseError(
                    f"{change.table} was in use for {wait:g} s, so nothing could be added to it. End long "
                    "transactions, and run this again: it continues where it stopped."
                ) from None
            if locked:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            same = [item for item in _left(state, connection) if item.done == change.done]
            if not same:
                return False
            if not locked and same[0].statements == change.statements:
                raise
            [change] = same


# -- What is missing -----------------------------------------------------------------------------------------


def _new_table(connection: sa.Connection, table: sa.Table) -> SchemaChange:
    statements = [_compiled(connection, CreateTable(table))]
    statements += [_compiled(connection, CreateIndex(index)) for index in table.indexes]
    return SchemaChange(f"Created the table {table.name}", table.name, tuple(statements))


def _missing_columns(
    connection: sa.Connection, inspector: sa.Inspector, table: sa.Table
) -> Iterator[SchemaChange]:
    known = {column["name"] for column in inspector.get_columns(table.name, table.schema)}
    preparer = connection.dialect.identifier_preparer
    for column in table.columns:
        if column.name in known:
            continue
        if not column.nullable and column.server_default is None:
            raise DatabaseError(
                f"The table {table.name} has no column {column.name}, which every version of Flask-Webhooks has. "
                "Rename the table if it is not ours, or restore the column from a backup."
            )
        described = _compiled(connection, CreateColumn(column))
        statement = f"ALTER TABLE {preparer.format_table(table)} ADD COLUMN {described}"
        if connection.dialect.name in _MYSQL:
            # Any other algorithm is an error, to avoid copying the table.
            statement += ", ALGORITHM=INSTANT"
        yield SchemaChange(
            f"Added the column {column.name} to {table.name}", table.name, (statement,)
        )


def _missing_indexes(
    connection: sa.Connection, inspector: sa.Inspector, table: sa.Table
) -> Iterator[SchemaChange]:
    found = inspector.get_indexes(table.name, table.schema)
    preparer = connection.dialect.identifier_preparer
    invalid = _invalid_indexes(connection, table)
    names = {index["name"] for index in found} - invalid
    constraints = inspector.get_unique_constraints(table.name, table.schema)
    unique = {frozenset(item["column_names"]) for item in constraints} | {
        frozenset(item["column_names"])
        for item in found
        if item["unique"] and item["name"] in names
    }
    wanted = [
        (str(index.name), _compiled(connection, CreateIndex(index)))
        for index in table.indexes
        if index.name not in names
    ]
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            columns = [column.name for column in constraint.columns]
            if frozenset(columns) not in unique:
                name = preparer.format_constraint(constraint) or ""
                listed = ", ".join(map(preparer.quote, columns))
                wanted.append(
                    (
                        str(constraint.name),
                        f"CREATE UNIQUE INDEX {name} ON {preparer.format_table(table)} ({listed})",
                    )
                )
    for name, statement in wanted:
        yield SchemaChange(
            f"Added the index {name} to {table.name}",
            table.name,
            tuple(_online(connection, table, name, statement, replaces=name in invalid)),
            online=True,
        )


def _online(
    connection: sa.Connection, table: sa.Table, name: str, statement: str, *, replaces: bool
) -> Iterator[str]:
    """Build an index concurrently, if the database supports it.

    :param replaces: an earlier attempt has left an invalid index of this name.
    """
    match connection.dialect.name:
        case "postgresql":
            if replaces:
                preparer = connection.dialect.identifier_preparer
                schema = f"{preparer.quote_schema(table.schema)}." if table.schema else ""
                yield f"DROP INDEX CONCURRENTLY {schema}{preparer.quote(name)}"
            yield statement.replace("INDEX ", "INDEX CONCURRENTLY ", 1)
        case "mysql" | "mariadb":
            yield f"{statement} ALGORITHM=INPLACE LOCK=NONE"
        case _:
            yield statement


def _invalid_indexes(connection: sa.Connection, table: sa.Table) -> set[str]:
    """Return names of indexes whose build was interrupted."""
    if connection.dialect.name != "postgresql":
        return set()
    name = connection.dialect.identifier_preparer.format_table(table)
    return set(connection.scalars(_INVALID_INDEXES, {"name": name}))


def _compiled(connection: sa.Connection, element: BaseDDLElement) -> str:
    lines = str(element.compile(dialect=connection.dialect)).strip().splitlines()
    return "\n".join(line.rstrip() for line in lines)


# -- Connections and locks -----------------------------------------------------------------------------------


@contextmanager
def _connection(state: AppState) -> Iterator[sa.Connection]:
    """Open a connection whose settings end with it. Each statement is committed separately, except on SQLite."""
    with state.own_engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
        yield connection


@contextmanager
def _alone(connection: sa.Connection, wait: float) -> Iterator[None]:
    """Prevent concurrent upgrades on PostgreSQL, where two that build the same index would deadlock."""
    if connection.dialect.name == "postgresql":
        give_up_at = time.monotonic() + wait
        while not _locked_out_others(connection):
            if time.monotonic() > give_up_at:
                raise DatabaseError(
                    "Another upgrade of these tables is running. Run this again when it has ended."
                )
            time.sleep(FIRST_PAUSE)
    yield


def _locked_out_others(connection: sa.Connection) -> bool:
    with connection.begin():
        return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_ADVISORY_LOCK))))


def _limit_waiting(connection: sa.Connection, *, online: bool) -> None:
    """Limit the lock wait of the next statement, because others wait behind it."""
    match connection.dialect.name:
        case "postgresql":
            # Writers do not wait for a concurrently built index.
            milliseconds = 0 if online else round(LOCK_WAIT * 1000)
            settings: Sequence[str] = (
                f"SET lock_timeout = {milliseconds}",
                "SET statement_timeout = 0",
            )
        case "mysql" | "mariadb":
            # In whole seconds. MariaDB accepts 0: no wait at all.
            at_once = getattr(connection.dialect, "is_mariadb", False) and not online
            settings = (f"SET SESSION lock_wait_timeout = {0 if at_once else 1}",)
        case _:
            settings = ()
    with connection.begin():
        for setting in settings:
            connection.exec_driver_sql(setting)
