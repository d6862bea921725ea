"""Deliveries and leases as a state machine over the real database; see `lease_model` for what it compares with."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from flask import Flask
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.bulk import runner
from flask_webhooks.delivery.claim import claim as claiming
from flask_webhooks.delivery.claim.claim import Claimer
from flask_webhooks.delivery.recovery import RACE
from flask_webhooks.errors import InvalidTransition
from flask_webhooks.models import TaskKind, Trigger
from tests.support.delivering import db_of, update_row, webhooks_of
from tests.support.delivery_model import BATCH, OUTCOMES, SINCE, TAKEN_FROM, WORKERS, DeliveryModel
from tests.support.helpers import add_endpoint, database_time
from tests.support.lease_model import (
    FINAL,
    INTERRUPTIONS,
    KINDS,
    Flight,
    Receiver,
    advance_clock,
    read_rows,
)

workers = st.integers(0, WORKERS - 1)
#: Chooses among what there is at the time.
some = st.integers(0, 30)


class DeliveryMachine(DeliveryModel, RuleBasedStateMachine):
    """A host, three workers, and people, one step at a time."""

    def __init__(self, app: Flask) -> None:
        RuleBasedStateMachine.__init__(self)
        DeliveryModel.__init__(self, app)

    def teardown(self) -> None:
        try:
            if self.receivers:
                self.settle_everything()
        finally:
            for worker in self.workers:
                worker.close()

    def settle_everything(self) -> None:
        """Whatever happened: where endpoints work again, everything that is owed arrives."""
        for number, receiver in enumerate(list(self.receivers.values())):
            self.crash(number % WORKERS)
            if not receiver.deleted and not receiver.active:
                self.resume(list(self.receivers).index(receiver.id), "send")
        for number in range(WORKERS):
            self.crash(number)
        for _ in range(100):
            if not any(item.state in ("pending", "sending") for item in self.owed.values()):
                break
            self.advance(3700)
            self.recover(0, 500)
            self.claim(0, 100, False)
            self.settle(self.workers[0], [(item, "succeeded") for item in self.flights[0]])
            self.flights[0].clear()
            self.check()
        left = [item for item in self.owed.values() if item.state not in (*FINAL, "held")]
        assert not left

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        self.check()

    # -- the host -------------------------------------------------------------------------------------

    @initialize(kinds=st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
    def begin(self, kinds: list[str]) -> None:
        for kind in kinds:
            self.add_receiver(kind)

    def add_receiver(self, kind: str) -> None:
        url = f"https://hooks.example.com/{len(self.receivers)}"
        made = add_endpoint(self.app, url, **KINDS[kind])
        self.receivers[made.id] = Receiver(made.id, kind)

    @precondition(lambda self: len(self.receivers) < 6)
    @rule(kind=st.sampled_from(list(KINDS)))
    def create_endpoint(self, kind: str) -> None:
        self.add_receiver(kind)

    @rule(
        names=st.lists(
            st.sampled_from(["license.created", "license.validated"]), min_size=1, max_size=4
        ),
        key=st.sampled_from("AB"),
        end=st.sampled_from(["commit", "commit", "commit", "rollback", "savepoint"]),
        refusal=st.sampled_from([False, False, True]),
    )
    def emit(self, names: list[str], key: str, end: str, refusal: bool) -> None:
        """Emit in one transaction; of ``savepoint`` the last event is rolled back, and the others are committed.

        :param refusal: the events stay whatever becomes of the transaction.
        """
        session, webhooks = db_of(self.app).session, webhooks_of(self.app)
        data = {"license_id": "lic_1", "license_key": key}
        kept: dict[str, str] = {}
        for number, name in enumerate(names, 1):
            nested = end == "savepoint" and number == len(names)
            savepoint = session.begin_nested() if nested else None
            event = webhooks.emit(name, data, transactional=not refusal)
            if savepoint is not None:
                savepoint.rollback()
            if event is not None and (refusal or (end != "rollback" and savepoint is None)):
                kept[event.id] = name
        session.rollback() if end == "rollback" else session.commit()
        expected = {
            (event_id, receiver.id)
            for event_id, name in kept.items()
            for receiver in self.receivers.values()
            if receiver.gets(name)
        }
        new = self.new_rows(read_rows(self.app))
        assert {(row.event_id, row.endpoint_id) for row in new} == expected
        for row in new:
            active = self.receivers[row.endpoint_id].active
            self.adopt(row, state="pending" if active else "held")

    # -- workers --------------------------------------------------------------------------------------

    @rule(worker=workers, room=st.integers(1, 6), defers=st.booleans())
    def claim(self, worker: int, room: int, defers: bool) -> None:
        """Claim; with `defers`, what is not due leaves the index that claims look into."""
        before = read_rows(self.app)
        with patch.object(claiming, "FEW", 0 if defers else 16):
            claim = self.workers[worker].claim(room)
        now = self.workers[worker].now
        coalesced = self.take_coalesced(read_rows(self.app))
        claimable = self.claimable(before, now) - coalesced
        assert not claim.released
        assert len(claim.claimed) <= room
        for flying in claim.claimed:
            claimed = flying[0]
            owed = self.owed[claimed.delivery_id]
            assert owed.id in claimable
            assert claimed.number == len(owed.outcomes) + 1
            assert owed.token is None
            owed.state, owed.token = "sending", claimed.token
            self.flights[worker].append(Flight(flying, claimed.lease_until + self.offset))
            if claimed.not_before is not None:
                self.slots[owed.endpoint].append(claimed.not_before + self.offset)
        # A rate limit may let nothing through.
        free = {item for item in claimable if self.kind_of(item) != "limited"}
        if free:
            assert claim.claimed, free

    @precondition(lambda self: any(self.flights))
    @rule(
        worker=workers,
        first=some,
        outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=4),
    )
    def finish(self, worker: int, first: int, outcomes: list[str]) -> None:
        """Settle how some requests of a worker ended, in one batch; its leases may have run out."""
        flights = self.flights[worker]
        flights[:] = (
            flights[first % len(flights) :] + flights[: first % len(flights)] if flights else []
        )
        ends = list(zip(flights, outcomes, strict=False))
        self.flights[worker] = flights[len(ends) :]
        self.settle(self.workers[worker], ends)

    @rule(worker=workers)
    def crash(self, worker: int) -> None:
        """A worker is killed, and another one takes its place."""
        self.flights[worker].clear()
        claimer = self.workers[worker].claimer = Claimer(self.workers[worker].state)
        claimer.reserve = claimer.slow_reserve = 0

    @rule(worker=workers, limit=st.integers(1, 5))
    def recover(self, worker: int, limit: int) -> None:
        """Reopen what workers have lost."""
        before = read_rows(self.app)
        self.workers[worker].catch_up()
        now = self.workers[worker].now
        expired = {
            item
            for item, row in before.deliveries.items()
            if row.state == "sending" and row.lease_until < now
        }
        found = self.workers[worker].recover(limit=limit, chance=lambda: 0.5)
        assert found == min(limit, len(expired))
        after = read_rows(self.app).deliveries
        taken = {item for item in expired if after[item].state != "sending"}
        assert len(taken) == found
        for item in taken:
            owed = self.owed[item]
            owed.interruptions += 1
            owed.ends("interrupted", "failed" if owed.interruptions >= INTERRUPTIONS else "pending")
            if owed.state == "pending" and not owed.on_demand:
                owed.trigger = str(Trigger.RETRY)
        self.divert(
            {self.owed[item].endpoint for item in taken if self.owed[item].state == "pending"}
        )
        self.adopt_operational()

    @rule(worker=workers)
    def sweep(self, worker: int) -> None:
        """Repair what missed a pause, a resume or a deletion."""
        self.workers[worker].catch_up()
        self.workers[worker].release_stragglers()
        for owed in map(self.owed.__getitem__, self.strays):
            receiver = self.receivers[owed.endpoint]
            if receiver.deleted:
                owed.state = "cancelled"
            else:
                owed.state = "pending" if receiver.active else "held"
        self.strays.clear()

    @rule(seconds=st.sampled_from([1, 11, 61, 61, 130, 3700, 90_000]))
    def advance(self, seconds: int) -> None:
        # A sweep comes every few seconds; it looks back a day.
        self.sweep(0)
        advance_clock(self.app, seconds)
        self.offset += timedelta(seconds=seconds)

    # -- people ---------------------------------------------------------------------------------------

    @rule(which=some)
    def pause(self, which: int) -> None:
        receiver = self.choose(which)
        if not receiver.active:
            return
        actions.pause_endpoint(self.access, receiver.id)
        self.switch(receiver, "paused")
        self.hold(receiver.id)

    @rule(which=some, held=st.sampled_from(["send", "discard", "keep"]))
    def resume(self, which: int, held: str = "send") -> None:
        receiver = self.choose(which)
        if receiver.deleted or receiver.active:
            return
        actions.resume_endpoint(self.access, receiver.id, held)
        self.switch(receiver, "active")
        receiver.forget_failures()
        self.hold(receiver.id)
        into = {"send": "pending", "discard": "cancelled", "keep": "held"}[held]
        for owed in self.of(receiver.id):
            if owed.state == "held":
                owed.state = into

    @precondition(lambda self: sum(not item.deleted for item in self.receivers.values()) > 1)
    @rule(which=some)
    def delete(self, which: int) -> None:
        receiver = self.choose(which)
        if receiver.deleted:
            return
        actions.delete_endpoint(self.access, receiver.id)
        receiver.deleted = True
        self.switch(receiver, receiver.state)
        self.cancel_waiting(receiver.id)

    @precondition(lambda self: self.owed)
    @rule(which=some)
    def cancel(self, which: int) -> None:
        owed = self.choose_delivery(which)
        self.act(owed.waits, lambda: actions.cancel(self.access, owed.id))
        if owed.waits:
            owed.state = "cancelled"
            self.strays.discard(owed.id)

    @precondition(lambda self: self.owed)
    @rule(which=some)
    def resend(self, which: int) -> None:
        owed = self.choose_delivery(which)
        possible = owed.state != "sending" and not self.receivers[owed.endpoint].deleted
        self.act(possible, lambda: actions.resend(self.access, owed.id))
        if possible:
            test = owed.trigger == Trigger.TEST
            self.reopen(owed, "pending", str(Trigger.TEST if test else Trigger.MANUAL))

    @rule(which=some)
    def send_test(self, which: int) -> None:
        receiver = self.choose(which)
        if receiver.deleted:
            return
        delivery_id = actions.send_test(self.access, receiver.id).id
        [row] = self.new_rows(read_rows(self.app))
        assert row.id == delivery_id
        self.adopt(row, trigger=str(Trigger.TEST))

    @rule(which=some)
    def straggle(self, which: int) -> None:
        """A transaction of the host's ends that had read an endpoint before it was switched or deleted."""
        receiver = self.choose(which)
        lately = database_time(self.app) + self.offset - RACE / 2
        if receiver.switched_at is None or receiver.switched_at < lately:
            return
        waiting = [
            item
            for item in self.of(receiver.id)
            if item.trigger == Trigger.EVENT and not item.outcomes
        ]
        model = state_of(self.app).models.Delivery
        now = database_time(self.app)
        pending: dict[str, Any] = {
            "state": "pending",
            "due_at": now,
            "noticed": None,
            "reason": None,
        }
        if receiver.deleted:
            found = [item for item in waiting if item.state == "cancelled"]
            values = {**pending, "completed_at": None}
        elif receiver.active:
            found = [item for item in waiting if item.state == "pending"]
            values = {"state": "held", "due_at": None}
        else:
            found = [item for item in waiting if item.state == "held"]
            values = pending
        if found:
            owed = found[0]
            update_row(self.app, model, owed.id, **values)
            owed.state = values["state"]
            self.strays.add(owed.id)

    # -- bulk tasks -----------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(list(TAKEN_FROM)), which=some)
    def start_task(self, kind: TaskKind, which: int) -> None:
        receiver = self.choose(which)
        endpoint_id = receiver.id if kind == TaskKind.REPLAY or which % 2 else None
        if receiver.deleted and endpoint_id is not None:
            return
        since: Any = {"since": SINCE} if kind in (TaskKind.RECOVER, TaskKind.REPLAY) else {}
        # There may be one already, or a release of an endpoint that is paused.
        with suppress(InvalidTransition):
            actions.start_task(self.access, kind, endpoint_id, **since)

    @rule(worker=workers)
    def work_on_task(self, worker: int) -> None:
        """Do one batch."""
        task = self.waiting_task()
        picked = [] if task is None else self.picked(task)
        with patch.object(runner, "BATCH", BATCH):
            found = runner.work_on_next(
                self.workers[worker].state, self.workers[worker].connection, lambda: True
            )
        assert found == (task is not None)
        if task is None:
            return
        for row in self.new_rows(read_rows(self.app)):
            assert (task.kind, task.endpoint_id) == (TaskKind.REPLAY, row.endpoint_id)
            state = "pending" if self.receivers[row.endpoint_id].active else "held"
            self.adopt(row, state=state, trigger=str(Trigger.REPLAY))
        for owed in picked:
            active = self.receivers[owed.endpoint].active
            test = owed.trigger == Trigger.TEST
            if task.kind in (TaskKind.RECOVER, TaskKind.RESEND):
                trigger = Trigger.TEST if test else Trigger.REPLAY
                self.reopen(owed, "pending" if test or active else "held", str(trigger))
            elif task.kind != TaskKind.RELEASE:
                owed.state = "cancelled"
            elif active:
                owed.state = "pending"
            self.strays.discard(owed.id)
