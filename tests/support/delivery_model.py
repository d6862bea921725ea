"""The model of deliveries and leases at work: what follows from a step, and what the rows must say after it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.attempt_errors import STOPPED
from flask_webhooks.delivery.outcome import AttemptRecord, Outcome, Released
from flask_webhooks.delivery.settle.health import Hold
from flask_webhooks.errors import InvalidTransition
from flask_webhooks.models import TaskKind, Trigger
from tests.support.helpers import accessing, database_time
from tests.support.lease_model import (
    CAP,
    FINAL,
    SCHEDULE,
    Flight,
    Owed,
    Receiver,
    Rows,
    clear,
    read_rows,
)
from tests.support.working import Worker, ended

WORKERS = 3
#: How requests end, with what a test's attempt is made of.
ANSWERS: dict[str, dict[str, Any]] = {
    "succeeded": {"status": 200},
    "failed": {"status": 500},
    "busy": {"status": 429},
    "busy for a time": {"status": 429, "retry_after": 120.0},
    "gone": {"status": 410},
    "blocked": {"status": None, "outcome": Outcome.BLOCKED},
    "broken off": {"status": None, "outcome": Outcome.INTERRUPTED, "error": STOPPED},
}
#: How they are given back, unsent: seconds, and why the endpoint gets nothing meanwhile.
GIVEN_BACK: dict[str, tuple[float, str | None]] = {
    "given back": (0.0, None),
    "no names": (60.0, Hold.NO_DNS),
}
OUTCOMES = (*ANSWERS, *GIVEN_BACK)
SINCE = datetime(2000, 1, 1, tzinfo=UTC)
#: The states that tasks take deliveries from.
TAKEN_FROM: dict[TaskKind, tuple[str, ...]] = {
    TaskKind.RECOVER: ("failed",),
    TaskKind.RESEND: (*FINAL, "pending", "held"),
    TaskKind.CANCEL: ("pending", "held"),
    TaskKind.RELEASE: ("held",),
    TaskKind.DISCARD: ("held",),
    TaskKind.REPLAY: (),
}
#: Rows that a batch of a task changes.
BATCH = 2


class DeliveryModel:
    """What is owed, who holds it, and what must be true of the rows."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        clear(app)
        self.access = accessing(app)
        self.workers = [Worker(app) for _ in range(WORKERS)]
        self.flights: list[list[Flight]] = [[] for _ in range(WORKERS)]
        self.owed: dict[str, Owed] = {}
        self.receivers: dict[str, Receiver] = {}
        #: Deliveries that missed a pause, a resume or a deletion.
        self.strays: set[str] = set()
        #: By which the clock has been advanced.
        self.offset = timedelta()
        #: When requests to endpoints with a rate limit may start.
        self.slots: dict[str, list[datetime]] = defaultdict(list)
        #: How many of an endpoint were coalesced.
        self.coalesced: Counter[str] = Counter()

    # -- what follows ---------------------------------------------------------------------------------

    def settle(self, worker: Worker, ends: list[tuple[Flight, str]]) -> None:
        """Settle on the database and in the model."""
        worker.catch_up()
        attempts: list[AttemptRecord] = []
        released: list[Released] = []
        for flight, outcome in ends:
            if outcome in ANSWERS:
                attempts.append(ended(flight.flying, **ANSWERS[outcome]))
            else:
                delay, reason = GIVEN_BACK[outcome]
                released.append(Released(flight.flying[0], delay, reason))
        settled = worker.settle(*attempts, released=released)
        held = {flight.delivery_id: flight for flight, _ in ends}
        stale = [
            item
            for item in attempts
            if self.owed[item.claimed.delivery_id].token != item.claimed.token
        ]
        assert settled.stale == len(stale)
        assert len(held) == len(ends)
        again: set[str] = set()
        disabled: list[str] = []
        # What is given back is written first.
        for flight, outcome in ends:
            owed = self.owed[flight.delivery_id]
            if owed.token != flight.token:
                continue
            if outcome in GIVEN_BACK:
                owed.state, owed.token = "pending", None
            else:
                disabled += self.answered(owed, outcome, worker.now + self.offset)
            if owed.state == "pending":
                again.add(owed.endpoint)
        for endpoint_id in disabled:
            if self.receivers[endpoint_id].active:
                self.switch(self.receivers[endpoint_id], "disabled")
                self.hold(endpoint_id)
        self.divert(again)
        self.adopt_operational()

    def answered(self, owed: Owed, outcome: str, now: datetime) -> list[str]:
        """What one attempt means; returns its endpoint if that is disabled for it."""
        receiver = self.receivers[owed.endpoint]
        test = owed.trigger == Trigger.TEST
        if outcome == "succeeded":
            receiver.forget_failures()
            owed.interruptions = 0
            owed.ends(outcome, outcome)
            return []
        if outcome == "broken off":
            owed.ends("interrupted", "pending")
            if not owed.on_demand:
                owed.trigger = str(Trigger.RETRY)
            return []
        owed.failures += 1
        owed.interruptions = 0
        final = outcome in ("gone", "blocked") or test or owed.failures > len(SCHEDULE)
        owed.ends(
            "blocked" if outcome == "blocked" else "refused", "failed" if final else "pending"
        )
        if not final:
            owed.trigger = str(Trigger.RETRY)
        if test:
            return []
        if outcome.startswith("busy"):
            receiver.last_failure = now
            return []
        return [receiver.id] if receiver.fails(now) or outcome == "gone" else []

    def take_coalesced(self, after: Rows) -> set[str]:
        found = {
            item
            for item, row in after.deliveries.items()
            if row.reason == "coalesced" and self.owed[item].state == "pending"
        }
        for item in found:
            owed = self.owed[item]
            assert self.kind_of(item) == "coalescing"
            assert (owed.trigger, owed.outcomes) == (Trigger.EVENT, [])
            owed.state = "cancelled"
            self.coalesced[owed.endpoint] += 1
        return found

    def claimable(self, rows: Rows, now: datetime) -> set[str]:
        """Deliveries that a worker may take, one of each endpoint at the least."""
        found: set[str] = set()
        in_flight = rows.in_flight()
        for receiver in self.receivers.values():
            busy, health = in_flight[receiver.id], rows.health[receiver.id]
            if receiver.deleted or busy >= CAP or _later(health.wait_until, now):
                continue
            waiting = sorted(item.id for item in self.of(receiver.id) if item.state == "pending")
            asked = {item for item in waiting if self.owed[item].on_demand}
            usual = [item for item in waiting if item not in asked]
            if receiver.kind == "ordered":
                usual = usual[:1]
            if (
                not receiver.active
                or _later(health.hold_until, now)
                or (busy and receiver.one_at_a_time)
            ):
                usual = []
            found.update(item for item in {*asked, *usual} if rows.deliveries[item].due_at <= now)
        return found

    def first_due(self, rows: Rows) -> datetime | None:
        """When there is something to do, at the latest."""
        times: list[datetime] = []
        for owed in self.owed.values():
            row, receiver = rows.deliveries[owed.id], self.receivers[owed.endpoint]
            health = rows.health[owed.endpoint]
            if owed.state == "sending":
                times.append(row.lease_until)
            elif owed.state == "pending" and not receiver.deleted:
                before = [item for item in self.of(receiver.id) if item.id < owed.id]
                waits = any(item.state == "pending" and not item.on_demand for item in before)
                holds = [row.due_at, health.wait_until]
                if not owed.on_demand:
                    if not receiver.active or (receiver.kind == "ordered" and waits):
                        continue
                    holds.append(health.hold_until)
                times.append(max(filter(None, holds)))
        return min(times, default=None)

    def switch(self, receiver: Receiver, state: str) -> None:
        receiver.state = state
        receiver.switched_at = database_time(self.app) + self.offset

    # -- short forms ----------------------------------------------------------------------------------

    def choose(self, which: int) -> Receiver:
        return list(self.receivers.values())[which % len(self.receivers)]

    def choose_delivery(self, which: int) -> Owed:
        return list(self.owed.values())[-1 - which % len(self.owed)]

    def kind_of(self, delivery_id: str) -> str:
        return self.receivers[self.owed[delivery_id].endpoint].kind

    def of(self, endpoint_id: str) -> list[Owed]:
        return [item for item in self.owed.values() if item.endpoint == endpoint_id]

    def new_rows(self, rows: Rows) -> list[Any]:
        return [row for item, row in rows.deliveries.items() if item not in self.owed]

    def adopt(self, row: Any, **values: Any) -> None:
        self.owed[row.id] = Owed(row.id, row.endpoint_id, **values)

    def adopt_operational(self) -> None:
        """Take in the deliveries of what workers tell of endpoints."""
        for row in self.new_rows(read_rows(self.app)):
            assert state_of(self.app).catalog[row.event_type].operational
            assert self.receivers[row.endpoint_id].kind == "everything"
            self.adopt(row, state="pending" if self.receivers[row.endpoint_id].active else "held")

    def reopen(self, owed: Owed, state: str, trigger: str) -> None:
        owed.state, owed.trigger = state, trigger
        owed.failures = owed.interruptions = 0
        self.strays.discard(owed.id)

    def hold(self, endpoint_id: str) -> None:
        for owed in self.of(endpoint_id):
            if owed.state == "pending" and not owed.on_demand:
                owed.state = "held"
            self.strays.discard(owed.id)

    def cancel_waiting(self, endpoint_id: str) -> None:
        for owed in self.of(endpoint_id):
            if owed.waits:
                owed.state = "cancelled"
            self.strays.discard(owed.id)

    def divert(self, endpoint_ids: Iterable[str]) -> None:
        for receiver in map(self.receivers.__getitem__, endpoint_ids):
            if receiver.deleted:
                self.cancel_waiting(receiver.id)
            elif not receiver.active:
                self.hold(receiver.id)

    def act(self, possible: bool, action: Callable[[], Any]) -> None:
        """Do what a person asks for, or be told that it is not possible."""
        if possible:
            action()
        else:
            with pytest.raises(InvalidTransition):
                action()

    # -- what always holds ----------------------------------------------------------------------------

    def check(self) -> None:
        rows = read_rows(self.app)
        assert rows.deliveries.keys() == self.owed.keys()
        for owed in self.owed.values():
            self.check_delivery(owed, rows)
        for receiver in self.receivers.values():
            self.check_receiver(receiver, rows)
        self.check_leases(rows)
        self.check_alarms(rows)

    def check_delivery(self, owed: Owed, rows: Rows) -> None:
        row = rows.deliveries[owed.id]
        sending = owed.state == "sending"
        assert (row.state, row.lease_token) == (owed.state, owed.token), owed
        assert row.trigger == owed.trigger, owed
        counts = (row.attempt_count, row.failure_count, row.interruption_count)
        assert counts == (len(owed.outcomes) + sending, owed.failures, owed.interruptions), owed
        # Each attempt that has ended is there once, under the next number.
        assert rows.attempts.get(owed.id, []) == list(enumerate(owed.outcomes, 1)), owed
        assert len({*owed.claims, owed.token} - {None}) == len(owed.claims) + sending, owed
        # At rest, due at a time, or under a lease that runs out.
        assert (row.lease_until is not None) == sending, owed
        assert (row.due_at is not None) == (owed.state == "pending"), owed
        assert (row.completed_at is not None) == (owed.state in FINAL), owed

    def check_receiver(self, receiver: Receiver, rows: Rows) -> None:
        row, health = rows.endpoints[receiver.id], rows.health[receiver.id]
        assert (row.state, row.deleted_at is not None) == (receiver.state, receiver.deleted)
        failing = (health.consecutive_failures, health.probe_interval is not None)
        assert failing == (receiver.failures, receiver.failing)
        mine = [item for item in rows.deliveries.values() if item.endpoint_id == receiver.id]
        assert rows.in_flight()[receiver.id] <= CAP
        if receiver.kind == "ordered":
            usual = [item for item in mine if item.state == "sending"]
            assert sum(not self.owed[item.id].on_demand for item in usual) <= 1
        numbers = sorted(item.sequence for item in mine if item.sequence is not None)
        assert numbers == list(range(1, health.last_sequence + 1))
        # Each that was left out is counted with one that is sent.
        counted = sum(item.coalesced or 0 for item in mine) + rows.skipped[receiver.id]
        assert counted == self.coalesced[receiver.id]
        if receiver.kind == "limited":
            slots = self.slots[receiver.id]
            for earlier, later in pairwise(slots[::2]):
                assert later - earlier >= timedelta(seconds=1)

    def check_leases(self, rows: Rows) -> None:
        """No delivery is with two workers whose leases both go on."""
        now = rows.now + self.offset
        live = [
            flight for flights in self.flights for flight in flights if flight.lease_until > now
        ]
        assert len({flight.delivery_id for flight in live}) == len(live)
        for flight in live:
            assert self.owed[flight.delivery_id].token == flight.token

    def check_alarms(self, rows: Rows) -> None:
        """A worker looks again in time."""
        worker = self.workers[0]
        first, told = self.first_due(rows), worker.next_due()
        if first is not None:
            assert told is not None
            assert told <= max(first, worker.now)
        if self.claimable(rows, worker.now):
            assert worker.anything_due()

    # -- bulk tasks -----------------------------------------------------------------------------------

    def waiting_task(self) -> Any:
        """The task that is next."""
        task = state_of(self.app).table("Task")
        query = sa.select(task).where(task.c.state == "waiting")
        with state_of(self.app).engine.connect() as connection:
            return connection.execute(query.order_by(task.c.touched_at, task.c.id)).first()

    def picked(self, task: Any) -> list[Owed]:
        """The deliveries of its next batch."""
        kind = TaskKind(task.kind)
        found = [
            owed
            for owed in self.owed.values()
            if owed.state in TAKEN_FROM[kind]
            and task.cursor < owed.id < task.bound
            and task.endpoint_id in (None, owed.endpoint)
            and not self.receivers[owed.endpoint].deleted
            and (kind != TaskKind.RECOVER or owed.trigger != Trigger.TEST)
            and (
                kind != TaskKind.RELEASE or task.endpoint_id or self.receivers[owed.endpoint].active
            )
        ]
        return sorted(found, key=lambda owed: owed.id)[:BATCH]


def _later(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now
