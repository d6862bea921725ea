"""The key document: the public keys of an endpoint as a JSON Web Key Set (RFC 7517, RFC 8037), without
authentication.
"""

from __future__ import annotations

import base64
from typing import Any

from flask import Blueprint, Response, jsonify

from .. import queries
from ..access import system_access
from ..app_state import state_of
from ..errors import NotFound
from ..security.signing import PUBLIC_KEY_PREFIX

#: Seconds for which receivers may cache it.
_MAX_AGE = 300


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/keys/<endpoint_id>", view_func=key_document)


def key_document(endpoint_id: str) -> Response:
    """Return the public keys without authentication, because they are not secret."""
    try:
        keys = queries.public_keys(system_access(state_of(), "public"), endpoint_id)
    except NotFound:
        keys = ()
    if not keys:
        # The same response whether the endpoint exists or not.
        answer = jsonify(error="There are no public keys of such an endpoint.")
        answer.status_code = 404
        return answer
    answer = jsonify(keys=[_members(key) for key in keys])
    answer.headers["Cache-Control"] = f"public, max-age={_MAX_AGE}"
    return answer


def _members(key: queries.PublicKey) -> dict[str, Any]:
    encoded = key.text.removeprefix(PUBLIC_KEY_PREFIX)
    members: dict[str, Any] = {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "x": base64.urlsafe_b64encode(base64.b64decode(encoded)).decode().rstrip("="),
        "public_key": key.text,
    }
    if key.expires_at is not None:
        members["expires_at"] = key.expires_at.isoformat()
    return members
