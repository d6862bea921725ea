"""Checks whether a response verifies an unverified endpoint: by an echoed challenge, or as 2xx to its first test."""

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
from ..models import DeliveryState, EndpointState, Trigger
from . import audit_log
from .outcome import AttemptRecord, Outcome

#: The event type of a challenge, and the member of its data and of the response with the token.
CHALLENGE: Final = "webhook.challenge"
MEMBER: Final = "challenge"
#: A header that also contains the token, because a template may omit it from the body.
CHALLENGE_HEADER: Final = "webhook-challenge"
#: In place of a token's digest: a test that is answered with 2xx is enough.
ANY_TEST: Final = "any test"


def challenge_digest(token: str) -> str:
    """Return the stored digest of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_of(event: OutgoingEvent) -> str | None:
    """Return the token of a challenge; ``None`` for any other event."""
    if event.type != CHALLENGE:
        return None
    token = event.data.get(MEMBER) if isinstance(event.data, dict) else None
    return token if isinstance(token, str) else ""


def echoes(body: bytes, token: str) -> bool:
    """Return whether the body of a response is the token, or a JSON object that has it as ``challenge``."""
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
    """Activate endpoints whose receivers have echoed their challenges, or accepted the test that they wait for.

    Within the settlement of these attempts. Older challenges, and those that were sent to another URL, do not count.
    """
    table, delivery = state.table("Endpoint"), state.table("Delivery")
    for attempt in attempts:
        if attempt.outcome != Outcome.SUCCEEDED or attempt.claimed.trigger != Trigger.TEST:
            continue
        mine = (table.c.id == attempt.endpoint_id, table.c.deleted_at.is_(None))
        before = connection.execute(
            sa.select(table.c.state, table.c.tenant).where(*mine, _awaited(table, attempt))
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


def _awaited(table: sa.Table, attempt: AttemptRecord) -> sa.ColumnElement[bool]:
    """Whether an endpoint waits for just this answer."""
    token = token_of(attempt.claimed.event)
    if token is not None:
        return table.c.challenge == challenge_digest(token)
    # After a change of the endpoint, the answer may be that of another URL.
    return sa.and_(table.c.challenge == ANY_TEST, table.c.version == attempt.target.version)
