"""Leases of deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...app_state import AppState, prepared
from ...db.locks import among, ids_parameter
from ...formats import OutgoingEvent
from ...log import get_logger
from ...models import DeliveryState
from .numbering import number_of, numbers_parameter

logger = get_logger("flask_webhooks.delivery")


def lease_rows(
    state: AppState,
    connection: sa.Connection,
    picked: Sequence[str],
    now: datetime,
    token: str,
    lease_until: datetime,
    numbers: Mapping[str, int],
) -> Sequence[Any]:
    """Lease deliveries; return those that were still pending.

    :param numbers: see `numbering`.
    """
    statements = _leasing(state)
    ours = {**ids_parameter(state, picked), "b_token": token}
    values = {"b_until": lease_until, "b_now": now, **numbers_parameter(numbers)}
    if statements.read is None:
        return connection.execute(statements.mark, {**ours, **values}).all()
    connection.execute(statements.mark, {**ours, **values})
    return connection.execute(statements.read, ours).all()


def read_events(
    state: AppState, connection: sa.Connection, event_ids: Iterable[str]
) -> dict[str, OutgoingEvent]:
    """Return events for rendering. An event for several endpoints is read only once."""
    rows = connection.execute(_events(state), ids_parameter(state, sorted(set(event_ids))))
    return {
        id_: OutgoingEvent(id_, name, tenant, at, data_json, tenant, hops, trace_context, version)
        for id_, name, tenant, at, data_json, hops, trace_context, version in rows
    }


def remove_orphans(state: AppState, connection: sa.Connection, delivery_ids: Sequence[str]) -> None:
    """Remove deliveries whose event no longer exists, as foreign keys do; SQLite only enforces them if enabled.

    Such events were removed manually. One such row must not block all others.
    """
    delivery, attempt = state.table("Delivery"), state.table("Attempt")
    ids = ids_parameter(state, delivery_ids)
    connection.execute(sa.delete(attempt).where(among(state, attempt.c.delivery_id)), ids)
    connection.execute(sa.delete(delivery).where(among(state, delivery.c.id)), ids)
    logger.warning(
        "Deliveries were removed because their events no longer exist: %d", len(delivery_ids)
    )


# -- statements ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Leasing:
    mark: Any
    #: Reads the marked rows, if the database does not return them.
    read: sa.Select[Any] | None


@prepared
def _leasing(state: AppState) -> _Leasing:
    table = state.table("Delivery")
    delivery = table.c
    ours = among(state, delivery.id)
    # By their ids: in a new database, PostgreSQL would read all pending rows instead.
    pending = sa.func.nullif(delivery.state, "") == DeliveryState.PENDING
    token = sa.bindparam("b_token", type_=delivery.lease_token.type)
    mark = (
        sa.update(table)
        .where(ours, pending)
        .values(
            state=DeliveryState.SENDING,
            due_at=None,
            noticed=None,
            lease_token=token,
            lease_until=sa.bindparam("b_until"),
            last_attempt_at=sa.bindparam("b_now"),
            attempt_count=delivery.attempt_count + 1,
            sequence=sa.func.coalesce(delivery.sequence, number_of(state, delivery.id)),
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
        delivery.coalesced,
        delivery.sequence,
        delivery.data_version,
    )
    if state.engine.dialect.update_returning:
        return _Leasing(mark.returning(*columns), None)
    return _Leasing(mark, sa.select(*columns).where(ours, delivery.lease_token == token))


@prepared
def _events(state: AppState) -> sa.Select[Any]:
    event = state.table("Event").c
    return sa.select(
        event.id,
        event.type,
        event.tenant,
        event.occurred_at,
        sa.type_coerce(event.data, sa.Text()),
        event.hops,
        event.trace_context,
        event.data_version,
    ).where(among(state, event.id))
