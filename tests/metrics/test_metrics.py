"""Metrics: counters that only grow, and gauges of the present state."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from prometheus_client import CollectorRegistry

from demo.services import RedisServer
from flask_webhooks import ids, jobs, queries
from flask_webhooks.access import system_access
from flask_webhooks.actions import pause_endpoint
from flask_webhooks.app_state import state_of
from flask_webhooks.db import counters
from flask_webhooks.delivery import retention
from flask_webhooks.errors import ConfigurationError
from flask_webhooks.metrics import Collector
from tests.support.delivering import (
    add_backlog,
    close,
    drain,
    emit,
    expire_leases,
    make_app,
    models_of,
    states,
    update_row,
    webhooks_of,
)
from tests.support.helpers import accessing, at_once, statements
from tests.support.receiver import Receiver
from tests.support.scraping import scrape
from tests.support.working import Worker, ended


def add_endpoint(app: Flask, url: str, **options: Any) -> str:
    return webhooks_of(app).create_endpoint(url, ["license.*"], **options).endpoint.id


# -- what is counted ---------------------------------------------------------------------------------


def test_attempts_are_counted_by_format_and_outcome(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url())
    add_endpoint(app, receiver.url("/status/500"), format="cloudevents")
    emit(app, 3)
    drain(app, failing_after=10)
    told = scrape(app)
    assert told.all("attempts_total") == {
        ("standard", "succeeded"): 3,
        ("cloudevents", "refused"): 3,
    }
    for style in ("standard", "cloudevents"):
        buckets = [
            (float(bound), value)
            for (found, bound), value in told.all("attempt_duration_seconds_bucket").items()
            if found == style
        ]
        assert [value for _, value in sorted(buckets)] == sorted(value for _, value in buckets)
        assert max(buckets) == (float("inf"), 3)
        assert told.get("attempt_duration_seconds_count", format=style) == 3
        assert 0 < (told.get("attempt_duration_seconds_sum", format=style) or 0) < 30
    assert told.get("first_request_delay_seconds_count") == 6


def test_durations_fall_into_the_bucket_that_holds_them(app: Flask, worker: Worker) -> None:
    add_endpoint(app, "https://example.com/")
    emit(app, 4)
    for duration_ms in (10.0, 10.001, 99.0, 20_000.0):
        worker.answer(worker.take_one(), duration_ms=duration_ms)
    told = scrape(app)
    counts = {
        bound: count for (_, bound), count in told.all("attempt_duration_seconds_bucket").items()
    }
    assert list(counts.values()) == [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4]
    assert (counts["0.01"], counts["0.025"], counts["0.1"], counts["+Inf"]) == (1, 2, 3, 4)
    total = told.get("attempt_duration_seconds_sum", format="standard")
    assert total == pytest.approx(20.119001)


def test_delay_is_that_from_the_event_to_its_first_request(app: Flask, worker: Worker) -> None:
    add_endpoint(app, "https://example.com/")
    emit(app)
    flying = worker.take_one()
    [made] = ids.milliseconds_of([flying[0].delivery_id])
    began = datetime.fromtimestamp(made / 1000 + 3, UTC)
    worker.answer(flying, 500, started_at=began)
    told = scrape(app)
    assert told.get("first_request_delay_seconds_bucket", le="2.5") == 0
    assert told.get("first_request_delay_seconds_bucket", le="5.0") == 1
    assert told.get("first_request_delay_seconds_sum") == pytest.approx(3, abs=0.002)
    # A retry, a test and a clock that is behind add nothing to it.
    worker.wait(3600)
    worker.answer(worker.take_one(), 200)
    emit(app)
    worker.answer(worker.take_one(), started_at=datetime.now(UTC) - timedelta(days=1))
    told = scrape(app)
    assert told.get("first_request_delay_seconds_count") == 2
    assert told.get("first_request_delay_seconds_sum") == pytest.approx(3, abs=0.002)
    assert told.get("attempts_total", format="standard", outcome="succeeded") == 2


def test_answer_whose_lease_was_taken_over_is_not_counted(app: Flask, worker: Worker) -> None:
    add_endpoint(app, "https://example.com/")
    emit(app)
    flying = worker.take_one()
    expire_leases(app)
    worker.catch_up()
    assert worker.recover() == 1
    worker.answer(flying)
    worker.wait(60)
    worker.answer(worker.take_one())
    told = scrape(app)
    assert told.all("attempts_total") == {
        ("standard", "interrupted"): 1,
        ("standard", "succeeded"): 1,
    }


def test_batch_that_is_rolled_back_counts_nothing(app: Flask, worker: Worker) -> None:
    add_endpoint(app, "https://example.com/")
    emit(app)
    flying = worker.take_one()

    def refuse(connection: sa.Connection) -> None:
        raise ZeroDivisionError

    sa.event.listen(worker.connection, "commit", refuse)
    with pytest.raises(ZeroDivisionError):
        worker.answer(flying)
    sa.event.remove(worker.connection, "commit", refuse)
    assert scrape(app).all("attempts_total") == {}
    worker.answer(flying)
    assert scrape(app).all("attempts_total") == {("standard", "succeeded"): 1}


def test_counters_stay_when_the_history_goes(app: Flask, receiver: Receiver) -> None:
    endpoint_id = add_endpoint(app, receiver.url())
    emit(app, 5)
    drain(app)
    before = scrape(app)
    models = models_of(app)
    later = datetime.now(UTC) + timedelta(days=31)
    with state_of(app).engine.connect() as connection:
        assert retention.prune(state_of(app), connection, later, 30.0) == 5
        with connection.begin():
            for name in ("Statistic", "EndpointHealth", "Endpoint"):
                connection.execute(sa.delete(models.table(name)))
    after = scrape(app)
    for name in (
        "attempts_total",
        "attempt_duration_seconds_bucket",
        "first_request_delay_seconds_sum",
    ):
        assert before.all(name) == after.all(name) != {}
    assert endpoint_id not in after.text


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql", "sqlite"], indirect=True)
def test_workers_that_count_at_the_same_time_lose_nothing(app: Flask) -> None:
    for number in range(4):
        add_backlog(app, add_endpoint(app, f"https://example.com/{number}"), 60)
    workers = [Worker(app) for _ in range(4)]

    def work(worker: Worker) -> int:
        count = 0
        while taken := worker.take(10):
            worker.settle(*(ended(flying) for flying in taken))
            count += len(taken)
        return count

    counts = at_once(*(lambda worker=worker: work(worker) for worker in workers))
    for worker in workers:
        worker.close()
    assert all(isinstance(count, int) for count in counts), counts
    assert states(app) == {"succeeded": 240}
    assert scrape(app).all("attempts_total") == {("standard", "succeeded"): 240}


def test_a_batch_costs_one_statement(app: Flask, worker: Worker) -> None:
    for number in range(3):
        add_backlog(app, add_endpoint(app, f"https://example.com/{number}"), 10)
    first, *taken = worker.take(30)
    worker.settle(ended(first))
    with statements(app) as made:
        worker.settle(*(ended(item, duration_ms=number * 9.0) for number, item in enumerate(taken)))
    assert len([statement for statement in made if "webhooks_metric" in statement]) == 1


def test_sweep_counts_what_no_worker_was_on_its_way_to(app: Flask) -> None:
    add_endpoint(app, "https://example.com/")
    state = state_of(app)
    with state.worker_queue.connect() as redis:
        emit(app)
        redis.flushall()
        # Due since a moment: RQ's scheduler may yet come.
        assert jobs.sweep(state) is True
        assert scrape(app).get("lost_wakeups_total") == 0
        redis.flushall()
        moment = datetime.now(UTC) - timedelta(minutes=1)
        [delivery_id] = _pending(app)
        update_row(app, models_of(app).Delivery, delivery_id, due_at=moment)
        assert jobs.sweep(state) is True
        assert scrape(app).get("lost_wakeups_total") == 1
        # Now a job waits.
        assert jobs.sweep(state) is True
        assert scrape(app).get("lost_wakeups_total") == 1


def _pending(app: Flask) -> list[str]:
    delivery = models_of(app).Delivery
    with state_of(app).engine.connect() as connection:
        return list(connection.scalars(sa.select(delivery.id)))


# -- how things stand --------------------------------------------------------------------------------


def test_scrape_tells_how_things_stand(app: Flask, worker: Worker) -> None:
    due = add_endpoint(app, "https://example.com/due")
    held = add_endpoint(app, "https://example.com/held")
    failing = add_endpoint(app, "https://example.com/failing")
    with state_of(app).engine.begin() as connection:
        health = models_of(app).table("EndpointHealth")
        connection.execute(
            sa.update(health)
            .where(health.c.endpoint_id == failing)
            .values(probe_interval=60.0, hold_until=datetime.now(UTC) + timedelta(hours=1))
        )
    pause_endpoint(accessing(app), held)
    add_backlog(app, due, 3, due_at=datetime.now(UTC) - timedelta(minutes=2))
    add_backlog(app, held, 2, state="held", due_at=None)
    add_backlog(app, failing, 1, due_at=datetime.now(UTC) - timedelta(minutes=9))
    told = scrape(app)
    assert told.all("up") == {("database",): 1, ("redis",): 1}
    # What a failing endpoint holds back is not late.
    assert told.get("backlog") == 3
    assert told.get("oldest_overdue_seconds") == pytest.approx(120, abs=30)
    assert told.all("deliveries") == {("pending",): 4, ("sending",): 0, ("held",): 2}
    assert told.all("endpoints") == {
        ("active",): 1,
        ("failing",): 1,
        ("paused",): 1,
        ("disabled",): 0,
        ("unverified",): 0,
    }
    assert told.get("workers") == 0
    assert told.get("last_heartbeat_timestamp_seconds") is None
    worker.answer_all()
    assert scrape(app).get("oldest_overdue_seconds") == 0


def test_last_sign_of_life_is_that_of_any_worker(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url())
    emit(app)
    drain(app)
    seen = scrape(app).get("last_heartbeat_timestamp_seconds")
    assert seen == pytest.approx(time.time(), abs=60)


def test_no_label_names_an_endpoint_or_tenant_unless_asked_for(app: Flask, worker: Worker) -> None:
    one = add_endpoint(app, "https://example.com/one", tenant="acme")
    two = add_endpoint(app, "https://example.com/two")
    emit(app, 2, tenant="acme")
    for flying in worker.take():
        worker.answer(flying, 200 if flying[0].endpoint_id == one else 500)
    told = scrape(app)
    assert "acme" not in told.text
    assert one not in told.text
    assert told.all("recent_attempts") == {}
    assert scrape(app, ["tenant"]).all("recent_attempts") == {
        ("succeeded", "acme"): 2,
        ("failed", "acme"): 0,
        ("succeeded", ""): 0,
        ("failed", ""): 2,
    }
    both = scrape(app, ["tenant", "endpoint"]).all("recent_attempts")
    assert both[one, "succeeded", "acme"] == both[two, "failed", ""] == 2


def test_labels_are_bounded(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    statistic = models_of(app).table("Statistic")
    limit = 3
    monkeypatch.setattr("flask_webhooks.queries.metrics.MOST_LABELLED", limit)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    made = [add_endpoint(app, f"https://example.com/{number}") for number in range(limit + 2)]
    with state_of(app).engine.begin() as connection:
        for failures, endpoint_id in enumerate(made):
            row = {"endpoint_id": endpoint_id, "hour": hour, "failed": failures}
            connection.execute(sa.insert(statistic).values(row))
    told = scrape(app, ["endpoint"]).all("recent_attempts")
    assert {endpoint for endpoint, _ in told} == set(made[-limit:])


@pytest.mark.parametrize("labels", ["endpoint", ["url"], ["tenant", "Endpoint"]])
def test_unknown_label_is_an_error_that_names_the_known(app: Flask, labels: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"labels 'endpoint' and 'tenant', as in"):
        Collector(webhooks_of(app), labels=labels)


# -- trouble -----------------------------------------------------------------------------------------


@pytest.fixture
def lonely(redis_url: str, tmp_path: object) -> Iterator[Flask]:
    """On a database file that can be taken away."""
    app = make_app(f"sqlite:///{tmp_path}/lonely.sqlite", redis_url, WEBHOOKS_WAKE_TIMEOUT=0.25)
    with app.app_context():
        yield app
        close(app)


def test_redis_that_is_away_leaves_the_rest(lonely: Flask, redis_server: RedisServer) -> None:
    redis_server.pause()
    told = scrape(lonely)
    assert told.all("up") == {("database",): 1, ("redis",): 0}
    assert told.get("backlog") == 0
    assert told.get("workers") is None


def test_database_that_fails_leaves_the_rest(
    lonely: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with state_of(lonely).engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE webhooks_delivery"))
    told = scrape(lonely)
    assert told.all("up") == {("database",): 0, ("redis",): 1}
    assert told.get("workers") == 0
    assert told.get("backlog") is None
    assert told.all("attempts_total") == {}
    [record] = [item for item in caplog.records if item.name == "flask_webhooks.metrics"]
    assert "\n" not in record.getMessage()


def test_scrape_without_an_application_says_that_nothing_is_up(app: Flask) -> None:
    registry = CollectorRegistry()
    # To register asks for nothing, so it needs no database either.
    registry.register(Collector(webhooks_of(app)))
    told: list[float | None] = []

    def read() -> None:
        told.append(registry.get_sample_value("flask_webhooks_up", {"part": "database"}))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    read()
    assert told == [0, 1]


#: Refuses every write to the table, as a missing right does.
REFUSALS = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE INSERT ON webhooks_metric "
        "BEGIN SELECT RAISE(ABORT, 'no rights'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE insufficient_privilege; END'",
        "CREATE TRIGGER refuse BEFORE INSERT ON webhooks_metric "
        "FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}


def test_table_that_takes_no_writes_stops_no_delivery(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    add_endpoint(app, receiver.url())
    engine = state_of(app).engine
    with engine.begin() as connection:
        for statement in REFUSALS[engine.dialect.name]:
            connection.exec_driver_sql(statement)
    emit(app, 3)
    drain(app)
    assert states(app) == {"succeeded": 3}
    assert len(receiver.requests) == 3
    assert "is not writable" in caplog.text


def test_database_of_an_earlier_version_is_delivered_from(
    app: Flask,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_endpoint(app, receiver.url())
    table = models_of(app).table("Metric")
    table.drop(state_of(app).engine)
    emit(app, 2)
    drain(app)
    emit(app, 1)
    drain(app)
    assert states(app) == {"succeeded": 3}
    told = scrape(app)
    assert told.all("up") == {("database",): 1, ("redis",): 1}
    assert (told.all("attempts_total"), told.get("lost_wakeups_total")) == ({}, 0)
    [record] = [item for item in caplog.records if item.name == "flask_webhooks.db.counters"]
    assert (record.levelno, "upgrade-db" in record.getMessage()) == (logging.WARNING, True)
    table.create(state_of(app).engine)
    monkeypatch.setattr(counters.counters(state_of(app)), "_look_at", 0.0)
    emit(app, 1)
    drain(app)
    assert scrape(app).all("attempts_total") == {("standard", "succeeded"): 1}


@pytest.mark.slow
def test_metrics_without_the_library_say_what_to_install(app: Flask) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from tests.support.hostapp import create_app\n"
        "app = create_app(SQLALCHEMY_DATABASE_URI='sqlite://')\n"
        "app.extensions['test_webhooks'].metrics_blueprint()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.endswith(
        "Metrics need prometheus-client. Install it: pip install 'Flask-Webhooks[prometheus]'"
    )


# -- speed -------------------------------------------------------------------------------------------

#: Milliseconds.
SCRAPE_LIMIT = 50
ROWS = 200_000


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_scrape_is_fast_beside_a_long_history_and_backlog(app: Flask) -> None:
    """What it reads does not grow with either; counting ends at a limit."""
    settled = add_endpoint(app, "https://example.com/settled")
    waiting = add_endpoint(app, "https://example.com/waiting")
    held = add_endpoint(app, "https://example.com/held")
    done = {"state": "succeeded", "due_at": None, "completed_at": datetime.now(UTC)}
    add_backlog(app, settled, ROWS // 2, **done)
    add_backlog(app, waiting, ROWS // 4)
    add_backlog(app, held, ROWS // 4, state="held", due_at=None)
    with (
        state_of(app).engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection
    ):
        connection.execute(sa.text("VACUUM ANALYZE"))
    told = scrape(app)
    assert told.get("backlog") == told.get("deliveries", state="held") == queries.MOST_COUNTED
    times: list[float] = []
    # The fastest, since a busy machine makes single ones slow.
    while min(times, default=SCRAPE_LIMIT) >= SCRAPE_LIMIT and len(times) < 50:
        began = time.perf_counter()
        scrape(app)
        times.append((time.perf_counter() - began) * 1000)
    assert min(times) < SCRAPE_LIMIT, times


@pytest.mark.slow
def test_scrape_makes_the_same_statements_at_any_size(app: Flask) -> None:
    def made() -> int:
        with statements(app) as found:
            queries.read_metrics(system_access(state_of(app), "test"), ["endpoint"])
        return len(found)

    made()
    before = made()
    for number in range(5):
        add_backlog(app, add_endpoint(app, f"https://example.com/{number}"), 50)
    assert made() == before
