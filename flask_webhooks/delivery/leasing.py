"""Put deliveries under a lease."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..models import DeliveryState
from ..state import State
from .locks import in_state


def lease_rows(
    state: State,
    connection: sa.Connection,
    picked: Sequence[str],
    now: datetime,
    token: str,
    lease_until: datetime,
) -> Sequence[Any]:
    """Put deliveries under a lease; returns those that were still pending, with their events."""
    table = state.table("Delivery")
    delivery = table.c
    event = state.table("Event").c
    endpoint = state.table("Endpoint").c
    mark = (
        sa.update(table)
        .where(delivery.id.in_(picked), in_state(table, DeliveryState.PENDING))
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
        delivery.id.label("delivery_id"),
        delivery.endpoint_id,
        endpoint.version,
        delivery.attempt_count,
        delivery.trigger,
        delivery.actor,
        delivery.failure_count,
        event.id,
        event.type,
        event.tenant,
        event.occurred_at,
        sa.type_coerce(event.data, sa.Text()).label("data_json"),
    )
    theirs = sa.and_(event.id == delivery.event_id, endpoint.id == delivery.endpoint_id)
    if connection.dialect.name == "postgresql":
        # Without statistics, as in a young database, the second statement would read the table.
        return connection.execute(mark.where(theirs).returning(*columns)).all()
    connection.execute(mark)
    return connection.execute(
        sa.select(*columns).where(theirs, delivery.id.in_(picked), delivery.lease_token == token)
    ).all()
