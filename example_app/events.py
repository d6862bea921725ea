"""Telling Flask-Webhooks what happened: the data that events share, and how they are sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blinker import NamedSignal
from flask import current_app

from .extensions import webhooks
from .models import License, LicenseStatus, User
from .terms import NOTICE, notice_at


@dataclass(frozen=True, slots=True)
class Client:
    """The device and the connection that a request speaks for."""

    hwid: str
    ip: str
    user_agent: str | None = None


@webhooks.version("license.activated", "2026-12-01")
def activation_before(data: dict[str, Any]) -> dict[str, Any]:
    """Turn the data of an activation into that of until November, when it did not name the user."""
    return {name: value for name, value in data.items() if name not in ("activated_by", "username")}


def send(signal: NamedSignal, application_id: str, data: dict[str, Any]) -> None:
    """Send a signal for the endpoints of one application, and for the whole server's.

    Within a transaction, before its commit: the event exists if and only if that commits.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    signal.send(app, data=data, tenant=application_id)


def schedule_notice(license: License, now: datetime) -> None:
    """Have `license.expiring` sent before the end of a licence that is in use; of any other take it back.

    Within the transaction that changes it, as `send`. What was scheduled for it before is replaced.
    """
    key = f"expiring:{license.id}"
    moment = None
    if license.status == LicenseStatus.ACTIVE:
        moment = notice_at(license.expires_at, now)
    if moment is None:
        webhooks.cancel(key, tenant=license.application_id)
        return
    data = about_license(license) | about_term(license) | about_user(license.user)
    webhooks.emit(
        "license.expiring",
        data | {"days_left": NOTICE.days},
        tenant=license.application_id,
        deliver_at=moment,
        key=key,
    )


def about_client(client: Client) -> dict[str, Any]:
    return {"hwid": client.hwid, "ip": client.ip}


def about_request(client: Client) -> dict[str, Any]:
    """The client with its program, for events about access."""
    agent = {} if client.user_agent is None else {"user_agent": client.user_agent}
    return about_client(client) | agent


def about_user(user: User | None) -> dict[str, Any]:
    """Empty for a licence that nobody holds."""
    return {} if user is None else {"user_id": user.id, "username": user.username}


def about_license(license: License) -> dict[str, Any]:
    return {"license_id": license.id, "license_key": license.key, "status": str(license.status)}


def about_term(license: License) -> dict[str, Any]:
    return {
        "level": license.level,
        "duration_type": license.duration,
        "expires_at": license.expires_at,
    }
