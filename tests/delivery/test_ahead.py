"""Deliveries that are claimed before there is a slot for them: who may wait, and when they are given back."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.access import system_access
from flask_webhooks.app_state import state_of
from flask_webhooks.db.clock import DatabaseClock
from flask_webhooks.delivery import drain as drain_module
from flask_webhooks.delivery import in_flight as flight_module
from flask_webhooks.delivery.claim import batch_size
from flask_webhooks.delivery.claim.claim import Claim, Claimer
from flask_webhooks.delivery.claim.plan import Capacity
from flask_webhooks.delivery.http.client import Client
from flask_webhooks.delivery.in_flight import InFlight
from flask_webhooks.delivery.outcome import AttemptRecord, Claimed, Released, Unsettled
from flask_webhooks.delivery.settle.write import Settler
from flask_webhooks.formats import Target
from flask_webhooks.models import EndpointState
from tests.delivery.claim.test_claim import STOPPED, in_threads
from tests.delivery.test_drain import DrainThread
from tests.support.delivering import (
    add_backlog,
    attempts,
    deliveries,
    drain,
    emit,
    endpoint,
    states,
    webhooks_of,
)
from tests.support.helpers import update
from tests.support.processes import wait_until
from tests.support.receiver import Receiver
from tests.support.working import Flying, Worker, ended


def add_endpoint(app: Flask, url: str = "https://example.com/hook", **options: Any) -> str:
    return webhooks_of(app).create_endpoint(url, **options).endpoint.id


def claim(worker: Worker, slots: int, ahead: int, unsettled: Unsettled | None = None) -> Claim:
    worker.catch_up()
    return worker.claimer.claim(worker.connection, worker.now, Capacity(slots, ahead), unsettled)


def by_endpoint(taken: Sequence[Flying]) -> Counter[str]:
    return Counter(claimed.endpoint_id for claimed, _ in taken)


# -- what is claimed ahead -----------------------------------------------------------------------------


def test_slots_are_filled_first_and_what_waits_is_shared_equally(
    app: Flask, worker: Worker
) -> None:
    endpoints = [add_endpoint(app) for _ in range(3)]
    emit(app, 10)
    found = claim(worker, slots=6, ahead=9)
    assert by_endpoint(found.claimed) == dict.fromkeys(endpoints, 2)
    assert by_endpoint(found.ahead) == dict.fromkeys(endpoints, 3)
    assert states(app) == {"sending": 15, "pending": 15}


UNUSUAL: dict[str, Callable[[Flask, str], None]] = {
    **STOPPED,
    "ordered": lambda app, id_: update(app, "Endpoint", id_, ordered=True),
    "limited": lambda app, id_: update(app, "Endpoint", id_, rate_limit=1000.0),
    "slow": lambda app, id_: update(app, "EndpointHealth", id_, slow=True),
    "being probed": lambda app, id_: update(app, "EndpointHealth", id_, probe_interval=60.0),
}


@pytest.mark.parametrize("trigger", ["event", "manual"])
@pytest.mark.parametrize("unusual", UNUSUAL)
def test_only_deliveries_of_usual_endpoints_wait_for_a_slot(
    app: Flask, worker: Worker, unusual: str, trigger: str
) -> None:
    endpoint_id = add_endpoint(app)
    emit(app, 3)
    for row in deliveries(app):
        update(app, "Delivery", row.id, trigger=trigger)
    UNUSUAL[unusual](app, endpoint_id)
    found = claim(worker, slots=0, ahead=8)
    assert (found.claimed, found.ahead) == ([], [])
    assert states(app) == {"pending": 3}


def test_what_waits_counts_among_the_requests_of_its_endpoint(app: Flask) -> None:
    endpoints = [add_endpoint(app) for _ in range(3)]
    emit(app, 40)
    taken: list[list[Flying]] = [[], [], [], []]

    def run(position: int) -> None:
        with closing(Worker(app, endpoint_concurrency=5)) as worker:
            while True:
                found = claim(worker, slots=2, ahead=4)
                taken[position] += found.claimed + found.ahead
                if not found.contended and not found.claimed:
                    return

    in_threads(4, run)
    assert by_endpoint([flying for some in taken for flying in some]) == dict.fromkeys(endpoints, 5)


def test_what_was_answered_holds_no_slot_of_its_drain_and_one_of_the_others(app: Flask) -> None:
    endpoint_id = add_endpoint(app)
    emit(app, 20)
    with (
        closing(Worker(app, endpoint_concurrency=5)) as worker,
        closing(Worker(app, endpoint_concurrency=5)) as other,
    ):
        first = worker.take()
        assert len(first) == 5
        unsettled = Unsettled(answered=Counter({endpoint_id: 3}))
        assert len(other.take()) == 0
        more = claim(worker, 256, 0, unsettled).claimed
        assert len(more) == 3
        # Two of the first ones are under way, and three of these.
        assert claim(worker, 256, 0, unsettled).claimed == []
        worker.settle(*(ended(flying) for flying in first[:3]))
        assert worker.take() == other.take() == []


@pytest.mark.parametrize("special", ["ordered", "being probed"])
def test_one_at_a_time_means_settled(app: Flask, worker: Worker, special: str) -> None:
    endpoint_id = add_endpoint(app)
    UNUSUAL[special](app, endpoint_id)
    emit(app, 3)
    [flying] = worker.take()
    unsettled = Unsettled(answered=Counter({endpoint_id: 1}))
    assert claim(worker, 256, 0, unsettled).claimed == []
    worker.answer(flying)
    assert len(worker.take()) == (1 if special == "ordered" else 2)


@pytest.mark.parametrize("shared", [False, True])
def test_trouble_that_is_not_settled_keeps_its_endpoint_and_its_bucket_back(
    app: Flask, worker: Worker, shared: bool
) -> None:
    troubled, other = add_endpoint(app), add_endpoint(app)
    if shared:
        for endpoint_id in (troubled, other):
            update(app, "Endpoint", endpoint_id, bucket="bot")
    emit(app, 2)
    unsettled = Unsettled(troubled={troubled, "bot"})
    found = claim(worker, 256, 256, unsettled)
    assert by_endpoint(found.claimed) == ({} if shared else {other: 2})
    # After settling it is looked at again.
    assert found.limited
    assert len(claim(worker, 256, 256).claimed) == (4 if shared else 2)


def test_endpoint_with_nothing_in_flight_does_not_wait_behind_what_was_claimed_ahead(
    app: Flask, worker: Worker
) -> None:
    for _ in range(3):
        add_backlog(app, add_endpoint(app, events=["user.*"]), 20)
    worker.claimer.reserve = 4
    full = claim(worker, slots=16, ahead=0)
    assert len(full.claimed) == 12
    # From now on the busy ones wait.
    ahead = claim(worker, slots=4, ahead=6)
    assert (len(ahead.claimed), len(ahead.ahead)) == (0, 6)
    quiet = add_endpoint(app, events=["license.created"])
    emit(app)
    found = claim(worker, slots=4, ahead=6)
    assert by_endpoint(found.claimed) == {quiet: 1}
    assert quiet not in by_endpoint(found.ahead)


def test_part_of_the_slots_is_no_less_of_a_slot_for_slow_endpoints(
    app: Flask, worker: Worker
) -> None:
    """What is left to others is a share of all slots, of which most are free."""
    slow, quick = add_endpoint(app), add_endpoint(app)
    update(app, "EndpointHealth", slow, slow=True)
    emit(app, 20)
    worker.catch_up()
    found = worker.claimer.claim(worker.connection, worker.now, Capacity(256, most=24))
    assert by_endpoint(found.claimed) == {slow: 12, quick: 12}
    assert found.full


# -- what waits ----------------------------------------------------------------------------------------


@contextmanager
def in_flight(app: Flask, slots: int = 1) -> Iterator[tuple[InFlight, Client, DatabaseClock]]:
    """The requests of a drain, and the client that makes them."""
    state = state_of(app)
    clock = DatabaseClock()
    with state.engine.connect() as connection:
        clock.read(connection)
    client = Client(state.policy, state.settings.max_response_bytes)
    try:
        yield InFlight(state, client, clock, slots), client, clock
    finally:
        client.close()


def fly(
    app: Flask,
    waiting: Sequence[Flying],
    then: Callable[[InFlight], None] = lambda flight: None,
    slots: int = 1,
) -> tuple[list[AttemptRecord], list[Released]]:
    """Let deliveries wait for slots, and what ends for the settlement."""
    with in_flight(app, slots) as (flight, client, _):
        for claimed, target in waiting:
            flight.wait(claimed, target)
        then(flight)
        while len(flight):
            client.run(1.0)
            flight.advance()
            assert len(flight) <= slots
        assert flight.waiting == 0
        return flight.take_outcomes(1000)


def ids_of(items: Sequence[AttemptRecord | Released]) -> list[str]:
    return [item.claimed.delivery_id for item in items]


def test_what_waits_is_sent_in_turn_as_slots_become_free(
    app: Flask, worker: Worker, receiver: Receiver
) -> None:
    add_endpoint(app, receiver.url("/ok"))
    emit(app, 6)
    waiting = worker.take()
    sent, released = fly(app, waiting)
    assert ids_of(sent) == [claimed.delivery_id for claimed, _ in waiting]
    assert released == []
    assert receiver.most_in_flight["/ok"] == 1


@pytest.mark.parametrize("path", ["/status/500", "/status/410", "/retry-after/60", "/close"])
def test_answer_that_is_no_plain_success_gives_back_what_waits_for_the_endpoint(
    app: Flask, worker: Worker, receiver: Receiver, path: str
) -> None:
    troubled = add_endpoint(app, receiver.url(path))
    add_endpoint(app, receiver.url("/ok"))
    emit(app, 5)
    waiting = worker.take()
    sent, released = fly(app, waiting)
    assert Counter(item.claimed.endpoint_id == troubled for item in sent) == {True: 1, False: 5}
    assert by_endpoint([(item.claimed, item) for item in released]) == {troubled: 4}  # type: ignore[misc]
    worker.settle(*sent, released=released)
    rows = [row for row in deliveries(app) if row.endpoint_id == troubled]
    assert sorted(row.attempt_count for row in rows) == [0, 0, 0, 0, 1]
    assert len(attempts(app)) == 6


def test_delivery_whose_lease_runs_out_while_it_waits_is_not_sent(
    app: Flask, worker: Worker, receiver: Receiver
) -> None:
    add_endpoint(app, receiver.url("/ok"))
    emit(app, 3)
    first, second, third = worker.take()
    # So little that a request could outlive it.
    timeout = timedelta(seconds=worker.state.settings.timeout)
    short = dataclasses.replace(second[0], lease_until=worker.now + timeout)
    sent, released = fly(app, [first, (short, second[1]), third])
    assert ids_of(sent) == ids_of_flying([first, third])
    assert ids_of(released) == ids_of_flying([second])
    assert len(receiver.requests) == 2


def ids_of_flying(items: Sequence[Flying]) -> list[str]:
    return [claimed.delivery_id for claimed, _ in items]


def test_what_was_taken_over_while_it_waited_changes_nothing(
    app: Flask, worker: Worker, receiver: Receiver
) -> None:
    """The lease ran out by the database's clock; ours had stopped."""
    add_endpoint(app, receiver.url("/ok"))
    emit(app, 2)
    waiting = worker.take()
    worker.wait(worker.state.settings.lease + 1)
    assert worker.recover() == 2
    sent, _ = fly(app, waiting)
    assert worker.settle(*sent).stale == 2
    assert states(app) == {"pending": 2}


def test_what_waits_too_long_is_given_back(
    app: Flask, worker: Worker, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_endpoint(app, receiver.url("/slow/0.2"))
    emit(app, 3)
    waiting = worker.take()
    fresh: list[int] = []

    def look(flight: InFlight) -> None:
        flight.release_overdue()
        fresh.append(flight.waiting)
        monkeypatch.setattr(flight_module, "LONGEST_WAIT", -1.0)
        flight.release_overdue()

    sent, released = fly(app, waiting, look)
    assert fresh == [2]
    assert (len(sent), ids_of(released)) == (1, ids_of_flying(waiting[1:]))
    worker.settle(*sent, released=released)
    assert len(worker.take()) == 2


def test_what_waits_is_given_back_at_a_stop(app: Flask, worker: Worker, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/slow/0.2"))
    emit(app, 4)

    def stop(flight: InFlight) -> None:
        flight.close()
        flight.release_waiting()

    sent, released = fly(app, worker.take(), stop, slots=2)
    assert (len(sent), len(released)) == (2, 2)


def test_request_that_was_answered_after_its_lease_frees_no_slot(
    app: Flask, worker: Worker, receiver: Receiver
) -> None:
    endpoint_id = add_endpoint(app, receiver.url("/ok"))
    emit(app, 2)
    flying = worker.take()
    found: list[Unsettled] = []
    with in_flight(app, slots=2) as (flight, client, clock):
        for claimed, target in flying:
            flight.wait(claimed, target)
        while len(flight):
            client.run(1.0)
            flight.advance()
        found.append(flight.unsettled())
        clock._base += timedelta(minutes=5)
        found.append(flight.unsettled())
    assert [item.answered for item in found] == [{endpoint_id: 2}, {}]


# -- a whole drain -------------------------------------------------------------------------------------


def test_drain_sends_ahead_and_keeps_every_cap(app: Flask, receiver: Receiver) -> None:
    for number in range(6):
        add_endpoint(app, receiver.url(f"/ok/{number}"))
    emit(app, 150)
    waited: list[int] = []
    fill = InFlight._fill_slots

    def look(flight: InFlight) -> None:
        waited.append(flight.waiting)
        assert len(flight) <= 40
        fill(flight)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InFlight, "_fill_slots", look)
        assert drain(app, concurrency=40, endpoint_concurrency=16) == 900
    assert max(waited) > 0
    assert states(app) == {"succeeded": 900}
    assert set(receiver.ids().values()) == {6}
    assert max(receiver.most_in_flight.values()) <= 16


def test_drain_that_stops_gives_back_what_waits(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        add_endpoint(app, receiver.url(f"/slow/0.05/{number}"))
    emit(app, 200)
    thread = DrainThread(app, concurrency=32, endpoint_concurrency=16)
    wait, waited = InFlight.wait, []

    def stop_while_it_waits(flight: InFlight, claimed: Claimed, target: Target) -> None:
        wait(flight, claimed, target)
        if flight.waiting:
            waited.append(claimed.delivery_id)
            thread.drain.stop()

    # All slots at once, so that what is claimed beside them has to wait.
    monkeypatch.setattr(batch_size, "MOST_PARTS", 1)
    monkeypatch.setattr(InFlight, "wait", stop_while_it_waits)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert waited
    found = states(app)
    assert set(found) == {"succeeded", "pending"}
    assert found["succeeded"] == len(receiver.requests) == len(attempts(app))
    assert all(row.attempt_count == 0 for row in deliveries(app) if row.state == "pending")


@pytest.mark.slow
def test_endpoint_that_dies_in_full_flight_gets_its_cap_and_no_more(
    app: Flask, receiver: Receiver
) -> None:
    """What waits for it, and what could be claimed before its failures are settled, is not sent."""
    dies = add_endpoint(app, receiver.url("/dies"), events=["license.*"])
    for number in range(5):
        add_endpoint(app, receiver.url(f"/ok/{number}"), events=["license.*"])
    emit(app, 150)
    answer = Receiver._answer
    alive = 60

    async def die(self: Receiver, request: Any, writer: Any) -> bool:
        if request.path == "/dies" and self.answered["/dies"] >= alive:
            request = dataclasses.replace(request, path="/status/503")
        return await answer(self, request, writer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Receiver, "_answer", die)
        drain(app, concurrency=64, endpoint_concurrency=8)
    paths = Counter(request.path for request in receiver.requests)
    # Four may fail one by one before it counts as failing, and then all that it may have at once.
    assert paths.pop("/dies") <= alive + 12
    assert set(paths.values()) == {150}
    failed = [item for item in attempts(app) if item.outcome != "succeeded"]
    assert 5 <= len(failed) <= 12
    assert {item.endpoint_id for item in failed} == {dies}


@pytest.mark.slow
def test_pause_reaches_what_waits_within_its_longest_wait(app: Flask, receiver: Receiver) -> None:
    endpoint_id = add_endpoint(app, receiver.url("/slow/0.05"))
    for number in range(3):
        add_endpoint(app, receiver.url(f"/slow/0.05/{number}"))
    emit(app, 300)
    thread = DrainThread(app, concurrency=32, endpoint_concurrency=16, linger=0.0)
    thread.start()
    wait_until(lambda: receiver.answered["/slow/0.05"] > 30, 20)
    actions.pause_endpoint(system_access(state_of(app), "tester"), endpoint_id)
    assert endpoint(app, endpoint_id).state == EndpointState.PAUSED
    before = sum(request.path == "/slow/0.05" for request in receiver.requests)
    thread.join(60)
    assert not thread.is_alive()
    after = sum(request.path == "/slow/0.05" for request in receiver.requests)
    # Those that the drain had claimed by then.
    assert after - before <= 16
    found = Counter(row.state for row in deliveries(app) if row.endpoint_id == endpoint_id)
    assert found == {"succeeded": after, "held": 300 - after}


@pytest.mark.parametrize("concurrency", [1, 2, 17])
def test_drain_with_few_slots_delivers_everything(
    app: Flask, receiver: Receiver, concurrency: int
) -> None:
    for number in range(3):
        add_endpoint(app, receiver.url(f"/ok/{number}"))
    emit(app, 20)
    assert drain(app, concurrency=concurrency, endpoint_concurrency=1) == 60
    assert set(receiver.ids().values()) == {3}
    assert states(app) == {"succeeded": 60}


@pytest.mark.slow
def test_outcomes_do_not_pile_up_where_they_are_written_slowly(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims wait for settlements then: what is not written is lost with the worker, and sent again."""
    for number in range(16):
        add_backlog(app, add_endpoint(app, receiver.url(f"/ok/{number}")), 40)
    found: list[int] = []
    claim_as_ever, settle_as_ever = Claimer.claim, Settler.settle

    def count(
        self: Claimer, connection: Any, now: Any, room: Capacity, unsettled: Any = None
    ) -> Claim:
        found.append(unsettled.answered.total())
        return claim_as_ever(self, connection, now, room, unsettled)

    def late(self: Settler, *arguments: Any) -> Any:
        time.sleep(0.05)
        return settle_as_ever(self, *arguments)

    monkeypatch.setattr(Claimer, "claim", count)
    monkeypatch.setattr(Settler, "settle", late)
    monkeypatch.setattr(drain_module, "SETTLE_BATCH", 20)
    assert drain(app, concurrency=64) == 640
    # As many may land in the moment before the claim begins.
    assert max(found) <= 20 + 64


def test_what_was_claimed_while_its_endpoint_said_goodbye_is_not_sent(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_endpoint(app, receiver.url())
    emit(app)
    thread = DrainThread(app, linger=20.0)
    leave = asyncio.Event()
    answer, claim_as_ever = Receiver._answer, Claimer.claim

    async def gone(self: Receiver, request: Any, writer: Any) -> bool:
        await leave.wait()
        return await answer(self, dataclasses.replace(request, path="/status/410"), writer)

    def meanwhile(self: Claimer, *arguments: Any) -> Claim:
        found = claim_as_ever(self, *arguments)
        if found.claimed and receiver.requests:
            receiver._loop.call_soon_threadsafe(leave.set)
            # As while it waits for PostgreSQL.
            client = thread.drain._client
            wait_until(lambda: client.run(0.1) or client._ended)
        return found

    monkeypatch.setattr(Receiver, "_answer", gone)
    monkeypatch.setattr(Claimer, "claim", meanwhile)
    thread.start()
    wait_until(lambda: len(receiver.requests) == 1)
    emit(app)
    wait_until(lambda: states(app) == {"failed": 1, "held": 1})
    thread.drain.stop()
    thread.join(20)
    assert len(receiver.requests) == 1
