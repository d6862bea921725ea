"""Authon: camelCase data, and the secret itself in a header. For receivers that exist already."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from ...errors import InvalidSecret
from ...security.headers import product_token
from ...security.signing import SECRET_PREFIX
from ..base import ExportedEndpoint, OutgoingEvent, Rendered, Target
from ..standard import iso_milliseconds
from .base import TENANT, MemberNames, Vendor, camel_case, compact

_TEST = "test"


class Authon(Vendor):
    """``{"event", "timestamp", "data"}``; ``X-Webhook-Secret`` only authenticates the sender."""

    name = "authon"
    label = "Authon"
    renames_ids = True
    event_names: ClassVar[Mapping[str, str]] = {
        "license.activated": "license.activate",
        "license.expired": "license.expire",
        "license.deleted": "license.delete",
        "user.registered": "user.register",
        "user.logged_in": "user.login",
        "user.banned": "user.ban",
        "session.created": "session.create",
        "file.downloaded": "file.download",
    }
    members: ClassVar[MemberNames] = {TENANT: "appId", "endpoint_id": "webhookId"}
    members_by_type: ClassVar[Mapping[str, MemberNames]] = {
        "user.logged_in": {
            "user_id": "userId",
            "username": "username",
            "ip": "ip",
            "hwid": "hwid",
            TENANT: "appId",
        },
        "user.registered": {
            "user_id": "userId",
            "username": "username",
            "license_key": "licenseKey",
            "ip": "ip",
            TENANT: "appId",
        },
        "license.activated": {
            "license_id": "licenseId",
            "license_key": "key",
            "duration_type": "durationType",
            "level": "level",
            "activated_by": "activatedBy",
            TENANT: "appId",
        },
        "user.banned": {
            "user_id": "userId",
            "username": "username",
            "reason": "reason",
            "banned_by": "bannedBy",
            TENANT: "appId",
        },
        _TEST: {"message": "message", TENANT: "appId", "endpoint_id": "webhookId"},
    }

    def generate_secret(self) -> str:
        return SECRET_PREFIX + secrets.token_hex(32)

    def check_secret(self, secret: str) -> str:
        checked = super().check_secret(secret)
        if not checked.isascii():
            raise InvalidSecret("Write the secret in ASCII: Authon sends it in a header.")
        return checked

    def member_name(self, name: str) -> str:
        return camel_case(name)

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        name = self.event_name(event.type)
        body = compact(
            {
                "event": name,
                "timestamp": iso_milliseconds(event.occurred_at),
                "data": self._data(event, target),
            }
        )
        headers = {
            "webhook-id": event.id,
            "X-Webhook-Secret": self.required_secret(target),
            "X-Webhook-Event": name,
        }
        if target.user_agent is None:
            product = product_token(target.product_name)
            headers["User-Agent"] = f"{product}-Webhook/1.0" if product else "Webhook/1.0"
        return Rendered(target.url, headers, body, frozenset({"x-webhook-secret"}))

    def _data(self, event: OutgoingEvent, target: Target) -> dict[str, Any]:
        if event.type != _TEST:
            return self.vendor_data(event)
        ping = {
            "message": f"This is a test ping from {target.product_name}",
            **event.data,
            "endpoint_id": target.id,
        }
        return self.translated(ping, self.members_by_type[_TEST], event.tenant)

    def read_export(self, item: Mapping[str, Any]) -> ExportedEndpoint:
        # The API's response to a creation, with the tenant next to or within it.
        answer = item.get("data")
        if not isinstance(answer, Mapping):
            return super().read_export(item)
        exported = super().read_export(answer)
        exported.update({**self.exported_tenant(item), **self.exported_tenant(answer)})
        return exported
