"""Errors as problem details (RFC 9457), or in the form of another API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, current_app, g, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, default_exceptions

from ..access import ACCESS, Access
from ..app_state import AllTenants
from ..db.errors import log_cause
from ..errors import (
    ConfigurationError,
    ConversionFailed,
    CursorExpired,
    DatabaseError,
    DuplicateEndpoint,
    EndpointLimitReached,
    Forbidden,
    InvalidInput,
    InvalidToken,
    InvalidTransition,
    NotFound,
    SendLimitReached,
    TokenLimitReached,
    UnreadableSecret,
    WebhooksError,
)
from ..serializers import JsonObject, member
from ..texts import for_customer

MEDIA_TYPE: Final = "application/problem+json"


class ProblemObject(JsonObject):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int = member(minimum=400)
    detail: str = member("What to write or do instead.")
    code: str = member("A stable code for programs, such as `invalid_url`.")


class ErrorObject(JsonObject):
    field: str | None = member("The invalid member, parameter or option.")
    detail: str = member("What to write or do instead.", source="message")


class RefusalObject(ProblemObject):
    """Problem details (RFC 9457) of invalid values."""

    status: int = member(minimum=422, maximum=422)
    detail: str = member("What to write or do instead, of the first of `errors`.")
    code: str = member("Of the first of `errors`.")
    errors: list[ErrorObject] = member("All errors.")


#: Attributes of exceptions that become members of the response.
_MEMBERS: Final = ("field", "state", "limit", "retry_after", "endpoint_id")
#: Headers of the page that the response replaces.
_OF_PAGES: Final = ("content-type", "content-length")


#: Creates the response, as `problem` does.
Refuse = Callable[..., Response]


def register(blueprint: Blueprint, refuse: Refuse | None = None) -> None:
    """Handle the errors of these routes, and only of these.

    :param refuse: creates the responses; by default `problem`.
    """
    refused = partial(_refused, refuse or problem)
    http_error = partial(_http_error, refuse or problem)
    blueprint.register_error_handler(WebhooksError, refused)
    # Also what the host raises for them, such as `abort(401)` in its own before_request.
    blueprint.register_error_handler(HTTPException, http_error)
    # An error page of the host for one status would take precedence over a handler for all of them.
    for status in default_exceptions:
        blueprint.register_error_handler(status, http_error)
    blueprint.register_error_handler(Exception, _fault)


def problem(status: int, code: str, detail: str, **members: Any) -> Response:
    """Return a response that describes an error.

    :param code: a stable word for programs.
    :param detail: a sentence for people: what to write or do instead.
    """
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    return Response(json.dumps(body), status, mimetype=MEDIA_TYPE)


def status_of(error: WebhooksError) -> HTTPStatus:
    """Return the HTTP status of an error."""
    match error:
        case InvalidToken():
            return HTTPStatus.UNAUTHORIZED
        case Forbidden():
            return HTTPStatus.FORBIDDEN
        case NotFound():
            return HTTPStatus.NOT_FOUND
        case (
            InvalidTransition()
            | EndpointLimitReached()
            | TokenLimitReached()
            | DuplicateEndpoint()
            | UnreadableSecret()
            | ConversionFailed()
        ):
            return HTTPStatus.CONFLICT
        case CursorExpired():
            return HTTPStatus.GONE
        case SendLimitReached():
            return HTTPStatus.TOO_MANY_REQUESTS
        case InvalidInput():
            return HTTPStatus.UNPROCESSABLE_ENTITY
        case _:
            return HTTPStatus.SERVICE_UNAVAILABLE


def code_of(error: WebhooksError) -> str:
    """Return the name of an exception in snake case: ``invalid_url``."""
    name = type(error).__name__
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _refused(refuse: Refuse, error: WebhooksError) -> Response:
    if isinstance(error, ConfigurationError):
        # For the developer: status 500, and a traceback in the log.
        raise error
    if isinstance(error, DatabaseError):
        log_cause(error)
    members: dict[str, Any] = {
        name: value for name in _MEMBERS if (value := getattr(error, name, None)) is not None
    }
    if isinstance(error, InvalidInput):
        members["errors"] = [
            ErrorObject.serialize(each, detail=_told(each)) for each in error.errors
        ]
    answer = refuse(status_of(error), code_of(error), _told(error), **members)
    if isinstance(error, SendLimitReached) and error.retry_after is not None:
        answer.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, InvalidToken):
        answer.www_authenticate = WWWAuthenticate("bearer", {"error": "invalid_token"})
    return answer


def _told(error: WebhooksError) -> str:
    """Return the message of an error for the caller of this request."""
    access: Access | None = g.get(ACCESS)
    operates = access is not None and isinstance(access.tenant, AllTenants)
    return error.text if operates else for_customer(error.text)


def _fault(error: Exception) -> ResponseReturnValue:
    """Leave exceptions to handlers that the host has registered by class, but not to its general error pages."""
    for name in (*request.blueprints, None):
        handlers = current_app.error_handler_spec[name][None]
        for kind in type(error).__mro__:
            if kind is Exception:
                break
            if kind in handlers:
                answer: ResponseReturnValue = current_app.ensure_sync(handlers[kind])(error)
                return answer
    # Flask logs it and calls the handler for status 500.
    raise error


def _http_error(refuse: Refuse, error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.response is not None:
        # The host created the whole response itself.
        return error
    try:
        status = HTTPStatus(error.code)
    except ValueError:
        return error
    answer = refuse(status, status.name.lower(), error.description or status.description)
    for name, value in error.get_headers():
        if name.lower() not in _OF_PAGES:
            answer.headers.add(name, value)
    return answer
