"""Webhooks that are signed by an implementation that is not ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from standardwebhooks.webhooks import Webhook
from werkzeug.datastructures import Headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"type":"user.banned","timestamp":"2026-03-02T09:30:00.000Z","data":{"name":"Zoë"}}'


def signed(
    message_id: str = "evt_1", secret: str = SECRET, *, age: float = 0, body: str = BODY
) -> Headers:
    """Headers from an implementation that is not ours."""
    at = datetime.now(UTC) - timedelta(seconds=age)
    return Headers(
        {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(message_id, at, body),
        }
    )
