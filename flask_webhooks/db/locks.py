"""Locks: all transactions lock health rows first, in the order of ids, then deliveries."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ..app_state import AppState, prepared
from ..columns import compact_json
from ..models import DeliveryState
from ..sqlite import READ_ONLY, lock

#: The name of a parameter.
_IDS = "b_ids"
#: The separator between ids, which never contain it.
_SEPARATOR = ","


@contextmanager
def read_only(connection: sa.Connection) -> Iterator[None]:
    """Open a connection for reading; on a well-configured SQLite it neither waits nor blocks others.

    Its statements may see different states.
    """
    connection.execution_options(**{READ_ONLY: True})
    try:
        with _without_transaction(connection), connection.begin():
            yield
    finally:
        connection.execution_options(**{READ_ONLY: False})


@contextmanager
def _without_transaction(connection: sa.Connection) -> Iterator[None]:
    """On PostgreSQL, avoid the round trips of BEGIN and COMMIT, which take longer than a query of the queue.

    This uses the autocommit of the driver, because SQLAlchemy cannot restore its isolation level.
    """
    driver: Any = None
    if connection.dialect.name == "postgresql":
        driver = connection.connection.dbapi_connection
    if getattr(driver, "autocommit", None) is not False or not _switched_on(driver):
        yield
        return
    try:
        yield
    finally:
        try:
            driver.autocommit = False
        except Exception:
            # The connection is broken. Later statements must not run without transactions.
            connection.invalidate()


def _switched_on(driver: Any) -> bool:
    """Enable autocommit.

    The driver refuses this within a transaction, which a listener of the host may have begun.
    """
    try:
        driver.autocommit = True
    except Exception:
        return False
    return True


def take_write_lock(state: AppState, connection: sa.Connection) -> None:
    """On SQLite, start with a write: later reads cannot change, and the lock is waited for.

    A transaction that reads first and writes later fails at once if another one has written in between.
    """
    if connection.dialect.name == "sqlite":
        lock(connection, _write_nothing(state))


@prepared
def _write_nothing(state: AppState) -> str:
    table = state.engine.dialect.identifier_preparer.format_table(state.table("EndpointHealth"))
    return f"UPDATE {table} SET warned = warned WHERE 0 = 1"


def lock_endpoints(
    state: AppState, connection: sa.Connection, endpoint_ids: Collection[str]
) -> None:
    """Lock endpoints against claims, settlements and actions."""
    health = state.table("EndpointHealth").c
    connection.execute(
        sa.select(health.endpoint_id)
        .where(health.endpoint_id.in_(endpoint_ids))
        .order_by(health.endpoint_id)
        .with_for_update()
    ).all()


def in_state(deliveries: sa.Table, state: DeliveryState) -> sa.ColumnElement[bool]:
    """Return the condition with a literal, because partial indexes are only used with literals."""
    return deliveries.c.state == sa.literal_column(f"'{state}'")


def among(state: AppState, column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of the values of the parameter ``b_ids``; see `ids_parameter`.

    If the database supports it, it is a single parameter, so that the statement is the same for any number of
    values, and is compiled and planned only once.
    """
    match state.engine.dialect.name:
        case "postgresql":
            # One text, because psycopg writes arrays item by item. In a subquery, because PostgreSQL would count
            # the items, and prefer reading a whole table of 30,000 rows.
            joined = sa.select(sa.bindparam(_IDS, type_=sa.String())).scalar_subquery()
            values = sa.func.string_to_array(joined, _SEPARATOR)
            return column == sa.any_(sa.cast(values, postgresql.ARRAY(sa.String())))
        case "sqlite":
            each = sa.func.json_each(sa.bindparam(_IDS, type_=sa.String())).table_valued("value")
            return column.in_(sa.select(each.c.value))
        case _:
            return column.in_(sa.bindparam(_IDS, expanding=True))


def ids_parameter(state: AppState, ids: Collection[str]) -> dict[str, Any]:
    """Return the parameter of `among`."""
    match state.engine.dialect.name:
        case "postgresql":
            return {_IDS: _SEPARATOR.join(ids)}
        case "sqlite":
            return {_IDS: compact_json(list(ids))}
        case _:
            return {_IDS: list(ids)}
