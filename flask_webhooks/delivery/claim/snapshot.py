"""The health and delivery settings of endpoints for a claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...app_state import AppState, prepared
from ...db.locks import in_state
from ...models import DeliveryState, EndpointState


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """The part of an endpoint's health that a claim needs."""

    hold_until: datetime | None
    failing: bool
    look_at: datetime | None
    slow: bool
    #: The highest number of its deliveries.
    last_sequence: int = 0

    def held(self, now: datetime) -> bool:
        return self.hold_until is not None and self.hold_until > now


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """The settings of an endpoint that a claim needs."""

    active: bool
    ordered: bool
    rate_limit: float | None
    #: The bucket that it shares with others.
    shared: str | None
    #: The bucket that limits it: the shared one, or its own.
    bucket: str | None
    version: int
    #: Its stored rules for coalescing; see `filters.coalescing`.
    coalesce: str | None = None


def lock_health(
    state: AppState, connection: sa.Connection, endpoint_ids: Sequence[str]
) -> dict[str, HealthSnapshot]:
    """Lock and read the health rows that no other worker has locked."""
    rows = connection.execute(_health(state), {"endpoint_ids": endpoint_ids})
    return {
        row.endpoint_id: HealthSnapshot(
            row.hold_until,
            row.probe_interval is not None,
            row.look_at,
            row.slow,
            row.last_sequence,
        )
        for row in rows
    }


def read_settings(
    state: AppState, connection: sa.Connection, endpoint_ids: Iterable[str]
) -> dict[str, DeliverySettings]:
    rows = connection.execute(_settings(state), {"endpoint_ids": list(endpoint_ids)})
    return {
        row.id: DeliverySettings(
            active=row.state == EndpointState.ACTIVE,
            ordered=row.ordered,
            rate_limit=row.rate_limit,
            shared=row.bucket,
            bucket=row.bucket or (row.id if row.rate_limit else None),
            version=row.version,
            coalesce=row.coalesce,
        )
        for row in rows
    }


def count_in_flight(
    state: AppState, connection: sa.Connection, endpoint_ids: Iterable[str]
) -> Counter[str]:
    rows = connection.execute(_in_flight(state), {"endpoint_ids": list(endpoint_ids)})
    return Counter({row.endpoint_id: row.number for row in rows})


# -- statements ---------------------------------------------------------------------------------------

_THESE: sa.BindParameter[Sequence[str]] = sa.bindparam("endpoint_ids", expanding=True)


@prepared
def _health(state: AppState) -> sa.Select[Any]:
    health = state.table("EndpointHealth").c
    return (
        sa.select(
            health.endpoint_id,
            health.hold_until,
            health.probe_interval,
            health.look_at,
            health.slow,
            health.last_sequence,
        )
        .where(health.endpoint_id.in_(_THESE))
        .order_by(health.endpoint_id)
        .with_for_update(skip_locked=True)
    )


@prepared
def _settings(state: AppState) -> sa.Select[Any]:
    endpoint = state.table("Endpoint").c
    return sa.select(
        endpoint.id,
        endpoint.state,
        endpoint.ordered,
        endpoint.rate_limit,
        endpoint.bucket,
        endpoint.version,
        sa.type_coerce(endpoint.coalesce, sa.Text()).label("coalesce"),
    ).where(endpoint.id.in_(_THESE), endpoint.deleted_at.is_(None))


@prepared
def _in_flight(state: AppState) -> sa.Select[Any]:
    table = state.table("Delivery")
    return (
        sa.select(table.c.endpoint_id, sa.func.count().label("number"))
        .where(in_state(table, DeliveryState.SENDING), table.c.endpoint_id.in_(_THESE))
        .group_by(table.c.endpoint_id)
    )
