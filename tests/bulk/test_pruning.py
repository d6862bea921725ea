"""The removal of old events as a task: begun by the workers or by hand, seen, stopped, and never of what is owed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, jobs, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.bulk import lease, pruning, runner
from flask_webhooks.bulk.background import BackgroundTasks
from flask_webhooks.bulk.lease import claim
from flask_webhooks.bulk.runner import run_next
from flask_webhooks.delivery import retention
from flask_webhooks.delivery.audit_log import ACTOR
from flask_webhooks.errors import Forbidden, InvalidInput, InvalidTransition
from flask_webhooks.models import Task
from flask_webhooks.wakeup.worker_queue import TASK_JOB as JOB
from tests.bulk.test_tasks import tasks_in_queue
from tests.cli.test_cli import refused, run
from tests.delivery.test_retention import add_settled
from tests.support.delivering import count, deliveries, drain, emit, models_of, webhooks_of
from tests.support.helpers import (
    accessing,
    activity,
    add_endpoint,
    as_tenant,
    at_once,
    close,
    database_time,
    task_of,
    update,
)
from tests.support.pages import Browser, make_app
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

OLD = timedelta(days=40)


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    webhooks_of(app).hooks.current_actor = lambda: "ann@example.com"
    yield app
    close(app)


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """So many old events make it a task."""
    monkeypatch.setattr(pruning, "MANY", 6)
    return 6


def tasks(app: Flask) -> list[Task]:
    """All that remove old events, the oldest first."""
    rows = queries.list_tasks(accessing(app)).items
    return [row.task for row in rows if row.task.kind == "prune"][::-1]


def work(app: Flask) -> None:
    while run_next(state_of(app), lambda: False):
        pass


def sweep(app: Flask) -> list[str]:
    """Look for work as workers do; returns the states of the tasks that there are then."""
    jobs.sweep(state_of(app))
    return [task.state for task in tasks(app)]


def leave_to_itself(app: Flask) -> int:
    """Remove as drains and workers do beside their work; returns how many events."""
    with state_of(app).engine.connect() as connection:
        return retention.prune(state_of(app), connection, database_time(app), 30.0)


def keep_owed(app: Flask, number: int) -> list[str]:
    """Have the first events owed still; returns their ids."""
    table = models_of(app).table("Delivery")
    owed = sorted(row.event_id for row in deliveries(app))[:number]
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.update(table).where(table.c.event_id.in_(owed)).values(state="sending")
        )
    return owed


# -- with workers ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_worker_begins_it_shows_how_far_it_is_and_heeds_the_stop(
    app: Flask, browser: Browser, tmp_path: Path
) -> None:
    """Then it is begun by hand, and takes what is left."""
    endpoint = add_endpoint(app)
    add_settled(app, endpoint.id, pruning.MANY + 10_000, age=OLD)
    add_settled(app, endpoint.id, 3)
    everything = pruning.MANY + 10_003
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        wait_until(lambda: tasks(app) and tasks(app)[0].done, 60, worker.output)
        page = browser.get("/health")
        [row] = page.one("section", aria_labelledby="wh-tasks").one("tbody").all("tr")
        assert "Remove old events Running" in row.text
        assert f"of {pruning.MANY + 10_000:,} events" in row.text
        assert f"by {ACTOR}" in row.text
        page = browser.send(page, f"{tasks(app)[0].id}/stop")
        assert "No more are removed for a day, unless you start the task again." in page.text
        [stopped] = tasks(app)
        assert 0 < stopped.done < everything - 3
        assert (stopped.state, stopped.actor, stopped.total) == ("stopped", ACTOR, everything - 3)
        # Sweeps come and go.
        time.sleep(2.5 * config_of(app).get("WEBHOOKS_SWEEP_INTERVAL", 5.0))
        assert count(app, "Event") == everything - stopped.done
        assert "The removal of old events was stopped" in browser.get("/health").text
        trail = browser.get("/activity").text
        assert f"{ACTOR} started a task" in trail
        assert "ann@example.com stopped a task" in trail

        page = browser.get(browser.get("/health").link("Remove old events…"))
        assert "events" in page.one("strong", class_="wh-count").text
        assert count(app, "Event") == everything - stopped.done
        browser.send(page, "/prune")
        wait_until(lambda: tasks(app)[-1].state == "finished", 60, worker.output)
    assert tasks(app)[-1].done == everything - 3 - stopped.done
    names = ("Event", "Delivery", "Attempt")
    assert [count(app, name) for name in names] == [3, 3, 3]
    assert "stopped by a user" not in browser.get("/health").text


def test_a_drain_that_lasts_begins_it_beside(app: Flask, receiver: Receiver, few: int) -> None:
    """Its worker does not sweep while it has a job."""
    endpoint = add_endpoint(app, receiver.url(), events=["license.*"])
    add_settled(app, endpoint.id, few, age=OLD)
    background = BackgroundTasks(state_of(app))
    with state_of(app).engine.connect() as connection:
        assert background.waits(connection)
        background.work(connection, lambda: False)
        assert not background.waits(connection)
    [task] = tasks(app)
    assert (task.state, task.done, task.actor) == ("finished", few, ACTOR)
    assert count(app, "Event") == 0
    # Fewer are removed beside deliveries, and nobody is told.
    with app.app_context():
        emit(app)
    add_settled(app, endpoint.id, few - 1, age=OLD)
    drain(app)
    assert count(app, "Event") == 1
    assert len(tasks(app)) == 1


# -- when it is begun ------------------------------------------------------------------------------------------


def test_it_is_begun_where_many_are_old_and_a_worker_is_called(
    app: Flask, redis_url: str, few: int
) -> None:
    endpoint = add_endpoint(app)
    add_settled(app, endpoint.id, few, age=timedelta(days=29))
    add_settled(app, endpoint.id, few - 1, age=OLD)
    assert sweep(app) == []
    add_settled(app, endpoint.id, 1, age=OLD + timedelta(days=1))
    assert sweep(app) == ["waiting"]
    assert tasks_in_queue(redis.Redis.from_url(redis_url)) == [JOB]
    assert sweep(app) == ["waiting"]
    work(app)
    assert [(task.state, task.done, task.total) for task in tasks(app)] == [("finished", few, few)]
    assert count(app, "Event") == few
    recorded = [(row.actor, row.action) for row in activity(app) if row.action.startswith("task.")]
    assert recorded == [(ACTOR, "task.started"), (ACTOR, "task.finished")]
    # The next one an hour later; what comes meanwhile goes beside deliveries.
    add_settled(app, endpoint.id, few, age=OLD)
    assert sweep(app) == ["finished"]
    update(app, "Task", tasks(app)[0].id, created_at=database_time(app) - timedelta(hours=1))
    assert sweep(app) == ["finished", "waiting"]


def test_what_is_still_owed_does_not_begin_it(app: Flask, few: int) -> None:
    add_settled(app, add_endpoint(app).id, few, age=OLD)
    keep_owed(app, 1)
    assert sweep(app) == []


def test_two_workers_begin_one(app: Flask, few: int) -> None:
    add_settled(app, add_endpoint(app).id, few, age=OLD)
    found = at_once(lambda: sweep(app), lambda: sweep(app))
    assert [item for item in found if isinstance(item, Exception)] == []
    assert [task.state for task in tasks(app)] == ["waiting"]


def test_nothing_is_removed_beside_it_nor_for_a_day_after_a_stop(app: Flask, few: int) -> None:
    add_settled(app, add_endpoint(app).id, few, age=OLD)
    access = accessing(app)
    task = actions.start_task(access, "prune")
    assert leave_to_itself(app) == 0
    assert queries.pruning_rests_until(access) is None
    actions.stop_task(access, task.id)
    assert leave_to_itself(app) == 0
    assert sweep(app) == ["stopped"]
    until = queries.pruning_rests_until(access)
    assert until is not None
    left = until - database_time(app)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    update(app, "Task", task.id, finished_at=database_time(app) - timedelta(days=1))
    assert queries.pruning_rests_until(access) is None
    assert sweep(app) == ["stopped", "waiting"]
    actions.stop_task(access, tasks(app)[-1].id)
    # One that ends well ends the pause, too.
    work(app)
    actions.start_task(access, "prune")
    work(app)
    assert count(app, "Event") == 0
    add_settled(app, add_endpoint(app).id, 2, age=OLD)
    assert leave_to_itself(app) == 2


# -- what it removes -------------------------------------------------------------------------------------------


def test_what_is_old_goes_and_what_is_owed_stays(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH", 4)
    monkeypatch.setattr(runner, "NARROW", 5)
    one, other = add_endpoint(app), add_endpoint(app, tenant="app_1")
    add_settled(app, one.id, 12, age=OLD)
    owed = keep_owed(app, 3)
    add_settled(app, other.id, 9, age=OLD + timedelta(days=1))
    add_settled(app, one.id, 2, age=timedelta(days=29))
    seen = queries.preview_task(accessing(app), "prune")
    assert (seen.text, seen.more, seen.states, seen.endpoint) == ("18", False, {}, None)
    task = actions.start_task(accessing(app), "prune")
    assert task.total == 18
    assert count(app, "Event") == 23, "the worker does it"
    work(app)
    assert (task_of(app, task.id).state, task_of(app, task.id).done) == ("finished", 18)
    assert count(app, "Event") == count(app, "Delivery") == count(app, "Attempt") == 5
    assert set(owed) < {row.event_id for row in deliveries(app)}


def test_a_stop_amid_it_is_final(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "BATCH", 4)
    add_settled(app, add_endpoint(app).id, 12, age=OLD)
    task = actions.start_task(accessing(app), "prune")
    state = state_of(app)
    with state.engine.connect() as connection:
        held = claim(state, connection)
        assert held is not None
        running = runner.Runner(state, connection, held)
        assert running.step()
        assert actions.stop_task(accessing(app), task.id).done == 4
        with pytest.raises(lease.Lost):
            running.step()
    assert count(app, "Event") == 8


def test_who_keeps_more_meanwhile_keeps_what_is_left(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH", 4)
    add_settled(app, add_endpoint(app).id, 12, age=OLD)
    task = actions.start_task(accessing(app), "prune")
    state = state_of(app)
    monkeypatch.setattr(runner, "kept_since", lambda state, now: now - timedelta(days=60))
    work(app)
    assert task_of(app, task.id).state == "finished"
    assert count(app, "Event") == 12
    assert state.settings.retention_days == 30


# -- who may ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_takes_everybodys_events_and_the_right_to_delete_all(
    app: Flask, browser: Browser
) -> None:
    add_settled(app, add_endpoint(app).id, 2, age=OLD)
    for mistake in ({"since": database_time(app)}, {"event_type": "user.banned"}):
        with pytest.raises(InvalidInput) as caught:
            actions.start_task(accessing(app), "prune", **mistake)
        assert caught.value.field == next(iter(mistake))
    with pytest.raises(InvalidInput) as caught:
        actions.start_task(accessing(app), "prune", add_endpoint(app).id)
    assert caught.value.field == "endpoint_id"
    with pytest.raises(Forbidden, match="see every tenant"):
        actions.start_task(as_tenant(app, "app_1"), "prune")
    task = actions.start_task(accessing(app), "prune")
    with pytest.raises(InvalidTransition, match="of all endpoints is already waiting"):
        actions.start_task(accessing(app), "prune")

    webhooks_of(app).authorize(lambda action, endpoint: action != "delete_all")
    page = browser.get("/health")
    assert "Remove old events" in page.text
    assert page.all("form", method="post") == []
    assert "Remove old events…" not in page.links()
    assert "delete all endpoints, or old events" in browser.get("/prune", 403).text
    browser.post("/prune", {}, 403)
    browser.post(f"/tasks/{task.id}/stop", {}, 403)
    assert task_of(app, task.id).state == "waiting"
    webhooks_of(app).authorize(lambda action, endpoint: True)
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    browser.get("/prune", 403)
    browser.get(f"/tasks/{task.id}", 404)
    assert "Remove old events" not in browser.get("/health").text


# -- by hand ---------------------------------------------------------------------------------------------------


def test_the_page_says_how_many_and_how_old_before_anything_goes(
    app: Flask, browser: Browser
) -> None:
    add_settled(app, add_endpoint(app).id, 7, age=OLD)
    page = browser.get(browser.get("/health").link("Remove old events…"))
    assert "7 events" in page.text
    assert "Older than" in page.text
    assert "They are permanently removed" in page.text
    assert count(app, "Event") == 7
    page = browser.send(page, "/prune")
    assert page.heading == "Remove old events"
    assert "0 of 7 events" in page.text
    assert "See the results" not in page.links()
    # Who asks once more is shown the one that is there.
    again = browser.send(browser.get("/prune"), "/prune")
    assert again.response.request.path == page.response.request.path
    work(app)
    page = browser.get(f"/tasks/{tasks(app)[0].id}")
    assert "7 of 7 events" in page.text
    assert "They were removed, with their deliveries and attempts." in page.text
    assert "There is nothing to do" in browser.get("/prune").text


def test_the_command_says_how_many_asks_and_starts(app: Flask) -> None:
    assert run(app, "prune").output == "0 events.\n"
    add_settled(app, add_endpoint(app).id, 7, age=OLD)
    line, *more = run(app, "prune", "--dry-run").output.splitlines()
    assert line.startswith("7 events, from ")
    assert (more, tasks(app)) == ([], [])
    assert "Prune them? [y/N]" in run(app, "prune").output
    assert tasks(app) == []
    output = run(app, "prune", "--yes").output
    [task] = tasks(app)
    assert f"Started {task.id}." in output
    assert "is already waiting" in run(app, "prune", "--yes").stderr
    assert run(app, "tasks", "stop", task.id).output == f"Stopped {task.id} after 0 events.\n"
    assert "already stopped" in refused(run(app, "tasks", "stop", task.id))
    assert count(app, "Event") == 7
