"""A time limit of statements, for each kind of database."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.exc import DBAPIError

from ..errors import WebhooksError

#: Steps of SQLite's virtual machine between checks of the clock: about a tenth of a millisecond.
_STEPS: Final = 10_000
#: SQLITE_INTERRUPT.
_INTERRUPTED: Final = 9
#: ``query_canceled`` of PostgreSQL.
_CANCELED: Final = "57014"
#: ``ER_STATEMENT_TIMEOUT`` of MariaDB, ``ER_QUERY_TIMEOUT`` of MySQL.
_TIMED_OUT: Final = {1969, 3024}
#: Tokens that determine the outermost SELECT. Quoted text is one token.
_TOKENS: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"|`[^`]*`|[()]|\bSELECT\b", re.DOTALL)


@contextmanager
def time_limited(connection: sa.Connection, seconds: float) -> Iterator[None]:
    """Limit the duration of each SELECT in the block; on SQLite, of the whole block.

    :raises WebhooksError: it took too long.
    """
    try:
        with _LIMITS.get(connection.dialect.name, _none)(connection, seconds):
            yield
    except DBAPIError as error:
        if not _is_timeout(error):
            raise
        raise WebhooksError(
            "The database did not respond within %(seconds)s seconds. Narrow down what you look for, by a time or "
            "an endpoint, or try again later.",
            seconds=f"{seconds:g}",
        ) from error


@contextmanager
def _none(connection: sa.Connection, seconds: float) -> Iterator[None]:
    yield


@contextmanager
def _sqlite(connection: sa.Connection, seconds: float) -> Iterator[None]:
    driver: Any = connection.connection.dbapi_connection
    end = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def _postgresql(connection: sa.Connection, seconds: float) -> Iterator[None]:
    # It ends with the transaction, in which the caller's statements run.
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {_milliseconds(seconds)}")
    yield


@contextmanager
def _mysql(connection: sa.Connection, seconds: float) -> Iterator[None]:
    # In each statement, because a session variable would persist when the pool gives the connection to the host.
    mariadb = getattr(connection.dialect, "is_mariadb", False)

    def limit(
        conn: sa.Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> tuple[str, Any]:
        if mariadb:
            statement = re.sub(
                r"\A\s*(?=(?:SELECT|WITH)\b)",
                f"SET STATEMENT max_statement_time={seconds:.3f} FOR ",
                statement,
            )
        else:
            statement = with_hint(statement, seconds)
        return statement, parameters

    sa_event.listen(connection, "before_cursor_execute", limit, retval=True)
    try:
        yield
    finally:
        sa_event.remove(connection, "before_cursor_execute", limit)


def with_hint(statement: str, seconds: float) -> str:
    """Insert MySQL's time limit into a SELECT, or the one after a WITH. MySQL only uses it in the outermost
    SELECT, and ignores it elsewhere.
    """
    if not re.match(r"\s*(SELECT|WITH)\b", statement):
        return statement
    depth = 0
    for token in _TOKENS.finditer(statement):
        if token[0] == "SELECT" and depth == 0:
            hint = f" /*+ MAX_EXECUTION_TIME({_milliseconds(seconds)}) */"
            return statement[: token.end()] + hint + statement[token.end() :]
        depth += {"(": 1, ")": -1}.get(token[0], 0)
    return statement


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _is_timeout(error: DBAPIError) -> bool:
    cause = error.orig
    return (
        getattr(cause, "sqlite_errorcode", 0) & 0xFF == _INTERRUPTED
        or (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) == _CANCELED
        or next(iter(getattr(cause, "args", ())), None) in _TIMED_OUT
    )


_LIMITS: Final[dict[str, Callable[[sa.Connection, float], AbstractContextManager[None]]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}
