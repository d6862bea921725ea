"""AuthForge: camelCase data, and the event, its time and the signature in headers of their own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from ..base import OutgoingEvent, Rendered, Target
from ..standard import iso_milliseconds
from .base import TENANT, MemberNames, Vendor, camel_case, compact


class AuthForge(Vendor):
    """``{"event", "timestamp", "data"}``, signed in ``X-AuthForge-Signature``."""

    name = "authforge"
    label = "AuthForge"
    renames_ids = True
    test_event = "license.validated"
    event_names: ClassVar[Mapping[str, str]] = {
        "license.created": "license.created",
        # AuthForge's license.activated is a revoked licence that works again.
        "license.activated": "license.redeemed",
        "license.validated": "license.validated",
        "license.revoked": "license.revoked",
        "license.reinstated": "license.activated",
        "license.deleted": "license.deleted",
        "hwid.bound": "license.hwid_bound",
        "hwid.reset": "license.hwid_reset",
    }
    members: ClassVar[MemberNames] = {
        "license_key": "licenseKey",
        TENANT: "appId",
        "status": "status",
        "hwid": "hwid",
    }

    def member_name(self, name: str) -> str:
        return camel_case(name)

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        name = self.event_name(event.type)
        timestamp = iso_milliseconds(event.occurred_at)
        body = compact({"event": name, "timestamp": timestamp, "data": self.vendor_data(event)})
        headers = {
            "webhook-id": event.id,
            "X-AuthForge-Event": name,
            "X-AuthForge-Timestamp": timestamp,
            "X-AuthForge-Signature": self.required_signature(body, target),
        }
        return Rendered(url=target.url, headers=headers, body=body)
