"""No delivery is claimed twice at the same time, however many workers there are."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DBAPIError

from flask_webhooks import ids
from flask_webhooks.app_state import state_of
from flask_webhooks.columns import utc_now
from flask_webhooks.db.errors import may_pass
from tests.support import mariadb
from tests.support.delivering import close, emit, make_app, states, webhooks_of
from tests.support.helpers import at_once, update
from tests.support.processes import OURS, WorkerProcess, config_of
from tests.support.receiver import Receiver
from tests.support.working import Worker, ended

pytestmark = pytest.mark.slow

T = TypeVar("T")

WORKERS, ENDPOINTS, COUNT = 8, 40, 50_000
#: MariaDB takes five times as long as PostgreSQL.
COUNT_ON_MARIADB = 10_000


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def anywhere(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[Flask]:
    """The host on each database that we support."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / 'database.sqlite'}"
        elif request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            server.start()
            url = server.create_database("claim_safety")
            stack.callback(server.drop_database, "claim_safety")
        elif mariadb.installed():
            url = stack.enter_context(mariadb.mariadb(tmp_path))
        else:
            pytest.skip("needs mariadbd and mariadb-install-db: apt-get install mariadb-server")
        app = make_app(url, redis_url, SQLITE_IMMEDIATE=request.param == "sqlite")
        with app.app_context():
            yield app
            close(app)


def add_many(app: Flask, endpoint_ids: list[str], count: int) -> None:
    """Many deliveries that are due now, spread over endpoints; also where there is no recursion so deep."""
    state = state_of(app)
    event, delivery = state.table("Event"), state.table("Delivery")
    batch = 5000
    for first in range(0, count, batch):
        events = [ids.new_id("evt") for _ in range(min(batch, count - first))]
        common = {"type": "license.created", "data": {}}
        with state.engine.begin() as connection:
            connection.execute(
                sa.insert(event).values(occurred_at=utc_now()),
                [{"id": event_id, **common} for event_id in events],
            )
            connection.execute(
                sa.insert(delivery).values(due_at=utc_now()),
                [
                    {
                        "id": ids.new_id("dlv"),
                        "event_id": event_id,
                        "endpoint_id": endpoint_ids[number % len(endpoint_ids)],
                        "event_type": "license.created",
                        "state": "pending",
                        "trigger": "event",
                    }
                    for number, event_id in enumerate(events)
                ],
            )


def patiently(call: Callable[[], T]) -> T:
    """As a drain does: whom the database chose to end a deadlock begins again."""
    for _ in range(20):
        try:
            return call()
        except DBAPIError as error:
            if not may_pass(error):
                raise
            time.sleep(0.05)
    return call()


@pytest.mark.timeout(900)
def test_invariant_7_the_cap_holds_while_eight_workers_claim_each_of_many_deliveries_once(
    anywhere: Flask,
) -> None:
    app = anywhere
    mariadb_runs = state_of(app).engine.dialect.name not in ("sqlite", "postgresql")
    count = COUNT_ON_MARIADB if mariadb_runs else COUNT
    webhooks = webhooks_of(app)
    endpoint_ids = [
        webhooks.create_endpoint(f"https://example.com/{number}").endpoint.id
        for number in range(ENDPOINTS)
    ]
    # Each way through a claim has its part.
    for endpoint_id in endpoint_ids[:5]:
        update(app, "Endpoint", endpoint_id, bucket="shared")
    add_many(app, endpoint_ids, count)
    guard = threading.Lock()
    held: set[str] = set()
    claims: Counter[str] = Counter()
    most: Counter[str] = Counter()
    flying: Counter[str] = Counter()

    def run() -> int:
        settled = 0
        with closing(Worker(app, endpoint_concurrency=16, lease=600.0)) as worker:
            idle = 0
            while idle < 200 and claims.total() < count:
                taken = patiently(partial(worker.take, 256))
                idle = 0 if taken else idle + 1
                with guard:
                    for claimed, _ in taken:
                        assert claimed.delivery_id not in held
                        held.add(claimed.delivery_id)
                        claims[claimed.delivery_id] += 1
                        flying[claimed.endpoint_id] += 1
                        now = flying[claimed.endpoint_id]
                        most[claimed.endpoint_id] = max(most[claimed.endpoint_id], now)
                if not taken:
                    continue
                with guard:
                    # Before it is written: from then on others may have the place.
                    for claimed, _ in taken:
                        held.remove(claimed.delivery_id)
                        flying[claimed.endpoint_id] -= 1
                sent = [ended(item) for item in taken]
                result = patiently(partial(worker.settle, *sent))
                assert result.stale == 0
                settled += len(taken)
        return settled

    results = at_once(*[run] * WORKERS)
    assert all(isinstance(result, int) for result in results), results
    assert claims.total() == len(claims) == count
    assert max(most.values()) <= 16
    assert states(app) == {"succeeded": count}


@pytest.mark.timeout(300)
def test_invariant_7_the_cap_holds_while_eight_processes_send_each_delivery_once(
    anywhere: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    """Counted at the receiver."""
    app = anywhere
    for number in range(20):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.02/{number}"))
    config = {**config_of(app), "WEBHOOKS_CONCURRENCY": 16, "WEBHOOKS_LINGER": 1.0}
    emit(app, 150)
    with ExitStack() as stack:
        for number in range(WORKERS):
            stack.enter_context(WorkerProcess(OURS, config, tmp_path / f"worker-{number}.log"))
        receiver.wait_for(3000, 200)
    came = Counter((request.id, request.path) for request in receiver.requests)
    assert len(came) == 3000
    assert set(came.values()) == {1}
    assert max(receiver.most_in_flight.values()) <= 16
