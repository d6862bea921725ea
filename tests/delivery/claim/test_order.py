"""Ordered endpoints: one delivery after another, however many workers there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions
from tests.support.delivering import (
    attempts,
    deliveries,
    drain,
    emit,
    expire_leases,
    states,
    webhooks_of,
)
from tests.support.helpers import accessing, at_once, database_time, update
from tests.support.processes import OURS, WorkerProcess, config_of
from tests.support.receiver import Receiver
from tests.support.working import Worker, ended


@pytest.fixture
def worker(worker: Worker) -> Worker:
    """A worker whose time passes only when the test says so."""
    worker.wait(300)
    return worker


def add_ordered(app: Flask, url: str = "https://example.com/hook", **values: Any) -> str:
    endpoint_id = webhooks_of(app).create_endpoint(url).endpoint.id
    update(app, "Endpoint", endpoint_id, ordered=True, **values)
    return endpoint_id


def test_next_one_starts_when_the_one_before_has_ended(app: Flask, worker: Worker) -> None:
    add_ordered(app)
    ids = emit(app, 4)
    for event_id in ids:
        [flying] = worker.take()
        assert flying[0].event.id == event_id
        assert worker.take() == []
        worker.answer(flying)
    assert states(app) == {"succeeded": 4}


def test_next_one_goes_as_soon_as_the_one_before_is_answered(
    app: Flask, receiver: Receiver
) -> None:
    add_ordered(app, receiver.url("/slow/0.05"))
    emit(app, 12)
    assert drain(app) == 12
    took = receiver.requests[-1].at - receiver.requests[0].at
    # Each takes 0.05 s. A drain that missed that one had ended would look again a second later.
    assert took < 12 * 0.05 + 2
    assert receiver.most_in_flight["/slow/0.05"] == 1


LIMITED: dict[str, Callable[[Flask, str], None]] = {
    "ordered": lambda app, id_: update(app, "Endpoint", id_, ordered=True),
    "failing": lambda app, id_: update(
        app, "EndpointHealth", id_, probe_interval=60, failing_since=database_time(app)
    ),
}


@pytest.mark.parametrize("why", LIMITED)
def test_claim_says_that_the_limit_in_force_leaves_some_behind(
    app: Flask, worker: Worker, why: str
) -> None:
    endpoint_id = webhooks_of(app).create_endpoint("https://example.com/hook").endpoint.id
    LIMITED[why](app, endpoint_id)
    emit(app, 2)
    first = worker.claim()
    assert (len(first.claimed), first.limited) == (1, True)
    while_it_flies = worker.claim()
    assert (len(while_it_flies.claimed), while_it_flies.limited) == (0, True)


def test_failing_one_holds_the_rest_until_it_has_failed_for_good(
    app: Flask, worker: Worker
) -> None:
    add_ordered(app)
    first, second = emit(app, 2)
    tries = 1 + len(worker.state.settings.retry_schedule)
    for number in range(tries):
        [flying] = worker.take()
        assert (flying[0].event.id, flying[0].number) == (first, number + 1)
        worker.answer(flying, 500)
        if number + 1 < tries:
            # Its retry lies in the future, and the other one is due.
            assert worker.take() == []
            assert not worker.anything_due()
            soonest = worker.next_due()
            assert soonest is not None
            assert soonest > worker.now
        worker.wait(10)
    [flying] = worker.take()
    assert flying[0].event.id == second


@pytest.mark.parametrize("noticed", [False, True])
def test_order_is_that_of_the_ids_whatever_is_due_when(
    app: Flask, worker: Worker, noticed: bool
) -> None:
    """It was set to ordered when some deliveries had failed already."""
    endpoint_id = add_ordered(app)
    ids = emit(app, 3)
    worker.wait(100)
    if noticed:
        for row in deliveries(app):
            update(app, "Delivery", row.id, noticed=True)
        update(app, "EndpointHealth", endpoint_id, look_at=worker.now)
    for row in deliveries(app)[:2]:
        later = worker.now.replace(year=worker.now.year + 1)
        update(app, "Delivery", row.id, due_at=later)
    assert worker.take() == []
    assert worker.take() == []
    for row in deliveries(app)[:2]:
        update(app, "Delivery", row.id, due_at=worker.now)
    seen = []
    for _ in ids:
        [flying] = worker.take()
        seen.append(flying[0].event.id)
        worker.answer(flying)
    assert seen == ids


def test_next_one_goes_when_the_first_is_cancelled(app: Flask, worker: Worker) -> None:
    add_ordered(app)
    _, second = emit(app, 2)
    worker.answer(worker.take_one(), 500)
    assert worker.take() == []
    actions.cancel(accessing(app), deliveries(app)[0].id)
    [flying] = worker.take()
    assert flying[0].event.id == second


def test_what_was_given_back_or_interrupted_keeps_its_place(app: Flask, worker: Worker) -> None:
    add_ordered(app)
    first, _ = emit(app, 2)
    flying = worker.take_one()
    worker.answer(flying, None, outcome="interrupted")
    assert worker.take_one()[0].event.id == first
    expire_leases(app)
    assert worker.take() == []
    assert worker.recover(chance=lambda: 0.0) == 1
    assert worker.take_one()[0].event.id == first


@pytest.mark.parametrize("trigger", ["manual", "test"])
def test_what_a_person_asked_for_passes_by(app: Flask, worker: Worker, trigger: str) -> None:
    add_ordered(app)
    _, _, third = emit(app, 3)
    worker.take_one()
    update(app, "Delivery", deliveries(app)[2].id, trigger=trigger)
    [flying] = worker.take()
    assert flying[0].event.id == third


@pytest.mark.parametrize("behind", [0, 1])
def test_what_a_person_asked_for_gets_the_only_slot_too(
    app: Flask, worker: Worker, behind: int
) -> None:
    add_ordered(app)
    ids = emit(app, behind + 1)
    update(app, "Delivery", deliveries(app)[-1].id, trigger="test")
    order = []
    while taken := worker.take(room=1):
        order += [claimed.event.id for claimed, _ in taken]
        worker.settle(*map(ended, taken))
    assert order == ids


def test_cap_holds_where_a_person_asks_for_something(app: Flask) -> None:
    add_ordered(app)
    emit(app, 3)
    update(app, "Delivery", deliveries(app)[2].id, trigger="manual")
    with closing(Worker(app, endpoint_concurrency=1)) as worker:
        assert len(worker.take()) == 1
        assert worker.take() == []


def test_workers_at_once_keep_the_order(app: Flask) -> None:
    add_ordered(app)
    ids = emit(app, 25)
    seen: list[str] = []

    def run() -> None:
        with closing(Worker(app)) as worker:
            deadline = time.monotonic() + 60
            while len(seen) < 25 and time.monotonic() < deadline:
                for flying in worker.take():
                    seen.append(flying[0].event.id)
                    worker.settle(ended(flying))

    assert at_once(run, run, run, run) == [None] * 4
    assert seen == ids


@pytest.mark.slow
def test_order_is_kept_by_several_workers_through_failures(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    add_ordered(app, receiver.url("/flaky/1/ordered"))
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.02/free"))
    config = {
        **config_of(app),
        "WEBHOOKS_CONCURRENCY": 4,
        "WEBHOOKS_ENDPOINT_CONCURRENCY": 4,
        "WEBHOOKS_LINGER": 2.0,
        "WEBHOOKS_RETRY_SCHEDULE": [0.1, 0.2],
    }
    ids = emit(app, 20)
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(WorkerProcess(OURS, config, tmp_path / f"worker-{number}.log"))
        receiver.wait_for(60, 90)
    arrived = [request.id for request in receiver.requests if "ordered" in request.path]
    assert [(event_id, len(list(group))) for event_id, group in groupby(arrived)] == [
        (event_id, 2) for event_id in ids
    ]
    assert receiver.most_in_flight["/flaky/1/ordered"] == 1
    assert len(attempts(app)) >= 59
