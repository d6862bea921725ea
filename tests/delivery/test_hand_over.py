"""A drain whose time is up has another one go on, and goes on itself as long as it cannot."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import pytest
import redis
import rq
from flask import Flask

from demo.services import RedisServer
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.drain import UNRELIEVED, Drain
from flask_webhooks.delivery.in_flight import InFlight
from flask_webhooks.delivery.outcome import Claimed, Released
from flask_webhooks.formats import Target
from flask_webhooks.wakeup.worker_queue import WorkerQueue
from tests.support.delivering import (
    close,
    drain,
    emit,
    make_app,
    states,
    webhooks_of,
    with_settings,
)
from tests.support.middlebox import Middlebox
from tests.support.processes import PLAIN, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

SHORT = {"drain_time": 1.0, "endpoint_concurrency": 2}


def jobs(redis_url: str) -> rq.Queue:
    return rq.Queue("webhooks", connection=redis.Redis.from_url(redis_url))


@pytest.mark.slow
def test_drain_goes_on_until_redis_takes_its_hand_over(
    app: Flask, receiver: Receiver, redis_server: RedisServer, redis_url: str
) -> None:
    """Where a plain worker runs, nothing else would have the rest delivered."""
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.05"))
    emit(app, 300)
    queue = jobs(redis_url)
    queue.empty()  # type: ignore[no-untyped-call]

    def hang() -> None:
        receiver.wait_for(5)
        redis_server.pause()
        time.sleep(2.5)
        redis_server.resume()

    outage = threading.Thread(target=hang)
    outage.start()
    delivered = Drain(with_settings(state_of(app), **SHORT)).run()
    outage.join()
    # More than there is time for before Redis was back, so that it was over while more was due.
    assert delivered < 300, states(app)
    assert len(queue) == 1, states(app)


@pytest.mark.slow
def test_plain_worker_delivers_all_though_redis_hangs_as_a_drain_ends(
    app: Flask, receiver: Receiver, redis_server: RedisServer, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.05"))
    emit(app, 100)
    settings = {"WEBHOOKS_DRAIN_TIME": 1.0, "WEBHOOKS_ENDPOINT_CONCURRENCY": 2}
    with WorkerProcess(PLAIN, {**config_of(app), **settings}, tmp_path / "worker.log") as worker:
        receiver.wait_for(5)
        redis_server.pause()
        time.sleep(2.5)
        redis_server.resume()
        wait_until(lambda: states(app) == {"succeeded": 100}, 30, what=worker.output)


def test_drain_that_does_not_linger_sends_what_it_gave_back(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    launch = InFlight.launch
    given_back: list[str] = []

    def give_back_once(flight: InFlight, claimed: Claimed, target: Target) -> None:
        if given_back:
            launch(flight, claimed, target)
        else:
            given_back.append(claimed.delivery_id)
            flight.release([Released(claimed)])

    monkeypatch.setattr(InFlight, "launch", give_back_once)
    assert drain(app, linger=0.0, endpoint_concurrency=8) == 1
    assert given_back


@pytest.mark.slow
def test_drain_hands_over_once_though_redis_answers_late(
    app: Flask, receiver: Receiver, redis_server: RedisServer, redis_url: str
) -> None:
    """Each answer comes in time, and all of them together do not: the drain goes on, and then has nothing to add."""
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.05"))
    emit(app, 400)
    queue = jobs(redis_url)
    queue.empty()  # type: ignore[no-untyped-call]
    with Middlebox(redis_server.port, delay=0.2) as box:
        far = redis_url.replace(f":{redis_server.port}", f":{box.port}")
        state = with_settings(state_of(app), **SHORT, redis_url=far, wake_pause=0.5)
        state = dataclasses.replace(state, worker_queue=WorkerQueue(state.settings))
        assert Drain(state).run() < 400
    assert len(queue) == 1


@pytest.mark.parametrize("lease", [15.0, 60.0, 3600.0])
def test_rq_gives_a_drain_that_cannot_hand_over_the_time_that_it_may_take(
    redis_url: str, tmp_path: Path, lease: float
) -> None:
    app = make_app(f"sqlite:///{tmp_path}/a.sqlite", redis_url, WEBHOOKS_LEASE=lease)
    state = state_of(app)
    with state.worker_queue.connect() as client:
        state.worker_queue.enqueue(client)
    [job] = jobs(redis_url).jobs
    longest = 2 * state.settings.drain_time + UNRELIEVED
    # A claim that began just before, its requests, and their settlement: the database is waited for that long.
    assert (job.timeout or 0) > longest + 3 * lease
    close(app)
