"""Claim due deliveries under a lease, with fairness among endpoints and safe concurrency of workers.

A claim first finds endpoints with due deliveries, without locks. It then locks the *health rows* of some of them,
skipping those that other workers have locked: only the holder of this lock decides how many more requests the
endpoint may have in flight, and which come next. Then it locks the buckets of rate limits. `plan` decides which
deliveries to take. Rows are marked ``sending`` with a random token, which fences off an earlier holder.

Long, since a claim is one transaction, step by step.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ...app_state import AppState
from ...db.locks import read_only, take_write_lock
from ...formats import Target
from ..outcome import Claimed, Released, Unsettled
from ..settle.health import Hold
from .coalescing import coalesce_due
from .deferral import FEW, defer, forget_deferred, update_next_due
from .due_query import PickRequest, Round, due_rows
from .lease import lease_rows, read_events, remove_orphans
from .numbering import plan_numbers, save_last, save_numbers
from .plan import Capacity, ClaimPlan, Limits, Snapshot, plan_claim, plan_picks
from .rate_limit import Reservations, lock_buckets, save_reservations, shared_limits
from .snapshot import DeliverySettings, HealthSnapshot, count_in_flight, lock_health, read_settings
from .targets import Targets, TenantNames

#: Endpoints that one claim examines.
MAX_ENDPOINTS = 64
#: How often one claim continues its search if endpoints had due deliveries but no capacity was left.
MAX_LOOKS = 8
#: Seconds after which an endpoint that could not be decrypted is tried again.
UNREADABLE_DELAY = 60.0
#: The shares of a drain's slots that are reserved for endpoints with nothing in flight, and for those that are not
#: slow. Otherwise a group of slow endpoints could occupy all slots, each within its own limit.
RESERVE, SLOW_RESERVE = 1 / 16, 1 / 4


@dataclass(slots=True)
class Claim:
    """The result of one claim."""

    claimed: list[tuple[Claimed, Target]] = field(default_factory=list)
    #: Deliveries to send as soon as a slot is free.
    ahead: list[tuple[Claimed, Target]] = field(default_factory=list)
    released: list[Released] = field(default_factory=list)
    #: Deliveries were left because of missing capacity, or all capacity was used: there may be more for other
    #: workers.
    full: bool = False
    #: An endpoint reached its limit in flight, or its share: claim again after settling.
    limited: bool = False
    #: The round of endpoints is not complete: claim again at once, even if this claim found nothing.
    more: bool = False
    #: Another worker has locked an endpoint with due deliveries: claim again in a moment.
    contended: bool = False
    #: A rate limit was reached, or there is more behind removed rows: claim again at this time.
    again: datetime | None = None


class Claimer:
    """Claims for one drain. It keeps its position in the round of endpoints, and decrypted secrets."""

    def __init__(self, state: AppState) -> None:
        self.state = state
        #: Slots that are reserved for endpoints with nothing in flight, and for those that are not slow.
        self.reserve = int(state.settings.concurrency * RESERVE)
        self.slow_reserve = int(state.settings.concurrency * SLOW_RESERVE)
        self._cursor = ""
        self._rotation = 0
        self._due = due_rows(state)
        self._targets = Targets(state)
        self._names = TenantNames(state)

    def forget(self) -> None:
        """Decrypt endpoints again at the next claim, because a secret may have expired."""
        self._targets.forget()

    def anything_due(self, connection: sa.Connection, now: datetime) -> bool:
        """Return whether a claim could find something, or a lease has expired. Only reads."""
        if self._due.look(connection, now, "", 1).ready:
            return True
        lease = self._due.first_lease(connection)
        return lease is not None and lease < now

    def next_due(self, connection: sa.Connection, now: datetime) -> datetime | None:
        """Return when there will be something to do: a retry is due, a hold ends, or a lease expires."""
        times = [self._due.soonest(connection, now), self._due.first_lease(connection)]
        return min((moment for moment in times if moment is not None), default=None)

    def claim(
        self,
        connection: sa.Connection,
        now: datetime,
        capacity: Capacity,
        unsettled: Unsettled | None = None,
    ) -> Claim:
        """Claim as many due deliveries as the capacity allows; no transaction is open when this returns.

        :param now: the database's time.
        :param unsettled: attempts that this drain has not settled yet. None may be settled while this runs.
        """
        claim = Claim()
        unsettled = unsettled or Unsettled()
        start = self._cursor
        for _ in range(MAX_LOOKS):
            found = self._look(connection, now, capacity)
            if found.ready:
                self._take(connection, now, found.ready, capacity, unsettled, claim)
            taken = bool(claim.claimed or claim.ahead or claim.released)
            if len(found.idle) > FEW:
                try:
                    defer(self.state, connection, found.idle)
                except DBAPIError:
                    # The claim is complete; other deliveries are deferred next time.
                    if not taken:
                        raise
            if taken or found.end is None:
                break
        claim.limited |= found.passed or found.end is not None
        claim.more = found.end is not None and found.end > start
        if self.state.hooks.tenant_name is not None:
            # After the transactions, because the host may query its database.
            for rows in (claim.claimed, claim.ahead):
                rows[:] = [
                    (replace(claimed, event=self._names.give(claimed.event)), target)
                    for claimed, target in rows
                ]
        return claim

    def warm_up(self, connection: sa.Connection, now: datetime) -> None:
        """Run every statement of a claim for rows that do not exist.

        Compiling them takes a while the first time, so a process that forks does it beforehand.
        """
        missing = "none"
        with connection.begin():
            self._due.look(connection, now, missing, 1)
            take_write_lock(self.state, connection)
            lock_health(self.state, connection, [missing])
            read_settings(self.state, connection, [missing])
            count_in_flight(self.state, connection, [missing])
            one, on_demand = PickRequest(missing, 1), PickRequest(missing, 1, on_demand=True)
            for requests in ([one], [one, on_demand]):
                self._due.pick(connection, now, requests)
            plan = ClaimPlan(Reservations(now, {}, {}), {missing: None})
            self._mark(connection, now, plan, {}, {}, Claim())
            save_last(self.state, connection, {missing: 0})
            self._targets.load(connection, {missing: 1}, now=0.0)

    def _look(self, connection: sa.Connection, now: datetime, capacity: Capacity) -> Round:
        """Find the next endpoints."""
        # The reserve is for few of the endpoints with due deliveries: examine many to find them.
        most = MAX_ENDPOINTS
        if capacity.slots > self.reserve:
            most = min(capacity.total, MAX_ENDPOINTS)
        with read_only(connection):
            # In a separate transaction: MySQL would keep showing the current state of other rows.
            found = self._due.look(
                connection, now, self._cursor, most, slow=capacity.slots > self.slow_reserve
            )
        self._cursor = found.end or ""
        if found.end is None and found.ready:
            # The whole round fits into one claim: start with another endpoint each time.
            self._rotation += 1
            first = self._rotation % len(found.ready)
            found.ready = found.ready[first:] + found.ready[:first]
        return found

    def _take(
        self,
        connection: sa.Connection,
        now: datetime,
        candidates: list[str],
        capacity: Capacity,
        unsettled: Unsettled,
        claim: Claim,
    ) -> None:
        """Lock endpoints, plan, and lease the chosen deliveries."""
        with connection.begin():
            take_write_lock(self.state, connection)
            health = lock_health(self.state, connection, candidates)
            settings = read_settings(self.state, connection, health)
            reservations = self._lock_buckets(connection, now, settings)
            endpoint_ids = [
                endpoint_id
                for endpoint_id in candidates
                if endpoint_id in settings
                and not unsettled.concerns(endpoint_id, settings[endpoint_id].bucket)
            ]
            claim.contended |= len(health) < len(candidates)
            claim.limited |= len(endpoint_ids) < len(settings)
            endpoint_ids = self._coalesce(connection, now, endpoint_ids, health, settings, claim)
            if endpoint_ids:
                snapshot = Snapshot(endpoint_ids, health, settings, unsettled=unsettled)
                plan = self._plan(connection, now, snapshot, reservations, capacity)
                self._carry_out(connection, now, plan, health, settings, claim)

    def _coalesce(
        self,
        connection: sa.Connection,
        now: datetime,
        endpoint_ids: list[str],
        health: Mapping[str, HealthSnapshot],
        settings: Mapping[str, DeliverySettings],
        claim: Claim,
    ) -> list[str]:
        """Coalesce due deliveries of endpoints with rules; return the endpoints that are completely decided."""
        undecided: set[str] = set()
        for endpoint_id in endpoint_ids:
            rules, active = settings[endpoint_id].coalesce, settings[endpoint_id].active
            if rules is None or not active or health[endpoint_id].held(now):
                continue
            if not coalesce_due(self.state, connection, now, endpoint_id, rules):
                undecided.add(endpoint_id)
                claim.again = now
        return [endpoint_id for endpoint_id in endpoint_ids if endpoint_id not in undecided]

    def _plan(
        self,
        connection: sa.Connection,
        now: datetime,
        snapshot: Snapshot,
        reservations: Reservations,
        capacity: Capacity,
    ) -> ClaimPlan:
        in_order = [
            endpoint_id
            for endpoint_id in snapshot.endpoint_ids
            if snapshot.settings[endpoint_id].ordered and snapshot.health[endpoint_id].look_at
        ]
        forget_deferred(self.state, connection, in_order)
        in_flight = count_in_flight(self.state, connection, snapshot.endpoint_ids)
        snapshot = replace(snapshot, in_flight=in_flight)
        per_endpoint = self.state.settings.endpoint_concurrency
        limits = Limits(per_endpoint, self.reserve, self.slow_reserve)
        picks = plan_picks(snapshot, capacity, limits, now)
        rows = self._due.pick(connection, now, picks.requests) if picks.requests else []
        return plan_claim(rows, picks, snapshot, reservations, capacity, limits, now)

    def _carry_out(
        self,
        connection: sa.Connection,
        now: datetime,
        plan: ClaimPlan,
        health: Mapping[str, HealthSnapshot],
        settings: Mapping[str, DeliverySettings],
        claim: Claim,
    ) -> None:
        """Write the decisions of a plan, and add its deliveries to the claim."""
        claim.full |= plan.full
        claim.limited |= plan.limited
        claim.contended |= plan.contended
        if plan.chosen:
            self._mark(connection, now, plan, health, settings, claim)
        update_next_due(self.state, connection, plan.exhausted)
        if plan.rate_limited:
            opens = min(plan.rate_limited.values())
            claim.again = opens if claim.again is None else min(opens, claim.again)
            self._wait_for_slots(connection, plan.rate_limited)
        save_reservations(self.state, connection, plan.reservations)

    def _wait_for_slots(
        self, connection: sa.Connection, rate_limited: Mapping[str, datetime]
    ) -> None:
        """Skip endpoints that have reached their rate limit until the next slot."""
        table = self.state.table("EndpointHealth")
        connection.execute(
            sa.update(table)
            .where(table.c.endpoint_id == sa.bindparam("b_endpoint"))
            .values(wait_until=sa.bindparam("b_until")),
            [
                {"b_endpoint": endpoint_id, "b_until": until}
                for endpoint_id, until in sorted(rate_limited.items())
            ],
        )

    def _lock_buckets(
        self, connection: sa.Connection, now: datetime, settings: Mapping[str, DeliverySettings]
    ) -> Reservations:
        limits = {
            item.bucket: item.rate_limit for item in settings.values() if item.bucket is not None
        }
        shared = {item.shared for item in settings.values() if item.shared is not None}
        limits |= shared_limits(self.state, connection, shared)
        return lock_buckets(self.state, connection, now, limits)

    def _mark(
        self,
        connection: sa.Connection,
        now: datetime,
        plan: ClaimPlan,
        health: Mapping[str, HealthSnapshot],
        settings: Mapping[str, DeliverySettings],
        claim: Claim,
    ) -> None:
        token = uuid.uuid4().hex
        lease_until = now + timedelta(seconds=self.state.settings.lease)
        planned = plan_numbers(plan, health)
        chosen = list(plan.chosen)
        rows = lease_rows(self.state, connection, chosen, now, token, lease_until, planned)
        numbers = save_numbers(self.state, connection, planned, rows, health)
        events = read_events(self.state, connection, (row.event_id for row in rows))
        if orphans := [row.id for row in rows if row.event_id not in events]:
            remove_orphans(self.state, connection, orphans)
            # Deliveries after them can be taken now.
            claim.again = now
            rows = [row for row in rows if row.event_id in events]
        versions = {row.endpoint_id: settings[row.endpoint_id].version for row in rows}
        unreadable = self._targets.load(connection, versions, now=now.timestamp())
        order = {delivery_id: position for position, delivery_id in enumerate(plan.chosen)}
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
                bucket=settings[row.endpoint_id].bucket,
                not_before=plan.chosen[row.id],
                coalesced=row.coalesced or 0,
                sequence=numbers.get(row.id),
                data_version=row.data_version,
            )
            if row.endpoint_id in unreadable:
                claim.released.append(Released(claimed, UNREADABLE_DELAY, Hold.UNREADABLE_SECRET))
            else:
                taken = claim.ahead if row.id in plan.ahead else claim.claimed
                taken.append((claimed, self._targets[row.endpoint_id]))
