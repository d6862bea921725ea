"""Why a request is refused, and what clients get to read then: problem details (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

API_PREFIX = "/api/"

logger = logging.getLogger("example_app")


class Refused(Exception):
    """The licensing server does not do what it was asked.

    :ivar code: a stable word for programs.
    :ivar detail: a sentence for people.
    """

    status = HTTPStatus.FORBIDDEN

    def __init__(self, code: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.members = members


class Malformed(Refused):
    """A member of the request is missing or of the wrong shape."""

    status = HTTPStatus.BAD_REQUEST


class Unauthenticated(Refused):
    """The credentials are wrong."""

    status = HTTPStatus.UNAUTHORIZED


class NotFound(Refused):
    """There is no such thing in this application."""

    status = HTTPStatus.NOT_FOUND


class Conflict(Refused):
    """The current state does not allow it."""

    status = HTTPStatus.CONFLICT


def problem(status: HTTPStatus, code: str, detail: str, **members: Any) -> Response:
    """An answer of the media type ``application/problem+json``."""
    body = {"title": status.phrase, "status": status.value, "code": code, "detail": detail}
    response = jsonify(body | members)
    response.status_code = status
    response.mimetype = "application/problem+json"
    if status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="licensing"'
    return response


def init_app(app: Flask) -> None:
    """Answer every error of the API in JSON; pages keep Flask's own."""
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(HTTPException, _http_error)


def _refused(error: Refused) -> Response:
    return problem(error.status, error.code, error.detail, **error.members)


def _http_error(error: HTTPException) -> Response | HTTPException:
    if not request.path.startswith(API_PREFIX) or error.code is None:
        return error
    status = HTTPStatus(error.code)
    code = status.name.lower()
    answer = problem(status, code, error.description or status.description)
    for name, value in error.get_headers():
        if name.lower() == "allow":
            answer.headers[name] = value
    return answer
