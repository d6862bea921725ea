"""Take due deliveries under a lease, fairly over endpoints, safely among workers.

A claim first looks, without any lock, which endpoints have something due. It then locks the *health rows*
of some of them, skipping what other workers hold: whoever has that lock alone decides how many more
requests the endpoint may have in flight. Rows are marked ``sending`` under a random token, which fences
off whoever held them before.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..formats import OutgoingEvent, Target
from ..health import Hold
from ..models import DeliveryState, EndpointState
from ..state import State
from .due import DueRows
from .locks import in_state, reading, take_write_lock
from .outcome import Claimed, Released
from .targets import Targets, TenantNames

#: Endpoints looked at in one claim.
MAX_ENDPOINTS = 64
#: Seconds after which an endpoint is tried again that could not be decrypted.
UNREADABLE_DELAY = 60.0


@dataclass(slots=True)
class Claim:
    """What one claim brought."""

    claimed: list[tuple[Claimed, Target]] = field(default_factory=list)
    released: list[Released] = field(default_factory=list)
    #: All the room was used: there may be more due, for other workers too.
    full: bool = False
    #: An endpoint gave as much as it may have in flight, or its share: look again after settling.
    limited: bool = False
    #: The round of endpoints is not over: look again at once, even if this brought nothing.
    more: bool = False
    #: Another worker holds an endpoint that has something due: look again in a moment.
    contended: bool = False


class Claimer:
    """Claims for one drain; remembers where it was in the round of endpoints, and their secrets."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._cursor = ""
        self._turn = 0
        self._due = DueRows(state)
        self._targets = Targets(state)
        self._names = TenantNames(state)

    def forget(self) -> None:
        """Decrypt endpoints anew at the next claim: a secret may have expired."""
        self._targets.forget()
        self._names.forget()

    def anything_due(self, connection: sa.Connection, now: datetime) -> bool:
        """Whether a claim could find something, or a lease has run out. Only reads."""
        if self._due.endpoints(connection, now, "", 1):
            return True
        lease = self._due.first_lease(connection)
        return lease is not None and lease < now

    def next_due(self, connection: sa.Connection, now: datetime) -> datetime | None:
        """When there will be something to do: a retry falls due, a hold ends, a lease runs out."""
        times = [self._due.soonest(connection), self._due.first_lease(connection)]
        return min((moment for moment in times if moment is not None), default=None)

    def claim(self, connection: sa.Connection, now: datetime, room: int) -> Claim:
        """Take up to `room` due deliveries; no transaction is open when this returns.

        :param now: the database's time.
        """
        most = min(room, MAX_ENDPOINTS)
        with reading(connection):
            # Apart from what follows: MySQL would go on showing the other rows as they are now.
            candidates = self._due.endpoints(connection, now, self._cursor, most)
        claim = Claim()
        if not candidates:
            self._cursor = ""
            return claim
        more = len(candidates) >= most
        if not more:
            # The whole round fits into one claim: another endpoint begins it each time.
            self._turn += 1
            first = self._turn % len(candidates)
            candidates = candidates[first:] + candidates[:first]
        with connection.begin():
            take_write_lock(self.state, connection)
            picked = self._pick_rows(connection, now, candidates, room, claim)
            if picked:
                self._mark(connection, now, picked, claim)
        claim.claimed = [
            (replace(claimed, event=self._names.give(claimed.event)), target)
            for claimed, target in claim.claimed
        ]
        claim.full = len(picked) >= room
        claim.limited |= more
        claim.more = more and candidates[-1] > self._cursor
        self._cursor = candidates[-1] if more else ""
        return claim

    def rehearse(self, connection: sa.Connection, now: datetime) -> None:
        """Run every statement of a claim for rows that do not exist.

        Making SQL out of them takes a while the first time; a process that forks does it beforehand.
        """
        nobody = "rehearsal"
        with connection.begin():
            self._due.endpoints(connection, now, nobody, 1)
            take_write_lock(self.state, connection)
            self._lock(connection, [nobody])
            self._states(connection, [nobody])
            self._in_flight(connection, [nobody])
            for wishes in ([(nobody, 1, False)], [(nobody, 1, False), (nobody, 1, True)]):
                self._due.pick(connection, now, wishes)
            self._mark(connection, now, [nobody], Claim())
            self._targets.load(connection, {nobody: 1}, now=0.0)

    def _pick_rows(
        self,
        connection: sa.Connection,
        now: datetime,
        candidates: list[str],
        room: int,
        claim: Claim,
    ) -> list[str]:
        locked = self._lock(connection, candidates)
        claim.contended = len(locked) < len(candidates)
        if not locked:
            return []
        states = self._states(connection, locked)
        in_flight = self._in_flight(connection, locked)
        share = -(-room // len(locked))
        wishes: list[tuple[str, int, bool]] = []
        free: dict[str, int] = {}
        for endpoint_id in candidates:
            if endpoint_id not in states:
                continue
            flying = in_flight.get(endpoint_id, 0)
            slots = min(self.state.settings.endpoint_concurrency - flying, share)
            free[endpoint_id] = slots
            if slots <= 0:
                continue
            due = slots
            if states[endpoint_id] != EndpointState.ACTIVE or locked[endpoint_id].held(now):
                due = 0
            elif locked[endpoint_id].failing:
                # One probe at a time.
                due = 0 if flying else 1
            if due > 0:
                wishes.append((endpoint_id, due, False))
            if due < slots:
                wishes.append((endpoint_id, slots - due, True))
        rows = self._due.pick(connection, now, wishes) if wishes else []
        brought = Counter(row.endpoint_id for row in rows)
        claim.limited = len(rows) > room or any(
            brought[endpoint_id] >= slots for endpoint_id, slots in free.items()
        )
        return _in_turns(rows, candidates)[:room]

    def _lock(self, connection: sa.Connection, endpoint_ids: Sequence[str]) -> dict[str, _Pause]:
        """Lock the health rows that nobody else holds, and read them."""
        health = self.state.table("EndpointHealth").c
        rows = connection.execute(
            sa.select(health.endpoint_id, health.hold_until, health.probe_interval)
            .where(health.endpoint_id.in_(endpoint_ids))
            .order_by(health.endpoint_id)
            .with_for_update(skip_locked=True)
        )
        return {
            row.endpoint_id: _Pause(row.hold_until, failing=row.probe_interval is not None)
            for row in rows
        }

    def _states(self, connection: sa.Connection, endpoint_ids: Iterable[str]) -> dict[str, str]:
        endpoint = self.state.table("Endpoint").c
        rows = connection.execute(
            sa.select(endpoint.id, endpoint.state).where(
                endpoint.id.in_(list(endpoint_ids)), endpoint.deleted_at.is_(None)
            )
        )
        return {row.id: row.state for row in rows}

    def _in_flight(self, connection: sa.Connection, endpoint_ids: Iterable[str]) -> dict[str, int]:
        table = self.state.table("Delivery")
        rows = connection.execute(
            sa.select(table.c.endpoint_id, sa.func.count().label("number"))
            .where(
                in_state(table, DeliveryState.SENDING),
                table.c.endpoint_id.in_(list(endpoint_ids)),
            )
            .group_by(table.c.endpoint_id)
        )
        return {row.endpoint_id: row.number for row in rows}

    def _mark(
        self, connection: sa.Connection, now: datetime, picked: Sequence[str], claim: Claim
    ) -> None:
        table = self.state.table("Delivery")
        delivery = table.c
        event = self.state.table("Event").c
        endpoint = self.state.table("Endpoint").c
        token = uuid.uuid4().hex
        lease_until = now + timedelta(seconds=self.state.settings.lease)
        connection.execute(
            sa.update(table)
            .where(delivery.id.in_(picked), in_state(table, DeliveryState.PENDING))
            .values(
                state=DeliveryState.SENDING,
                due_at=None,
                lease_token=token,
                lease_until=lease_until,
                last_attempt_at=now,
                attempt_count=delivery.attempt_count + 1,
            )
        )
        rows = connection.execute(
            sa.select(
                delivery.id.label("delivery_id"),
                delivery.endpoint_id,
                endpoint.version,
                delivery.attempt_count,
                delivery.trigger,
                delivery.actor,
                delivery.failure_count,
                event.id,
                event.type,
                event.tenant,
                event.occurred_at,
                sa.type_coerce(event.data, sa.Text()).label("data_json"),
            )
            .join_from(table, self.state.table("Event"), delivery.event_id == event.id)
            .join(self.state.table("Endpoint"), delivery.endpoint_id == endpoint.id)
            .where(delivery.id.in_(picked), delivery.lease_token == token)
        ).all()
        versions = {row.endpoint_id: row.version for row in rows}
        unreadable = self._targets.load(connection, versions, now=time.time())
        order = {delivery_id: position for position, delivery_id in enumerate(picked)}
        for row in sorted(rows, key=lambda row: order[row.delivery_id]):
            claimed = Claimed(
                delivery_id=row.delivery_id,
                endpoint_id=row.endpoint_id,
                event=OutgoingEvent(row.id, row.type, row.tenant, row.occurred_at, row.data_json),
                number=row.attempt_count,
                trigger=row.trigger,
                actor=row.actor,
                failure_count=row.failure_count,
                token=token,
                lease_until=lease_until,
            )
            if row.endpoint_id in unreadable:
                claim.released.append(Released(claimed, UNREADABLE_DELAY, Hold.UNREADABLE_SECRET))
            else:
                claim.claimed.append((claimed, self._targets[row.endpoint_id]))


@dataclass(frozen=True, slots=True)
class _Pause:
    """What an endpoint's health says about sending to it."""

    until: datetime | None
    failing: bool

    def held(self, now: datetime) -> bool:
        return self.until is not None and self.until > now


def _in_turns(rows: Sequence[Any], endpoint_ids: Sequence[str]) -> list[str]:
    """Ids of the rows: the first one of each endpoint, then the second ones, and so on."""
    places = {endpoint_id: place for place, endpoint_id in enumerate(endpoint_ids)}
    seen: Counter[str] = Counter()
    turns: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row.id not in turns:
            turns[row.id] = (seen[row.endpoint_id], places[row.endpoint_id])
            seen[row.endpoint_id] += 1
    return sorted(turns, key=turns.__getitem__)
