"""Find endpoints with due deliveries, and the time of the next one.

Endpoints come from three sources. Those with *new* deliveries are found by a skip scan over an index, so that
200,000 rows of one endpoint cost no more than one; so are those with manually requested deliveries. An endpoint
that cannot be served now, because it is held back or its retries are due later, would be a wasted step. Therefore
claims *defer* the deliveries of such endpoints: these leave the index, and the endpoint's `look_at` is the time at
which the next one is due. This is the third source. The statements are text, because states must be literals for
databases to use partial indexes.

Long, since it has the statements for each kind of database.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...app_state import AppState, prepared
from ...columns import UtcDateTime

#: Endpoints that one statement scans.
STEPS = 128
#: Statements after which a search ends if it has found something.
PAGES = 4

_SKIP = """{name}(endpoint_id, step) AS (
    SELECT (SELECT d.endpoint_id FROM {delivery} d
            WHERE {rows} AND d.endpoint_id > :cursor
            ORDER BY d.endpoint_id LIMIT 1), 1
    UNION ALL
    SELECT (SELECT d.endpoint_id FROM {delivery} d
            WHERE {rows} AND d.endpoint_id > s.endpoint_id
            ORDER BY d.endpoint_id LIMIT 1), s.step + 1
    FROM {name} s WHERE s.endpoint_id IS NOT NULL AND s.step < :steps
)"""

# MySQL and MariaDB would read all pending rows again at each step.
_DISTINCT = """{name}(endpoint_id, step) AS (
    SELECT f.endpoint_id, 1 FROM (
        SELECT DISTINCT d.endpoint_id FROM {delivery} d
        WHERE {rows} AND d.endpoint_id > :cursor
        ORDER BY d.endpoint_id LIMIT :steps
    ) f
)"""

_NEW = "d.state = 'pending' AND d.noticed IS NULL"
_ON_DEMAND = "d.state = 'pending' AND d.{trigger} IN ('manual', 'test')"

_VISITED = """SELECT '{name}' AS source, s.endpoint_id, {ordered} AS ordered,
    h.slow, h.hold_until, h.wait_until, {due} AS due_at
FROM {name} s
JOIN {endpoint} e ON e.id = s.endpoint_id
JOIN {health} h ON h.endpoint_id = s.endpoint_id"""

# Rows of an ordered endpoint are never deferred. The first one blocks the others.
_NEW_DUE = """CASE
    WHEN e.deleted_at IS NOT NULL OR e.state <> 'active' THEN NULL
    WHEN {ordered} = 1 THEN (SELECT d.due_at FROM {delivery} d
        WHERE d.state = 'pending' AND d.noticed IS NULL AND d.endpoint_id = s.endpoint_id
        AND d.{trigger} NOT IN ('manual', 'test') ORDER BY d.id LIMIT 1)
    ELSE (SELECT d.due_at FROM {delivery} d WHERE d.state = 'pending'
        AND d.endpoint_id = s.endpoint_id ORDER BY d.due_at LIMIT 1) END"""

# Manual requests are sent even while the endpoint is paused or held.
_ON_DEMAND_DUE = """CASE WHEN e.deleted_at IS NULL THEN
    (SELECT d.due_at FROM {delivery} d WHERE d.state = 'pending'
        AND d.{trigger} IN ('manual', 'test') AND d.endpoint_id = s.endpoint_id
        ORDER BY d.due_at LIMIT 1) END"""

_ORDERED = "CASE WHEN e.ordered THEN 1 ELSE 0 END"

# NULLIF keeps the database from scanning the primary key for the few due rows.
_DEFERRED = """SELECT * FROM (SELECT 'deferred' AS source, h.endpoint_id, 0 AS ordered,
    h.slow, h.hold_until, h.wait_until, h.look_at AS due_at
FROM {health} h
JOIN {endpoint} e ON e.id = h.endpoint_id
WHERE h.look_at <= :now AND NULLIF(h.endpoint_id, '') > :cursor
    AND (h.hold_until IS NULL OR h.hold_until <= :now)
    AND (h.wait_until IS NULL OR h.wait_until <= :now)
    AND e.state = 'active' AND e.deleted_at IS NULL
ORDER BY NULLIF(h.endpoint_id, '') LIMIT :limit) AS n"""

_SOONEST_DEFERRED = """SELECT MIN(CASE
    WHEN h.hold_until > h.look_at AND (h.wait_until IS NULL OR h.hold_until >= h.wait_until)
        THEN h.hold_until
    WHEN h.wait_until > h.look_at THEN h.wait_until
    ELSE h.look_at END) AS moment
FROM {health} h JOIN {endpoint} e ON e.id = h.endpoint_id
WHERE h.look_at IS NOT NULL AND e.state = 'active' AND e.deleted_at IS NULL"""

_FIRST_LEASE = (
    "SELECT MIN(d.lease_until) AS lease_until FROM {delivery} d WHERE d.state = 'sending'"
)

# Tests get no number: see `numbering`.
_UNNUMBERED = (
    """CASE WHEN d.sequence IS NULL AND d.{trigger} <> 'test' THEN 1 ELSE 0 END AS unnumbered"""
)

_PICK = """SELECT * FROM (SELECT d.id, d.endpoint_id, d.due_at, {unnumbered} FROM {delivery} d
    WHERE d.state = 'pending' AND d.endpoint_id = :e{n} AND d.due_at <= :now{only}
    ORDER BY d.due_at, d.id LIMIT :k{n}) AS p{n}"""

_ONLY_ON_DEMAND = " AND d.{trigger} IN ('manual', 'test')"

_PICK_FIRST = """SELECT * FROM (SELECT d.id, d.endpoint_id, d.due_at, {unnumbered} FROM {delivery} d
    WHERE d.state = 'pending' AND d.noticed IS NULL AND d.endpoint_id = :e{n}
    AND d.{trigger} NOT IN ('manual', 'test')
    ORDER BY d.id LIMIT :k{n}) AS p{n} WHERE p{n}.due_at <= :now"""


# PostgreSQL takes all requests of a kind as two parameters. The statement is then the same for any number of them,
# and is planned once; planning a union of 20 takes longer than the rest of a claim.
_PICK_EACH = """SELECT q{n}.* FROM unnest(CAST(:ids{n} AS text[]), CAST(:counts{n} AS integer[]))
    AS w{n} (endpoint_id, wanted) CROSS JOIN LATERAL ({pick}) AS q{n}"""


@dataclass(frozen=True, slots=True)
class PickRequest:
    """A request for due deliveries of one endpoint."""

    endpoint_id: str
    #: The maximum number.
    count: int
    #: Only manually requested ones.
    on_demand: bool = False
    #: Only the very first, if it is due.
    ordered: bool = False

    @property
    def kind(self) -> str:
        if self.ordered:
            return "ordered"
        return "on_demand" if self.on_demand else "usual"


@dataclass(slots=True)
class Round:
    """The result of a search of the queue."""

    #: Available endpoints with due deliveries.
    ready: list[str] = field(default_factory=list)
    #: Unordered endpoints with new deliveries that cannot be served now.
    idle: list[str] = field(default_factory=list)
    #: Some available ones were skipped because they are slow.
    passed: bool = False
    #: Where to continue; ``None`` if all have been examined.
    end: str | None = None


class DueRows:
    """Queries of the queue, without side effects."""

    def __init__(self, state: AppState) -> None:
        fill = _filler(state)

        def visited(name: str, due: str) -> str:
            return _VISITED.replace("{name}", name).replace("{due}", due)

        walk = _DISTINCT if state.engine.dialect.name in {"mysql", "mariadb"} else _SKIP
        new_cte = walk.replace("{name}", "new_rows").replace("{rows}", _NEW)
        on_demand_cte = walk.replace("{name}", "on_demand").replace("{rows}", _ON_DEMAND)
        skipping = (
            f"WITH RECURSIVE {new_cte}, {on_demand_cte}\n"
            f"{visited('new_rows', _NEW_DUE)}\nUNION ALL\n{visited('on_demand', _ON_DEMAND_DUE)}"
        ).replace("{ordered}", _ORDERED)
        columns = {name: UtcDateTime() for name in ("hold_until", "wait_until", "due_at")}
        self._visit = sa.text(fill(skipping)).columns(**columns)
        self._page = _timed(fill(f"{skipping}\nUNION ALL\n{_DEFERRED}")).columns(**columns)
        self._soonest_deferred = sa.text(fill(_SOONEST_DEFERRED)).columns(moment=UtcDateTime())
        self._first_lease = sa.text(fill(_FIRST_LEASE)).columns(lease_until=UtcDateTime())
        picks = {
            "usual": _PICK.replace("{only}", ""),
            "on_demand": _PICK.replace("{only}", _ONLY_ON_DEMAND),
            "ordered": _PICK_FIRST,
        }
        picks = {kind: sql.replace("{unnumbered}", _UNNUMBERED) for kind, sql in picks.items()}
        self._picks = {kind: fill(sql) for kind, sql in picks.items()}
        self._picks_each = {
            kind: _PICK_EACH.replace(
                "{pick}", sql.replace(":e{n}", "w{n}.endpoint_id").replace(":k{n}", "w{n}.wanted")
            )
            for kind, sql in self._picks.items()
        }

    def look(
        self,
        connection: sa.Connection,
        now: datetime,
        cursor: str,
        limit: int,
        *,
        slow: bool = True,
    ) -> Round:
        """Find endpoints with due deliveries, in a round over all endpoints that starts after `cursor`.

        :param slow: ``False`` skips slow endpoints.
        """
        found = Round()
        position, wrapped = cursor, not cursor
        pages = 0
        while True:
            end = self._look_on(connection, now, position, limit, slow, found)
            pages += 1
            if wrapped and cursor and (end is None or end >= cursor):
                # A complete round: endpoints after the start were examined first.
                return found
            if end is None and wrapped:
                return found
            wrapped = wrapped or end is None
            position = end or ""
            if len(found.ready) == limit or (found.ready and pages >= PAGES):
                found.end = position
                return found

    def _look_on(
        self,
        connection: sa.Connection,
        now: datetime,
        cursor: str,
        limit: int,
        slow: bool,
        found: Round,
    ) -> str | None:
        """Add the next endpoints; return the new position, ``None`` at the end of the round."""
        parameters = {"cursor": cursor, "steps": STEPS, "limit": limit, "now": now}
        rows = connection.execute(self._page, parameters).all()
        reached: list[str] = []
        for source, most in (("new_rows", STEPS), ("on_demand", STEPS), ("deferred", limit)):
            seen = [row.endpoint_id for row in rows if row.source == source]
            if len(seen) >= most:
                reached.append(max(seen))
        end = min(reached, default=None)
        ready: set[str] = set()
        for row in rows:
            if end is not None and row.endpoint_id > end:
                continue
            held = row.hold_until is not None and row.hold_until > now and row.source != "on_demand"
            waits = row.wait_until is not None and row.wait_until > now
            if row.due_at is not None and row.due_at <= now and not held and not waits:
                if row.slow and not slow:
                    found.passed = True
                else:
                    ready.add(row.endpoint_id)
            elif row.source == "new_rows" and not row.ordered:
                found.idle.append(row.endpoint_id)
        for endpoint_id in sorted(ready.difference(found.ready)):
            if len(found.ready) == limit:
                return found.ready[-1]
            found.ready.append(endpoint_id)
        return end

    def first_lease(self, connection: sa.Connection) -> datetime | None:
        """Return when the first lease expires."""
        lease: datetime | None = connection.execute(self._first_lease).scalar()
        return lease

    def soonest(self, connection: sa.Connection, now: datetime) -> datetime | None:
        """Return when the next delivery can be sent: it is due, and its endpoint is no longer held.

        Times before `now` are not exact.
        """
        first: datetime | None = connection.execute(self._soonest_deferred).scalar()
        cursor: str | None = ""
        while cursor is not None and (first is None or first > now):
            rows = connection.execute(self._visit, {"cursor": cursor, "steps": STEPS}).all()
            reached: list[str] = []
            for source in ("new_rows", "on_demand"):
                seen = [row.endpoint_id for row in rows if row.source == source]
                if len(seen) >= STEPS:
                    reached.append(max(seen))
            for row in rows:
                if row.due_at is not None:
                    hold = None if row.source == "on_demand" else row.hold_until
                    moment = max(filter(None, (row.due_at, hold, row.wait_until)))
                    first = moment if first is None else min(first, moment)
            cursor = min(reached, default=None)
        return first

    def pick(
        self, connection: sa.Connection, now: datetime, requests: Sequence[PickRequest]
    ) -> list[Any]:
        """Return the first due rows of some endpoints, oldest first for each."""
        if connection.dialect.name == "postgresql":
            parts, parameters = self._by_kind(requests)
        else:
            parts, parameters = self._one_by_one(requests)
        rows = connection.execute(_union(tuple(parts)), {"now": now, **parameters}).all()
        return sorted(rows, key=lambda row: (row.due_at, row.id))

    def _one_by_one(self, requests: Sequence[PickRequest]) -> tuple[list[str], dict[str, Any]]:
        parameters: dict[str, Any] = {}
        for n, request in enumerate(requests):
            parameters[f"e{n}"], parameters[f"k{n}"] = request.endpoint_id, request.count
        return [self._picks[request.kind] for request in requests], parameters

    def _by_kind(self, requests: Sequence[PickRequest]) -> tuple[list[str], dict[str, Any]]:
        kinds: dict[str, list[PickRequest]] = {}
        for request in requests:
            kinds.setdefault(request.kind, []).append(request)
        parameters: dict[str, Any] = {}
        for n, alike in enumerate(kinds.values()):
            parameters[f"ids{n}"] = [request.endpoint_id for request in alike]
            parameters[f"counts{n}"] = [request.count for request in alike]
        return [self._picks_each[kind] for kind in kinds], parameters


#: One instance per application.
due_rows = prepared(DueRows)


@functools.lru_cache(maxsize=256)
def _union(parts: tuple[str, ...]) -> sa.TextClause:
    """Return the statement for a number of requests; for 64 it takes half a millisecond to build."""
    return _timed(" UNION ALL ".join(part.format(n=n) for n, part in enumerate(parts)))


def _filler(state: AppState) -> Callable[[str], str]:
    """Return a function that inserts our table names with the schema and quoting of this host."""
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
