"""Attempts as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..state import State
from .outcome import Outcome, Sent


def insert_attempts(state: State, connection: sa.Connection, sent: Sequence[Sent]) -> None:
    """Record attempts, with everything that was sent and came back."""
    if sent:
        connection.execute(sa.insert(state.table("Attempt")), [_row(item) for item in sent])


def insert_lost_attempts(
    state: State,
    connection: sa.Connection,
    deliveries: Sequence[sa.Row[Any]],
    urls: Mapping[str, str],
    error: str,
) -> None:
    """Record attempts of which only the delivery's row is left: what was sent is not known any more.

    :param urls: as shown, by endpoint id.
    """
    if deliveries:
        connection.execute(
            sa.insert(state.table("Attempt")),
            [
                {
                    "delivery_id": row.id,
                    "number": row.attempt_count,
                    "endpoint_id": row.endpoint_id,
                    "trigger": row.trigger,
                    "actor": row.actor,
                    "started_at": row.last_attempt_at,
                    "outcome": Outcome.INTERRUPTED,
                    "error": error,
                    "url": urls[row.endpoint_id],
                }
                for row in deliveries
            ],
        )


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
