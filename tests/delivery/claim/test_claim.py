"""Which deliveries a claim takes: no row twice, no endpoint above its cap, none at the cost of others."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.access import system_access
from flask_webhooks.app_state import state_of
from flask_webhooks.db import clock as clock_module
from flask_webhooks.db.clock import DatabaseClock
from flask_webhooks.delivery.claim import claim as claim_module
from flask_webhooks.delivery.claim.claim import Claim
from flask_webhooks.delivery.claim.due_query import PickRequest, Round, due_rows
from flask_webhooks.formats import Target
from flask_webhooks.models import build_models
from flask_webhooks.security.vault import Vault
from tests.support.delivering import (
    add_backlog,
    attempts,
    deliveries,
    drain,
    emit,
    endpoint,
    expire_leases,
    health,
    make_due,
    models_of,
    states,
    webhooks_of,
)
from tests.support.helpers import add_delivery, database_time, slow_clock, statements, update
from tests.support.processes import wait_until
from tests.support.receiver import Receiver
from tests.support.working import Worker, ended


def add_endpoint(app: Flask, **options: Any) -> str:
    created = webhooks_of(app).create_endpoint("https://example.com/hook", **options)
    return created.endpoint.id


def claimed_by(worker: Worker, room: int = 256) -> list[str]:
    """The endpoints of the rows that a claim brings, in order."""
    return [claimed.endpoint_id for claimed, _ in worker.take(room)]


def in_threads(number: int, run: Callable[[int], None]) -> None:
    """Run at the same time; what one raises is raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(number)

    def guarded(position: int) -> None:
        try:
            barrier.wait(10)
            run(position)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(position,)) for position in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors, errors


# -- what is claimed -----------------------------------------------------------------------------------


def test_claimed_row_carries_all_that_sending_needs(app: Flask, worker: Worker) -> None:
    created = webhooks_of(app).create_endpoint(
        "https://example.com/hook?x=1",
        tenant="app_1",
        headers={"X-Key": "hush"},
        user_agent="Shop/1",
    )
    [event_id] = emit(app, data={"b": 1, "a": "ü"}, tenant="app_1")
    [(claimed, target)] = worker.claim().claimed
    assert (claimed.event.id, claimed.event.type) == (event_id, "license.created")
    assert (claimed.event.tenant, claimed.event.data_json) == ("app_1", '{"b":1,"a":"ü"}')
    assert (claimed.number, claimed.trigger, claimed.actor) == (1, "event", None)
    assert claimed.failure_count == 0
    assert target == Target(
        id=created.endpoint.id,
        tenant="app_1",
        url="https://example.com/hook?x=1",
        url_shown="https://example.com/hook?x=1",
        format="standard",
        secrets=(created.secret or "",),
        headers={"X-Key": "hush"},
        user_agent="Shop/1",
        version=1,
    )
    assert "hush" not in repr(target)
    [row] = deliveries(app)
    assert (row.state, row.due_at, row.attempt_count) == ("sending", None, 1)
    assert (row.lease_token, row.lease_until) == (claimed.token, claimed.lease_until)


def test_secrets_and_header_values_are_sealed_in_the_database(app: Flask) -> None:
    created = webhooks_of(app).create_endpoint(
        "https://example.com/hook", headers={"X-Key": "hush hush"}
    )
    table = models_of(app).table("Endpoint")
    with state_of(app).engine.connect() as connection:
        row = connection.execute(sa.text(f"SELECT * FROM {table.name}")).one()
    assert "hush hush" not in str(row)
    assert (created.secret or "").removeprefix("whsec_") not in str(row)


def test_oldest_due_comes_first_and_the_future_not_at_all(app: Flask, worker: Worker) -> None:
    add_endpoint(app)
    ids = emit(app, 5)
    now = database_time(app)
    rows = {row.event_id: row.id for row in deliveries(app)}
    delays = [-1.0, -3.0, 60.0, -2.0, -3.0]
    for event_id, delay in zip(ids, delays, strict=True):
        due_at = now + timedelta(seconds=delay)
        update(app, "Delivery", rows[event_id], due_at=due_at)
    found = [claimed.event.id for claimed, _ in worker.claim().claimed]
    assert found == [ids[1], ids[4], ids[3], ids[0]]
    assert worker.claim().claimed == []
    soonest = worker.next_due()
    # The leases of those in flight run out sooner.
    assert soonest is not None
    assert soonest < now + timedelta(seconds=10)


def test_no_more_than_there_is_room_for(app: Flask, worker: Worker) -> None:
    for _ in range(3):
        add_endpoint(app)
    emit(app, 5)
    claim = worker.claim(7)
    assert (len(claim.claimed), claim.full) == (7, True)
    claim = worker.claim(100)
    assert (len(claim.claimed), claim.full) == (8, False)


def test_claim_is_full_when_only_places_in_reserve_are_left(app: Flask, worker: Worker) -> None:
    """Nobody else was called for help: 240 places of 256 were taken, and the rest is kept for other endpoints."""
    for _ in range(20):
        add_backlog(app, add_endpoint(app), 20)
    worker.claimer.reserve = 16
    claim = worker.claim(256)
    assert (len(claim.claimed), claim.full) == (240, True)


def hold(app: Flask, endpoint_id: str, **values: Any) -> None:
    until = database_time(app) + timedelta(seconds=60)
    update(app, "EndpointHealth", endpoint_id, hold_until=until, **values)


STOPPED: dict[str, Callable[[Flask, str], None]] = {
    "paused": lambda app, id_: update(app, "Endpoint", id_, state="paused"),
    "disabled": lambda app, id_: update(app, "Endpoint", id_, state="disabled"),
    "held": hold,
    "failing": lambda app, id_: hold(app, id_, probe_interval=60.0),
}


@pytest.mark.parametrize("stop", STOPPED)
def test_endpoint_that_must_not_be_sent_to_is_passed_over(
    app: Flask, worker: Worker, stop: str
) -> None:
    stopped, fine = add_endpoint(app), add_endpoint(app)
    emit(app, 3)
    STOPPED[stop](app, stopped)
    assert set(claimed_by(worker)) == {fine}


@pytest.mark.parametrize("stop", STOPPED)
@pytest.mark.parametrize("trigger", ["manual", "test"])
def test_what_a_person_asked_for_goes_out_anyway(
    app: Flask, worker: Worker, stop: str, trigger: str
) -> None:
    stopped = add_endpoint(app)
    emit(app, 3)
    STOPPED[stop](app, stopped)
    asked = deliveries(app)[1].id
    update(app, "Delivery", asked, trigger=trigger)
    assert worker.anything_due()
    assert [claimed.delivery_id for claimed, _ in worker.claim().claimed] == [asked]
    assert worker.claim().claimed == []


def test_deleted_endpoint_gets_nothing_whoever_asks(app: Flask, worker: Worker) -> None:
    deleted = add_endpoint(app)
    emit(app, 2)
    update(app, "Delivery", deliveries(app)[0].id, trigger="manual")
    update(app, "Endpoint", deleted, deleted_at=database_time(app))
    assert not worker.anything_due()
    assert worker.next_due() is None
    assert worker.claim().claimed == []


def test_failing_endpoint_gets_one_probe_of_its_oldest_delivery(app: Flask, worker: Worker) -> None:
    failing = add_endpoint(app)
    emit(app, 3)
    now = database_time(app)
    update(
        app, "EndpointHealth", failing, probe_interval=60.0, hold_until=now - timedelta(seconds=1)
    )
    oldest = deliveries(app)[2]
    update(app, "Delivery", oldest.id, due_at=now - timedelta(seconds=9))
    claim = worker.claim()
    assert [claimed.delivery_id for claimed, _ in claim.claimed] == [oldest.id]
    assert worker.claim().claimed == []
    worker.finish(claim)
    assert len(worker.claim().claimed) == 1


def test_what_a_person_asked_for_does_not_wait_for_a_probe(app: Flask, worker: Worker) -> None:
    failing = add_endpoint(app)
    emit(app, 3)
    update(app, "EndpointHealth", failing, probe_interval=60.0, hold_until=None)
    asked = deliveries(app)[2].id
    update(app, "Delivery", asked, trigger="manual")
    found = [claimed.delivery_id for claimed, _ in worker.claim().claimed]
    assert found == [deliveries(app)[0].id, asked]


# -- fairness ------------------------------------------------------------------------------------------


def test_a_large_backlog_takes_only_what_the_others_leave(app: Flask) -> None:
    large = add_endpoint(app)
    add_backlog(app, large, 20_000)
    small = [add_endpoint(app, events=["license.deleted"]) for _ in range(30)]
    emit(app, 2, "license.deleted")
    with closing(Worker(app)) as worker:
        taken = Counter(claimed_by(worker, room=64))
        assert taken == {**dict.fromkeys(small, 2), large: 3}
        assert Counter(claimed_by(worker)) == {large: 13}
        # 16 are in flight: no more, whatever room there is.
        assert claimed_by(worker) == []


def test_every_endpoint_has_its_turn_however_little_room_there_is(app: Flask) -> None:
    endpoints = {add_endpoint(app) for _ in range(10)}
    emit(app, 3)
    with closing(Worker(app)) as worker:
        rounds = [claimed_by(worker, room=3) for _ in range(4)]
        assert [len(set(found)) for found in rounds] == [3, 3, 3, 3]
        assert {id_ for found in rounds for id_ in found} == endpoints
        # Ten turns are one round, of which two are left over for the next.
        assert sorted(Counter(id_ for found in rounds for id_ in found).values())[-2:] == [2, 2]


def test_nobody_has_a_second_turn_before_all_had_their_first(app: Flask, worker: Worker) -> None:
    old = [add_endpoint(app, events=["license.created"]) for _ in range(2)]
    emit(app, 5)
    new = add_endpoint(app, events=["license.deleted"])
    emit(app, 5, "license.deleted")
    assert Counter(claimed_by(worker, room=4))[new] == 1
    assert set(old) < set(claimed_by(worker, room=4))


@pytest.mark.parametrize("room", [1, 7, 16, 24])
def test_endpoints_with_long_backlogs_get_equal_shares(app: Flask, room: int) -> None:
    """More endpoints than fit into one claim, and room that is no multiple of their number."""
    for _ in range(23):
        add_endpoint(app)
    emit(app, 20)
    taken: Counter[str] = Counter()
    with closing(Worker(app, endpoint_concurrency=4)) as worker:
        for _ in range(160 // room):
            claim = worker.claim(room)
            assert len(claim.claimed) == room
            taken.update(claimed.endpoint_id for claimed, _ in claim.claimed)
            worker.finish(claim)
    assert len(taken) == 23
    assert max(taken.values()) - min(taken.values()) <= 3


def test_room_is_used_although_some_endpoints_are_at_their_cap(app: Flask) -> None:
    """By one claim: as hanging endpoints have all that they may, they leave their share to the others."""
    for _ in range(2):
        add_endpoint(app)
    emit(app, 30)
    with closing(Worker(app, endpoint_concurrency=10)) as worker:
        full = worker.take(32)
        assert len(full) == 20
        for _ in range(2):
            add_endpoint(app)
        emit(app, 30)
        others = worker.take(20)
        assert len(others) == 20
        assert not {target.id for _, target in full} & {target.id for _, target in others}


@pytest.mark.slow
def test_round_reaches_every_endpoint_whatever_order_the_table_has(app: Flask) -> None:
    """More than one claim looks at, in a heap that is not in the order of ids, with statistics."""
    endpoints = [add_endpoint(app, events=["license.created"]) for _ in range(90)]
    emit(app, 4)
    table = models_of(app).table("EndpointHealth")
    shuffled = sorted(endpoints, key=lambda id_: id_[::-1])
    for endpoint_id in shuffled:
        # PostgreSQL writes a row anew at each change, behind others or where one was before.
        update(app, "EndpointHealth", endpoint_id, consecutive_failures=1)
    if state_of(app).engine.dialect.name == "postgresql":
        with state_of(app).engine.connect() as connection:
            found = connection.scalars(sa.select(table.c.endpoint_id)).all()
        assert found != sorted(found)
    analyze(app)
    taken: Counter[str] = Counter()
    with closing(Worker(app, endpoint_concurrency=4)) as worker:
        for _ in range(9):
            claim = worker.claim(20)
            taken.update(claimed.endpoint_id for claimed, _ in claim.claimed)
            worker.finish(claim)
    assert taken == dict.fromkeys(endpoints, 2)


# -- what is not due keeps nobody waiting --------------------------------------------------------------


def later(app: Flask, seconds: float) -> None:
    """Put off everything that is pending."""
    table = models_of(app).table("Delivery")
    due_at = database_time(app) + timedelta(seconds=seconds)
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.state == "pending").values(due_at=due_at))


def fresh(app: Flask) -> int:
    """Deliveries that a claim steps over endpoint by endpoint."""
    return sum(row.state == "pending" and row.noticed is None for row in deliveries(app))


def test_what_is_not_due_is_noticed_and_found_again_in_time(app: Flask, worker: Worker) -> None:
    endpoints = {add_endpoint(app, events=["license.created"]) for _ in range(40)}
    emit(app, 2)
    later(app, 100)
    busy = add_endpoint(app, events=["license.deleted"])
    emit(app, 1, "license.deleted")
    assert claimed_by(worker) == [busy]
    assert fresh(app) == 0
    assert worker.claim().claimed == []
    soonest = worker.next_due()
    assert soonest is not None
    worker.wait(101)
    found: Counter[str] = Counter()
    while taken := worker.take(30):
        found.update(claimed.endpoint_id for claimed, _ in taken)
    assert found == dict.fromkeys(endpoints, 2)
    assert {health(app, id_).look_at for id_ in endpoints} == {None}


def test_backlog_that_is_held_is_noticed_and_released_at_once(app: Flask, worker: Worker) -> None:
    endpoints = {add_endpoint(app) for _ in range(30)}
    emit(app, 3)
    for endpoint_id in endpoints:
        hold(app, endpoint_id)
    assert worker.claim().claimed == []
    assert fresh(app) == 0
    assert not worker.anything_due()
    # A success ends the hold, whatever was noticed.
    for endpoint_id in endpoints:
        update(app, "EndpointHealth", endpoint_id, hold_until=None)
    assert worker.anything_due()
    found = Counter(id_ for _ in range(3) for id_ in claimed_by(worker))
    assert found == dict.fromkeys(endpoints, 3)


def test_what_was_noticed_survives_a_pause(app: Flask, worker: Worker) -> None:
    endpoints = [add_endpoint(app) for _ in range(20)]
    emit(app)
    later(app, 50)
    assert worker.claim().claimed == []
    assert fresh(app) == 0
    access = system_access(state_of(app), "tester")
    for endpoint_id in endpoints:
        actions.pause_endpoint(access, endpoint_id)
    worker.wait(51)
    assert worker.claim().claimed == []
    for endpoint_id in endpoints:
        actions.resume_endpoint(access, endpoint_id)
    assert sorted(claimed_by(worker)) == sorted(endpoints)


def test_retry_of_what_was_noticed_is_found(app: Flask, worker: Worker) -> None:
    for _ in range(20):
        add_endpoint(app)
    emit(app)
    later(app, 50)
    worker.claim()
    worker.wait(51)
    assert len(worker.take()) == 20
    for row in deliveries(app):
        assert row.noticed is None
    expire_leases(app)
    assert worker.recover(chance=lambda: 0.0) == 20
    assert len(worker.take()) == 20


@pytest.mark.slow
def test_a_claim_does_not_step_over_what_is_not_due_again_and_again(app: Flask) -> None:
    """The number of statements, and of endpoints that they visit, does not grow with the idle ones."""
    idle = [add_endpoint(app, events=["license.created"]) for _ in range(300)]
    emit(app, 2)
    later(app, 3600)
    for endpoint_id in idle[:150]:
        hold(app, endpoint_id)
    add_backlog(app, add_endpoint(app, events=["license.deleted"]), 200)
    with closing(Worker(app)) as worker:
        for _ in range(3):
            worker.finish(worker.claim(4))
        assert fresh(app) <= 200
        with statements(app) as executed:
            claim = worker.claim(4)
        assert len(claim.claimed) == 4
        assert sum("RECURSIVE" in statement for statement in executed) == 1
        with statements(app) as executed:
            worker.next_due()
        assert sum("RECURSIVE" in statement for statement in executed) == 1


# -- places in a drain ---------------------------------------------------------------------------------


def test_last_places_are_for_endpoints_with_nothing_in_flight(app: Flask) -> None:
    for _ in range(8):
        add_backlog(app, add_endpoint(app, events=["user.*"]), 20)
    with closing(Worker(app, concurrency=64, endpoint_concurrency=8)) as worker:
        worker.claimer.reserve = 4
        taken: list[str] = []
        while found := claimed_by(worker, room=64 - len(taken)):
            taken += found
        assert len(taken) == 60
        quick = add_endpoint(app, events=["license.created"])
        emit(app, 3)
        # One at a time, until there is room again.
        assert claimed_by(worker, room=4) == [quick]
        assert claimed_by(worker, room=3) == []


def test_slow_endpoints_leave_a_quarter_of_the_places(app: Flask) -> None:
    slow = [add_endpoint(app, events=["user.*"]) for _ in range(70)]
    emit(app, 3, "user.banned")
    for endpoint_id in slow:
        update(app, "EndpointHealth", endpoint_id, slow=True)
    with closing(Worker(app, concurrency=64)) as worker:
        worker.claimer.slow_reserve = 16
        taken: list[str] = []
        while found := claimed_by(worker, room=64 - len(taken)):
            taken += found
        assert len(taken) == 48
        quick = add_endpoint(app, events=["license.created"])
        emit(app, 10)
        assert claimed_by(worker, room=16) == [quick] * 10


def test_endpoint_becomes_slow_by_its_answers_and_quick_again(app: Flask, worker: Worker) -> None:
    endpoint_id = add_endpoint(app)
    emit(app, 6)
    for duration, slow in ((900, False), (1100, True), (700, True), (400, False), (9000, True)):
        worker.answer(worker.take_one(), duration_ms=float(duration))
        assert health(app, endpoint_id).slow == slow


@pytest.mark.slow
def test_group_of_slow_endpoints_does_not_keep_others_waiting(
    app: Flask, receiver: Receiver
) -> None:
    """Their requests would fill every place of the drain, each endpoint at no more than its cap."""
    for number in range(8):
        url = receiver.url(f"/slow/12/{number}")
        webhooks_of(app).create_endpoint(url, events=["user.banned"])
    webhooks_of(app).create_endpoint(receiver.url("/ok"), events=["license.created"])
    emit(app, 20, "user.banned")
    with ThreadPoolExecutor(1) as pool:
        settings = {"timeout": 30.0, "lease": 60.0, "concurrency": 64, "endpoint_concurrency": 8}
        done = pool.submit(drain, app, **settings, drain_time=8.0)
        receiver.wait_for(60, 30)
        emit(app, 20)
        wait_until(lambda: receiver.answered["/ok"] == 20, 11)
        assert receiver.answered.total() == 20
        assert done.result(60) >= 80


# -- several workers -----------------------------------------------------------------------------------


def claim_all(worker: Worker, room: int) -> list[str]:
    """Claim until nothing is left that others do not hold."""
    taken: list[str] = []
    while True:
        claim = worker.claim(room)
        taken += [claimed.delivery_id for claimed, _ in claim.claimed]
        if not claim.claimed and not claim.contended:
            return taken


def test_workers_at_once_never_take_the_same_row(app: Flask) -> None:
    for _ in range(12):
        add_endpoint(app)
    emit(app, 50)
    taken: list[list[str]] = [[], [], [], []]

    def run(position: int) -> None:
        with closing(Worker(app, endpoint_concurrency=1000)) as worker:
            taken[position] = claim_all(worker, room=10 + position)

    in_threads(4, run)
    found = Counter(id_ for ids in taken for id_ in ids)
    assert len(found) == 600
    assert set(found.values()) == {1}
    assert states(app) == {"sending": 600}


def test_cap_of_an_endpoint_holds_over_all_workers(app: Flask) -> None:
    endpoints = [add_endpoint(app) for _ in range(3)]
    emit(app, 40)
    taken: list[list[str]] = [[], [], [], []]

    def run(position: int) -> None:
        with closing(Worker(app, endpoint_concurrency=5)) as worker:
            taken[position] = claim_all(worker, room=20)

    in_threads(4, run)
    in_flight = Counter(row.endpoint_id for row in deliveries(app) if row.state == "sending")
    assert in_flight == dict.fromkeys(endpoints, 5)
    assert sum(len(ids) for ids in taken) == 15


def test_endpoint_that_another_worker_is_busy_with_is_left_to_it(
    app: Flask, worker: Worker
) -> None:
    if state_of(app).engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: the others wait")
    busy, free = add_endpoint(app), add_endpoint(app)
    emit(app, 2)
    table = models_of(app).table("EndpointHealth")
    with state_of(app).engine.begin() as other:
        other.execute(sa.select(table).where(table.c.endpoint_id == busy).with_for_update()).all()
        claim = worker.claim()
        assert {claimed.endpoint_id for claimed, _ in claim.claimed} == {free}
        assert claim.contended
    claim = worker.claim()
    assert {claimed.endpoint_id for claimed, _ in claim.claimed} == {busy}
    assert not claim.contended


def test_pause_that_is_being_written_is_obeyed(
    app: Flask, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint was active when the claim looked, and is not when it has the lock."""
    paused = add_endpoint(app)
    emit(app, 2)
    look = worker.claimer._due.look

    def look_and_be_late(*args: Any, **options: Any) -> Round:
        found = look(*args, **options)
        actions.pause_endpoint(system_access(state_of(app), "tester"), paused)
        # Written by a transaction that did not see the pause.
        past = worker.now - timedelta(seconds=1)
        add_delivery(app, endpoint(app, paused), due_at=past)
        return found

    monkeypatch.setattr(worker.claimer._due, "look", look_and_be_late)
    assert worker.claim().claimed == []


# -- invariant 7 ---------------------------------------------------------------------------------------


def cost_of_claims(worker: Worker, rounds: int = 15) -> float:
    """Milliseconds of a claim and of both looks into the queue, at best: the machine does other things too."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        claim = worker.claim(16)
        worker.next_due()
        worker.anything_due()
        times.append((time.perf_counter() - began) * 1000)
        assert len(claim.claimed) == 16
        worker.finish(claim)
    return min(times)


def fill(app: Flask, endpoint_id: str) -> None:
    """Bring an endpoint to its cap, with requests that nobody answers."""
    for row in deliveries(app):
        if row.endpoint_id == endpoint_id:
            lease = {"lease_token": "x", "lease_until": database_time(app) + timedelta(seconds=600)}
            update(app, "Delivery", row.id, state="sending", due_at=None, **lease)


@pytest.mark.slow
def test_invariant_7_a_dead_endpoint_with_100_000_due_rows_costs_the_others_nothing(
    app: Flask,
) -> None:
    dead = add_endpoint(app, events=["user.*"])
    for _ in range(8):
        add_backlog(app, add_endpoint(app, events=["license.created"]), 250)
    emit(app, 16, "user.banned")
    with closing(Worker(app)) as worker:
        fill(app, dead)
        cost_of_claims(worker, 5)
        without = cost_of_claims(worker)
        add_backlog(app, dead, 100_000)
        analyze(app)
        cost_of_claims(worker, 5)
        costs = {"at its cap": cost_of_claims(worker)}
        assert_indexes_are_used(worker)
        for name, stop in STOPPED.items():
            update(app, "EndpointHealth", dead, hold_until=None, probe_interval=None)
            update(app, "Endpoint", dead, state="active")
            stop(app, dead)
            costs[name] = cost_of_claims(worker)
        assert_indexes_are_used(worker)
    # One look through the backlog alone takes more than ten times as long.
    assert all(cost < without * 3 + 1 for cost in costs.values()), (without, costs)


@pytest.mark.slow
def test_what_is_claimed_is_found_by_its_id_in_a_database_without_statistics(
    app: Flask, worker: Worker
) -> None:
    """PostgreSQL took the queue for empty, and read all of it to find those of one claim and settlement."""
    engine = state_of(app).engine
    word = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    for _ in range(20):
        add_backlog(app, add_endpoint(app), 500)
    plans: dict[str, str] = {}

    @sa.event.listens_for(engine, "before_cursor_execute")
    def explain(
        connection: sa.Connection, cursor: Any, statement: str, parameters: Any, *rest: object
    ) -> None:
        known = re.match(
            r"UPDATE webhooks_delivery|SELECT webhooks_delivery.id, .*lease", statement
        )
        if known and not isinstance(parameters, list):
            other = cursor.connection.cursor()
            other.execute(f"{word} {statement}", parameters)
            plans[statement] = "\n".join(str(row[-1]) for row in other.fetchall())

    taken = worker.take(320)
    worker.settle(*(ended(flying) for flying in taken))
    sa.event.remove(engine, "before_cursor_execute", explain)
    assert len(taken) == 320
    assert len(plans) == 3
    for plan in plans.values():
        assert "webhooks_delivery_pkey" in plan or "webhooks_delivery_1 (id=?)" in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "SCAN webhooks_delivery" not in plan, plan


@pytest.mark.slow
def test_invariant_7_holds_for_what_a_person_asked_for(app: Flask) -> None:
    """Somebody resent 50,000 deliveries at once, to an endpoint that hangs."""
    dead = add_endpoint(app, events=["user.*"])
    for _ in range(8):
        add_backlog(app, add_endpoint(app, events=["license.created"]), 100)
    emit(app, 16, "user.banned")
    with closing(Worker(app)) as worker:
        fill(app, dead)
        cost_of_claims(worker, 5)
        without = cost_of_claims(worker)
        add_backlog(app, dead, 50_000, trigger="manual")
        analyze(app)
        cost_of_claims(worker, 5)
        assert cost_of_claims(worker) < without * 3 + 1
        plans(worker)


def test_what_a_person_asked_for_is_picked_without_reading_all_that_waits(app: Flask) -> None:
    """Also in a database without statistics, as SQLite is for ever: each probe of a dead endpoint does so."""
    dead = add_endpoint(app)
    add_backlog(app, dead, 2_000)
    with closing(Worker(app)) as worker, worker.connection.begin():
        plan = explained(
            worker,
            lambda: due_rows(worker.state).pick(
                worker.connection, worker.now, [PickRequest(dead, 15, on_demand=True)]
            ),
        )
    assert "ix_webhooks_delivery_on_demand" in plan


def test_state_leads_an_index_only_where_it_is_of_all_rows() -> None:
    """PostgreSQL before 18 would read the whole of a partial index that began with it."""

    def columns(**options: bool) -> dict[str, list[str]]:
        table = build_models(sa.MetaData(), **options).table("Delivery")
        return {
            str(index.name): [column.name for column in index.columns] for index in table.indexes
        }

    partial, full = columns(), columns(partial_indexes=False)
    assert not any("state" in names for names in partial.values())
    for name in ("due", "on_demand", "held", "lease", "failed"):
        assert full[f"ix_webhooks_delivery_{name}"][0] == "state"
    assert full["ix_webhooks_delivery_due"] == ["state", "endpoint_id", "due_at", "id"]


def analyze(app: Flask) -> None:
    """Let the database learn how many rows there are, as it does by itself in the long run."""
    with (
        state_of(app).engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection
    ):
        connection.execute(sa.text("ANALYZE"))


def plans(worker: Worker) -> str:
    """Explain every statement of a claim and of a look into the queue; none reads all deliveries."""
    claims: list[Claim] = []

    def work() -> None:
        claims.append(worker.claim(8))
        worker.next_due()

    found = explained(worker, work)
    worker.finish(claims[0])
    assert not re.search(
        r"Seq Scan on webhooks_delivery|SCAN (d|webhooks_delivery)\b(?!.*USING)", found
    )
    return found


def explained(worker: Worker, work: Callable[[], object]) -> str:
    """The plans of all statements of some work."""
    engine = worker.state.engine
    seen: list[tuple[str, Any]] = []

    def remember(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        seen.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", remember)
    try:
        work()
    finally:
        sa.event.remove(engine, "before_cursor_execute", remember)
    keyword = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    found = []
    with engine.connect() as connection:
        for statement, parameters in seen:
            rows = connection.exec_driver_sql(keyword + statement, parameters).all()
            found.append("\n".join([statement, *map(str, rows)]))
    return "\n".join(found)


def assert_indexes_are_used(worker: Worker) -> None:
    found = plans(worker)
    assert "ix_webhooks_delivery_due" in found
    assert "ix_webhooks_delivery_on_demand" in found
    assert "ix_webhooks_delivery_lease" in found


# -- looking ahead -------------------------------------------------------------------------------------


def next_due(app: Flask) -> float | None:
    """Seconds until the worker would look again."""
    with closing(Worker(app)) as worker:
        found = worker.next_due()
    return None if found is None else (found - database_time(app)).total_seconds()


def test_nothing_is_due_in_an_empty_queue(app: Flask) -> None:
    add_endpoint(app)
    assert next_due(app) is None


def test_next_retry_is_seen(app: Flask) -> None:
    add_endpoint(app)
    emit(app, 2)
    now = database_time(app)
    for row, seconds in zip(deliveries(app), (50, 30), strict=True):
        due_at = now + timedelta(seconds=seconds)
        update(app, "Delivery", row.id, due_at=due_at)
    assert next_due(app) == pytest.approx(30, abs=3)


@pytest.mark.parametrize("stop", ["held", "failing"])
def test_end_of_a_hold_is_seen(app: Flask, stop: str) -> None:
    STOPPED[stop](app, add_endpoint(app))
    emit(app)
    assert next_due(app) == pytest.approx(60, abs=3)


@pytest.mark.parametrize("stop", ["paused", "disabled"])
def test_what_waits_for_a_person_is_not_due(app: Flask, stop: str) -> None:
    stopped = add_endpoint(app)
    emit(app)
    STOPPED[stop](app, stopped)
    assert next_due(app) is None


@pytest.mark.parametrize("stop", STOPPED)
def test_what_a_person_asked_for_is_seen_though_it_was_put_off(app: Flask, stop: str) -> None:
    stopped = add_endpoint(app)
    emit(app)
    STOPPED[stop](app, stopped)
    due_at = database_time(app) + timedelta(seconds=20)
    [row] = deliveries(app)
    update(app, "Delivery", row.id, due_at=due_at, trigger="test")
    assert next_due(app) == pytest.approx(20, abs=3)


def test_end_of_a_lease_is_seen_and_is_work(app: Flask, worker: Worker) -> None:
    add_endpoint(app)
    emit(app)
    worker.claim()
    assert next_due(app) == pytest.approx(worker.state.settings.lease, abs=3)
    assert not worker.anything_due()
    worker.wait(60)
    assert worker.anything_due()


# -- the database's clock ------------------------------------------------------------------------------


class WrongClock(datetime):
    """A machine whose clock is an hour ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> WrongClock:
        return cls.fromtimestamp(time.time() + 3600, tz)


def test_leases_follow_the_database_and_not_the_local_clock(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_module, "datetime", WrongClock)
    add_endpoint(app)
    emit(app)
    with closing(Worker(app)) as worker:
        [(claimed, _)] = worker.claim().claimed
        left = claimed.lease_until - database_time(app)
        assert left.total_seconds() == pytest.approx(worker.state.settings.lease, abs=2)


def test_clock_is_the_databases_whatever_the_local_one_says(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "datetime", WrongClock)
    clock = DatabaseClock()
    with state_of(app).engine.connect() as connection:
        clock.read(connection)
    assert abs(clock.now() - database_time(app)) < timedelta(seconds=2)


def test_clock_goes_on_from_the_database_by_itself(app: Flask) -> None:
    clock = DatabaseClock()
    with state_of(app).engine.connect() as connection:
        before = clock.read(connection)
        time.sleep(0.05)
        assert timedelta(seconds=0.04) < clock.now() - before < timedelta(seconds=1)
        # SQLite's clock ticks in milliseconds.
        assert abs(clock.now() - clock.read(connection)) < timedelta(seconds=0.1)
    assert clock.now().tzinfo is UTC


def test_clock_is_never_behind_the_databases(app: Flask) -> None:
    clock = DatabaseClock()
    with slow_clock(app, lambda: None), state_of(app).engine.connect() as connection:
        clock.read(connection)
    moment = database_time(app)
    assert clock.now() >= moment


# -- endpoints -----------------------------------------------------------------------------------------


def test_change_of_an_endpoint_is_seen_by_the_next_claim(app: Flask, worker: Worker) -> None:
    changed = add_endpoint(app)
    emit(app, 1)
    [(_, target)] = worker.claim().claimed
    access = system_access(state_of(app), "tester")
    actions.update_endpoint(access, changed, url="https://example.org/new", headers={"X-A": "1"})
    new = actions.rotate_secret(access, changed, overlap_seconds=0)
    emit(app, 1)
    [(_, again)] = worker.claim().claimed
    assert (again.url, again.headers) == ("https://example.org/new", {"X-A": "1"})
    assert again.secrets == (new,)
    assert again.version > target.version


def test_endpoints_are_decrypted_once_and_anew_when_told(
    app: Flask, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_endpoint(app, headers={"X-Key": "hush"})
    opened = Counter[str]()
    open_ = Vault.decrypt

    def count(vault: Vault, sealed: Any) -> Any:
        opened["times"] += 1
        return open_(vault, sealed)

    monkeypatch.setattr(Vault, "decrypt", count)
    for expected in (2, 2, 4):
        if expected == 4:
            worker.claimer.forget()
        emit(app)
        worker.claim()
        assert opened["times"] == expected


@pytest.mark.parametrize("column", ["secrets_sealed", "headers_sealed", "url_sealed"])
def test_endpoint_that_cannot_be_decrypted_is_held_and_says_so(
    app: Flask, receiver: Receiver, column: str
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/ok/1"))
    webhooks_of(app).create_endpoint(receiver.url("/ok/2"))
    stranger = Vault.from_config([], ["another key"]).encrypt("x")
    before = getattr(endpoint(app, created.endpoint.id), column)
    emit(app, 3)
    drain(app)
    update(app, "Endpoint", created.endpoint.id, **{column: stranger})
    emit(app, 3)
    assert drain(app) == 3
    found = health(app, created.endpoint.id)
    assert found.hold_reason == "unreadable_secret"
    assert found.hold_until is not None
    assert 50 < (found.hold_until - database_time(app)).total_seconds() < 65
    waiting = [row for row in deliveries(app) if row.state != "succeeded"]
    assert {(row.state, row.attempt_count) for row in waiting} == {("pending", 0)}
    assert len(attempts(app)) == 9
    assert drain(app) == 0
    update(app, "Endpoint", created.endpoint.id, **{column: before})
    make_due(app)
    assert drain(app) == 3
    assert states(app) == {"succeeded": 12}
