"""The blueprint: its routes, who is let in, headers of every answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, Unauthorized

from ..access import Access, Authenticate, lets_in, request_access
from ..app_state import state_of
from ..errors import ConfigurationError
from . import problems
from .document_views import ROUTES
from .request_reader import check_origin

NAME: Final = "flask_webhooks_api"

View = Callable[..., Response]

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ELSEWHERE: Final = "elsewhere"


def create_blueprint(authenticate: Authenticate | None = None) -> Blueprint:
    """A blueprint for any number of applications. Nobody is let in until the host has said who may.

    :param authenticate: called before every view; unless it answers `True`, the API answers 401.
    """
    blueprint = Blueprint(NAME, __name__)
    blueprint.record(_check_place)
    blueprint.after_request(set_headers)
    problems.register(blueprint)
    for route in ROUTES:
        blueprint.add_url_rule(
            route.path,
            endpoint=route.name,
            view_func=_opened(route.respond, authenticate),
            methods=[route.method],
        )
    nowhere = _opened(elsewhere, authenticate)
    for rule in ("/", "/<path:path>"):
        blueprint.add_url_rule(rule, endpoint=_ELSEWHERE, view_func=nowhere, methods=_METHODS)

    @blueprint.record
    def add_prefix(setup: BlueprintSetupState) -> None:
        if setup.url_prefix:
            setup.add_url_rule("", endpoint=_ELSEWHERE, view_func=nowhere, methods=_METHODS)

    return blueprint


def _check_place(setup: BlueprintSetupState) -> None:
    """What is nowhere else would else answer for every path that the host has not."""
    if not setup.url_prefix and not setup.subdomain:
        raise ConfigurationError(
            "Mount the API at a path of its own: app.register_blueprint(webhooks.api_blueprint(), "
            'url_prefix="/api/webhooks").'
        )


def elsewhere(access: Access, path: str = "") -> Response:
    """What is nowhere else at and below the prefix: a path that is misspelt, or a method that a path does not have."""
    access.require("view")
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None
    allowed = []
    for method in _METHODS:
        try:
            found, _ = adapter.match(method=method)
        except HTTPException:
            continue
        if found != request.endpoint:
            allowed.append(method)
    if allowed:
        raise MethodNotAllowed(
            allowed, f"This path takes {' and '.join(allowed)}, not {request.method}."
        )
    raise NotFound("There is nothing at this path. openapi.json names every path there is.")


def _opened(view: View, authenticate: Authenticate | None) -> View:
    """A view that first finds out who this is; it then asks for what it is about to show or do.

    Not before the request: the host's own function that does that may come after ours.
    """

    def opened(**values: Any) -> Response:
        require_known(authenticate, "api_blueprint(authenticate=…)")
        check_origin()
        return view(request_access(state_of()), **values)

    return opened


def require_known(authenticate: Authenticate | None, where: str) -> None:
    """Refuse programs that the host does not let in.

    :param where: how its function was given to us, for the message.
    :raises Unauthorized: it says no.
    """
    if authenticate is not None and not lets_in(authenticate, where):
        raise Unauthorized(
            "Say who you are, as the application asks programs to: by an API key, for example.",
            www_authenticate=WWWAuthenticate("bearer"),
        )


def set_headers(response: Response) -> Response:
    """Keep answers out of caches and out of pages of other sites."""
    headers = response.headers
    headers.setdefault("Cache-Control", "no-store")
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    return response
