"""Logging without what must not be logged: SQL errors carry the row, and with it licence keys."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, StatementError


def without_stop(text: str) -> str:
    """What somebody else says, as a part of a sentence of ours, which has its own full stop."""
    return text.strip().rstrip(". ")


def safe_text(error: BaseException) -> str:
    """What may be said of an error, without a full stop: nothing that came from a row."""
    return without_stop(_said(error))


def _said(error: BaseException) -> str:
    if isinstance(error, DBAPIError) and isinstance(error, OperationalError | InterfaceError):
        # These speak of the connection or of locks; data stands only in the others.
        return str(error.orig).strip().partition("\n")[0]
    if isinstance(error, StatementError):
        return type(error.orig or error).__name__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def log_failure(logger: logging.Logger, message: str, *args: Any, error: BaseException) -> None:
    """Log an unexpected error, with its traceback unless that would show the parameters of a statement."""
    if isinstance(error, StatementError):
        logger.error(f"{message} (%s)", *args, safe_text(error))  # noqa: G004
    else:
        logger.error(message, *args, exc_info=error)
