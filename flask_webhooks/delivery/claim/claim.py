"""Take due deliveries under a lease, fairly over endpoints, safely among workers.

A claim first looks, without any lock, which endpoints have something due. It then locks the *health rows*
of some of them, skipping what other workers hold: whoever has that lock alone decides how many more
requests the endpoint may have in flight, and what comes next. Then it locks the buckets of rate limits.
Rows are marked ``sending`` under a random token, which fences off whoever held them before.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ...app_state import State
from ...db.locks import reading, take_write_lock
from ...formats import Target
from ..outcome import Claimed, Released, Unsettled
from ..settle.health import Hold
from .deferral import FEW, forget_noticed, look_when_due, notice
from .due_query import Round, Wish, due_rows
from .lease import lease_rows, read_events, remove_orphans
from .rate_limit import Turns, lock_turns, save_turns, shared_limits
from .snapshot import Standing, Terms, count_in_flight, lock_standings, read_terms
from .targets import Targets, TenantNames

#: Endpoints looked at in one claim.
MAX_ENDPOINTS = 64
#: How often one claim looks on where endpoints had something due and no room for it.
MAX_LOOKS = 8
#: Seconds after which an endpoint is tried again that could not be decrypted.
UNREADABLE_DELAY = 60.0
#: The share of a drain's places that is left to endpoints with nothing in flight, and to those that are
#: not slow. A group of slow endpoints could take all places otherwise, each with no more than its cap.
RESERVE, SLOW_RESERVE = 1 / 16, 1 / 4
#: Seconds after which an endpoint whose limit lets nothing through is looked at again, for it may have
#: been changed in the meantime.
LONGEST_WAIT = 60.0


@dataclass(slots=True)
class Claim:
    """What one claim brought."""

    claimed: list[tuple[Claimed, Target]] = field(default_factory=list)
    #: To be sent as soon as there is a place.
    ahead: list[tuple[Claimed, Target]] = field(default_factory=list)
    released: list[Released] = field(default_factory=list)
    #: Something was left for want of room, or all the room was used: there may be more for other workers.
    full: bool = False
    #: An endpoint gave as much as it may have in flight, or its share: look again after settling.
    limited: bool = False
    #: The round of endpoints is not over: look again at once, even if this brought nothing.
    more: bool = False
    #: Another worker holds an endpoint that has something due: look again in a moment.
    contended: bool = False
    #: A rate limit let no more through, or there is more behind what was removed: look again at this time.
    again: datetime | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What a drain has room for."""

    #: Requests that it may start now.
    places: int
    #: Deliveries that may wait beside them, for the next places that become free.
    ahead: int = 0
    #: The most that one claim is to bring; ``None`` is all that there is room for.
    most: int | None = None

    @property
    def total(self) -> int:
        """What a claim may bring."""
        room = self.places + self.ahead
        return room if self.most is None else min(room, self.most)


class Claimer:
    """Claims for one drain; remembers where it was in the round of endpoints, and their secrets."""

    def __init__(self, state: State) -> None:
        self.state = state
        #: Places that are left to endpoints with nothing in flight, and to those that are not slow.
        self.reserve = int(state.settings.concurrency * RESERVE)
        self.slow_reserve = int(state.settings.concurrency * SLOW_RESERVE)
        self._cursor = ""
        self._turn = 0
        self._due = due_rows(state)
        self._targets = Targets(state)
        self._names = TenantNames(state)

    def forget(self) -> None:
        """Decrypt endpoints anew at the next claim: a secret may have expired."""
        self._targets.forget()

    def anything_due(self, connection: sa.Connection, now: datetime) -> bool:
        """Whether a claim could find something, or a lease has run out. Only reads."""
        if self._due.look(connection, now, "", 1).ready:
            return True
        lease = self._due.first_lease(connection)
        return lease is not None and lease < now

    def next_due(self, connection: sa.Connection, now: datetime) -> datetime | None:
        """When there will be something to do: a retry falls due, a hold ends, a lease runs out."""
        times = [self._due.soonest(connection, now), self._due.first_lease(connection)]
        return min((moment for moment in times if moment is not None), default=None)

    def claim(
        self,
        connection: sa.Connection,
        now: datetime,
        room: Room,
        unsettled: Unsettled | None = None,
    ) -> Claim:
        """Take as many due deliveries as there is room for; no transaction is open when this returns.

        :param now: the database's time.
        :param unsettled: what this drain has not settled yet. Nobody may settle it while this runs.
        """
        claim = Claim()
        unsettled = unsettled or Unsettled()
        start = self._cursor
        for _ in range(MAX_LOOKS):
            found = self._look(connection, now, room)
            if found.ready:
                self._take(connection, now, found.ready, room, unsettled, claim)
            taken = bool(claim.claimed or claim.ahead or claim.released)
            if len(found.idle) > FEW:
                try:
                    notice(self.state, connection, found.idle)
                except DBAPIError:
                    # What was taken is ours by now; the others are noticed another time.
                    if not taken:
                        raise
            if taken or found.end is None:
                break
        claim.limited |= found.passed or found.end is not None
        claim.more = found.end is not None and found.end > start
        if self.state.hooks.tenant_name is not None:
            # After the transactions: the host may ask its database.
            for rows in (claim.claimed, claim.ahead):
                rows[:] = [
                    (replace(claimed, event=self._names.give(claimed.event)), target)
                    for claimed, target in rows
                ]
        return claim

    def warm_up(self, connection: sa.Connection, now: datetime) -> None:
        """Run every statement of a claim for rows that do not exist.

        Making SQL out of them takes a while the first time; a process that forks does it beforehand.
        """
        missing = "none"
        with connection.begin():
            self._due.look(connection, now, missing, 1)
            take_write_lock(self.state, connection)
            lock_standings(self.state, connection, [missing])
            read_terms(self.state, connection, [missing])
            count_in_flight(self.state, connection, [missing])
            for wishes in ([Wish(missing, 1)], [Wish(missing, 1), Wish(missing, 1, asked=True)]):
                self._due.pick(connection, now, wishes)
            self._mark(
                connection,
                now,
                {missing: None},
                _Pick(Room(1), {}, {}, Turns(now, {}, {})),
                Claim(),
            )
            self._targets.load(connection, {missing: 1}, now=0.0)

    def _look(self, connection: sa.Connection, now: datetime, room: Room) -> Round:
        """Find the endpoints whose turn it is."""
        # The reserve is for few of those that have something due: look at many to find them.
        most = MAX_ENDPOINTS if room.places <= self.reserve else min(room.total, MAX_ENDPOINTS)
        with reading(connection):
            # Apart from what follows: MySQL would go on showing the other rows as they are now.
            found = self._due.look(
                connection, now, self._cursor, most, slow=room.places > self.slow_reserve
            )
        self._cursor = found.end or ""
        if found.end is None and found.ready:
            # The whole round fits into one claim: another endpoint begins it each time.
            self._turn += 1
            first = self._turn % len(found.ready)
            found.ready = found.ready[first:] + found.ready[:first]
        return found

    def _take(
        self,
        connection: sa.Connection,
        now: datetime,
        candidates: list[str],
        room: Room,
        unsettled: Unsettled,
        claim: Claim,
    ) -> None:
        with connection.begin():
            take_write_lock(self.state, connection)
            locked = lock_standings(self.state, connection, candidates)
            claim.contended |= len(locked) < len(candidates)
            endpoints = read_terms(self.state, connection, locked)
            turns = self._lock_turns(connection, now, endpoints)
            pick = _Pick(room, locked, endpoints, turns, unsettled)
            known = [
                endpoint_id
                for endpoint_id in candidates
                if endpoint_id in endpoints and not pick.troubled(endpoint_id)
            ]
            claim.limited |= len(known) < len(endpoints)
            picked = self._pick_rows(connection, now, known, pick, claim)
            if picked:
                self._mark(connection, now, picked, pick, claim)
            look_when_due(self.state, connection, pick.exhausted)
            self._wait_for_turns(connection, now, pick, claim)
            save_turns(self.state, connection, turns)
        claim.full |= len(picked) >= room.total

    def _pick_rows(
        self,
        connection: sa.Connection,
        now: datetime,
        candidates: list[str],
        pick: _Pick,
        claim: Claim,
    ) -> dict[str, datetime | None]:
        """Choose deliveries; returns their ids in order, each with its turn under a rate limit."""
        if not candidates:
            return {}
        locked, endpoints = pick.locked, pick.endpoints
        forget_noticed(
            self.state,
            connection,
            [id_ for id_ in candidates if endpoints[id_].ordered and locked[id_].look_at],
        )
        flying = count_in_flight(self.state, connection, candidates)
        free: dict[str, int] = {}
        for endpoint_id in candidates:
            # Ours that were answered are no requests in flight any more. The others' may be.
            held = flying[endpoint_id] - pick.unsettled.answered[endpoint_id]
            free[endpoint_id] = self.state.settings.endpoint_concurrency - held
        # Those that have all they may leave their share to the others.
        sharing = sum(slots > 0 for slots in free.values())
        share = -(-pick.room.total // max(sharing, 1))
        wishes: list[Wish] = []
        wanted: dict[str, int] = {}
        #: The most that the limit in force lets each have; behind that there may be more.
        limits: dict[str, int] = {}
        for endpoint_id in candidates:
            health, endpoint = locked[endpoint_id], endpoints[endpoint_id]
            slots = limits[endpoint_id] = min(free[endpoint_id], share)
            if slots <= 0:
                continue
            due = slots
            if not endpoint.active or health.held(now):
                due = 0
            elif health.failing or endpoint.ordered:
                # One probe at a time, one after another.
                due = limits[endpoint_id] = 0 if flying[endpoint_id] else 1
            if due > 0:
                wishes.append(Wish(endpoint_id, due, ordered=endpoint.ordered))
                wanted[endpoint_id] = due
            if due < slots:
                wishes.append(Wish(endpoint_id, slots - due, asked=True))
        rows = self._due.pick(connection, now, wishes) if wishes else []
        brought = Counter(row.endpoint_id for row in rows)
        claim.limited |= len(rows) > pick.room.total or any(
            brought[endpoint_id] >= limit for endpoint_id, limit in limits.items()
        )
        pick.exhausted = [
            endpoint_id
            for endpoint_id, number in wanted.items()
            if brought[endpoint_id] < number and locked[endpoint_id].look_at is not None
        ]
        return self._choose(now, _in_turns(rows, candidates), flying, pick, claim)

    def _choose(
        self,
        now: datetime,
        rows: Sequence[Any],
        flying: Mapping[str, int],
        pick: _Pick,
        claim: Claim,
    ) -> dict[str, datetime | None]:
        """Those of the rows that there is a place and a turn for, or that may wait for a place."""
        chosen: dict[str, datetime | None] = {}
        busy = Counter(flying)
        places, ahead = pick.room.places, pick.room.ahead
        for row in rows:
            endpoint_id = row.endpoint_id
            if (places <= 0 and ahead <= 0) or len(chosen) >= pick.room.total:
                claim.full = True
                break
            reserve = self.reserve if busy[endpoint_id] else 0
            if pick.locked[endpoint_id].slow:
                reserve = self.slow_reserve
            wait = places <= reserve
            if wait and (ahead <= 0 or not pick.may_wait(endpoint_id, now)):
                claim.limited = claim.full = True
                continue
            bucket = pick.endpoints[endpoint_id].bucket
            turn: datetime | None = None
            if bucket is not None:
                turn = pick.turns.take(bucket) if bucket in pick.turns.free_at else None
                if turn is None:
                    pick.waiting.add(endpoint_id)
                    continue
                turn = pick.turns.strict(bucket, turn)
            chosen[row.id] = turn
            busy[endpoint_id] += 1
            if wait:
                pick.ahead.add(row.id)
                ahead -= 1
            else:
                places -= 1
        return chosen

    def _wait_for_turns(
        self, connection: sa.Connection, now: datetime, pick: _Pick, claim: Claim
    ) -> None:
        """Pass over the endpoints that got no turn, until there is one."""
        values = []
        for endpoint_id in sorted(pick.waiting):
            bucket = pick.endpoints[endpoint_id].bucket
            assert bucket is not None
            if bucket not in pick.turns.free_at:
                claim.contended = True
                continue
            opens = min(pick.turns.opens_at(bucket), now + timedelta(seconds=LONGEST_WAIT))
            claim.again = opens if claim.again is None else min(opens, claim.again)
            values.append({"b_endpoint": endpoint_id, "b_until": opens})
        if values:
            table = self.state.table("EndpointHealth")
            connection.execute(
                sa.update(table)
                .where(table.c.endpoint_id == sa.bindparam("b_endpoint"))
                .values(wait_until=sa.bindparam("b_until")),
                values,
            )

    def _lock_turns(
        self, connection: sa.Connection, now: datetime, endpoints: Mapping[str, Terms]
    ) -> Turns:
        limits = {
            item.bucket: item.rate_limit for item in endpoints.values() if item.bucket is not None
        }
        shared = {item.shared for item in endpoints.values() if item.shared is not None}
        limits |= shared_limits(self.state, connection, shared)
        return lock_turns(self.state, connection, now, limits)

    def _mark(
        self,
        connection: sa.Connection,
        now: datetime,
        picked: Mapping[str, datetime | None],
        pick: _Pick,
        claim: Claim,
    ) -> None:
        token = uuid.uuid4().hex
        lease_until = now + timedelta(seconds=self.state.settings.lease)
        rows = lease_rows(self.state, connection, list(picked), now, token, lease_until)
        events = read_events(self.state, connection, (row.event_id for row in rows))
        if orphans := [row.id for row in rows if row.event_id not in events]:
            remove_orphans(self.state, connection, orphans)
            # What they stood before comes next.
            claim.again = now
            rows = [row for row in rows if row.event_id in events]
        versions = {row.endpoint_id: pick.endpoints[row.endpoint_id].version for row in rows}
        unreadable = self._targets.load(connection, versions, now=now.timestamp())
        order = {delivery_id: position for position, delivery_id in enumerate(picked)}
        for row in sorted(rows, key=lambda row: order[row.id]):
            claimed = Claimed(
                delivery_id=row.id,
                endpoint_id=row.endpoint_id,
                event=events[row.event_id],
                number=row.attempt_count,
                trigger=row.trigger,
                actor=row.actor,
                failure_count=row.failure_count,
                token=token,
                lease_until=lease_until,
                bucket=pick.endpoints[row.endpoint_id].bucket,
                not_before=picked[row.id],
            )
            if row.endpoint_id in unreadable:
                claim.released.append(Released(claimed, UNREADABLE_DELAY, Hold.UNREADABLE_SECRET))
            else:
                taken = claim.ahead if row.id in pick.ahead else claim.claimed
                taken.append((claimed, self._targets[row.endpoint_id]))


@dataclass(slots=True)
class _Pick:
    """What a claim picks from."""

    room: Room
    locked: Mapping[str, Standing]
    endpoints: Mapping[str, Terms]
    turns: Turns
    unsettled: Unsettled = field(default_factory=Unsettled)
    #: Deliveries that are to wait for a place.
    ahead: set[str] = field(default_factory=set)
    #: Endpoints that got no turn though they have something due.
    waiting: set[str] = field(default_factory=set)
    #: Endpoints with noticed deliveries, of which all that is due was picked.
    exhausted: list[str] = field(default_factory=list)

    def troubled(self, endpoint_id: str) -> bool:
        """Whether what has not been settled yet may keep the endpoint from getting more."""
        found = self.unsettled.troubled
        return endpoint_id in found or self.endpoints[endpoint_id].bucket in found

    def may_wait(self, endpoint_id: str, now: datetime) -> bool:
        """Whether deliveries of an endpoint may wait for a place.

        Only where one request is like the other, and soon over.
        """
        health, endpoint = self.locked[endpoint_id], self.endpoints[endpoint_id]
        usual = endpoint.active and not endpoint.ordered and endpoint.bucket is None
        return usual and not health.failing and not health.slow and not health.held(now)


def _in_turns(rows: Sequence[Any], endpoint_ids: Sequence[str]) -> list[Any]:
    """The first row of each endpoint, then the second ones, and so on."""
    places = {endpoint_id: place for place, endpoint_id in enumerate(endpoint_ids)}
    seen: Counter[str] = Counter()
    turns: dict[str, tuple[int, int]] = {}
    distinct = {row.id: row for row in rows}
    for row in distinct.values():
        turns[row.id] = (seen[row.endpoint_id], places[row.endpoint_id])
        seen[row.endpoint_id] += 1
    return sorted(distinct.values(), key=lambda row: turns[row.id])
