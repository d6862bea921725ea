"""Rate limits and shared buckets: held over all workers, by the database alone."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.db.clock import DatabaseClock
from flask_webhooks.delivery.claim import rate_limit as rates
from flask_webhooks.delivery.http.client import Client
from flask_webhooks.delivery.in_flight import InFlight
from tests.support.delivering import attempts, deliveries, drain, emit, health, states, webhooks_of
from tests.support.helpers import at_once, update
from tests.support.processes import OURS, WorkerProcess, config_of
from tests.support.receiver import Receiver
from tests.support.working import Worker, ended

SECOND = timedelta(seconds=1)


@pytest.fixture
def worker(worker: Worker) -> Worker:
    """A worker whose time passes only when the test says so."""
    worker.wait(300)
    return worker


def add_endpoint(app: Flask, url: str = "https://example.com/hook", **values: Any) -> str:
    created = webhooks_of(app).create_endpoint(url)
    if values:
        update(app, "Endpoint", created.endpoint.id, **values)
    return created.endpoint.id


def most_in_a_second(times: Sequence[float], window: float = 1.0) -> int:
    """The most requests that any second saw, wherever it began."""
    return max(sum(1 for other in times if start <= other < start + window) for start in times)


@pytest.mark.parametrize(
    ("rate", "most", "window"),
    [
        (0.1, 1, 10.0),
        (0.5, 1, 2.0),
        (1.0, 1, 1.0),
        (1.5, 3, 2.0),
        (3.0, 3, 1.0),
        (7.5, 15, 2.0),
        (7.25, 29, 4.0),
        (100.0, 100, 1.0),
    ],
)
def test_no_second_holds_more_turns_than_the_limit_even_if_the_first_is_late(
    rate: float, most: int, window: float
) -> None:
    """A fraction is held exactly in the seconds in which it is a whole number."""
    step = rates.interval(rate).total_seconds()
    turns = [number * step for number in range(int(rate * 20) + 20)]
    for late in (0.0, rates.TOLERANCE):
        sent = [turn + (late if number == 0 else 0.0) for number, turn in enumerate(turns)]
        assert most_in_a_second(sent, window) <= most
        assert most_in_a_second(sent) <= math.ceil(rate)
    # And not much is given away.
    assert step < 1.2 / rate


def test_fraction_of_a_limit_is_not_left_out() -> None:
    assert rates.interval(7.0) > rates.interval(7.5) > rates.interval(8.0)
    assert rates.interval(1.0) > rates.interval(1.9) > rates.interval(2.0)
    assert rates.interval(7.5) * 15 > 2 * SECOND


def test_claim_gives_turns_one_after_another_and_not_far_ahead(app: Flask, worker: Worker) -> None:
    limited = add_endpoint(app, rate_limit=10.0)
    emit(app, 30)
    claim = worker.claim()
    turns = [claimed.not_before for claimed, _ in claim.claimed]
    assert all(turn is not None for turn in turns)
    assert turns[0] == worker.now
    steps = {later - earlier for earlier, later in pairwise(turns) if earlier and later}
    assert steps == {rates.interval(10.0)}
    assert len(turns) == 9
    # Nobody gets more until the time is near, and the drain knows when that is.
    assert worker.claim().claimed == []
    assert claim.again is not None
    assert health(app, limited).wait_until == claim.again
    assert worker.now < claim.again < worker.now + SECOND
    worker.now = claim.again + timedelta(milliseconds=1)
    more = worker.claim().claimed
    assert len(more) == 1
    last = more[0][0].not_before
    assert last is not None
    assert turns[-1] is not None
    assert last - turns[-1] == rates.interval(10.0)


def test_next_look_is_when_the_limit_lets_something_through(app: Flask, worker: Worker) -> None:
    add_endpoint(app, rate_limit=0.1)
    emit(app, 3)
    worker.finish(worker.claim())
    began = worker.now
    assert worker.claim().claimed == []
    soonest = worker.next_due()
    assert soonest is not None
    assert began + 8 * SECOND < soonest < began + 11 * SECOND
    assert not worker.anything_due()
    worker.now = soonest
    assert worker.anything_due()
    assert len(worker.claim().claimed) == 1


def test_limited_endpoint_holds_up_nobody(app: Flask, worker: Worker) -> None:
    limited, free = add_endpoint(app, rate_limit=1.0), add_endpoint(app)
    emit(app, 10)
    assert [claimed.endpoint_id for claimed, _ in worker.take()].count(limited) == 1
    assert {claimed.endpoint_id for claimed, _ in worker.take()} <= {free}


def test_limit_is_one_for_all_workers(app: Flask) -> None:
    add_endpoint(app, rate_limit=20.0)
    emit(app, 60)

    def run() -> list[Any]:
        with closing(Worker(app)) as worker:
            worker.wait(300)
            found: list[Any] = []
            for _ in range(12):
                found += [claimed.not_before for claimed, _ in worker.take(3)]
                worker.wait(0.05)
            return found

    found: list[Any] = []
    for result in at_once(run, run, run, run):
        assert isinstance(result, list), result
        found += result
    assert len(found) > 10
    assert all(
        later - earlier >= rates.interval(20.0) for earlier, later in pairwise(sorted(found))
    )


def test_endpoints_of_one_bucket_share_the_strictest_limit(app: Flask, worker: Worker) -> None:
    endpoints = [add_endpoint(app, bucket="bot", rate_limit=rate) for rate in (4.0, 30.0, None)]
    emit(app, 10)
    claim = worker.claim()
    turns = sorted(claimed.not_before for claimed, _ in claim.claimed if claimed.not_before)
    assert len(turns) == len(claim.claimed) == 4
    assert {later - earlier for earlier, later in pairwise(turns)} == {rates.interval(4.0)}
    assert {claimed.endpoint_id for claimed, _ in claim.claimed} == set(endpoints)


def test_every_endpoint_of_a_bucket_has_its_turn(app: Flask, worker: Worker) -> None:
    endpoints = {add_endpoint(app, bucket="bot", rate_limit=2.0) for _ in range(5)}
    emit(app, 20)
    seen = []
    for _ in range(40):
        claim = worker.claim()
        seen += [claimed.endpoint_id for claimed, _ in claim.claimed]
        worker.finish(claim)
        worker.wait(0.3)
    assert {*seen} == endpoints
    counts = [seen.count(endpoint_id) for endpoint_id in endpoints]
    assert max(counts) - min(counts) <= 3


@pytest.mark.parametrize("status", [200, 429])
def test_pause_that_a_receiver_asks_for_holds_the_whole_bucket(
    app: Flask, worker: Worker, status: int
) -> None:
    one, other = add_endpoint(app, bucket="bot"), add_endpoint(app, bucket="bot")
    alone = add_endpoint(app)
    emit(app, 2)
    taken = worker.take()
    [first, *rest] = [flying for flying in taken if flying[0].endpoint_id == one]
    # Without a limit there is no turn to miss: a busy worker must not give it back for being late.
    assert first[0].not_before is None
    worker.settle(ended(first, status, retry_after=30.0))
    worker.settle(*(ended(flying) for flying in taken if flying is not first))
    assert rest
    emit(app, 1)
    assert {claimed.endpoint_id for claimed, _ in worker.take()} == {alone}
    assert health(app, other).hold_until is None
    soonest = worker.next_due()
    assert soonest is not None
    worker.now += 31 * SECOND
    assert {claimed.endpoint_id for claimed, _ in worker.take()} == {one, other}


def test_what_a_person_asked_for_keeps_the_limit_too(app: Flask, worker: Worker) -> None:
    add_endpoint(app, rate_limit=1.0)
    emit(app, 5)
    for row in deliveries(app):
        update(app, "Delivery", row.id, trigger="manual")
    assert len(worker.take()) == 1
    assert worker.take() == []


def test_request_that_misses_its_turn_gives_it_back(app: Flask, worker: Worker) -> None:
    add_endpoint(app, rate_limit=5.0)
    emit(app)
    claimed, target = worker.take_one()
    missed = datetime.now(UTC) - timedelta(seconds=2 * rates.TOLERANCE)
    late = dataclasses.replace(claimed, not_before=missed, lease_until=missed + 60 * SECOND)
    state = state_of(app)
    client = Client(state.policy, 0)
    flight = InFlight(state, client, DatabaseClock())
    flight.launch(late, target)
    flight.advance()
    client.close()
    sent, released = flight.take_outcomes(1)
    assert (sent, [item.claimed for item in released]) == ([], [late])
    worker.settle(released=released)
    [row] = deliveries(app)
    assert (row.state, row.attempt_count) == ("pending", 0)


@pytest.mark.slow
def test_drain_waits_for_turns(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url(), rate_limit=8.0)
    emit(app, 12)
    assert drain(app, linger=2.0) == 12
    # When they began: on a busy machine the receiver notices some of them late.
    assert most_in_a_second([item.started_at.timestamp() for item in attempts(app)]) <= 8
    assert states(app) == {"succeeded": 12}


@pytest.mark.slow
def test_rate_limits_hold_over_four_workers_and_a_flush(
    app: Flask, receiver: Receiver, redis_url: str, tmp_path: Path
) -> None:
    """A limit of its own, and one that two share, beside an endpoint without."""
    add_endpoint(app, receiver.url("/ok/own"), rate_limit=10.0)
    for name in ("one", "two"):
        add_endpoint(app, receiver.url(f"/ok/shared/{name}"), rate_limit=5.0, bucket="bot")
    add_endpoint(app, receiver.url("/ok/free"))
    config = {
        **config_of(app),
        # So that one drain alone cannot take everything, and calls for the others.
        "WEBHOOKS_CONCURRENCY": 4,
        "WEBHOOKS_ENDPOINT_CONCURRENCY": 4,
        "WEBHOOKS_LINGER": 2.0,
    }
    emit(app, 30)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(WorkerProcess(OURS, config, tmp_path / f"worker-{number}.log"))
            for number in range(4)
        ]
        receiver.wait_for(60, 60)
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        receiver.wait_for(120, 90)
        assert all(worker.process.poll() is None for worker in workers)
    arrived = Counter(request.path.split("/")[2] for request in receiver.requests)
    assert arrived == {"own": 30, "shared": 60, "free": 30}
    # When they began: on a busy machine the receiver notices some of them late.
    began: dict[str, list[float]] = {"own": [], "shared": [], "free": []}
    for item in attempts(app):
        began[item.url.split("/")[4]].append(item.started_at.timestamp())
    assert most_in_a_second(began["own"]) <= 10
    assert most_in_a_second(began["shared"]) <= 5
    assert set(receiver.ids().values()) == {4}
