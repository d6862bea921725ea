"""Keep the look into the queue short: take out of it what is not due, and remember when it is.

A pending delivery is *fresh* until it is noticed. Claims find fresh ones endpoint by endpoint, and the
noticed ones by their endpoint's `look_at`, which is never later than the first of them is due. Only who has
the lock of the health row marks deliveries as noticed or moves `look_at`, so neither can be missed. What
leaves ``pending`` is fresh again when it comes back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from ...app_state import State
from ...db.locks import in_state, take_write_lock
from ...models import DeliveryState

#: Endpoints that a look may step over for nothing, before their deliveries are noticed.
FEW = 16
#: Endpoints and deliveries that one claim notices: it must not keep others waiting.
MAX_ENDPOINTS, MAX_ROWS = 256, 1000


def notice(state: State, connection: sa.Connection, idle: Sequence[str]) -> None:
    """Notice fresh deliveries of endpoints that can get nothing now, some at a time."""
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
        # The first delivery of an ordered endpoint is found among the fresh ones.
        unordered = connection.scalars(
            sa.select(endpoint.id).where(endpoint.id.in_(locked), endpoint.ordered.is_(False))
        ).all()
        fresh = sa.and_(
            in_state(delivery, DeliveryState.PENDING),
            delivery.c.noticed.is_(None),
            delivery.c.endpoint_id.in_(unordered),
        )
        found = connection.scalars(
            sa.select(delivery.c.id)
            .where(fresh)
            .order_by(delivery.c.endpoint_id, delivery.c.id)
            .limit(MAX_ROWS)
        ).all()
        connection.execute(
            sa.update(delivery).where(delivery.c.id.in_(found), fresh).values(noticed=True)
        )
        look_when_due(state, connection, unordered)


def look_when_due(state: State, connection: sa.Connection, endpoint_ids: Collection[str]) -> None:
    """Let endpoints be looked at when the first of their deliveries is due."""
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


def forget_noticed(state: State, connection: sa.Connection, endpoint_ids: Collection[str]) -> None:
    """Make all that was noticed of endpoints fresh again."""
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
