"""AkuWorks: a flat body that contains its own signature, in addition to the one in a header."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from ..base import Answer, OutgoingEvent, Rendered, Target
from .base import Vendor, compact, iso_seconds, with_clashing

#: Members of the body that are not from the data.
_ENVELOPE = ("event", "timestamp", "server", "signature")


class AkuWorks(Vendor):
    """``{"event", "timestamp", "server"?, …data…, "signature"}``, also signed in ``X-Webhook-Signature``.

    The member is the signature of the body without it, so that it can be checked after parsing; the header is that
    of the sent bytes, for checking the raw body as documented.
    """

    name = "akuworks"
    label = "AkuWorks"
    timeout = 5.0
    test_event = "verification.succeeded"
    event_names: ClassVar[Mapping[str, str]] = {
        "verification.succeeded": "verification.success",
        "verification.failed": "verification.failed",
        "security.alert": "security.alert",
        "config.updated": "config.updated",
    }

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        message: dict[str, Any] = {
            "event": self.event_name(event.type),
            "timestamp": iso_seconds(event.occurred_at),
        }
        if event.tenant is not None:
            message["server"] = {"id": event.tenant, "name": event.tenant_name or event.tenant}
        message |= self.vendor_data(event)
        message["signature"] = "sha256=" + self.required_signature(compact(message), target)
        body = compact(message)
        headers = {
            "webhook-id": event.id,
            "X-Webhook-Signature": "sha256=" + self.required_signature(body, target),
        }
        return Rendered(url=target.url, headers=headers, body=body)

    def vendor_data(self, event: OutgoingEvent) -> dict[str, Any]:
        data = event.data
        members = {name: value for name, value in data.items() if name not in _ENVELOPE}
        return with_clashing(members, {name: data[name] for name in data if name in _ENVELOPE})

    def succeeded(self, answer: Answer) -> bool:
        """Return whether the status is 200, as documented by AkuWorks."""
        return answer.status == 200
