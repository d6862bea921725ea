"""The errors of the licensing server, and how the API answers them: problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

API_PREFIX = "/api/"


class Refused(Exception):
    """The request is refused.

    :param code: for programs; it does not change.
    :param detail: for people.
    :param members: further members of the answer.
    """

    def __init__(self, code: str, detail: str, status: int = 403, **members: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = HTTPStatus(status)
        self.members = members


def init_app(app: Flask) -> None:
    """Answer every error of the API in JSON. Errors of pages stay as Flask has them."""
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(HTTPException, _http_error)


def _refused(error: Refused) -> Response:
    headers = {}
    if error.status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="licensing"'
    return _problem(error.status, error.code, error.detail, headers, **error.members)


def _http_error(error: HTTPException) -> Response | HTTPException:
    if not request.path.startswith(API_PREFIX) or error.code is None:
        return error
    status = HTTPStatus(error.code)
    headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    return _problem(status, status.name.lower(), error.description or status.description, headers)


def _problem(
    status: HTTPStatus, code: str, detail: str, headers: Mapping[str, str], **members: str
) -> Response:
    body = {"title": status.phrase, "status": status.value, "code": code, "detail": detail}
    response = jsonify(body | members)
    response.status_code = status
    response.mimetype = "application/problem+json"
    response.headers.update(headers)
    return response
