"""Deliveries and scheduled events that are overdue through the fault of the workers."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from ..app_state import AppState
from ..columns import utc_now
from ..db.locks import in_state
from ..models import DeliveryState, EndpointState


def seconds_overdue(state: AppState, connection: sa.Connection, least: float) -> float | None:
    """Seconds for which the oldest delivery or scheduled event is due that is the workers' fault.

    Not that of an endpoint to which something was sent meanwhile: it takes no more, or no faster.

    :param least: seconds below which one does not count.
    :return: ``None`` where there is none.
    """
    models = state.models
    table, endpoint, health = models.Delivery, models.Endpoint, models.EndpointHealth
    soonest = sa.select(sa.func.min(models.ScheduledEvent.deliver_at)).scalar_subquery()
    now, scheduled = connection.execute(sa.select(utc_now(), soonest)).one()
    before = now - timedelta(seconds=least)
    pending = in_state(state.table("Delivery"), DeliveryState.PENDING)
    # The first due one of each endpoint is one look into the index, however many there are.
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
