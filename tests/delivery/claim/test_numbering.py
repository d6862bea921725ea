"""Numbers of deliveries: 1, 2, 3 … for each endpoint from the first claim on, each once and without a gap."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.claim import claim as claim_module
from flask_webhooks.delivery.claim import lease
from tests.support.delivering import (
    add_backlog,
    close,
    db_of,
    deliveries,
    drain,
    emit,
    expire_leases,
    health,
    make_app,
    make_due,
    webhooks_of,
)
from tests.support.helpers import accessing, add_endpoint, at_once
from tests.support.receiver import Receiver
from tests.support.working import Worker


def numbers(app: Flask, endpoint_id: str) -> list[int | None]:
    """Of the deliveries of an endpoint, oldest first."""
    return [row.sequence for row in deliveries(app) if row.endpoint_id == endpoint_id]


def is_contiguous(app: Flask, endpoint_id: str, count: int) -> bool:
    """Whether the numbers are 1 to so many, each once, and the endpoint's row has the last one."""
    found = sorted(number for number in numbers(app, endpoint_id) if number is not None)
    return found == list(range(1, count + 1)) and health(app, endpoint_id).last_sequence == count


def test_each_endpoint_counts_by_itself(app: Flask, receiver: Receiver) -> None:
    one = add_endpoint(app, receiver.url("/one"))
    other = add_endpoint(app, receiver.url("/other"), events=["license.created"])
    emit(app, 3)
    drain(app)
    emit(app, event_type="license.revoked")
    emit(app)
    drain(app)
    assert numbers(app, one.id) == [1, 2, 3, 4, 5]
    assert numbers(app, other.id) == [1, 2, 3, 4]
    sent = {(item.path, item.headers["webhook-sequence"]) for item in receiver.requests}
    assert sent == {("/one", str(n)) for n in range(1, 6)} | {
        ("/other", str(n)) for n in range(1, 5)
    }


def test_number_stays_through_retries_and_resends(app: Flask, receiver: Receiver) -> None:
    endpoint = add_endpoint(app, receiver.url("/flaky/1"))
    emit(app)
    drain(app)
    make_due(app)
    drain(app)
    actions.resend(accessing(app), deliveries(app)[0].id)
    emit(app)
    drain(app)
    came = [(item.id, item.headers["webhook-sequence"]) for item in receiver.requests]
    first, second = (row.event_id for row in deliveries(app))
    assert [number for event_id, number in came if event_id == first] == ["1"] * 3
    assert {number for event_id, number in came if event_id == second} == {"2"}
    assert is_contiguous(app, endpoint.id, 2)


def test_tests_and_chats_are_sent_no_number(app: Flask, receiver: Receiver) -> None:
    endpoint = add_endpoint(app, receiver.url())
    actions.send_test(accessing(app), endpoint.id)
    drain(app)
    emit(app)
    drain(app)
    test, event = receiver.requests
    assert "webhook-sequence" not in test.headers
    assert event.headers["webhook-sequence"] == "1"
    assert numbers(app, endpoint.id) == [None, 1]


def test_what_was_cancelled_before_it_was_claimed_has_none(app: Flask, receiver: Receiver) -> None:
    endpoint = add_endpoint(app, receiver.url())
    emit(app, 2)
    actions.cancel(accessing(app), deliveries(app)[0].id)
    drain(app)
    assert numbers(app, endpoint.id) == [None, 1]
    # It gets the next one when a person wants it all the same.
    actions.resend(accessing(app), deliveries(app)[0].id)
    drain(app)
    assert numbers(app, endpoint.id) == [2, 1]


def test_number_stays_when_a_worker_is_lost_before_it_sends(app: Flask) -> None:
    endpoint = add_endpoint(app)
    emit(app, 2)
    with closing(Worker(app)) as lost:
        before = {claimed.delivery_id: claimed.sequence for claimed, _ in lost.take()}
    assert set(before.values()) == {1, 2}
    expire_leases(app)
    with closing(Worker(app)) as worker:
        worker.wait(3600)
        assert worker.recover() == 2
        emit(app)
        worker.wait(3600)
        after = {claimed.delivery_id: claimed.sequence for claimed, _ in worker.take()}
    assert before.items() <= after.items()
    assert is_contiguous(app, endpoint.id, 3)


class Lost(Exception):
    """The worker or its database is gone."""


def test_claim_that_is_rolled_back_gives_out_no_number(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = add_endpoint(app)
    emit(app, 3)

    def fail(*arguments: object) -> None:
        raise Lost

    with closing(Worker(app)) as worker:
        with monkeypatch.context() as patch:
            # After the numbers were written.
            patch.setattr(claim_module, "read_events", fail)
            with pytest.raises(Lost):
                worker.take()
        assert numbers(app, endpoint.id) == [None] * 3
        assert health(app, endpoint.id).last_sequence == 0
        assert [claimed.sequence for claimed, _ in worker.take()] == [1, 2, 3]
    assert is_contiguous(app, endpoint.id, 3)


def test_numbers_move_up_when_a_row_is_cancelled_while_it_is_claimed(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the lease, as a person's request or the removal of events may."""
    first, second = add_endpoint(app), add_endpoint(app)
    emit(app, 4)
    table = state_of(app).table("Delivery")
    gone = [row.id for row in deliveries(app) if row.endpoint_id == first.id][1]
    lease_rows = lease.lease_rows

    def cancel_first(state: object, connection: sa.Connection, *arguments: object) -> object:
        # By the same connection: on SQLite no other can write now.
        connection.execute(
            sa.update(table).where(table.c.id == gone).values(state="cancelled", due_at=None)
        )
        return lease_rows(state, connection, *arguments)  # type: ignore[arg-type]

    with closing(Worker(app)) as worker:
        with monkeypatch.context() as patch:
            patch.setattr(claim_module, "lease_rows", cancel_first)
            taken = {claimed.delivery_id: claimed.sequence for claimed, _ in worker.take()}
        assert numbers(app, first.id) == [1, None, 2, 3]
        assert taken == {row.id: row.sequence for row in deliveries(app) if row.id != gone}
        emit(app)
        worker.take()
    assert is_contiguous(app, first.id, 4)
    assert is_contiguous(app, second.id, 5)


@pytest.mark.slow
def test_workers_side_by_side_give_out_each_number_once(app: Flask) -> None:
    endpoints = [add_endpoint(app).id for _ in range(3)]
    for endpoint_id in endpoints:
        add_backlog(app, endpoint_id, 300)

    def run() -> int:
        count = idle = 0
        with closing(Worker(app, endpoint_concurrency=7)) as worker:
            while idle < 20:
                claim = worker.claim(16)
                count += len(claim.claimed)
                worker.finish(claim)
                idle = 0 if claim.claimed else idle + 1
                time.sleep(0 if claim.claimed else 0.01)
        return count

    counts = at_once(*[run] * 4)
    assert sum(count for count in counts if isinstance(count, int)) == 900, counts
    assert all(is_contiguous(app, endpoint_id, 300) for endpoint_id in endpoints)


@contextmanager
def _watching(app: Flask, waits: list[str]) -> Iterator[None]:
    """Note which transactions wait for another one's lock, as PostgreSQL tells it, every few milliseconds."""
    over = threading.Event()
    query = sa.text(
        # `extend`: two backends that add a page to a table at once, whatever they write.
        "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND wait_event <> 'extend' AND datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
    )

    def watch() -> None:
        with (
            state_of(app)
            .engine.connect()
            .execution_options(isolation_level="AUTOCOMMIT") as connection
        ):
            while not over.wait(0.002):
                waits.extend(connection.scalars(query))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def busy(database_url: str, redis_url: str) -> Iterator[Flask]:
    """A host with a connection for each of many threads."""
    pool = {"pool_size": 32}
    app = make_app(database_url, redis_url, SQLALCHEMY_ENGINE_OPTIONS=pool)
    with app.app_context():
        yield app
        close(app)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_host_transactions_to_one_endpoint_do_not_wait_for_each_other(busy: Flask) -> None:
    """16 hosts emit to one endpoint and keep their transactions open, while a worker numbers what was committed."""
    app = busy
    endpoint = add_endpoint(app)
    hosts, rounds = 16, 5
    all_open = threading.Barrier(hosts)
    waits: list[str] = []

    def host() -> float:
        longest = 0.0
        with app.app_context():
            for _ in range(rounds):
                began = time.monotonic()
                webhooks_of(app).emit("license.created", {"license_id": "lic_1"})
                db_of(app).session.flush()
                longest = max(longest, time.monotonic() - began)
                # None could come here if it waited for the lock of one that is.
                all_open.wait(100)
                db_of(app).session.commit()
            db_of(app).session.remove()
        return longest

    def worker() -> float:
        with closing(Worker(app, endpoint_concurrency=1000)) as claiming:
            until = time.monotonic() + 110
            while health(app, endpoint.id).last_sequence < hosts * rounds:
                assert time.monotonic() < until
                claiming.finish(claiming.claim())
        return 0.0

    with _watching(app, waits):
        results = at_once(*[host] * hosts, worker)
    assert all(isinstance(item, float) for item in results), results
    assert waits == []
    assert is_contiguous(app, endpoint.id, hosts * rounds)
