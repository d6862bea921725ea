"""Errors as pages inside the layout."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response
from flask_wtf.csrf import CSRFError

from ..db.errors import log_cause
from ..errors import (
    ConfigurationError,
    DatabaseError,
    DuplicateEndpoint,
    EndpointLimitReached,
    Forbidden,
    InvalidInput,
    InvalidTransition,
    NotFound,
    SendLimitReached,
    UnreadableSecret,
    WebhooksError,
)
from .i18n import gettext as _
from .i18n import translated
from .page import render


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """How a kind of error is shown."""

    status: int
    title: str


def register(blueprint: Blueprint) -> None:
    """Show the errors of these pages, and only of these."""
    blueprint.register_error_handler(WebhooksError, _show)
    blueprint.register_error_handler(CSRFError, _show_stale)


def _show(error: WebhooksError) -> Response:
    if isinstance(error, ConfigurationError):
        # For the developer: the host's error page, and a traceback in the log.
        raise error
    if isinstance(error, DatabaseError):
        log_cause(error)
    failure = _failure(error)
    answer = render("error.html", failure.status, failure=failure, message=translated(error.text))
    if isinstance(error, SendLimitReached) and error.retry_after is not None:
        answer.headers["Retry-After"] = str(error.retry_after)
    return answer


def _show_stale(error: CSRFError) -> Response:
    failure = ErrorPage(400, _("This page is out of date"))
    message = _(
        "It was open for too long, or you have signed in again since, so nothing was changed. Go back, reload the "
        "page and try again."
    )
    return render("error.html", failure.status, failure=failure, message=message)


def status_of(error: WebhooksError) -> int:
    """Return the status of a page that shows this error, in its layout or in a form."""
    return _failure(error).status


def _failure(error: WebhooksError) -> ErrorPage:
    match error:
        case Forbidden():
            return ErrorPage(403, _("Not allowed"))
        case NotFound():
            return ErrorPage(404, _("Not found"))
        case (
            InvalidTransition() | EndpointLimitReached() | DuplicateEndpoint() | UnreadableSecret()
        ):
            return ErrorPage(409, _("Not possible now"))
        case SendLimitReached():
            return ErrorPage(429, _("Too many requests"))
        case InvalidInput():
            return ErrorPage(422, _("Invalid request"))
        case _:
            return ErrorPage(503, _("Something went wrong"))
