"""Translation of database errors into messages for users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from ..errors import DatabaseError, InvalidInput, WebhooksError
from ..log import get_logger, log_failure

logger = get_logger("flask_webhooks")

#: Codes for a missing table or column: SQLSTATE, MySQL's numbers.
_MISSING = {"42P01", "42703", 1146, 1054}
#: A character that the encoding does not have, or that cannot be compared with it.
_UNSTORABLE = {"22P05", "22021", 1366, 3988, 3854, 1267}
#: A lock timeout, or a deadlock.
_LOCKED = {"55P03", "40P01", 1205, 1213}
#: SQLITE_BUSY; its extended codes have it in their last byte.
_SQLITE_BUSY = 5


@contextmanager
def told_as_messages() -> Iterator[None]:
    """Convert database errors to our exceptions, with advice.

    :raises InvalidInput: a text contains a character that the database cannot store.
    :raises DatabaseError: anything else.
    """
    try:
        yield
    except (DBAPIError, UnicodeEncodeError) as error:
        raise _told(error) from error


def log_cause(error: DatabaseError) -> None:
    """Log the database error, which users of pages and the API must not see."""
    log_failure(logger, "A request to the database failed", error=error.__cause__ or error)


def is_missing_table(error: DBAPIError) -> bool:
    """Return ``True`` if a table or column is missing."""
    text = str(error.orig)
    return bool(_MISSING & _codes(error)) or "no such table" in text or "no such column" in text


def is_locked(error: DBAPIError) -> bool:
    """Return ``True`` if a statement could not get a lock."""
    return bool(_LOCKED & _codes(error)) or _sqlite_is_busy(error)


def may_pass(error: BaseException) -> bool:
    """Return whether an error is temporary: database unavailable, lock timeout or deadlock."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def _told(error: DBAPIError | UnicodeEncodeError) -> WebhooksError:
    if isinstance(error, UnicodeEncodeError):
        return InvalidInput(
            "The database cannot store “%(characters)s”. Leave it out, or have the operator move to a database that "
            "can store every character.",
            characters=error.object[error.start : error.end][:20],
        )
    if _UNSTORABLE & _codes(error):
        return InvalidInput(
            "The database cannot store one of the characters. Leave out emoji and other unusual characters, or have "
            "the operator move to a database that can store every character."
        )
    if is_missing_table(error):
        return DatabaseError(
            "The tables of Flask-Webhooks are missing or out of date: run your migrations (flask db "
            "upgrade), or without migrations: flask webhooks upgrade-db"
        )
    if _sqlite_is_busy(error):
        return DatabaseError(
            "The SQLite database is locked: another transaction has been writing for too long. Commit or "
            "roll back open sessions, then try again."
        )
    if may_pass(error):
        return DatabaseError(
            "The database does not respond, or is busy. Try again in a moment; see the application's log for details."
        )
    return DatabaseError("The database refused this. See the application's log for details.")


def _sqlite_is_busy(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == _SQLITE_BUSY


def _codes(error: DBAPIError) -> set[object]:
    """Return the error numbers and SQLSTATE of the driver."""
    cause = error.orig
    return {getattr(cause, "sqlstate", None), *getattr(cause, "args", ())[:1]} - {None}
