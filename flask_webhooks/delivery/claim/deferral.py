"""Keep the queue query fast: defer deliveries that are not due, and store when they are.

A pending delivery is *new* until it is deferred (column `noticed`). Claims find new ones endpoint by endpoint, and
deferred ones by their endpoint's `look_at`, which is never later than the due time of the first of them. Only the
holder of the health row's lock defers deliveries or changes `look_at`, so none can be missed. A delivery that
leaves ``pending`` is new again when it returns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from ...app_state import AppState
from ...db.locks import in_state, take_write_lock
from ...models import DeliveryState

#: Endpoints that the query may skip before their deliveries are deferred.
FEW = 16
#: Maximum numbers of endpoints and deliveries that one claim defers, so that it stays short.
MAX_ENDPOINTS, MAX_ROWS = 256, 1000


def defer(state: AppState, connection: sa.Connection, idle: Sequence[str]) -> None:
    """Defer new deliveries of endpoints that cannot be served now, some at a time."""
    delivery, endpoint = state.table("Delivery"), state.table("Endpoint").c
    health = state.table("EndpointHealth").c
    endpoint_ids = list(dict.fromkeys(idle))[:MAX_ENDPOINTS]
    with connection.begin():
        take_write_lock(state, connection)
        locked = connection.scalars(
            sa.select(health.endpoint_id)
            .where(health.endpoint_id.in_(endpoint_ids))
            .order_by(health.endpoint_id)
            .with_for_update(skip_locked=True)
        ).all()
        # The first delivery of an ordered endpoint is found among the new ones.
        unordered = connection.scalars(
            sa.select(endpoint.id).where(endpoint.id.in_(locked), endpoint.ordered.is_(False))
        ).all()
        new = sa.and_(
            in_state(delivery, DeliveryState.PENDING),
            delivery.c.noticed.is_(None),
            delivery.c.endpoint_id.in_(unordered),
        )
        found = connection.scalars(
            sa.select(delivery.c.id)
            .where(new)
            .order_by(delivery.c.endpoint_id, delivery.c.id)
            .limit(MAX_ROWS)
        ).all()
        connection.execute(
            sa.update(delivery).where(delivery.c.id.in_(found), new).values(noticed=True)
        )
        update_next_due(state, connection, unordered)


def update_next_due(
    state: AppState, connection: sa.Connection, endpoint_ids: Collection[str]
) -> None:
    """Set when the next delivery of endpoints is due."""
    if not endpoint_ids:
        return
    delivery, health = state.table("Delivery"), state.table("EndpointHealth")
    first = (
        sa.select(delivery.c.due_at)
        .where(
            in_state(delivery, DeliveryState.PENDING),
            delivery.c.endpoint_id == health.c.endpoint_id,
        )
        .order_by(delivery.c.due_at)
        .limit(1)
    )
    connection.execute(
        sa.update(health)
        .where(health.c.endpoint_id.in_(endpoint_ids))
        .values(look_at=first.scalar_subquery())
    )


def forget_deferred(
    state: AppState, connection: sa.Connection, endpoint_ids: Collection[str]
) -> None:
    """Make all deferred deliveries of endpoints new again."""
    if endpoint_ids:
        delivery, health = state.table("Delivery"), state.table("EndpointHealth")
        connection.execute(
            sa.update(delivery)
            .where(
                in_state(delivery, DeliveryState.PENDING),
                delivery.c.endpoint_id.in_(endpoint_ids),
                delivery.c.noticed.is_not(None),
            )
            .values(noticed=None)
        )
        connection.execute(
            sa.update(health).where(health.c.endpoint_id.in_(endpoint_ids)).values(look_at=None)
        )
