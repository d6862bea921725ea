"""Whether an answer echoes the challenge that was sent, and what becomes of the endpoint then."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ..app_state import AppState
from ..columns import utc_now
from ..formats import OutgoingEvent
from ..models import DeliveryState, EndpointState
from . import audit_log
from .outcome import AttemptRecord, Outcome

#: The event type of a challenge, and the member of its data and of the answer that holds the token.
CHALLENGE: Final = "webhook.challenge"
MEMBER: Final = "challenge"
#: A header that holds the token too: a body may be a template that leaves it out.
CHALLENGE_HEADER: Final = "webhook-challenge"


def challenge_digest(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_of(event: OutgoingEvent) -> str | None:
    """Return the token of a challenge; ``None`` of any other event."""
    if event.type != CHALLENGE:
        return None
    token = event.data.get(MEMBER) if isinstance(event.data, dict) else None
    return token if isinstance(token, str) else ""


def echoes(body: bytes, token: str) -> bool:
    """Tell whether an answer's body is the token, or a JSON object that has it as ``challenge``."""
    text = body.strip()
    if text.startswith(b"{"):
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            return False
        found = answer.get(MEMBER)
        text = found.encode(errors="replace") if isinstance(found, str) else b""
    return bool(token) and hmac.compare_digest(text, token.encode())


def verify_endpoints(
    state: AppState, connection: sa.Connection, attempts: Iterable[AttemptRecord], now: datetime
) -> None:
    """Let endpoints go live whose receivers have echoed their challenges.

    Within the settlement of these attempts. One that echoes an older challenge, or was sent to another URL, does not.
    """
    table, delivery = state.table("Endpoint"), state.table("Delivery")
    for attempt in attempts:
        token = token_of(attempt.claimed.event)
        if token is None or attempt.outcome != Outcome.SUCCEEDED:
            continue
        mine = (table.c.id == attempt.endpoint_id, table.c.deleted_at.is_(None))
        before = connection.execute(
            sa.select(table.c.state, table.c.tenant).where(
                *mine, table.c.challenge == challenge_digest(token)
            )
        ).first()
        if before is None:
            continue
        values: dict[str, Any] = {"challenge": None, "version": table.c.version + 1}
        goes_live = before.state == EndpointState.UNVERIFIED
        if goes_live:
            values |= {
                "state": EndpointState.ACTIVE,
                "state_actor": audit_log.ACTOR,
                "state_since": now,
                "updated_at": now,
            }
        connection.execute(sa.update(table).where(*mine).values(values))
        changes: dict[str, Any] = {}
        if goes_live:
            released = connection.execute(
                sa.update(delivery)
                .where(
                    delivery.c.endpoint_id == attempt.endpoint_id,
                    delivery.c.state == DeliveryState.HELD,
                )
                .values(state=DeliveryState.PENDING, due_at=utc_now(), reason=None)
            ).rowcount
            changes = {
                "state": [EndpointState.UNVERIFIED, EndpointState.ACTIVE],
                "deliveries": released,
            }
        audit_log.add_entry(
            state,
            connection,
            "endpoint.verified",
            tenant=before.tenant,
            endpoint_id=attempt.endpoint_id,
            delivery_id=attempt.claimed.delivery_id,
            changes=changes,
        )
