"""Protection of forms whose response shows a secret from being submitted twice.

Such a response is not a redirect, so reloading it submits the form again. Each form carries a random token; the
session stores the last ones that were used. The token is not secret: it only protects users from their own
mistakes.
"""

from __future__ import annotations

import secrets

from flask import session

KEY = "flask_webhooks_once"
#: The number of tokens that fit into the session cookie.
_REMEMBERED = 8
_LENGTH = 16


def new_token() -> str:
    """Return a token for a new form."""
    return secrets.token_urlsafe(12)


def used_for(token: str | None) -> str | None:
    """Return the id of the object for which this form was already used, if any."""
    used: dict[str, str] = session.get(KEY) or {}
    return used.get(token or "")


def remember(token: str | None, endpoint_id: str) -> None:
    """Record that a form has taken effect."""
    if token and len(token) <= _LENGTH:
        used: dict[str, str] = {**(session.get(KEY) or {}), token: endpoint_id}
        session[KEY] = dict(list(used.items())[-_REMEMBERED:])
