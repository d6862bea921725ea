"""The health policy as a whole, with the database, and with workers that settle at the same time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, signals
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.audit_log import ACTOR
from tests.support.delivering import deliveries, drain, emit, endpoint, health, states, webhooks_of
from tests.support.helpers import accessing, activity, add_endpoint, at_once, database_time, update
from tests.support.receiver import Receiver
from tests.support.working import Worker, ended

HEALTH = (signals.endpoint_failing, signals.endpoint_recovered, signals.endpoint_disabled)
DAY = timedelta(days=1)


@contextmanager
def listening() -> Iterator[Counter[tuple[str, Any]]]:
    """The signals about endpoints, with what tells the three kinds of `endpoint_failing` apart."""
    heard: Counter[tuple[str, Any]] = Counter()
    lock = threading.Lock()
    with ExitStack() as stack:
        for signal in HEALTH:

            def receive(sender: Any, name: str = signal.name, **values: Any) -> None:
                with lock:
                    heard[name, values.get("disable_progress")] += 1

            stack.enter_context(signal.connected_to(receive))
        yield heard


def settling(worker: Worker, *batches: list[Any]) -> Callable[[], None]:
    """Settle batches one after the other."""

    def run() -> None:
        for batch in batches:
            worker.settle(*batch)

    return run


def together(app: Flask, status: int, number: int = 12) -> None:
    """Two workers get answers of one endpoint, and settle them, half by half, at the same time."""
    with closing(Worker(app)) as one, closing(Worker(app)) as other:
        taken = one.take(number)
        assert len(taken) == number
        other.catch_up()
        halves = [taken[: number // 2], taken[number // 2 :]]
        runs = [
            settling(worker, *([ended(flying, status)] for flying in half))
            for worker, half in zip((one, other), halves, strict=True)
        ]
        assert at_once(*runs) == [None, None]


def age(app: Flask, endpoint_id: str, days: float, **values: Any) -> None:
    """Make an incident that began so long ago."""
    since = database_time(app) - days * DAY
    table = state_of(app).table("EndpointHealth")
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.endpoint_id == endpoint_id)
            .values(failing_since=since, last_failure_at=since, **values)
        )


# -- races ---------------------------------------------------------------------------------------------


def test_two_workers_begin_one_incident(app: Flask) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 12)
    with listening() as heard:
        together(app, 500)
    assert heard == {("endpoint-failing", 0): 1}
    found = health(app, created.id)
    assert (found.consecutive_failures, found.probe_interval) == (12, 60.0)


@pytest.mark.parametrize(("days", "mark"), [(2.6, 50), (4.6, 90)])
def test_two_workers_warn_once(app: Flask, days: float, mark: int) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 12)
    age(app, created.id, days)
    with listening() as heard:
        together(app, 500)
    assert heard == {("endpoint-failing", mark): 1, ("endpoint-failing", 0): 1}
    assert health(app, created.id).warned == mark


@pytest.mark.parametrize("status", [500, 410])
def test_two_workers_disable_once(app: Flask, status: int) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 20)
    if status == 500:
        age(app, created.id, 6, warned=90)
    with listening() as heard:
        together(app, status)
    assert heard["endpoint-disabled", None] == 1
    found = endpoint(app, created.id)
    assert (found.state, found.version) == ("disabled", created.version + 1)
    [row] = [item for item in activity(app) if item.action == "endpoint.disabled"]
    assert (row.actor, row.endpoint_id, row.tenant) == (ACTOR, created.id, created.tenant)
    assert row.changes is not None
    assert row.changes["state"] == ["active", "disabled"]
    assert row.changes["reason"] == found.state_reason
    # The rest is held, and what failed a moment later too.
    expected = {"held": 20} if status == 500 else {"held": 8, "failed": 12}
    assert states(app) == expected


def test_two_workers_recover_it_once(app: Flask) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 30)
    with closing(Worker(app)) as worker:
        flying = worker.take(16)
        worker.settle(*(ended(item, 500) for item in flying[:6]))
        assert health(app, created.id).probe_interval is not None
        with closing(Worker(app)) as other, listening() as heard:
            other.catch_up()
            runs = [
                settling(one, *([ended(item, 200)] for item in half))
                for one, half in ((worker, flying[6:11]), (other, flying[11:]))
            ]
            assert at_once(*runs) == [None, None]
    assert heard == {("endpoint-recovered", None): 1}
    found = health(app, created.id)
    assert (found.consecutive_failures, found.hold_until, found.warned) == (0, None, 0)


def test_two_workers_send_one_probe(app: Flask) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 30)
    with closing(Worker(app)) as one, closing(Worker(app)) as other:
        one.settle(*(ended(flying, 500) for flying in one.take(6)))
        for worker in (one, other):
            worker.catch_up()
            worker.wait(61)
        taken = at_once(one.take, other.take)
        probes = [len(found) for found in taken if not isinstance(found, Exception)]
        assert sorted(probes) == [0, 1]
    assert health(app, created.id).probe_interval is not None


# -- one incident from its beginning to its end ---------------------------------------------------------


@pytest.mark.slow
def test_recovery_releases_the_backlog_to_the_same_drain(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/status/500"), ["license.*"]).endpoint
    emit(app, 40)
    with listening() as heard:
        # By the first failure: more could be claimed while outcomes are settled one by one.
        drain(app, endpoint_concurrency=5, failing_after=1, retry_schedule=(0.2, 0.2))
        assert heard == {("endpoint-failing", 0): 1}
        assert sum(row.attempt_count == 0 for row in deliveries(app)) == 35
        update(app, "Endpoint", created.id, url_shown=receiver.url("/ok"), version=2)
        update(app, "EndpointHealth", created.id, hold_until=database_time(app))
        drain(app, endpoint_concurrency=5, linger=2.0)
    assert heard == {("endpoint-failing", 0): 1, ("endpoint-recovered", None): 1}
    assert states(app) == {"succeeded": 40}


def test_next_incident_is_told_anew(app: Flask, worker: Worker) -> None:
    created = add_endpoint(app, events=["license.*"])
    for _ in range(2):
        emit(app, 12)
        with listening() as heard:
            worker.settle(*(ended(flying, 500) for flying in worker.take(6)))
            worker.wait(61)
            age(app, created.id, 3)
            worker.answer(worker.take_one(), 500)
            worker.wait(121)
            worker.answer(worker.take_one(), 200)
        assert heard == {
            ("endpoint-failing", 0): 1,
            ("endpoint-failing", 50): 1,
            ("endpoint-recovered", None): 1,
        }
        worker.wait(86_400)
        worker.answer_all(200)
        assert states(app).keys() == {"succeeded"}


@pytest.mark.parametrize("state", ["active", "paused", "disabled"])
def test_recovery_is_told_of_an_endpoint_to_which_something_is_sent(
    app: Flask, worker: Worker, state: str
) -> None:
    """To one that is not active, a test may succeed; what is held for it stays held."""
    access, created = accessing(app), add_endpoint(app, events=["license.*"])
    other = add_endpoint(app, events=["endpoint.*"])
    emit(app, 7)
    worker.settle(*(ended(flying, 500) for flying in worker.take(5)))
    assert health(app, created.id).probe_interval is not None
    if state == "paused":
        actions.pause_endpoint(access, created.id)
    elif state == "disabled":
        update(app, "Endpoint", created.id, state="disabled")
    test = actions.send_test(access, created.id)
    with listening() as heard:
        mine = [flying for flying in worker.take() if flying[0].delivery_id == test.id]
        worker.settle(*(ended(flying, 200) for flying in mine))
    assert len(mine) == 1
    told = 1 if state == "active" else 0
    assert heard == Counter({("endpoint-recovered", None): told} if told else {})
    rows = [row for row in deliveries(app) if row.endpoint_id == other.id]
    assert [row.event_type for row in rows].count("endpoint.recovered") == told
    # The success counts all the same.
    found = health(app, created.id)
    assert (found.probe_interval, found.consecutive_failures) == (None, 0)


def test_one_that_was_resumed_begins_with_a_clean_record(app: Flask, worker: Worker) -> None:
    """The next failure must not disable it at once for what was before."""
    created = add_endpoint(app, events=["license.*"])
    emit(app, 3)
    age(app, created.id, 6, warned=90)
    worker.answer(worker.take_one(), 500)
    assert endpoint(app, created.id).state == "disabled"
    actions.resume_endpoint(accessing(app), created.id)
    with listening() as heard:
        worker.answer(worker.take_one(), 500)
    assert (endpoint(app, created.id).state, heard) == ("active", {})
    assert health(app, created.id).consecutive_failures == 1


def test_interruption_is_no_failure_of_the_endpoint(app: Flask) -> None:
    created = add_endpoint(app, events=["license.*"])
    emit(app, 10)
    with closing(Worker(app)) as worker, listening() as heard:
        worker.take(10)
        worker.wait(60)
        assert worker.recover() == 10
    assert heard == {}
    assert health(app, created.id).consecutive_failures == 0
