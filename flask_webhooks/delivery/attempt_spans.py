"""The spans of a drain's attempts."""

from __future__ import annotations

from datetime import UTC, datetime

from .. import ids, tracing
from ..models import Trigger
from .outcome import AttemptRecord, Outcome, Settled


def record_spans(settled: Settled) -> None:
    """Record a span for each attempt of a committed batch whose event was emitted in a trace."""
    for decision in settled.decisions:
        attempt = decision.attempt
        if (context := attempt.claimed.event.trace_context) is not None:
            _record(context, attempt)


def _record(context: str, attempt: AttemptRecord) -> None:
    claimed = attempt.claimed
    created_at = None
    if claimed.number == 1 and claimed.trigger == Trigger.EVENT:
        [made] = ids.milliseconds_of([claimed.delivery_id])
        created_at = datetime.fromtimestamp(made / 1000, UTC)
    tracing.record_attempt(
        context,
        created_at=created_at,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        succeeded=attempt.outcome == Outcome.SUCCEEDED,
        status=attempt.status,
        event_id=claimed.event.id,
        event_type=claimed.event.type,
        delivery_id=claimed.delivery_id,
        endpoint_id=claimed.endpoint_id,
        tenant=attempt.target.tenant,
        attempt=claimed.number,
        outcome=attempt.outcome.value,
    )
