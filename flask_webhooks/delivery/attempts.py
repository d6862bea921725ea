"""Attempts as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..state import State
from .outcome import Sent


def insert_attempts(state: State, connection: sa.Connection, sent: Sequence[Sent]) -> None:
    """Record attempts, with everything that was sent and came back."""
    if sent:
        connection.execute(sa.insert(state.table("Attempt")), [_row(item) for item in sent])


def _row(item: Sent) -> dict[str, Any]:
    claimed = item.claimed
    return {
        "delivery_id": claimed.delivery_id,
        "number": claimed.number,
        "endpoint_id": claimed.endpoint_id,
        "trigger": claimed.trigger,
        "actor": claimed.actor,
        "started_at": item.started_at,
        "duration_ms": item.duration_ms,
        "outcome": item.outcome,
        "status": item.status,
        "error": item.error,
        "url": item.target.url_shown,
        "address": item.address,
        "request_headers": item.request_headers,
        "request_body": item.request_body,
        "response_headers": item.response_headers,
        "response_body": item.response_body,
        "response_cut": item.response_cut,
        "timings": item.timings,
    }
