"""Keeps a form whose answer shows a secret from taking effect twice.

Such an answer is no redirect, so reloading it sends the form again. Each form carries a random token; the
session remembers the last ones that were used. The token is not secret: it only protects users from their own mistakes.
"""

from __future__ import annotations

import secrets

from flask import session

KEY = "flask_webhooks_once"
#: What the session's cookie has room for.
_REMEMBERED = 8
_LENGTH = 16


def new_token() -> str:
    """A token for a fresh form."""
    return secrets.token_urlsafe(12)


def used_for(token: str | None) -> str | None:
    """The id of the endpoint that this form was used for before, if it was."""
    used: dict[str, str] = session.get(KEY) or {}
    return used.get(token or "")


def remember(token: str | None, endpoint_id: str) -> None:
    """Note that a form has taken effect."""
    if token and len(token) <= _LENGTH:
        used: dict[str, str] = {**(session.get(KEY) or {}), token: endpoint_id}
        session[KEY] = dict(list(used.items())[-_REMEMBERED:])
