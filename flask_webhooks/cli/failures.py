"""Errors of commands: one line on standard error that says what to do, and never a traceback."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
import redis
from flask.cli import AppGroup, FlaskGroup
from sqlalchemy.exc import DBAPIError, OperationalError

from ..db.errors import is_missing_table
from ..errors import DatabaseError, WebhooksError
from ..wakeup.redis_trouble import explain_error
from .output import first_line, plain

F = TypeVar("F", bound=Callable[..., Any])

#: Raised for a group without a command; earlier versions of click print the help without an exception.
_ASKED_FOR_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class CommandFailure(click.ClickException):
    """End the command with one line on standard error."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(" ".join(message.split())))


class Misuse(CommandFailure):
    """An invalid value of an option."""

    exit_code = 2


class Commands(AppGroup):
    """A group that reports invalid options and arguments of its commands in one line."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _in_one_line():
            return super().invoke(ctx)


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        if isinstance(error, _ASKED_FOR_HELP):
            raise
        path = "" if error.ctx is None else f" See: {error.ctx.command_path} --help"
        raise Misuse(f"{error.format_message()}{path}") from error


def reports_errors(function: F) -> F:
    """Report expected errors in one line."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except WebhooksError as error:
            # The operator may see the message of the database.
            cause = error.__cause__ if isinstance(error, DatabaseError) else None
            said = _explain(cause) if isinstance(cause, DBAPIError) else error.whole_message
            raise CommandFailure(said) from error
        except DBAPIError as error:
            raise CommandFailure(_explain(error)) from error
        except redis.RedisError as error:
            trouble = explain_error(error)
            if trouble.answered:
                raise CommandFailure(f"{trouble}.") from error
            raise CommandFailure(
                f"Redis does not respond ({trouble.cause}). Start it, or set WEBHOOKS_REDIS_URL."
            ) from error

    return run  # type: ignore[return-value]


def end_our_command(error: WebhooksError) -> None:
    """End with one line if a ``flask webhooks`` command is running; otherwise do nothing."""
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return
    # Click does not know the command yet.
    if "webhooks" in sys.argv[1:]:
        raise CommandFailure(error.message) from error


def _explain(error: DBAPIError) -> str:
    """Return what to do about an error of the database."""
    cause = error.orig
    if is_missing_table(error):
        return (
            "The tables of Flask-Webhooks are missing or out of date: run your migrations (flask db "
            "upgrade), or without migrations: flask webhooks upgrade-db"
        )
    if isinstance(error, OperationalError):
        return (
            f"The database cannot be used ({first_line(cause)}). Check that it is running and that "
            "SQLALCHEMY_DATABASE_URI is correct."
        )
    return f"The database refused: {first_line(cause)}"
