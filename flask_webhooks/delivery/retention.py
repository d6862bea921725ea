"""Remove what is older than ``WEBHOOKS_RETENTION_DAYS``, a little at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..models import AT_REST
from ..state import State
from .locks import reading, take_write_lock

#: Events that are removed in one transaction, which holds locks for some milliseconds only.
BATCH = 200


def prune(state: State, connection: sa.Connection, now: datetime) -> int:
    """Remove a batch of old events with their deliveries and attempts; returns how many events.

    An event stays for as long as one of its deliveries is not at rest, and an endpoint that was deleted
    for as long as there is a delivery to tell of it. The audit trail stays.
    """
    cutoff = now - timedelta(days=state.settings.retention_days)
    statistic = state.table("Statistic")
    old_hours = statistic.c.hour < cutoff
    with reading(connection):
        event_ids = connection.execute(_old_events(state, cutoff)).scalars().all()
        endpoint_ids = connection.execute(_old_endpoints(state, cutoff)).scalars().all()
        hours = connection.execute(sa.select(statistic.c.hour).where(old_hours).limit(1)).first()
    if not event_ids and not endpoint_ids and hours is None:
        return 0
    with connection.begin():
        take_write_lock(state, connection)
        _remove_events(state, connection, event_ids)
        _remove_endpoints(state, connection, endpoint_ids)
        connection.execute(sa.delete(statistic).where(old_hours))
    return len(event_ids)


def _old_events(state: State, cutoff: datetime) -> sa.Select[Any]:
    event, delivery = state.table("Event").c, state.table("Delivery").c
    # Ids sort by time, so the primary key finds the oldest.
    return (
        sa.select(event.id)
        .where(
            event.id < ids.lowest_id("evt", cutoff),
            ~sa.exists().where(
                delivery.event_id == event.id, delivery.state.not_in(sorted(AT_REST))
            ),
        )
        .order_by(event.id)
        .limit(BATCH)
    )


def _old_endpoints(state: State, cutoff: datetime) -> sa.Select[Any]:
    endpoint, delivery = state.table("Endpoint").c, state.table("Delivery").c
    return (
        sa.select(endpoint.id)
        .where(
            endpoint.deleted_at < cutoff,
            ~sa.exists().where(delivery.endpoint_id == endpoint.id),
        )
        .limit(BATCH)
    )


def _remove_events(state: State, connection: sa.Connection, event_ids: Sequence[str]) -> None:
    event, delivery, attempt = (state.table(name) for name in ("Event", "Delivery", "Attempt"))
    # SQLite enforces foreign keys, and with them cascades, only where the host turns that on.
    gone = sa.select(delivery.c.id).where(delivery.c.event_id.in_(event_ids))
    connection.execute(sa.delete(attempt).where(attempt.c.delivery_id.in_(gone)))
    connection.execute(sa.delete(delivery).where(delivery.c.event_id.in_(event_ids)))
    connection.execute(sa.delete(event).where(event.c.id.in_(event_ids)))


def _remove_endpoints(state: State, connection: sa.Connection, endpoint_ids: Sequence[str]) -> None:
    for name in ("Statistic", "EndpointHealth"):
        table = state.table(name)
        connection.execute(sa.delete(table).where(table.c.endpoint_id.in_(endpoint_ids)))
    endpoint = state.table("Endpoint")
    connection.execute(sa.delete(endpoint).where(endpoint.c.id.in_(endpoint_ids)))
