"""AuthVaultix: a signed envelope; its documentation specifies events and User-Agent, but not the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from ..base import ExportedEndpoint, OutgoingEvent, Rendered, Target
from ..standard import iso_milliseconds
from .base import Vendor


class AuthVaultix(Vendor):
    """``{"event", "timestamp", "data"}``, signed in ``X-Webhook-Signature``."""

    name = "authvaultix"
    label = "AuthVaultix"
    event_names: ClassVar[Mapping[str, str]] = {
        "license.activated": "license.redeem",
        "license.rejected": "auth.login.failed",
        "license.expired": "license.expired",
        "user.registered": "user.register",
        "user.logged_in": "auth.login.success",
        "user.login_failed": "auth.login.failed",
        "hwid.reset": "hwid.reset",
        "hwid.mismatched": "hwid.mismatch",
        "blacklist.added": "blacklist.added",
        "whitelist.added": "whitelist.added",
        "payment.succeeded": "payment.success",
        "payment.failed": "payment.failed",
    }
    exports_events = False
    url_members = ("endpoint_url", "endpoint", "url")

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        name = json.dumps(self.event_name(event.type))
        timestamp = iso_milliseconds(event.occurred_at)
        body = f'{{"event":{name},"timestamp":"{timestamp}","data":{event.data_json}}}'.encode()
        headers = {
            "webhook-id": event.id,
            "X-Webhook-Signature": self.required_signature(body, target),
        }
        return Rendered(url=target.url, headers=headers, body=body)

    def read_export(self, item: Mapping[str, Any]) -> ExportedEndpoint:
        exported = super().read_export(item)
        # The value in its list if none is set.
        if exported.get("user_agent") == "Default":
            exported["user_agent"] = None
        return exported
