"""The blueprint: routes, authentication and response headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, Response, current_app, g, request
from flask.blueprints import BlueprintSetupState
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, Unauthorized

from ..access import ACCESS, Access, Authenticate, lets_in, request_access
from ..app_state import state_of
from ..errors import ConfigurationError
from ..token_access import PREFIX, token_access
from . import problems
from .document_views import routes_of
from .request_reader import check_origin
from .security_schemes import ApiBlueprint, SecurityScheme, Signing

NAME: Final = "flask_webhooks_api"

View = Callable[..., Response]

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ELSEWHERE: Final = "elsewhere"


def create_blueprint(
    authenticate: Authenticate | None = None,
    *,
    tokens: bool = False,
    security_scheme: SecurityScheme | None = None,
) -> Blueprint:
    """Create a blueprint for any number of applications.

    All requests are refused until the host has configured access.

    :param authenticate: called before every view; unless it returns `True`, the response is 401.
    :param tokens: accept API tokens; without `authenticate`, nothing else is accepted.
    :param security_scheme: the description of `authenticate` in the document.
    """
    signing = Signing(authenticate, tokens, security_scheme)
    blueprint = ApiBlueprint(NAME, __name__)
    blueprint.signing = signing
    blueprint.record(_check_place)
    blueprint.after_request(set_headers)
    problems.register(blueprint)
    for route in routes_of(signing):
        blueprint.add_url_rule(
            route.path,
            endpoint=route.name,
            view_func=_opened(route.respond, signing),
            methods=[route.method],
        )
    nowhere = _opened(elsewhere, signing)
    for rule in ("/", "/<path:path>"):
        blueprint.add_url_rule(rule, endpoint=_ELSEWHERE, view_func=nowhere, methods=_METHODS)

    @blueprint.record
    def add_prefix(setup: BlueprintSetupState) -> None:
        if setup.url_prefix:
            setup.add_url_rule("", endpoint=_ELSEWHERE, view_func=nowhere, methods=_METHODS)

    return blueprint


def _check_place(setup: BlueprintSetupState) -> None:
    """Require a prefix or subdomain; without one, unknown paths of the host would get the API's 404."""
    if not setup.url_prefix and not setup.subdomain:
        raise ConfigurationError(
            "Mount the API at its own path: app.register_blueprint(webhooks.api_blueprint(), "
            'url_prefix="/api/webhooks").'
        )


def elsewhere(access: Access, path: str = "") -> Response:
    """Refuse unknown paths and methods below the prefix."""
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
    raise NotFound("There is nothing at this path. openapi.json lists all paths.")


def _opened(view: View, signing: Signing) -> View:
    """Wrap a view with authentication.

    This is not done in `before_request`, because the host's own functions may be called after ours.
    """

    def opened(**values: Any) -> Response:
        return view(let_in(signing, "api_blueprint(authenticate=…)"), **values)

    return opened


def let_in(signing: Signing, where: str, *, token_says_it: bool = False) -> Access:
    """Authenticate the current request, and return its access.

    :param where: how the host registered its function, for the message.
    :param token_says_it: see `check_origin`.
    :raises Unauthorized: the program is unknown.
    """
    token = _token() if signing.tokens else None
    if token is None:
        _require_known(signing, where)
    check_origin(token_says_it=token_says_it)
    state = state_of()
    access = request_access(state) if token is None else token_access(state, token)
    # Error messages have more details for operators.
    setattr(g, ACCESS, access)
    return access


def _token() -> str | None:
    """Return the API token of this request; ``None`` if it has none, or credentials of the host."""
    given = request.authorization
    if given is None or given.type != "bearer" or not (given.token or "").startswith(PREFIX):
        return None
    return given.token


def _require_known(signing: Signing, where: str) -> None:
    if signing.tokens and signing.authenticate is None:
        raise Unauthorized(
            "Authentication required: send an API token in the header Authorization: Bearer whtok_…",
            www_authenticate=WWWAuthenticate("bearer"),
        )
    if signing.authenticate is not None and not lets_in(signing.authenticate, where):
        raise Unauthorized(
            "Authentication required: send your API key, or other credentials that this application accepts.",
            www_authenticate=WWWAuthenticate("bearer"),
        )


def set_headers(response: Response) -> Response:
    """Keep responses out of caches and of pages of other sites."""
    headers = response.headers
    headers.setdefault("Cache-Control", "no-store")
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    return response
