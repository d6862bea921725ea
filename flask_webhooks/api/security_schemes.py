"""How programs authenticate, and its description in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, current_app, request

from ..access import Authenticate
from ..errors import ConfigurationError
from ..token_access import PREFIX

#: A security scheme of OpenAPI.
SecurityScheme = Mapping[str, Any]

_KINDS: Final = ("apiKey", "http", "mutualTLS", "oauth2", "openIdConnect")
_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": f"{PREFIX}…",
    "description": "A token of this API. It has its own permissions, for one tenant or for all.",
}
_UNKNOWN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": (
        "The credentials that the application accepts from programs. These may be something other than a bearer "
        "token."
    ),
}


@dataclass(frozen=True, slots=True)
class Signing:
    """The authentication of one mounted API."""

    authenticate: Authenticate | None = None
    tokens: bool = False
    #: The host's description of `authenticate`.
    described: SecurityScheme | None = None

    def __post_init__(self) -> None:
        if self.described is None:
            return
        if not isinstance(self.described, Mapping) or self.described.get("type") not in _KINDS:
            raise ConfigurationError(
                "api_blueprint(security_scheme=…) must be a security scheme of OpenAPI, such as "
                '{"type": "apiKey", "in": "header", "name": "X-Api-Key"}. '
                f"Its type is one of: {', '.join(_KINDS)}."
            )
        if self.authenticate is None and self.tokens:
            raise ConfigurationError(
                "api_blueprint(security_scheme=…) describes what authenticate accepts, but there is no authenticate: "
                "leave it out, or pass both."
            )

    def schemes(self, cookie: str) -> dict[str, dict[str, Any]]:
        """Return the security schemes of the document, each of which is sufficient.

        :param cookie: the name of the application's session cookie.
        """
        found: dict[str, dict[str, Any]] = {}
        if self.tokens:
            found["token"] = dict(_TOKEN)
        if self.described is not None:
            found["application"] = dict(self.described)
        elif self.authenticate is not None:
            found["application"] = dict(_UNKNOWN)
        elif not self.tokens:
            found["application"] = {
                "type": "apiKey",
                "in": "cookie",
                "name": cookie,
                "description": "The session of the signed-in user, unless the application requires something else.",
            }
        return found


class ApiBlueprint(Blueprint):
    """A blueprint with its authentication."""

    signing: Signing


def signing_of_request() -> Signing:
    """Return the authentication of the API of the current request."""
    assert request.blueprint is not None
    blueprint = current_app.blueprints[request.blueprint]
    assert isinstance(blueprint, ApiBlueprint)
    return blueprint.signing
