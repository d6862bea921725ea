"""Tables and JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from .. import queries
from ..logs import without_stop


def endpoint_members(row: queries.EndpointRow) -> dict[str, Any]:
    """An endpoint as JSON."""
    endpoint = row.endpoint
    return {
        "id": endpoint.id,
        "tenant": endpoint.tenant,
        "name": endpoint.name,
        "description": endpoint.description,
        "url": endpoint.url_shown,
        "format": endpoint.format,
        "options": endpoint.options or {},
        "user_agent": endpoint.user_agent,
        "events": endpoint.events,
        "timeout": endpoint.timeout,
        "rate_limit": endpoint.rate_limit,
        "ordered": endpoint.ordered,
        "state": endpoint.state,
        "state_reason": endpoint.state_reason,
        "created_at": _time(endpoint.created_at),
        "success_rate_24h": row.success_rate,
        "last_delivery_at": _time(row.last_delivery_at),
        "pending": row.pending,
        "held": row.held,
    }


def delivery_members(row: queries.DeliveryRow) -> dict[str, Any]:
    """A delivery as JSON."""
    delivery = row.delivery
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "endpoint_id": delivery.endpoint_id,
        "tenant": delivery.tenant,
        "state": delivery.state,
        "reason": delivery.reason,
        "attempt_count": delivery.attempt_count,
        "last_status": delivery.last_status,
        "due_at": _time(delivery.due_at),
        "created_at": _time(delivery.created_at),
        "completed_at": _time(delivery.completed_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def print_json(items: Iterable[dict[str, Any]]) -> None:
    """Print a JSON list."""
    click.echo(json.dumps(list(items), indent=2))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print aligned columns, or one sentence if there are no rows."""
    if not rows:
        click.echo(empty)
        return
    lines = [head, *([plain(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def plain(text: str) -> str:
    """Without control characters, which would steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_line(error: BaseException | None) -> str:
    """What an exception says, in one line, without a full stop."""
    lines = str(error).strip().splitlines()
    return plain(without_stop(lines[0])) if lines else type(error).__name__
