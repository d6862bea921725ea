"""Deliveries and scheduled events that workers should have processed already."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from ..app_state import AppState
from ..columns import utc_now
from ..db.locks import in_state
from ..models import DeliveryState, EndpointState


def seconds_overdue(state: AppState, connection: sa.Connection, least: float) -> float | None:
    """Return how many seconds the oldest delivery or scheduled event has been overdue.

    Endpoints to which something was sent meanwhile do not count, because they are the bottleneck themselves.

    :param least: the minimum number of seconds.
    :return: ``None`` if nothing is overdue.
    """
    models = state.models
    table, endpoint, health = models.Delivery, models.Endpoint, models.EndpointHealth
    soonest = sa.select(sa.func.min(models.ScheduledEvent.deliver_at)).scalar_subquery()
    now, scheduled = connection.execute(sa.select(utc_now(), soonest)).one()
    before = now - timedelta(seconds=least)
    pending = in_state(state.table("Delivery"), DeliveryState.PENDING)
    # The first due delivery of an endpoint is one index lookup, however many there are.
    first = (
        sa.select(sa.func.min(table.due_at))
        .where(pending, table.due_at <= before, table.endpoint_id == endpoint.id)
        .correlate(endpoint)
        .scalar_subquery()
    )
    firsts = (
        sa.select(first.label("due_at"))
        .select_from(endpoint)
        .join(health, health.endpoint_id == endpoint.id)
        .where(
            endpoint.deleted_at.is_(None),
            endpoint.state == EndpointState.ACTIVE,
            *(
                sa.or_(column.is_(None), column <= now)
                for column in (health.hold_until, health.wait_until)
            ),
            *(
                sa.or_(column.is_(None), column <= before)
                for column in (health.last_success_at, health.last_failure_at)
            ),
        )
        .subquery()
    )
    oldest = connection.scalar(sa.select(sa.func.min(firsts.c.due_at)))
    if scheduled is not None and scheduled <= before:
        oldest = scheduled if oldest is None else min(oldest, scheduled)
    return None if oldest is None else float((now - oldest).total_seconds())
