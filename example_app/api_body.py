"""The JSON objects that the API takes and returns."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Any

from flask import request

from .events import Client
from .models import License
from .problems import Refused


class Body:
    """The members of the request's JSON object. Each method checks one.

    :raises Refused: a member is missing or malformed.
    """

    def __init__(self) -> None:
        members = request.get_json(silent=True)
        if not isinstance(members, dict):
            raise Refused("invalid_json", "Send a JSON object as application/json.", 400)
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
            raise _malformed(name, "must not contain control characters")
        return value

    def whole(self, name: str, least: int, most: int, *, default: int) -> int:
        value = self._members.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _malformed(name, f"must be a whole number from {least} to {most}")
        return value

    def username(self) -> str:
        return self.text("username", 64)

    def license_key(self) -> str:
        return self.text("license_key", 64)

    def duration(self) -> str:
        return self.text("duration", 16, default="30d")

    def reason(self) -> str:
        return self.text("reason", 200, default="No reason given")

    def actor(self) -> str | None:
        """The person at the application who asks for it."""
        return self.text("actor", 64, default="") or None

    def client(self) -> Client:
        """The device that the request is about.

        An application whose own server makes the request sends ``ip`` and ``user_agent`` of its client.
        """
        ip = self.text("ip", 45, default=request.remote_addr or "127.0.0.1")
        try:
            ip = str(ipaddress.ip_address(ip))
        except ValueError:
            raise _malformed("ip", "must be an IPv4 or IPv6 address") from None
        agent = self.text("user_agent", 255, default=request.headers.get("User-Agent", "")[:255])
        return Client(hwid=self.text("hwid", 128), ip=ip, user_agent=agent)


def license_as_json(license: License) -> dict[str, Any]:
    """Return what the API tells of a licence."""
    return {
        "license_id": license.id,
        "license_key": license.key,
        "status": str(license.status),
        "level": license.level,
        "duration": license.duration,
        "expires_at": moment(license.expires_at),
        "hwids": [device.hwid for device in license.devices],
        "device_limit": license.device_limit,
        "username": None if license.user is None else license.user.username,
    }


def moment(value: datetime | None) -> str | None:
    """Write a time in ISO 8601."""
    return None if value is None else value.isoformat(timespec="milliseconds")


def _malformed(name: str, rule: str) -> Refused:
    return Refused("invalid_member", f"{name} {rule}.", 400, member=name)
