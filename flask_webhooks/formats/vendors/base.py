"""The common base of the formats of the five services: one signature, and data in the terms of the service."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from ...errors import (
    InvalidEndpoint,
    InvalidSecret,
    InvalidSubscription,
    InvalidURL,
)
from ...security import signing
from ..base import ExportedEndpoint, OutgoingEvent, Target
from ..secrets import HexSigned
from .webhook_ids import webhook_id

#: The service's members by ours, in the order of its documentation; `TENANT` represents the tenant.
MemberNames = Mapping[str | None, str]
TENANT = None

#: Members whose own members are named by the host, such as settings, and are not renamed.
_KEYED = frozenset({"details", "new", "previous"})
#: Chats, whose messages no service signs.
_CHAT = re.compile(
    r"https://(?:(?:[\w-]+\.)*discord(?:app)?\.com/api|hooks\.slack\.com|api\.telegram\.org)/"
)
_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")


class Vendor(HexSigned):
    """A format that an existing receiver of one of the five services accepts."""

    #: For events without an entry in `members_by_type`.
    members: ClassVar[MemberNames] = {}
    members_by_type: ClassVar[Mapping[str, MemberNames]] = {}
    #: Whether an export of the service names the events of each endpoint.
    exports_events: ClassVar[bool] = True
    #: Whether ids of endpoints are sent as ids of webhooks, as in its API.
    renames_ids: ClassVar[bool] = False

    def required_secret(self, target: Target) -> str:
        """Return the secret of this request.

        :raises InvalidSecret: the endpoint has none.
        """
        secret = self.signing_secret(target)
        if secret is None:
            raise InvalidSecret(
                "Endpoint %(id)s has no secret, and %(format)s is not sent without one: rotate it.",
                id=target.id,
                format=self.label,
            )
        return secret

    def required_signature(self, body: bytes, target: Target) -> str:
        """Return the HMAC-SHA256 of the body in lower-case hex.

        :raises InvalidSecret: the endpoint has no secret.
        """
        return signing.sign_hex(body, self.required_secret(target).encode())

    def member_name(self, name: str) -> str | None:
        """Return the name of a member without an entry in the tables; ``None`` omits it."""
        return name

    def vendor_data(self, event: OutgoingEvent) -> dict[str, Any]:
        """Return the event's data in the terms of the service, documented members first.

        Nothing is lost: a member with a conflicting name moves under ``data``.
        """
        members = self.members_by_type.get(event.type, self.members)
        return self.translated(event.data, members, event.tenant)

    def translated(
        self, data: Mapping[str, Any], members: MemberNames, tenant: str | None
    ) -> dict[str, Any]:
        """Return an object in the terms of the service, members of the table first."""
        translated: dict[str, Any] = {}
        for ours, theirs in members.items():
            if ours is not TENANT and ours in data:
                translated[theirs] = self._value(ours, data[ours])
            elif ours is TENANT and tenant is not None:
                translated[theirs] = tenant
        clashing: dict[str, Any] = {}
        for name, value in data.items():
            other = None if name in members else self.member_name(name)
            if other is None:
                continue
            if other in translated:
                clashing[name] = self._value(name, value)
            else:
                translated[other] = self._value(name, value)
        return with_clashing(translated, clashing)

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(name, item) for item in value]
        if name == "endpoint_id" and self.renames_ids and isinstance(value, str):
            return webhook_id(value)
        if not isinstance(value, dict):
            return value
        if name in _KEYED:
            return self.keyed_value(value)
        return self.translated(value, {}, None)

    def keyed_value(self, value: dict[str, Any]) -> Any:
        """Return an object whose member names are not changed."""
        return value

    def read_export(self, item: Mapping[str, Any]) -> ExportedEndpoint:
        """Read an endpoint from an export of the service.

        :param item: one JSON object with the members that the service's page or API shows.
        :raises InvalidInput: a member is missing or has the wrong type.
        """
        url = next((item[name] for name in self.url_members if item.get(name)), None)
        if not isinstance(url, str):
            raise InvalidURL(
                'It has no "%(member)s": write the URL there.', member=self.url_members[0]
            )
        exported = ExportedEndpoint(
            url=url,
            events=self._exported_events(item),
            secret=self._exported_secret(item, url),
            active=_exported_switch(item),
        )
        name = item.get("name")
        if name is not None:
            exported["name"] = _exported_text("name", name)
        agent = item.get("user_agent")
        if agent is not None:
            exported["user_agent"] = _exported_text("user_agent", agent) or None
        exported.update(self.exported_tenant(item))
        return exported

    def _exported_events(self, item: Mapping[str, Any]) -> list[str] | None:
        events = item.get("events")
        if events is None:
            if not self.exports_events:
                return None
            raise InvalidSubscription('It has no "events": write the list, or ["*"] for all.')
        if isinstance(events, str):
            # A column that contains a JSON array.
            try:
                events = json.loads(events)
            except (ValueError, RecursionError):
                events = None
        if not isinstance(events, list) or not all(isinstance(name, str) for name in events):
            raise InvalidSubscription(
                'Its "events" is not a list of names: write it like ["a", "b"].'
            )
        return list(events)

    def _exported_secret(self, item: Mapping[str, Any], url: str) -> str | None:
        if "secret" not in item and not self.secret_optional and not _CHAT.match(url):
            raise InvalidSecret(
                'It has no "secret": write the one that the receiver knows, or null to generate a new '
                "one, which you must then give to the receiver."
            )
        secret = item.get("secret")
        if secret is None or secret == "":
            return None
        if not isinstance(secret, str):
            raise InvalidSecret('Its "secret" is not text.')
        return secret


def with_clashing(members: dict[str, Any], clashing: dict[str, Any]) -> dict[str, Any]:
    """Merge members; those with conflicting names move under ``data``."""
    if clashing:
        if "data" in members:
            clashing["data"] = members.pop("data")
        members["data"] = clashing
    return members


def camel_case(name: str) -> str:
    """Convert ``license_key`` to ``licenseKey``; other names are not changed."""
    if not _SNAKE.fullmatch(name):
        return name
    first, *words = name.split("_")
    return first + "".join(word.capitalize() for word in words)


def compact(message: Mapping[str, Any]) -> bytes:
    """Return JSON without spaces, in UTF-8."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def iso_seconds(moment: datetime) -> str:
    """``2026-01-31T12:00:00Z``."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _exported_switch(item: Mapping[str, Any]) -> bool:
    for name in ("active", "is_active", "enabled"):
        value = item.get(name)
        if value is not None:
            # Some databases write booleans as numbers.
            if value not in (True, False):
                raise InvalidEndpoint(
                    'Its "%(name)s" is neither true nor false.', name=name, field=name
                )
            return bool(value)
    return True


def _exported_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidEndpoint('Its "%(name)s" is not text.', name=name, field=name)
    return value
