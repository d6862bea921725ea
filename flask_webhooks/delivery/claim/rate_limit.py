"""Rate limits across all workers: each request reserves a slot in a row of the database (GCRA).

A bucket is the limit of one endpoint, or of all endpoints that share a destination. Its row has the start of the
next slot. Claims lock the row, reserve slots one interval apart, and advance the time; so does the ``Retry-After``
of a receiver. Redis is not involved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from ...app_state import AppState
from ...db.upsert import insert_missing
from ..outcome import Decision

#: Slots are reserved this far ahead. Until then the delivery occupies a slot of the worker.
HORIZON = timedelta(seconds=1)
#: Seconds by which a request may miss its slot; a later one gives it back.
TOLERANCE = 0.1
#: Hexadecimal digits of each half of a shared bucket's id.
HALF = 32
#: Seconds reserved for variations in the network latency.
MARGIN = 0.05


def bucket_id(tenant: str | None, format: str, url: str, shared: str) -> str:
    """Return the id of a bucket that endpoints share.

    The first half depends on the tenant, the format and the server, so that no tenant or server can use up the
    limit of another. The second half depends on what the format says is shared.
    """
    parts = urlsplit(url)
    return _digest(tenant, format, f"{parts.scheme}://{parts.netloc}") + _digest(shared)


def _digest(*values: str | None) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:HALF]


def interval(rate: float | None) -> timedelta:
    """Return the time between two slots, so that no more than `rate` requests arrive in any second.

    From the first request to the first excess one there are as many intervals as allowed requests: they take one
    second, and the possible delay of the first. A fractional rate applies to the time in which it is a whole
    number: 7.5 is 15 in two seconds. Below one request per second, it is one in the corresponding time.
    """
    if rate is None:
        return timedelta(0)
    return timedelta(seconds=(max(1 / rate, 1.0) + TOLERANCE + MARGIN) / max(rate, 1.0))


@dataclass(slots=True)
class Reservations:
    """The reservations of a claim in the buckets that it has locked."""

    now: datetime
    #: Bucket id, and when its next slot begins.
    next_slot: dict[str, datetime]
    intervals: dict[str, timedelta]
    used: set[str] = field(default_factory=set)

    def copy(self) -> Reservations:
        """Return a copy with independent reservations."""
        return replace(self, next_slot=dict(self.next_slot), used=set(self.used))

    def reserve(self, bucket: str) -> datetime | None:
        """Reserve the next slot; return ``None`` if it is too far ahead, or the bucket is not locked."""
        if bucket not in self.next_slot:
            return None
        slot = max(self.next_slot[bucket], self.now)
        if slot > self.now + HORIZON:
            return None
        self.next_slot[bucket] = slot + self.intervals[bucket]
        self.used.add(bucket)
        return slot

    def binding(self, bucket: str, slot: datetime) -> datetime | None:
        """Return the slot if the request must wait for it; buckets without a limit do not require this."""
        return slot if self.intervals[bucket] or slot > self.now else None

    def opens_at(self, bucket: str) -> datetime | None:
        """Return when a slot is available again; ``None`` if another worker has locked the bucket."""
        return self.next_slot[bucket] - HORIZON if bucket in self.next_slot else None


def lock_buckets(
    state: AppState, connection: sa.Connection, now: datetime, limits: dict[str, float | None]
) -> Reservations:
    """Lock buckets that no other worker has locked, and create missing ones.

    :param limits: bucket ids, and the requests per second of their endpoints.
    """
    if not limits:
        return Reservations(now, {}, {})
    table = state.table("Bucket")
    known = set(connection.scalars(sa.select(table.c.id).where(table.c.id.in_(limits))))
    missing = sorted(limits.keys() - known)
    if missing:
        # In the past: the first slot is now.
        values = [{"id": bucket, "free_at": now} for bucket in missing]
        connection.execute(insert_missing(table, connection.dialect.name, ["id"]), values)
    rows = connection.execute(
        sa.select(table.c.id, table.c.free_at)
        .where(table.c.id.in_(limits))
        .order_by(table.c.id)
        .with_for_update(skip_locked=True)
    ).all()
    return Reservations(
        now,
        {row.id: row.free_at for row in rows},
        {bucket: interval(rate) for bucket, rate in limits.items()},
    )


def save_reservations(
    state: AppState, connection: sa.Connection, reservations: Reservations
) -> None:
    """Store the reservations."""
    if reservations.used:
        _move(
            state,
            connection,
            [
                {"b_id": bucket, "b_free": reservations.next_slot[bucket]}
                for bucket in sorted(reservations.used)
            ],
        )


def shared_limits(
    state: AppState, connection: sa.Connection, buckets: Collection[str]
) -> dict[str, float | None]:
    """Return the strictest limit among the endpoints that share each bucket."""
    if not buckets:
        return {}
    endpoint = state.table("Endpoint").c
    rows = connection.execute(
        sa.select(endpoint.bucket, sa.func.min(endpoint.rate_limit).label("rate"))
        .where(endpoint.bucket.in_(buckets), endpoint.deleted_at.is_(None))
        .group_by(endpoint.bucket)
    )
    return {row.bucket: row.rate for row in rows}


def hold_buckets(
    state: AppState, connection: sa.Connection, decisions: Sequence[Decision], now: datetime
) -> None:
    """Delay all endpoints of a bucket for the time that the receiver has requested for one of them.

    If this applies to the whole server, all buckets of the tenant there are delayed.
    """
    until: dict[str, datetime] = {}
    servers: dict[str, datetime] = {}
    for decision in decisions:
        attempt = decision.attempt
        bucket = attempt.claimed.bucket
        if bucket is not None and decision.pause:
            moment = now + timedelta(seconds=decision.pause)
            until[bucket] = max(until.get(bucket, moment), moment)
            # An endpoint with only a limit of its own has its own id there.
            if attempt.refusal.whole_server and bucket != attempt.endpoint_id:
                server = bucket[:HALF]
                servers[server] = max(servers.get(server, moment), moment)
    for server, moment in servers.items():
        for bucket in _buckets_at(state, connection, server):
            until[bucket] = max(until.get(bucket, moment), moment)
    if servers:
        # Buckets of endpoints without requests have no row yet.
        table = state.table("Bucket")
        values = [{"id": bucket, "free_at": now} for bucket in sorted(until)]
        connection.execute(insert_missing(table, connection.dialect.name, ["id"]), values)
    if until:
        _move(
            state,
            connection,
            [{"b_id": bucket, "b_free": moment} for bucket, moment in sorted(until.items())],
        )


def _buckets_at(state: AppState, connection: sa.Connection, server: str) -> Sequence[str]:
    """Return the buckets of existing endpoints whose id begins with the half of a tenant's server."""
    endpoint = state.table("Endpoint").c
    return connection.scalars(
        sa.select(endpoint.bucket)
        .distinct()
        .where(
            endpoint.bucket.between(server + "0" * HALF, server + "f" * HALF),
            endpoint.deleted_at.is_(None),
        )
    ).all()


def _move(state: AppState, connection: sa.Connection, values: list[dict[str, Any]]) -> None:
    """Advance the times; never move them back."""
    table = state.table("Bucket")
    connection.execute(
        sa.update(table)
        .where(table.c.id == sa.bindparam("b_id"), table.c.free_at < sa.bindparam("b_free"))
        .values(free_at=sa.bindparam("b_free")),
        values,
    )
