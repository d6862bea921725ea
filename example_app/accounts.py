"""What users do: register and log in. And what sellers do to them: ban.

Each function is one transaction, as in `selling`. Passwords are hashed before it, because that takes a
while on purpose, and SQLite has only one write lock.
"""

from __future__ import annotations

import functools

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash

from flask_webhooks import signals

from .activation import check_activated, check_device, find_usable, start_term
from .applications import hash_password
from .events import Client, about_client, about_license, about_user, send
from .models import License, User, transaction, utc_now
from .problems import Refused


def register(
    application_id: str, username: str, password: str, license_key: str, client: Client
) -> User:
    """Create an account with a new licence key, which is activated.

    :raises Refused: the name is taken, or the key is unknown, cannot be used, or was used before.
    """
    user = User(
        application_id=application_id, username=username, password_hash=hash_password(password)
    )
    with transaction() as session:
        license = find_usable(session, application_id, license_key, client)
        session.add(user)
        try:
            session.flush()
        except IntegrityError as error:
            detail = "This name is taken; choose another one."
            raise Refused("username_taken", detail, 409) from error
        start_term(license, client, user)
        send(signals.user_registered, application_id, about_license(license) | about_client(client))
    return user


def login(application_id: str, username: str, password: str, client: Client) -> User:
    """Check name, password, licence and device.

    :raises Refused: the name or the password is wrong, the user is banned, has no usable licence, or
        uses another device.
    """
    with transaction() as session:
        user = _find(session, application_id, username)
    # An unknown name takes as long as a wrong password, so the time does not tell which names exist.
    password_hash = _hash_of_nothing() if user is None else user.password_hash
    if not check_password_hash(password_hash, password) or user is None:
        code = "user_not_found" if user is None else "invalid_credentials"
        reason = "The name or the password is wrong."
        _send_login_failed(application_id, username, user, client, code, reason)
        raise Refused("invalid_credentials", reason, 401)
    try:
        with transaction() as session:
            license = _check_access(session, user, client)
            data = about_license(license) | about_client(client)
    except Refused as error:
        _send_login_failed(application_id, username, user, client, error.code, error.detail)
        raise
    send(signals.user_logged_in, application_id, data)
    return user


def ban(application_id: str, username: str, reason: str, actor: str | None) -> User:
    """Ban a user."""
    with transaction() as session:
        user = _find(session, application_id, username)
        if user is None:
            raise Refused("user_not_found", "There is no user of this name.", 404)
        if user.banned_at is not None:
            raise Refused("user_banned", "This user is banned already.", 409)
        user.banned_at = utc_now()
        data = about_user(user) | {"reason": reason, "banned_by": actor}
        send(signals.user_banned, application_id, data)
    return user


def _check_access(session: Session, user: User, client: Client) -> License:
    """Return the licence that a user logs in with.

    :raises Refused: the user is banned, or has no licence that can be used on this device.
    """
    if user.banned_at is not None:
        raise Refused("user_banned", "This user is banned.")
    newest = sa.select(License.key).where(License.user_id == user.id)
    key = session.scalar(newest.order_by(License.activated_at.desc()).limit(1))
    if key is None:
        raise Refused("no_license", "This user has no licence.")
    license = find_usable(session, user.application_id, key, client)
    check_activated(license, client)
    check_device(license, client)
    return license


def _send_login_failed(
    application_id: str, username: str, user: User | None, client: Client, code: str, reason: str
) -> None:
    data = {"username": username, "code": code, "reason": reason} | about_user(user)
    send(signals.user_login_failed, application_id, data | about_client(client))


def _find(session: Session, application_id: str, username: str) -> User | None:
    return session.scalar(
        sa.select(User).where(User.application_id == application_id, User.username == username)
    )


@functools.cache
def _hash_of_nothing() -> str:
    return hash_password("")
