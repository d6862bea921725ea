"""Put deliveries under a lease."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..formats import OutgoingEvent
from ..models import DeliveryState
from ..state import State
from .locks import among

logger = logging.getLogger("flask_webhooks.delivery")


def lease_rows(
    state: State,
    connection: sa.Connection,
    picked: Sequence[str],
    now: datetime,
    token: str,
    lease_until: datetime,
) -> Sequence[Any]:
    """Put deliveries under a lease; returns those that were still pending."""
    table = state.table("Delivery")
    delivery = table.c
    ours = among(connection, delivery.id, picked)
    # Found by their ids: in a young database, PostgreSQL would read all that is pending instead.
    pending = sa.func.nullif(delivery.state, "") == DeliveryState.PENDING
    mark = (
        sa.update(table)
        .where(ours, pending)
        .values(
            state=DeliveryState.SENDING,
            due_at=None,
            noticed=None,
            lease_token=token,
            lease_until=lease_until,
            last_attempt_at=now,
            attempt_count=delivery.attempt_count + 1,
        )
    )
    columns = (
        delivery.id,
        delivery.event_id,
        delivery.endpoint_id,
        delivery.attempt_count,
        delivery.trigger,
        delivery.actor,
        delivery.failure_count,
    )
    if connection.dialect.update_returning:
        return connection.execute(mark.returning(*columns)).all()
    connection.execute(mark)
    return connection.execute(sa.select(*columns).where(ours, delivery.lease_token == token)).all()


def read_events(
    state: State, connection: sa.Connection, event_ids: Iterable[str]
) -> dict[str, OutgoingEvent]:
    """Events as formats see them. One that many endpoints get is read but once."""
    event = state.table("Event").c
    rows = connection.execute(
        sa.select(
            event.id,
            event.type,
            event.tenant,
            event.occurred_at,
            sa.type_coerce(event.data, sa.Text()),
        ).where(among(connection, event.id, sorted(set(event_ids))))
    )
    return {
        id_: OutgoingEvent(id_, name, tenant, occurred_at, data_json, tenant_name=tenant)
        for id_, name, tenant, occurred_at, data_json in rows
    }


def remove_orphans(state: State, connection: sa.Connection, delivery_ids: Sequence[str]) -> None:
    """Remove deliveries whose event is gone, as foreign keys do; SQLite enforces them only where it is told to.

    Somebody has removed events by hand. One such row must not keep all others from being sent.
    """
    delivery, attempt = state.table("Delivery"), state.table("Attempt")
    connection.execute(
        sa.delete(attempt).where(among(connection, attempt.c.delivery_id, delivery_ids))
    )
    connection.execute(sa.delete(delivery).where(among(connection, delivery.c.id, delivery_ids)))
    logger.warning("Deliveries were removed, since their events are gone: %d", len(delivery_ids))
