"""Attempts as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ...app_state import AppState, prepared
from ...attempt_errors import WITHOUT_BODIES
from ...columns import compact_json
from ...db.narrow import in_ascii, with_plain_signs
from ..outcome import AttemptRecord, Outcome


class AttemptRows:
    """Inserts attempts with requests and responses.

    Every delivery writes such a row, so this bypasses SQLAlchemy's processing of values, which took half the time
    of an insert. With psycopg it is a COPY, which takes half of the rest.
    """

    def __init__(self, state: AppState) -> None:
        table = state.table("Attempt")
        dialect = state.engine.dialect
        self._dialect = dialect
        preparer = dialect.identifier_preparer
        columns = ", ".join(preparer.format_column(column) for column in table.c)
        self._copied: str | None = None
        if dialect.driver == "psycopg":
            self._copied = f"COPY {preparer.format_table(table)} ({columns}) FROM STDIN"
        self._names = [column.name for column in table.c]
        insert = sa.insert(table).compile(dialect=dialect)
        self._statement = str(insert)
        #: The columns in the order of the statement, if the driver takes values by position.
        self._order: Sequence[str] | None = insert.positiontup
        self._time = _bind_processor(table.c.started_at, dialect)
        self._stored = state.settings.store_bodies
        self._keys = state.vault.bodies if state.settings.encrypt_bodies else None

    def insert(self, connection: sa.Connection, attempts: Sequence[AttemptRecord]) -> None:
        """Insert one row for each attempt."""
        if not attempts:
            return
        rows = [self._row(item) for item in attempts]
        if self._copied is not None:
            self._copy(connection, self._copied, rows)
        elif self._order is None:
            connection.exec_driver_sql(self._statement, rows)
        else:
            order = self._order
            connection.exec_driver_sql(
                self._statement, [tuple(row[name] for name in order) for row in rows]
            )

    def _copy(
        self, connection: sa.Connection, statement: str, rows: Sequence[dict[str, Any]]
    ) -> None:
        names = self._names
        dbapi_error = self._dialect.loaded_dbapi.Error
        cursor: Any = connection.connection.cursor()
        try:
            with cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row([row[name] for name in names])
        except dbapi_error as error:
            # As if SQLAlchemy had raised it.
            lost = self._dialect.is_disconnect(error, cursor.connection, cursor)
            raise DBAPIError.instance(
                statement,
                None,
                error,
                dbapi_error,
                connection_invalidated=lost,
                dialect=self._dialect,
            ) from error

    def _row(self, attempt: AttemptRecord) -> dict[str, Any]:
        claimed, error = attempt.claimed, attempt.error
        stored = self._stored == "all" or (
            self._stored == "failed" and attempt.outcome != Outcome.SUCCEEDED
        )
        return {
            "delivery_id": claimed.delivery_id,
            "number": claimed.number,
            "endpoint_id": claimed.endpoint_id,
            "trigger": claimed.trigger,
            "actor": claimed.actor,
            "started_at": self._time(attempt.started_at),
            "duration_ms": attempt.duration_ms,
            "outcome": str(attempt.outcome),
            "status": attempt.status,
            "error": None,
            "error_code": error and error.code,
            "error_params": error and _json(error.stored_params()),
            "url": attempt.target.url_shown,
            "address": attempt.address,
            "request_headers": _json(attempt.request_headers),
            **self._bodies(attempt, stored),
            "response_headers": _json(attempt.response_headers),
            "response_cut": attempt.response_cut,
            "timings": _json(attempt.timings),
        }

    def _bodies(self, attempt: AttemptRecord, stored: bool) -> dict[str, str | None]:
        bodies: dict[str, str | None] = {
            "request_body": attempt.request_body if stored else None,
            "response_body": attempt.response_body if stored else None,
        }
        keys, claimed = self._keys, attempt.claimed
        if keys is None:
            return {**bodies, "body_key": None}
        encrypted = {
            name: None
            if body is None
            else keys.encrypt(body, claimed.delivery_id, claimed.number, name)
            for name, body in bodies.items()
        }
        return {**encrypted, "body_key": keys.newest if any(encrypted.values()) else None}


#: One instance per application, because compiling its statement takes longer than a request.
attempt_rows = prepared(AttemptRows)


def less_demanding(attempt: AttemptRecord) -> Iterator[AttemptRecord]:
    """Yield reduced versions of an attempt that the database has refused."""
    yield _each_text(attempt, with_plain_signs)
    plainest = _each_text(attempt, in_ascii)
    note = WITHOUT_BODIES
    yield replace(
        plainest,
        error=note if plainest.error is None else plainest.error.with_note(note),
        request_body=None,
        response_body=None,
    )


def _each_text(attempt: AttemptRecord, change: Callable[[str], str]) -> AttemptRecord:
    def whole(text: str | None) -> str | None:
        return None if text is None else change(text)

    def pairs(headers: list[list[str]] | None) -> list[list[str]] | None:
        return headers and [[change(text) for text in pair] for pair in headers]

    return replace(
        attempt,
        target=replace(attempt.target, url_shown=change(attempt.target.url_shown)),
        error=attempt.error and attempt.error.changed(change),
        request_headers=pairs(attempt.request_headers),
        request_body=whole(attempt.request_body),
        response_headers=pairs(attempt.response_headers),
        response_body=whole(attempt.response_body),
    )


def _bind_processor(column: sa.Column[Any], dialect: sa.Dialect) -> Callable[[Any], Any]:
    """Return the function that converts a value for the driver."""
    return column.type.dialect_impl(dialect).bind_processor(dialect) or (lambda value: value)


def _json(value: Any) -> str | None:
    return None if value is None else compact_json(value)
