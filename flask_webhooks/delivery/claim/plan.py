"""Decide which deliveries a claim takes. Pure: rows are locked and read before, and written after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from ..outcome import Unsettled
from .due_query import PickRequest
from .rate_limit import Reservations
from .snapshot import DeliverySettings, HealthSnapshot

#: Seconds after which an endpoint that has reached its limit is examined again, because the limit may have been
#: changed.
LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many deliveries a drain can take."""

    #: Requests that it may start now.
    slots: int
    #: Deliveries that may wait for the next free slots.
    ahead: int = 0
    #: The maximum size of one claim; ``None`` is the whole capacity.
    most: int | None = None

    @property
    def total(self) -> int:
        """The maximum number of deliveries of a claim."""
        capacity = self.slots + self.ahead
        return capacity if self.most is None else min(capacity, self.most)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a drain."""

    #: Requests that an endpoint may have in flight, across all workers.
    per_endpoint: int
    #: Slots that are reserved for endpoints with nothing in flight.
    reserve: int
    #: Slots that are reserved for endpoints that are not slow.
    slow_reserve: int


class DueRow(Protocol):
    """A due delivery."""

    @property
    def id(self) -> str: ...
    @property
    def endpoint_id(self) -> str: ...
    @property
    def unnumbered(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The endpoints of a claim, which has locked their health rows."""

    #: Ids of endpoints that may be served, in order.
    endpoint_ids: Sequence[str]
    health: Mapping[str, HealthSnapshot]
    settings: Mapping[str, DeliverySettings]
    #: Deliveries that are marked as being sent.
    in_flight: Mapping[str, int] = field(default_factory=dict)
    unsettled: Unsettled = field(default_factory=Unsettled)

    def may_wait(self, endpoint_id: str, now: datetime) -> bool:
        """Return whether deliveries of an endpoint may wait for a slot: only if its requests are similar and short."""
        health, settings = self.health[endpoint_id], self.settings[endpoint_id]
        usual = settings.active and not settings.ordered and settings.bucket is None
        return usual and not health.failing and not health.slow and not health.held(now)


@dataclass(frozen=True, slots=True)
class PickPlan:
    """The deliveries that a claim requests from the database."""

    requests: Sequence[PickRequest]
    #: The maximum by the limit in force, by endpoint; there may be more deliveries.
    limits: Mapping[str, int]
    #: The number of requested deliveries by endpoint.
    wanted: Mapping[str, int]
    #: By endpoint, the most that it may have of all that is brought.
    slots: Mapping[str, int]


@dataclass(slots=True)
class ClaimPlan:
    """The deliveries that a claim takes, and what it has found out about the others."""

    #: Rate limits with their reservations.
    reservations: Reservations
    #: Delivery ids in order, each with its slot under a rate limit; ``None`` is at once.
    chosen: dict[str, datetime | None] = field(default_factory=dict)
    #: The deliveries that wait for a slot of the drain.
    ahead: set[str] = field(default_factory=set)
    #: Rows without a number, and their endpoints.
    unnumbered: dict[str, str] = field(default_factory=dict)
    #: Endpoints with deferred deliveries whose due deliveries were all taken.
    exhausted: list[str] = field(default_factory=list)
    #: Endpoints that have reached their rate limit, and until when.
    rate_limited: dict[str, datetime] = field(default_factory=dict)
    #: Deliveries were left because of missing capacity.
    full: bool = False
    #: An endpoint has reached its limit in flight, or its share.
    limited: bool = False
    #: Another worker has locked a required rate limit.
    contended: bool = False


def plan_picks(snapshot: Snapshot, capacity: Capacity, limits: Limits, now: datetime) -> PickPlan:
    """Share the capacity among endpoints, within the limits of each."""
    free: dict[str, int] = {}
    for endpoint_id in snapshot.endpoint_ids:
        # Our completed requests are no longer in flight. Those of other workers may be.
        answered = snapshot.unsettled.answered[endpoint_id]
        in_flight = snapshot.in_flight.get(endpoint_id, 0) - answered
        free[endpoint_id] = limits.per_endpoint - in_flight
    # Endpoints that have reached their limit leave their share to others.
    sharing = sum(slots > 0 for slots in free.values())
    share = -(-capacity.total // max(sharing, 1))
    requests: list[PickRequest] = []
    wanted: dict[str, int] = {}
    in_force: dict[str, int] = {}
    most: dict[str, int] = {}
    for endpoint_id in snapshot.endpoint_ids:
        health, settings = snapshot.health[endpoint_id], snapshot.settings[endpoint_id]
        slots = in_force[endpoint_id] = most[endpoint_id] = min(free[endpoint_id], share)
        if slots <= 0:
            continue
        due = slots
        if not settings.active or health.held(now):
            due = 0
        elif health.failing or settings.ordered:
            # One probe at a time, one delivery after another.
            due = in_force[endpoint_id] = 0 if snapshot.in_flight.get(endpoint_id) else 1
        if due > 0:
            requests.append(PickRequest(endpoint_id, due, ordered=settings.ordered))
            wanted[endpoint_id] = due
        # The pick of the first in order passes over what a person asked for.
        asked = slots if settings.ordered else slots - due
        if asked > 0:
            requests.append(PickRequest(endpoint_id, asked, on_demand=True))
    return PickPlan(requests, in_force, wanted, most)


def plan_claim(
    rows: Sequence[DueRow],
    picks: PickPlan,
    snapshot: Snapshot,
    reservations: Reservations,
    capacity: Capacity,
    limits: Limits,
    now: datetime,
) -> ClaimPlan:
    """Choose due rows for which there is a slot and a rate limit, or which may wait for a slot.

    :param rows: the rows for `picks`, oldest first; a row may occur twice.
    :param reservations: the rate limits that the claim has locked, which are not changed.
    """
    plan = ClaimPlan(reservations.copy())
    plan.unnumbered = {row.id: row.endpoint_id for row in rows if row.unnumbered}
    brought = Counter(row.endpoint_id for row in rows)
    plan.limited = len(rows) > capacity.total or any(
        brought[endpoint_id] >= limit for endpoint_id, limit in picks.limits.items()
    )
    plan.exhausted = [
        endpoint_id
        for endpoint_id, number in picks.wanted.items()
        if brought[endpoint_id] < number and snapshot.health[endpoint_id].look_at is not None
    ]
    _choose(plan, _in_rounds(rows, snapshot.endpoint_ids, picks), snapshot, capacity, limits, now)
    plan.full |= len(plan.chosen) >= capacity.total
    return plan


def _choose(
    plan: ClaimPlan,
    rows: Sequence[DueRow],
    snapshot: Snapshot,
    capacity: Capacity,
    limits: Limits,
    now: datetime,
) -> None:
    busy = Counter(snapshot.in_flight)
    slots, ahead = capacity.slots, capacity.ahead
    for row in rows:
        endpoint_id = row.endpoint_id
        if (slots <= 0 and ahead <= 0) or len(plan.chosen) >= capacity.total:
            plan.full = True
            break
        reserve = limits.reserve if busy[endpoint_id] else 0
        if snapshot.health[endpoint_id].slow:
            reserve = limits.slow_reserve
        wait = slots <= reserve
        if wait and (ahead <= 0 or not snapshot.may_wait(endpoint_id, now)):
            plan.limited = plan.full = True
            continue
        bucket = snapshot.settings[endpoint_id].bucket
        not_before: datetime | None = None
        if bucket is not None:
            slot = plan.reservations.reserve(bucket)
            if slot is None:
                _pass_over(plan, endpoint_id, bucket, now)
                continue
            not_before = plan.reservations.binding(bucket, slot)
        plan.chosen[row.id] = not_before
        busy[endpoint_id] += 1
        if wait:
            plan.ahead.add(row.id)
            ahead -= 1
        else:
            slots -= 1


def _pass_over(plan: ClaimPlan, endpoint_id: str, bucket: str, now: datetime) -> None:
    """Skip an endpoint until its rate limit has a free slot."""
    opens = plan.reservations.opens_at(bucket)
    if opens is None:
        plan.contended = True
    else:
        plan.rate_limited[endpoint_id] = min(opens, now + timedelta(seconds=LONGEST_WAIT))


def _in_rounds(
    rows: Sequence[DueRow], endpoint_ids: Sequence[str], picks: PickPlan
) -> list[DueRow]:
    """Return the first row of each endpoint, then the second ones, and so on, as far as each has slots."""
    positions = {endpoint_id: position for position, endpoint_id in enumerate(endpoint_ids)}
    seen: Counter[str] = Counter()
    order: dict[str, tuple[int, int]] = {}
    distinct = {row.id: row for row in rows}
    for row in distinct.values():
        if seen[row.endpoint_id] < picks.slots[row.endpoint_id]:
            order[row.id] = (seen[row.endpoint_id], positions[row.endpoint_id])
            seen[row.endpoint_id] += 1
    return sorted((distinct[item] for item in order), key=lambda row: order[row.id])
