"""The applications, which are the tenants: their API keys and their owners."""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

import sqlalchemy as sa
from flask import current_app
from werkzeug.security import check_password_hash, generate_password_hash

from .models import Application, transaction
from .problems import Refused


class NewApplication(NamedTuple):
    """An application that was just registered. The key and the password are not shown again."""

    id: str
    api_key: str
    owner_password: str


def create(name: str) -> NewApplication:
    """Register an application.

    :raises Refused: the name is taken.
    """
    api_key = f"key_{secrets.token_urlsafe(32)}"
    owner_password = secrets.token_urlsafe(12)
    application = Application(
        name=name,
        api_key_hash=_digest(api_key),
        owner_password_hash=hash_password(owner_password),
    )
    with transaction() as session:
        if session.scalar(sa.select(Application.id).where(Application.name == name)):
            detail = f"There is an application named {name!r} already."
            raise Refused("application_exists", detail, 409)
        session.add(application)
    return NewApplication(application.id, api_key, owner_password)


def find_by_key(api_key: str) -> str | None:
    """Return the id of the application that has an API key."""
    with transaction() as session:
        return session.scalar(
            sa.select(Application.id).where(Application.api_key_hash == _digest(api_key))
        )


def find_by_owner(name: str, password: str) -> str | None:
    """Return the id of the application whose owner has this password."""
    with transaction() as session:
        application: Application | None = session.scalar(
            sa.select(Application).where(Application.name == name)
        )
    if application and check_password_hash(application.owner_password_hash, password):
        return application.id
    return None


def hash_password(password: str) -> str:
    """Hash a password, which takes a while on purpose: do it outside of transactions."""
    return generate_password_hash(password, method=current_app.config["PASSWORD_HASH_METHOD"])


def _digest(api_key: str) -> str:
    return hashlib.sha256(api_key.encode()).hexdigest()
