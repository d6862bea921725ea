"""What a claim decides by: how endpoints stand, and on which terms they are sent to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ..models import DeliveryState, EndpointState
from ..state import State
from .locks import in_state


@dataclass(frozen=True, slots=True)
class Standing:
    """What an endpoint's health says about sending to it."""

    hold_until: datetime | None
    failing: bool
    look_at: datetime | None
    slow: bool

    def held(self, now: datetime) -> bool:
        return self.hold_until is not None and self.hold_until > now


@dataclass(frozen=True, slots=True)
class Terms:
    """How an endpoint wants to be sent to."""

    active: bool
    ordered: bool
    rate_limit: float | None
    #: The bucket that it shares with others.
    shared: str | None
    #: The one that limits it: that, or its own.
    bucket: str | None
    version: int


def lock_standings(
    state: State, connection: sa.Connection, endpoint_ids: Sequence[str]
) -> dict[str, Standing]:
    """Lock the health rows that nobody else holds, and read them."""
    health = state.table("EndpointHealth").c
    rows = connection.execute(
        sa.select(
            health.endpoint_id,
            health.hold_until,
            health.probe_interval,
            health.look_at,
            health.slow,
        )
        .where(health.endpoint_id.in_(endpoint_ids))
        .order_by(health.endpoint_id)
        .with_for_update(skip_locked=True)
    )
    return {
        row.endpoint_id: Standing(
            row.hold_until, row.probe_interval is not None, row.look_at, row.slow
        )
        for row in rows
    }


def read_terms(
    state: State, connection: sa.Connection, endpoint_ids: Iterable[str]
) -> dict[str, Terms]:
    endpoint = state.table("Endpoint").c
    rows = connection.execute(
        sa.select(
            endpoint.id,
            endpoint.state,
            endpoint.ordered,
            endpoint.rate_limit,
            endpoint.bucket,
            endpoint.version,
        ).where(endpoint.id.in_(list(endpoint_ids)), endpoint.deleted_at.is_(None))
    )
    return {
        row.id: Terms(
            active=row.state == EndpointState.ACTIVE,
            ordered=row.ordered,
            rate_limit=row.rate_limit,
            shared=row.bucket,
            bucket=row.bucket or (row.id if row.rate_limit else None),
            version=row.version,
        )
        for row in rows
    }


def count_in_flight(
    state: State, connection: sa.Connection, endpoint_ids: Iterable[str]
) -> Counter[str]:
    table = state.table("Delivery")
    rows = connection.execute(
        sa.select(table.c.endpoint_id, sa.func.count().label("number"))
        .where(
            in_state(table, DeliveryState.SENDING),
            table.c.endpoint_id.in_(list(endpoint_ids)),
        )
        .group_by(table.c.endpoint_id)
    )
    return Counter({row.endpoint_id: row.number for row in rows})
