"""Aureva: a small signed envelope with the project and Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from ..base import OutgoingEvent, Rendered, Target
from .base import MemberNames, Vendor, compact


class Aureva(Vendor):
    """``{"event", "project_id"?, "timestamp", "data"}``; ``X-Webhook-Signature`` where there is a secret."""

    name = "aureva"
    label = "Aureva"
    secret_optional = True
    tenant_members = ("project_id", "appId", "tenant")
    event_names: ClassVar[Mapping[str, str]] = {
        "license.created": "key.created",
        "license.validated": "key.used",
        "license.rejected": "auth.failed",
        "license.expired": "key.expired",
        "license.revoked": "key.deleted",
        "license.deleted": "key.deleted",
        "user.logged_in": "auth.success",
        "user.login_failed": "auth.failed",
        "hwid.bound": "hwid.changed",
        "hwid.changed": "hwid.changed",
        "hwid.reset": "hwid.reset",
        "hwid.mismatched": "auth.failed",
        "file.uploaded": "script.uploaded",
        "file.updated": "script.updated",
    }
    members: ClassVar[MemberNames] = {
        "license_id": "key_id",
        "file_id": "script_id",
        "hwid": "hwid",
        "ip": "ip",
    }

    def member_name(self, name: str) -> str | None:
        # Aureva sends a key's id, never the key itself.
        return None if name.replace("_", "").lower() == "licensekey" else name

    def keyed_value(self, value: dict[str, Any]) -> Any:
        return self.translated(value, {}, None)

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        project = {} if event.tenant is None else {"project_id": event.tenant}
        body = compact(
            {
                "event": self.event_name(event.type),
                **project,
                "timestamp": int(event.occurred_at.timestamp()),
                "data": self.vendor_data(event),
            }
        )
        headers = {"webhook-id": event.id}
        signature = self.signature(body, target)
        if signature is not None:
            headers["X-Webhook-Signature"] = signature
        return Rendered(url=target.url, headers=headers, body=body)
