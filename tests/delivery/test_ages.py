"""Separate ages for what has succeeded, what has failed, and the bodies of attempts; bodies that are not stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from demo.services import free_port
from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.bulk import pruning
from flask_webhooks.bulk.runner import run_next
from flask_webhooks.delivery import body_ages, retention, walks
from tests.cli.test_cli import run
from tests.delivery.test_retention import add_settled, prune
from tests.support.delivering import (
    attempts,
    close,
    count,
    deliveries,
    drain,
    emit,
    events,
    make_app,
    models_of,
    the_delivery,
    webhooks_of,
)
from tests.support.helpers import accessing, add_endpoint, statements
from tests.support.processes import COMMAND, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

DAY = timedelta(days=1)


@pytest.fixture
def host(database_url: str, redis_url: str) -> Iterator[Any]:
    """Makes the host with settings of the test's."""

    def make(**settings: Any) -> Flask:
        config = {f"WEBHOOKS_{name.upper()}": value for name, value in settings.items()}
        app = make_app(database_url, redis_url, **config)
        contexts.enter_context(app.app_context())
        contexts.callback(close, app)
        return app

    with ExitStack() as contexts:
        yield make


def days_from_now(days: float) -> datetime:
    return datetime.now(UTC) + days * DAY


def set_states(app: Flask, *states: str) -> None:
    """Give the oldest deliveries other states."""
    table = models_of(app).table("Delivery")
    with state_of(app).engine.begin() as connection:
        for row, state in zip(deliveries(app), states, strict=False):
            connection.execute(sa.update(table).where(table.c.id == row.id).values(state=state))


def kept(app: Flask) -> list[str]:
    return [row.state for row in deliveries(app)]


@pytest.mark.parametrize(
    ("settings", "after_8", "after_100"),
    [
        ({"retention_succeeded_days": 7, "retention_failed_days": 90}, ["failed", "held"], []),
        (
            {"retention_days": 120, "retention_failed_days": 7},
            ["succeeded", "cancelled"],
            ["succeeded", "cancelled"],
        ),
    ],
)
def test_events_with_a_failure_have_an_age_of_their_own(
    host: Any, settings: dict[str, int], after_8: list[str], after_100: list[str]
) -> None:
    app = host(**settings)
    add_settled(app, add_endpoint(app).id, 5)
    set_states(app, "succeeded", "failed", "held", "cancelled", "pending")
    assert prune(app, days_from_now(6)) == 0
    assert prune(app, days_from_now(8)) == 2
    assert sorted(kept(app)) == sorted([*after_8, "pending"])
    assert count(app, "Event") == count(app, "Attempt") == 3
    prune(app, days_from_now(100))
    assert sorted(kept(app)) == sorted([*after_100, "pending"])


def test_one_failure_makes_it_a_failed_event(host: Any) -> None:
    app = host(retention_succeeded_days=7)
    for _ in range(3):
        webhooks_of(app).create_endpoint("https://example.com/in", ["license.*"])
    emit(app)
    set_states(app, "succeeded", "failed", "succeeded")
    assert prune(app, days_from_now(8)) == 0
    set_states(app, "succeeded", "succeeded", "succeeded")
    # Looked at a moment ago: it is met again on the next round.
    assert prune(app, days_from_now(8)) == 0
    assert prune(app, days_from_now(9.1)) == 1
    assert count(app, "Event") == count(app, "Delivery") == 0


def test_what_stays_is_not_looked_at_each_time(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    monkeypatch.setattr(retention, "WINDOW", 10)
    app = host(retention_succeeded_days=7, retention_failed_days=90)
    endpoint_id = add_endpoint(app).id
    add_settled(app, endpoint_id, 40, age=timedelta(minutes=1))
    set_states(app, *["failed"] * 40)
    add_settled(app, endpoint_id, 5)
    # One short look after another, as many short drains would.
    removed = [prune(app, days_from_now(8), budget=0.0) for _ in range(7)]
    assert sum(removed) == 5
    assert kept(app) == ["failed"] * 40
    with statements(app) as executed:
        prune(app, days_from_now(8))
    assert not any(item.startswith(("DELETE", "UPDATE")) for item in executed), executed


def test_two_workers_do_not_meet_on_a_walk(host: Any) -> None:
    app = host(retention_succeeded_days=7)
    if state_of(app).engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    add_settled(app, add_endpoint(app).id, 1, age=timedelta(minutes=1))
    prune(app, days_from_now(8))
    add_settled(app, add_endpoint(app).id, 1)
    mark = models_of(app).table("Mark")
    with state_of(app).engine.connect() as other, other.begin():
        other.execute(sa.select(mark).with_for_update()).all()
        assert prune(app, days_from_now(8)) == 0
    assert prune(app, days_from_now(8)) == 1


def test_task_removes_by_the_same_ages(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = host(retention_succeeded_days=7, retention_failed_days=90)
    endpoint_id = add_endpoint(app).id
    add_settled(app, endpoint_id, 3, age=100 * DAY)
    add_settled(app, endpoint_id, 4, age=10 * DAY)
    add_settled(app, endpoint_id, 2)
    set_states(app, "failed", "failed", "succeeded", "failed", "held", "succeeded", "succeeded")
    assert queries.preview_task(accessing(app), "prune").count == 5
    task = actions.start_task(accessing(app), "prune")
    assert run_next(state_of(app), lambda: False)
    assert queries.get_task(accessing(app), task.id).task.done == 5
    assert kept(app) == ["failed", "held", "succeeded", "succeeded"]
    # So it is where workers begin one: however many failed ones stay, they are not in the way.
    monkeypatch.setattr(pruning, "MANY", 2)
    add_settled(app, endpoint_id, 60, age=9 * DAY)
    set_states(app, *["failed"] * 58)
    with state_of(app).engine.connect() as connection:
        now = datetime.now(UTC)
        assert not pruning.is_due(state_of(app), connection, now)
        connection.rollback()
        table = state_of(app).table("Task")
        connection.execute(sa.delete(table))
        connection.commit()
    prune(app, datetime.now(UTC))
    assert kept(app).count("failed") == 58


def test_bodies_go_before_their_attempts(host: Any, receiver: Receiver) -> None:
    app = host(retention_request_body_days=7, retention_response_body_days=3)
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app, 2)
    drain(app)
    prune(app, days_from_now(2))
    assert all(item.request_body and item.response_body is not None for item in attempts(app))
    prune(app, days_from_now(4))
    assert all(item.request_body and item.response_body is None for item in attempts(app))
    prune(app, days_from_now(8))
    assert [item.request_body for item in attempts(app)] == [None, None]
    assert [item.status for item in attempts(app)] == [200, 200]
    assert len(events(app)) == 2


def test_bodies_of_later_attempts_go_on_the_next_round(host: Any, receiver: Receiver) -> None:
    app = host(retention_response_body_days=7)
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app)
    drain(app)
    table = models_of(app).table("Attempt")
    later = datetime.now(UTC) + 7.8 * DAY
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).values(started_at=later))
    prune(app, days_from_now(8))
    assert attempts(app)[0].response_body is not None
    prune(app, days_from_now(14))
    assert attempts(app)[0].response_body is not None
    prune(app, days_from_now(15))
    assert attempts(app)[0].response_body is None


def test_cost_of_old_bodies_is_bounded(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, a look changes those of some deliveries, and what is done is not done again."""
    monkeypatch.setattr(body_ages, "WINDOW", 10)
    app = host(retention_request_body_days=7)
    add_settled(app, add_endpoint(app).id, 35)
    table = models_of(app).table("Attempt")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).values(request_body="{}"))

    def left() -> int:
        return sum(item.request_body is not None for item in attempts(app))

    seen = []
    for _ in range(5):
        prune(app, days_from_now(8), budget=0.0)
        seen.append(left())
    assert seen == [25, 15, 5, 0, 0]
    with statements(app) as executed:
        prune(app, days_from_now(8))
    assert not any(item.startswith("UPDATE") for item in executed), executed


def test_round_ends_and_rests(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_ages, "WINDOW", 10)
    app = host(retention_request_body_days=7)
    add_settled(app, add_endpoint(app).id, 25)
    prune(app, days_from_now(8))
    mark = models_of(app).table("Mark")

    def again() -> str:
        with state_of(app).engine.connect() as connection:
            return str(connection.scalar(sa.select(mark.c.again)))

    rows = [row.id for row in deliveries(app)]
    places = []
    for days in (8, 9, 9, 9, 9.9, 10):
        prune(app, days_from_now(days))
        places.append(again())
    assert places == [walks.RESTS, rows[9], rows[19], walks.RESTS, walks.RESTS, rows[9]]


@pytest.mark.parametrize(
    ("stored", "of_success", "of_failure"),
    [("all", True, True), ("failed", False, True), ("none", False, False)],
)
def test_bodies_are_stored_as_the_setting_says(
    host: Any, receiver: Receiver, stored: str, of_success: bool, of_failure: bool
) -> None:
    app = host(store_bodies=stored)
    for path in ("/ok", "/status/500"):
        webhooks_of(app).create_endpoint(receiver.url(path), ["license.*"])
    emit(app)
    drain(app)
    by_status = {item.status: item for item in attempts(app)}
    for status, there in ((200, of_success), (500, of_failure)):
        attempt = by_status[status]
        assert (attempt.request_body is not None) is there
        assert (attempt.response_body is not None) is there
        assert attempt.request_headers


def test_it_is_said_that_a_body_is_not_kept(host: Any, receiver: Receiver) -> None:
    app = host(store_bodies="none", retention_response_body_days=3)
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app)
    drain(app)
    age_attempts(app, 4)
    delivery_id = the_delivery(app).id
    [attempt] = queries.get_delivery(accessing(app), delivery_id).attempts
    assert attempt.missing == {"request_body": "not_kept", "response_body": "expired"}
    page = app.test_client().get(f"/webhooks/deliveries/{delivery_id}").text
    assert "Not kept." in page
    assert "No longer kept." in page
    shown = run(app, "deliveries", "show", delivery_id, "--bodies").output
    assert "(Not kept.)" in shown
    assert "(No longer kept.)" in shown
    assert "(No longer kept.)" in run(app, "deliveries", "show", delivery_id).output
    [listed] = json.loads(run(app, "deliveries", "show", delivery_id, "--json").output)["attempts"]
    assert listed["request_body"] is listed["response_body"] is None
    assert (listed["request_body_missing"], listed["response_body_missing"]) == (
        "not_kept",
        "expired",
    )


def test_nothing_is_said_of_a_body_that_never_was(host: Any) -> None:
    app = host()
    webhooks_of(app).create_endpoint(f"http://127.0.0.1:{free_port()}/", ["license.*"])
    emit(app)
    drain(app)
    [attempt] = queries.get_delivery(accessing(app), the_delivery(app).id).attempts
    assert attempt.status is None
    assert attempt.missing == {}


@pytest.mark.slow
def test_a_worker_removes_bodies_and_stores_none(
    host: Any, receiver: Receiver, tmp_path: Path
) -> None:
    app = host(store_bodies="failed", retention_response_body_days=1, sweep_interval=0.5)
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    add_settled(app, add_endpoint(app).id, 3, age=2 * DAY)
    table = models_of(app).table("Attempt")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).values(request_body="{}", response_body="old"))
    settings = {
        "WEBHOOKS_STORE_BODIES": "failed",
        "WEBHOOKS_RETENTION_RESPONSE_BODY_DAYS": 1,
        "WEBHOOKS_SWEEP_INTERVAL": 0.5,
    }
    config = {**config_of(app), **settings}
    with WorkerProcess(COMMAND, config, tmp_path / "worker.log") as worker:
        emit(app)
        receiver.wait_for(1, 30)

        def done() -> bool:
            found = attempts(app)
            return len(found) == 4 and all(item.response_body is None for item in found)

        wait_until(done, 30, worker.output)
    assert sorted(item.request_body or "" for item in attempts(app)) == ["", "{}", "{}", "{}"]


def age_attempts(app: Flask, days: float) -> None:
    """Make attempts older."""
    table = models_of(app).table("Attempt")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).values(started_at=datetime.now(UTC) - days * DAY))
