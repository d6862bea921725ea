"""Put deliveries under a lease."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..formats import OutgoingEvent
from ..models import DeliveryState
from ..state import State
from .locks import among


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
