"""The default format: Standard Webhooks 1.0."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from ..security import signing
from .base import Format, OutgoingEvent, Rendered, Target


class StandardSigned(Format):
    """Base of formats that sign as Standard Webhooks does, by shared secrets and by key pairs."""

    def generate_secret(self) -> str:
        return signing.generate_secret()

    def generate_key_pair(self) -> str:
        return signing.generate_private_key()

    def public_key(self, secret: str) -> str | None:
        return signing.public_key(secret) if secret.startswith(signing.PRIVATE_KEY_PREFIX) else None

    def check_secret(self, secret: str) -> str:
        secret = signing.pasted(secret)
        if secret.startswith(signing.PRIVATE_KEY_PREFIX):
            signing.private_key(secret)
            return secret
        signing.standard_key(secret)
        return (
            secret if secret.startswith(signing.SECRET_PREFIX) else signing.SECRET_PREFIX + secret
        )

    def signature_headers(
        self, event: OutgoingEvent, target: Target, body: bytes, attempted_at: datetime
    ) -> dict[str, str]:
        """Return the three headers of Standard Webhooks, with a signature for each active secret."""
        timestamp = int(attempted_at.timestamp())
        return {
            "webhook-id": event.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign_by_secrets(event.id, timestamp, body, target.secrets),
        }


class Standard(StandardSigned):
    """``{"type", "timestamp", "data", "tenant"?}``, signed in ``webhook-signature``."""

    name = "standard"
    label = "Standard Webhooks"

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        parts = [
            f'"type":{json.dumps(event.type)}',
            f'"timestamp":"{iso_milliseconds(event.occurred_at)}"',
            f'"data":{event.data_json}',
        ]
        if event.tenant is not None:
            parts.append(f'"tenant":{json.dumps(event.tenant, ensure_ascii=False)}')
        body = ("{" + ",".join(parts) + "}").encode()
        headers = self.signature_headers(event, target, body, attempted_at)
        return Rendered(url=target.url, headers=headers, body=body)


def iso_milliseconds(moment: datetime) -> str:
    """``2026-01-31T12:00:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
