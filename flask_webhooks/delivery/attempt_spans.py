"""The spans of a drain's attempts."""

from __future__ import annotations

from datetime import UTC, datetime

from .. import ids, tracing
from ..models import Trigger
from .outcome import Outcome, Sent, Settled


def record(settled: Settled) -> None:
    """Record a span for each attempt of a committed batch whose event was emitted in a trace."""
    for sent, _, _ in settled.attempts:
        if (context := sent.claimed.event.trace_context) is not None:
            _record(context, sent)


def _record(context: str, sent: Sent) -> None:
    claimed = sent.claimed
    created_at = None
    if claimed.number == 1 and claimed.trigger == Trigger.EVENT:
        [made] = ids.milliseconds_of([claimed.delivery_id])
        created_at = datetime.fromtimestamp(made / 1000, UTC)
    tracing.record_attempt(
        context,
        created_at=created_at,
        started_at=sent.started_at,
        duration_ms=sent.duration_ms,
        succeeded=sent.outcome == Outcome.SUCCEEDED,
        status=sent.status,
        event_id=claimed.event.id,
        event_type=claimed.event.type,
        delivery_id=claimed.delivery_id,
        endpoint_id=claimed.endpoint_id,
        tenant=sent.target.tenant,
        attempt=claimed.number,
        outcome=sent.outcome.value,
    )
