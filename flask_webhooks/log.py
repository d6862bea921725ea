"""Logging without secrets: SQL errors contain rows with licence keys."""

from __future__ import annotations

import contextlib
import functools
import logging
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, StatementError

from .errors import WebhooksError

P = ParamSpec("P")
T = TypeVar("T")


class _Logger(logging.Logger):
    """A logger that ignores exceptions of its handlers."""

    def handle(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            super().handle(record)


def get_logger(name: str) -> logging.Logger:
    """Return the logger of that name, which never raises."""
    logger = logging.getLogger(name)
    if type(logger) is logging.Logger:
        logger.__class__ = _Logger
    return logger


def without_stop(text: str) -> str:
    """Remove the full stop of a foreign message, for use within a sentence."""
    return text.strip().rstrip(". ")


def safe_text(error: BaseException) -> str:
    """Return the text of an error without values of rows and without a full stop."""
    return without_stop(_said(error))


def _said(error: BaseException) -> str:
    if isinstance(error, DBAPIError) and isinstance(error, OperationalError | InterfaceError):
        # These are about the connection or locks; only others contain data.
        return str(error.orig).strip().partition("\n")[0]
    if isinstance(error, StatementError):
        return type(error.orig or error).__name__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def log_failure(logger: logging.Logger, message: str, *args: Any, error: BaseException) -> None:
    """Log an error: an unexpected one with its traceback, an expected one in one line."""
    if isinstance(error, _KNOWN):
        logger.error(f"{message} (%s)", *args, safe_text(error))  # noqa: G004
    else:
        logger.error(message, *args, exc_info=error)


def log_without_locals(
    logger: logging.Logger,
    message: str,
    *args: Any,
    error: BaseException,
    redact: Callable[[str], str] = str,
) -> None:
    """Log an error whose local variables contain secrets or event data, with a traceback in text form, because
    error trackers read variables from live tracebacks.

    :param redact: masks secrets in the log.
    """
    if isinstance(error, _KNOWN):
        logger.error(f"{message} (%s)", *args, redact(safe_text(error)))  # noqa: G004
    else:
        text = "".join(traceback.format_exception(error)).rstrip()
        logger.error(f"{message}\n%s", *args, redact(text))  # noqa: G004


def hides_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Have a job raise errors whose frames have no variables: RQ and tools that report errors read them."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            _clear_frames(error)
            raise

    return call


def _clear_frames(error: BaseException) -> None:
    """Empty the variables of all functions that an error came through, and of those that led to it."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            pending += [one.__cause__, one.__context__]


def hide_data(error: StatementError) -> None:
    """Remove the values from a database error, because hosts log and report it."""
    error.hide_parameters = True
    error.params = None
    if isinstance(error, DBAPIError) and error.orig is not None:
        # The lines after the first quote the row.
        error.orig.args = tuple(
            part.partition("\n")[0] if isinstance(part, str) else part for part in error.orig.args
        )
        error.args = tuple(
            part.partition("\n")[0] if isinstance(part, str) else part for part in error.args
        )


#: Errors whose text is sufficient, or whose traceback contains the parameters of a statement.
_KNOWN = (StatementError, WebhooksError)
