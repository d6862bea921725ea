"""INSERT statements for possibly existing rows, for each database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite


def insert_missing(table: sa.Table, dialect: str, unique: Sequence[str]) -> Any:
    """Return an INSERT that keeps an existing row.

    :param unique: the columns that identify a row.
    """
    match dialect:
        case "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing(index_elements=unique)
        case "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing(index_elements=unique)
        case _:
            # INSERT IGNORE would also ignore truncated or invalid values.
            [key, *_] = table.primary_key.columns
            return mysql.insert(table).on_duplicate_key_update({key.name: key})


def insert_or_replace(
    table: sa.Table, dialect: str, unique: Sequence[str], columns: Sequence[str]
) -> Any:
    """Return an INSERT that replaces an existing row.

    :param unique: the columns that identify a row.
    :param columns: the written columns.
    """
    match dialect:
        case "postgresql" | "sqlite":
            insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
            statement = insert(table)
            new = {name: statement.excluded[name] for name in columns}
            return statement.on_conflict_do_update(index_elements=unique, set_=new)
        case _:
            statement = mysql.insert(table)
            return statement.on_duplicate_key_update(
                {name: statement.inserted[name] for name in columns}
            )


def insert_or_add(
    table: sa.Table, dialect: str, unique: Sequence[str], counters: Sequence[str]
) -> Any:
    """Return an INSERT that adds its counters to those of an existing row.

    :param unique: the columns that identify a row.
    """
    match dialect:
        case "postgresql" | "sqlite":
            insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
            statement = insert(table)
            added = {name: table.c[name] + statement.excluded[name] for name in counters}
            return statement.on_conflict_do_update(index_elements=unique, set_=added)
        case _:
            statement = mysql.insert(table)
            return statement.on_duplicate_key_update(
                {name: table.c[name] + statement.inserted[name] for name in counters}
            )
