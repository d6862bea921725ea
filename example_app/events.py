"""What this server tells Flask-Webhooks: signals, and the data that events have in common."""

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
    """The device and the connection that a request is about."""

    hwid: str
    ip: str
    user_agent: str = ""


def send(signal: NamedSignal, application_id: str, data: dict[str, Any]) -> None:
    """Send a signal, for the endpoints of one application and those of the whole server.

    Call it within a transaction: the event exists if and only if that commits. Events that describe a
    refusal, such as ``user.login_failed``, exist even if it does not.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    signal.send(app, data=data, tenant=application_id)


def schedule_notice(license: License, now: datetime) -> None:
    """Schedule `license.expiring` for a licence in use, and cancel it for any other.

    Call it within the transaction that changes the licence. The key replaces what was scheduled before.
    """
    key = f"expiring:{license.id}"
    moment = notice_at(license.expires_at, now) if license.status == LicenseStatus.ACTIVE else None
    if moment is None:
        webhooks.cancel(key, tenant=license.application_id)
        return
    data = about_license(license) | about_term(license) | {"days_left": NOTICE.days}
    webhooks.emit(
        "license.expiring", data, tenant=license.application_id, deliver_at=moment, key=key
    )


@webhooks.version("license.activated", "2026-12-01")
def activation_before(data: dict[str, Any]) -> dict[str, Any]:
    """Turn the data of an activation into that of before December, without the user."""
    return {name: value for name, value in data.items() if name not in ("activated_by", "username")}


# -- data ------------------------------------------------------------------------------------------


def about_license(license: License) -> dict[str, Any]:
    """The licence, and its user if there is one."""
    data = {"license_id": license.id, "license_key": license.key, "status": str(license.status)}
    return data | about_user(license.user)


def about_term(license: License) -> dict[str, Any]:
    return {
        "level": license.level,
        "duration_type": license.duration,
        "expires_at": license.expires_at,
    }


def about_user(user: User | None) -> dict[str, Any]:
    return {} if user is None else {"user_id": user.id, "username": user.username}


def about_client(client: Client) -> dict[str, Any]:
    return {"hwid": client.hwid, "ip": client.ip, "user_agent": client.user_agent}
