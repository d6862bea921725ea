"""The JSON API that the applications' own servers and client software talk to.

Every request carries ``Authorization: Bearer <API key of the application>``. Bodies are JSON objects; errors
are problem details with a stable ``code``.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Any

from flask import Blueprint, Flask, Response, g, jsonify, request, url_for

from . import accounts, licensing
from .events import Client
from .extensions import webhooks
from .models import License, LicenseStatus
from .problems import API_PREFIX, Malformed, Unauthenticated

bp = Blueprint("api", __name__, url_prefix=API_PREFIX + "v1")

LONGEST_PASSWORD = 200
MOST_AT_ONCE = 100


def init_app(app: Flask) -> None:
    """Mount the API, and below it that of the webhooks: with the same key an application looks at its own.

    Only `view` comes with it (`admin.may_manage_webhooks`): the key is in the software of every client, and who
    takes it from there must not send an application's events somewhere else.
    """
    app.register_blueprint(bp)
    own_webhooks = webhooks.api_blueprint(authenticate=authenticate)
    app.register_blueprint(own_webhooks, url_prefix=f"{bp.url_prefix}/webhooks")


def authenticate() -> bool:
    """Find the application whose API key came with the request.

    :raises Unauthenticated: there is none.
    """
    key = "" if request.authorization is None else request.authorization.token or ""
    application_id = licensing.authenticate(key)
    if application_id is None:
        raise Unauthenticated(
            "invalid_api_key", "Send the header 'Authorization: Bearer <API key>'."
        )
    g.application_id = application_id
    return True


@bp.before_request
def _authenticate() -> None:
    authenticate()


# -- for client software ---------------------------------------------------------------------------


@bp.post("/register")
def register() -> tuple[Response, int]:
    body = Body()
    user = accounts.register(
        g.application_id,
        body.text("username", 64),
        body.text("password", LONGEST_PASSWORD, shortest=8),
        body.text("license_key", 64),
        body.client(),
    )
    return jsonify(user_id=user.id, username=user.username), 201


@bp.post("/login")
def login() -> Response:
    body = Body()
    result = accounts.login(
        g.application_id,
        body.text("username", 64),
        body.text("password", LONGEST_PASSWORD),
        body.client(),
    )
    return jsonify(
        user_id=result.user_id,
        username=result.username,
        session_id=result.session_id,
        token=result.token,
        expires_at=_iso(result.expires_at),
    )


@bp.post("/activate")
def activate() -> Response:
    body = Body()
    key = body.text("license_key", 64)
    return _shown(licensing.activate(g.application_id, key, body.client()))


@bp.post("/validate")
def validate() -> Response:
    body = Body()
    key = body.text("license_key", 64)
    return _shown(licensing.validate(g.application_id, key, body.client()))


# -- for sellers -----------------------------------------------------------------------------------


@bp.post("/licenses")
def create_licenses() -> tuple[Response, int]:
    body = Body()
    made = licensing.create_licenses(
        g.application_id,
        level=body.whole("level", 1, 100, default=1),
        duration=body.text("duration", 16, default="30d"),
        device_limit=body.whole("device_limit", 1, 100, default=1),
        count=body.whole("count", 1, MOST_AT_ONCE, default=1),
        created_by=body.actor(),
    )
    return jsonify(licenses=[_as_json(license) for license in made]), 201


@bp.get("/licenses")
def list_licenses() -> Response:
    limit = request.args.get("limit", 50, type=int)
    if not 1 <= limit <= MOST_AT_ONCE:
        raise _malformed("limit", f"must be a whole number from 1 to {MOST_AT_ONCE}")
    status = request.args.get("status")
    if status is not None and status not in set(LicenseStatus):
        raise _malformed("status", f"must be one of {', '.join(LicenseStatus)}")
    found = licensing.list_licenses(
        g.application_id, status=status, after=request.args.get("after", ""), limit=limit
    )
    following = None
    if len(found) == limit:
        following = url_for(".list_licenses", status=status, limit=limit, after=found[-1].id)
    return jsonify(licenses=[_as_json(license) for license in found], next=following)


@bp.get("/licenses/<key>")
def show_license(key: str) -> Response:
    return _shown(licensing.get_license(g.application_id, key))


@bp.post("/licenses/<key>/revoke")
def revoke(key: str) -> Response:
    body = Body()
    return _shown(
        licensing.revoke(g.application_id, key, reason=body.reason(), revoked_by=body.actor())
    )


@bp.post("/licenses/<key>/suspend")
def suspend(key: str) -> Response:
    body = Body()
    return _shown(
        licensing.suspend(g.application_id, key, reason=body.reason(), suspended_by=body.actor())
    )


@bp.post("/licenses/<key>/reinstate")
def reinstate(key: str) -> Response:
    body = Body()
    return _shown(
        licensing.reinstate(g.application_id, key, reason=body.reason(), reinstated_by=body.actor())
    )


@bp.post("/licenses/<key>/renew")
def renew(key: str) -> Response:
    body = Body()
    duration = body.text("duration", 16, default="30d")
    return _shown(
        licensing.renew(g.application_id, key, duration=duration, renewed_by=body.actor())
    )


@bp.post("/reset-hwid")
def reset_hwid() -> Response:
    body = Body()
    key = body.text("license_key", 64)
    return _shown(
        licensing.reset_hwid(g.application_id, key, reason=body.reason(), reset_by=body.actor())
    )


@bp.post("/change-hwid")
def change_hwid() -> Response:
    body = Body()
    return _shown(
        licensing.change_hwid(
            g.application_id,
            body.text("license_key", 64),
            previous=body.text("previous_hwid", 128),
            client=body.client(),
            changed_by=body.actor(),
        )
    )


@bp.post("/ban")
def ban() -> Response:
    body = Body()
    name = body.text("username", 64)
    user = accounts.ban(g.application_id, name, reason=body.reason(), banned_by=body.actor())
    return jsonify(user_id=user.id, username=user.username, banned_at=_iso(user.banned_at))


@bp.post("/unban")
def unban() -> Response:
    body = Body()
    name = body.text("username", 64)
    user = accounts.unban(g.application_id, name, reason=body.reason(), unbanned_by=body.actor())
    return jsonify(user_id=user.id, username=user.username, banned_at=None)


# -- reading requests and writing answers ------------------------------------------------------------


class Body:
    """The members of the request's JSON object, each checked when it is asked for."""

    def __init__(self) -> None:
        members = request.get_json(silent=True)
        if not isinstance(members, dict):
            raise Malformed("invalid_json", "Send a JSON object as application/json.")
        self._members: dict[str, Any] = members

    def text(
        self, name: str, longest: int, *, shortest: int = 1, default: str | None = None
    ) -> str:
        value = self._members.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not shortest <= len(value) <= longest:
            raise _malformed(name, f"must be a text of {shortest} to {longest} characters")
        if not value.isprintable():
            raise _malformed(name, "must not hold control characters")
        return value

    def whole(self, name: str, least: int, most: int, *, default: int) -> int:
        value = self._members.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _malformed(name, f"must be a whole number from {least} to {most}")
        return value

    def reason(self) -> str:
        return self.text("reason", 200, default="No reason given")

    def actor(self) -> str | None:
        """Who asks for it at the application: a staff member, a seller, a user."""
        return self.text("actor", 64) if "actor" in self._members else None

    def client(self) -> Client:
        """The device that the request is about.

        Members ``ip`` and ``user_agent`` are for an application whose own server stands between.
        """
        ip = self.text("ip", 45, default=request.remote_addr or "127.0.0.1")
        try:
            ip = str(ipaddress.ip_address(ip))
        except ValueError:
            raise _malformed("ip", "must be an IPv4 or IPv6 address") from None
        agent = self.text("user_agent", 255, default=request.headers.get("User-Agent", "")[:255])
        return Client(hwid=self.text("hwid", 128), ip=ip, user_agent=agent or None)


def _malformed(name: str, what: str) -> Malformed:
    return Malformed("invalid_member", f"{name} {what}.", member=name)


def _shown(license: License) -> Response:
    return jsonify(_as_json(license))


def _as_json(license: License) -> dict[str, Any]:
    return {
        "license_id": license.id,
        "license_key": license.key,
        "status": str(license.status),
        "level": license.level,
        "duration": license.duration,
        "expires_at": _iso(license.expires_at),
        "hwids": [device.hwid for device in license.devices],
        "device_limit": license.device_limit,
        "username": None if license.user is None else license.user.username,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
