"""What this server does with the accounts of users: register, log in, ban.

Each function is one transaction, as in `licensing`. Passwords are hashed outside of it: that takes a while
on purpose, and SQLite's one write lock is not held meanwhile.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash, generate_password_hash

from flask_webhooks import signals

from . import licensing
from .events import Client, about_client, about_license, about_request, about_user, send
from .models import License, User, UserSession, transaction, utc_now
from .problems import Conflict, NotFound, Refused, Unauthenticated

SESSION_LIFE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Login:
    """What a client gets for a right password. The token is shown only here."""

    session_id: str
    token: str
    user_id: str
    username: str
    expires_at: datetime


def register(
    application_id: str, username: str, password: str, license_key: str, client: Client
) -> User:
    """Create an account with a licence key, which is activated by that.

    :raises Conflict: the name is taken.
    :raises Refused: the key is unknown, was used already or cannot be used.
    """
    password_hash = _hash(password)
    with transaction() as session:
        license = licensing.present(session, application_id, license_key, client)
        if _find(session, application_id, username) is not None:
            raise _name_is_taken()
        user = User(application_id=application_id, username=username, password_hash=password_hash)
        session.add(user)
        try:
            session.flush()
        except IntegrityError as error:
            # Somebody else registered the name since we looked.
            raise _name_is_taken() from error
        licensing.start_term(session, license, client, user)
        data = about_user(user) | about_license(license) | about_client(client)
        del data["status"]
        send(signals.user_registered, application_id, data)
    return user


def login(application_id: str, username: str, password: str, client: Client) -> Login:
    """Check name, password, licence and device, and open a session.

    :raises Unauthenticated: the name or the password is wrong.
    :raises Refused: the user is banned, has no licence that can be used, or comes with another device.
    """
    with transaction() as session:
        known = session.execute(
            sa.select(User.id, User.password_hash).where(
                User.application_id == application_id, User.username == username
            )
        ).one_or_none()
    # An unknown name takes as long as a wrong password: the time tells nobody which names exist.
    user_id = None if known is None else known.id
    stored = _hash_of_nothing() if known is None else known.password_hash
    if not check_password_hash(stored, password) or user_id is None:
        code = "user_not_found" if user_id is None else "invalid_credentials"
        _login_failed(application_id, username, user_id, client, "Wrong name or password", code)
        raise Unauthenticated("invalid_credentials", "The name or the password is wrong.")
    token = secrets.token_urlsafe(32)
    with transaction() as session:
        user = session.get_one(User, user_id)
        license = _check_access(session, user, client)
        opened = UserSession(
            user_id=user.id,
            token_hash=hashlib.sha256(token.encode()).hexdigest(),
            hwid=client.hwid,
            ip=client.ip,
            expires_at=utc_now() + SESSION_LIFE,
        )
        session.add(opened)
        session.flush()
        result = Login(opened.id, token, user.id, user.username, opened.expires_at)
        about = about_user(user) | about_request(client)
        about |= {"session_id": opened.id, "license_id": license.id}
        license_key = license.key
    # Neither type waits for a commit of its own, so both are sent when there is something to tell.
    send(signals.user_logged_in, application_id, about | {"license_key": license_key})
    send(signals.session_created, application_id, about | {"expires_at": result.expires_at})
    return result


def ban(application_id: str, username: str, *, reason: str, banned_by: str | None) -> User:
    """Ban a user and end every session of theirs."""
    with transaction() as session:
        user = _get(session, application_id, username)
        if user.banned_at is not None:
            raise Conflict("user_banned", "This user is banned already.")
        user.banned_at = utc_now()
        user.ban_reason = reason
        session.execute(sa.delete(UserSession).where(UserSession.user_id == user.id))
        data = about_user(user) | {"reason": reason, "banned_by": banned_by, "banned_until": None}
        send(signals.user_banned, application_id, data)
    return user


def unban(application_id: str, username: str, *, reason: str, unbanned_by: str | None) -> User:
    """Lift a ban."""
    with transaction() as session:
        user = _get(session, application_id, username)
        if user.banned_at is None:
            raise Conflict("user_not_banned", "This user is not banned.")
        user.banned_at = None
        user.ban_reason = None
        data = about_user(user) | {"reason": reason, "unbanned_by": unbanned_by}
        send(signals.user_unbanned, application_id, data)
    return user


def _check_access(session: Session, user: User, client: Client) -> License:
    """The licence that lets a user in.

    :raises Refused: the user is banned, or has no licence for this device and moment.
    """
    if user.banned_at is not None:
        raise _access_refused(user, client, "user_banned", "This user is banned")
    key = session.scalar(
        sa.select(License.key)
        .where(License.user_id == user.id)
        .order_by(License.activated_at.desc())
        .limit(1)
    )
    if key is None:
        raise _access_refused(user, client, "no_license", "This user has no licence")
    try:
        license = licensing.present(session, user.application_id, key, client)
        licensing.check_usable(license, client)
        licensing.check_device(license, client)
    except Refused as refused:
        _login_failed(
            user.application_id, user.username, user.id, client, refused.detail, refused.code
        )
        raise
    return license


def _access_refused(user: User, client: Client, code: str, reason: str) -> Refused:
    _login_failed(user.application_id, user.username, user.id, client, reason, code)
    return Refused(code, reason + ".")


def _login_failed(
    application_id: str, username: str, user_id: str | None, client: Client, reason: str, code: str
) -> None:
    data = {"username": username, "reason": reason, "code": code, "user_id": user_id}
    send(signals.user_login_failed, application_id, data | about_request(client))


def _name_is_taken() -> Conflict:
    return Conflict("username_taken", "This name is taken; choose another one.")


def _find(session: Session, application_id: str, username: str) -> User | None:
    return session.scalar(
        sa.select(User).where(User.application_id == application_id, User.username == username)
    )


def _get(session: Session, application_id: str, username: str) -> User:
    user = _find(session, application_id, username)
    if user is None:
        raise NotFound("user_not_found", "There is no user of this name.")
    return user


def _hash(password: str) -> str:
    return generate_password_hash(password, method=current_app.config["PASSWORD_HASH_METHOD"])


@functools.cache
def _hash_of_nothing() -> str:
    return _hash(secrets.token_hex(16))
