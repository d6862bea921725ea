"""The statements of a settlement, each built once."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from ...app_state import AppState, prepared
from ...db.locks import among
from ...models import DeliveryState
from .health import Health

#: The columns of `Health`, in its order.
HEALTH = [item.name for item in fields(Health)]


@prepared
def select_health(state: AppState) -> sa.Select[Any]:
    health = state.table("EndpointHealth").c
    return (
        sa.select(health.endpoint_id, *(health[name] for name in HEALTH))
        .where(health.endpoint_id.in_(sa.bindparam("endpoint_ids", expanding=True)))
        .order_by(health.endpoint_id)
        .with_for_update()
    )


@prepared
def write_health(state: AppState) -> sa.Update:
    table = state.table("EndpointHealth")
    return (
        sa.update(table)
        .where(table.c.endpoint_id == sa.bindparam("b_endpoint"))
        .values({name: sa.bindparam(f"b_{name}") for name in HEALTH})
    )


@prepared
def read_tokens(state: AppState) -> sa.Select[Any]:
    delivery = state.table("Delivery").c
    return sa.select(delivery.id, delivery.lease_token).where(
        among(state, delivery.id), sa.func.nullif(delivery.state, "") == DeliveryState.SENDING
    )


@prepared
def give_back(state: AppState) -> sa.Update:
    table = state.table("Delivery")
    return (
        sa.update(table)
        .where(table.c.id == sa.bindparam("b_id"))
        .values(
            state=DeliveryState.PENDING,
            due_at=sa.bindparam("b_due"),
            lease_token=None,
            lease_until=None,
            attempt_count=table.c.attempt_count - 1,
        )
    )


@prepared
def complete(state: AppState) -> sa.Update:
    table = state.table("Delivery")
    return (
        sa.update(table)
        .where(among(state, table.c.id))
        .values(
            state=DeliveryState.SUCCEEDED,
            reason=None,
            interruption_count=0,
            last_status=sa.bindparam("b_status"),
            completed_at=sa.bindparam("b_now"),
            lease_token=None,
            lease_until=None,
        )
    )


@prepared
def record_failure(state: AppState) -> sa.Update:
    """Return the statement for an unsuccessful delivery, which is pending again or has failed."""
    table = state.table("Delivery")
    return (
        sa.update(table)
        .where(table.c.id == sa.bindparam("b_id"))
        .values(
            state=sa.bindparam("b_state"),
            reason=sa.bindparam("b_reason"),
            failure_count=sa.bindparam("b_failures"),
            # Its worker has survived, so it does not kill workers.
            interruption_count=sa.case(
                (sa.bindparam("b_ended", type_=sa.Boolean()), 0),
                else_=table.c.interruption_count,
            ),
            last_status=sa.bindparam("b_status"),
            due_at=sa.bindparam("b_due"),
            completed_at=sa.bindparam("b_completed"),
            trigger=sa.bindparam("b_trigger"),
            lease_token=None,
            lease_until=None,
        )
    )
