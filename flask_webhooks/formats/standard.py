"""The default format: Standard Webhooks 1.0."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from .. import signing
from .base import Format, OutgoingEvent, Rendered, Target


class Standard(Format):
    """``{"type", "timestamp", "data", "tenant"?}``, signed in ``webhook-signature``."""

    name = "standard"
    label = "Standard Webhooks"

    def generate_secret(self) -> str:
        return signing.generate_secret()

    def check_secret(self, secret: str) -> str:
        signing.standard_key(secret)
        return (
            secret if secret.startswith(signing.SECRET_PREFIX) else signing.SECRET_PREFIX + secret
        )

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        parts = [
            f'"type":{json.dumps(event.type)}',
            f'"timestamp":"{iso_milliseconds(event.occurred_at)}"',
            f'"data":{event.data_json}',
        ]
        if event.tenant is not None:
            parts.append(f'"tenant":{json.dumps(event.tenant, ensure_ascii=False)}')
        body = ("{" + ",".join(parts) + "}").encode()
        timestamp = int(attempted_at.timestamp())
        keys = [signing.standard_key(secret) for secret in target.secrets]
        headers = {
            "webhook-id": event.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign_standard(event.id, timestamp, body, keys),
        }
        return Rendered(url=target.url, headers=headers, body=body)


def iso_milliseconds(moment: datetime) -> str:
    """``2026-01-31T12:00:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
