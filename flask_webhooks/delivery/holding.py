"""Deliveries to inactive endpoints, which are held, or cancelled with the endpoint."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from ..app_state import AppState
from ..columns import utc_now
from ..db.locks import in_state
from ..models import ON_DEMAND, DeliveryState, EndpointState
from .outcome import Reason


def hold_pending(state: AppState, connection: sa.Connection, endpoint_ids: Collection[str]) -> int:
    """Hold pending deliveries of inactive endpoints; return their number."""
    table = state.table("Delivery")
    return connection.execute(
        sa.update(table)
        .where(
            table.c.endpoint_id.in_(endpoint_ids),
            in_state(table, DeliveryState.PENDING),
            table.c.trigger.not_in(ON_DEMAND),
        )
        .values(state=DeliveryState.HELD, due_at=None, noticed=None)
    ).rowcount


def cancel_waiting(
    state: AppState, connection: sa.Connection, endpoint_ids: Collection[str]
) -> int:
    """Cancel pending and held deliveries of deleted endpoints; return their number."""
    if not endpoint_ids:
        return 0
    table = state.table("Delivery")
    return sum(
        connection.execute(
            sa.update(table)
            .where(table.c.endpoint_id.in_(endpoint_ids), in_state(table, waiting))
            .values(
                state=DeliveryState.CANCELLED,
                reason=Reason.ENDPOINT_DELETED,
                due_at=None,
                completed_at=utc_now(),
            )
        ).rowcount
        for waiting in (DeliveryState.PENDING, DeliveryState.HELD)
    )


def divert(state: AppState, connection: sa.Connection, endpoint_ids: Collection[str]) -> None:
    """Hold or cancel deliveries that are pending again, if the endpoint was paused or deleted during the request."""
    if not endpoint_ids:
        return
    endpoint = state.table("Endpoint").c
    rows = connection.execute(
        sa.select(endpoint.id, endpoint.deleted_at).where(
            endpoint.id.in_(endpoint_ids),
            sa.or_(endpoint.state != EndpointState.ACTIVE, endpoint.deleted_at.is_not(None)),
        )
    ).all()
    deleted = [row.id for row in rows if row.deleted_at is not None]
    stopped = [row.id for row in rows if row.deleted_at is None]
    if deleted:
        cancel_waiting(state, connection, deleted)
    if stopped:
        hold_pending(state, connection, stopped)
