"""Which endpoints have something due, and when something will be.

Endpoints are found by skipping from one to the next over an index, so that 200,000 rows of one endpoint
cost no more than one. Written as text: states must be literals, or databases would not use the indexes
that hold the rows of one state only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..columns import UtcDateTime
from ..models import EndpointState
from ..state import State

_READY = """
WITH RECURSIVE ready(endpoint_id) AS (
    SELECT (SELECT d.endpoint_id FROM {delivery} d
            WHERE d.state = 'pending' AND d.endpoint_id > :cursor
            ORDER BY d.endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.endpoint_id FROM {delivery} d
            WHERE d.state = 'pending' AND d.endpoint_id > r.endpoint_id
            ORDER BY d.endpoint_id LIMIT 1)
    FROM ready r WHERE r.endpoint_id IS NOT NULL
)
SELECT r.endpoint_id{columns}
FROM ready r
JOIN {endpoint} e ON e.id = r.endpoint_id
JOIN {health} h ON h.endpoint_id = r.endpoint_id
WHERE e.deleted_at IS NULL AND ({condition})
ORDER BY r.endpoint_id
LIMIT :limit
"""

_OPEN = "e.state = 'active' AND (h.hold_until IS NULL OR h.hold_until <= :now)"

_DUE = """(SELECT d.id FROM {delivery} d WHERE d.state = 'pending'
    AND d.endpoint_id = r.endpoint_id AND d.due_at <= :now
    ORDER BY d.due_at LIMIT 1) IS NOT NULL"""

# What a person wants now goes out even while the endpoint is paused or held.
_ASKED = """(SELECT d.id FROM {delivery} d WHERE d.state = 'pending'
    AND d.{trigger} IN ('manual', 'test') AND d.endpoint_id = r.endpoint_id
    AND d.due_at <= :now ORDER BY d.due_at LIMIT 1) IS NOT NULL"""

_SOONEST = """, e.state, h.hold_until,
    (SELECT d.due_at FROM {delivery} d WHERE d.state = 'pending'
        AND d.endpoint_id = r.endpoint_id ORDER BY d.due_at LIMIT 1) AS due_at,
    (SELECT d.due_at FROM {delivery} d WHERE d.state = 'pending'
        AND d.{trigger} IN ('manual', 'test') AND d.endpoint_id = r.endpoint_id
        ORDER BY d.due_at LIMIT 1) AS asked_at"""

_FIRST_LEASE = (
    "SELECT MIN(d.lease_until) AS lease_until FROM {delivery} d WHERE d.state = 'sending'"
)

_PICK = """SELECT * FROM (SELECT d.id, d.endpoint_id, d.due_at FROM {delivery} d
    WHERE d.state = 'pending' AND d.endpoint_id = :e{n} AND d.due_at <= :now{asked}
    ORDER BY d.due_at, d.id LIMIT :k{n}) AS q{n}"""

_ONLY_ASKED = " AND d.{trigger} IN ('manual', 'test')"


class DueRows:
    """Looks into the queue; changes nothing."""

    def __init__(self, state: State) -> None:
        fill = _filler(state)
        ready = fill(_READY)

        def endpoints(columns: str, condition: str) -> str:
            return ready.replace("{columns}", columns).replace("{condition}", condition)

        condition = fill(f"({_OPEN} AND {_DUE}) OR {_ASKED}")
        self._endpoints = _timed(endpoints("", condition))
        self._soonest = sa.text(endpoints(fill(_SOONEST), "1 = 1")).columns(
            hold_until=UtcDateTime(), due_at=UtcDateTime(), asked_at=UtcDateTime()
        )
        self._first_lease = sa.text(fill(_FIRST_LEASE)).columns(lease_until=UtcDateTime())
        self._pick = fill(_PICK)
        self._only_asked = fill(_ONLY_ASKED)

    def endpoints(
        self, connection: sa.Connection, now: datetime, cursor: str, limit: int
    ) -> list[str]:
        """Endpoints that may be sent to and have something due, in a round that starts after `cursor`."""
        found = self._endpoints_after(connection, now, cursor, limit)
        if len(found) < limit and cursor:
            # The end of the round: go on from the start, up to where this one began.
            first = self._endpoints_after(connection, now, "", limit - len(found))
            found += [endpoint_id for endpoint_id in first if endpoint_id <= cursor]
        return found

    def _endpoints_after(
        self, connection: sa.Connection, now: datetime, cursor: str, limit: int
    ) -> list[str]:
        parameters = {"cursor": cursor, "limit": limit, "now": now}
        return [row.endpoint_id for row in connection.execute(self._endpoints, parameters)]

    def first_lease(self, connection: sa.Connection) -> datetime | None:
        """When the first of the leases runs out."""
        lease: datetime | None = connection.execute(self._first_lease).scalar()
        return lease

    def soonest(self, connection: sa.Connection) -> datetime | None:
        """When the next delivery can be sent: it is due, and its endpoint is not held any more."""
        times: list[datetime] = []
        for row in connection.execute(self._soonest, {"cursor": "", "limit": 1_000_000}):
            if row.state == EndpointState.ACTIVE:
                times.append(max(row.due_at, row.hold_until or row.due_at))
            if row.asked_at is not None:
                times.append(row.asked_at)
        return min(times, default=None)

    def pick(
        self, connection: sa.Connection, now: datetime, wishes: list[tuple[str, int, bool]]
    ) -> list[Any]:
        """The first due rows of some endpoints, oldest first for each.

        :param wishes: endpoint id, how many at most, whether only what a person asked for.
        """
        parameters: dict[str, Any] = {"now": now}
        for n, (endpoint_id, count, _) in enumerate(wishes):
            parameters[f"e{n}"], parameters[f"k{n}"] = endpoint_id, count
        flags = tuple(asked for _, _, asked in wishes)
        statement = _union(self._pick, self._only_asked, flags)
        rows = connection.execute(statement, parameters).all()
        return sorted(rows, key=lambda row: (row.due_at, row.id))


@functools.lru_cache(maxsize=256)
def _union(pick: str, only_asked: str, flags: tuple[bool, ...]) -> sa.TextClause:
    """The statement for so many wishes; with 64 of them it takes half a millisecond to make."""
    parts = (pick.format(n=n, asked=only_asked if asked else "") for n, asked in enumerate(flags))
    return _timed(" UNION ALL ".join(parts))


def _filler(state: State) -> Callable[[str], str]:
    """Puts our table names as they are written in this host's SQL, with its schema and quoting."""
    preparer = state.engine.dialect.identifier_preparer
    names = {
        "delivery": preparer.format_table(state.table("Delivery")),
        "endpoint": preparer.format_table(state.table("Endpoint")),
        "health": preparer.format_table(state.table("EndpointHealth")),
        "trigger": preparer.quote("trigger"),
    }

    def fill(sql: str) -> str:
        for name, value in names.items():
            sql = sql.replace("{" + name + "}", value)
        return sql

    return fill


def _timed(sql: str) -> sa.TextClause:
    return sa.text(sql).bindparams(sa.bindparam("now", type_=UtcDateTime()))
