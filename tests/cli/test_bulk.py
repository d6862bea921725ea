"""Commands for tasks, and those that pause, resume, remove and resend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from flask import Flask
from rq import SimpleWorker

from flask_webhooks import actions, queries
from flask_webhooks.cli.failures import Misuse
from flask_webhooks.cli.options import MomentOption
from tests.cli.test_cli import environment, refused, run
from tests.support.delivering import deliveries, emit, endpoint, states
from tests.support.helpers import (
    accessing,
    activity,
    add_delivery,
    add_endpoint,
    database_time,
    update,
)
from tests.support.processes import COMMAND, ROOT, WorkerProcess, config_of


def failed(app: Flask, endpoint_id: str, count: int) -> None:
    for _ in range(count):
        add_delivery(app, endpoint(app, endpoint_id), "failed", completed_at=database_time(app))


def work(app: Flask) -> None:
    client = redis.Redis.from_url(app.config["WEBHOOKS_REDIS_URL"])
    SimpleWorker(["webhooks"], connection=client).work(burst=True)


def test_recover_says_how_many_asks_and_starts(app: Flask) -> None:
    endpoint_id = add_endpoint(app, "https://127.0.0.1:1025/in").id
    update(app, "Endpoint", endpoint_id, state="paused")
    failed(app, endpoint_id, 2)
    arguments = ["webhooks", "endpoints", "recover", endpoint_id, "--since", "2d"]
    runner = app.test_cli_runner()
    result = runner.invoke(args=arguments, input="n\n")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 deliveries, from 20")
    assert "The endpoint is paused: its deliveries are held until it is resumed." in result.output
    assert "Recover them? [y/N]" in result.output
    assert queries.list_tasks(accessing(app)).items == []
    result = runner.invoke(args=arguments, input="y\n")
    assert "Started task_" in result.output
    work(app)
    assert states(app) == {"held": 2}
    [row] = queries.list_tasks(accessing(app)).items
    assert row.task.actor.startswith("cli:")


def test_a_dry_run_starts_nothing(app: Flask) -> None:
    endpoint_id = add_endpoint(app).id
    failed(app, endpoint_id, 1)
    result = run(app, "endpoints", "recover", endpoint_id, "--since", "1h", "--dry-run")
    assert result.output.startswith("1 deliveries, from ")
    assert result.output.count("\n") == 1
    result = run(
        app, "endpoints", "recover", endpoint_id, "--since", "1h", "--type", "user.deleted"
    )
    assert result.output == "0 deliveries.\n"
    assert queries.list_tasks(accessing(app)).items == []


@pytest.mark.slow
def test_replay_tells_where_the_history_begins(app: Flask) -> None:
    actions.pause_endpoint(accessing(app), add_endpoint(app).id)
    emit(app, 3)
    late = add_endpoint(app, "https://127.0.0.1:1025/in")
    result = run(app, "endpoints", "replay", late.id, "--since", "2020-01-01", "--yes")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("3 events, from ")
    assert lines[1].startswith("The history starts at ")
    assert lines[2].startswith("Started task_")
    work(app)
    assert len([row for row in deliveries(app) if row.endpoint_id == late.id]) == 3


def test_times_are_dates_or_ages() -> None:
    def read(text: str) -> datetime:
        return MomentOption().convert(text, None, None)

    assert read("2026-11-17") == datetime(2026, 11, 17, tzinfo=UTC)
    assert read("2026-11-17T08:30+01:00") == datetime(2026, 11, 17, 7, 30, tzinfo=UTC)
    assert abs(read("36h") - (datetime.now(UTC) - timedelta(hours=36))) < timedelta(minutes=1)
    for bad in ("", "tuesday", "3w", "-1h", "99999999d", "\x1b[31m"):
        with pytest.raises(Misuse, match="is not a time") as caught:
            read(bad)
        assert "\x1b" not in caught.value.message


def test_an_age_beyond_all_times_is_one_line(app: Flask) -> None:
    result = run(app, "endpoints", "recover", add_endpoint(app).id, "--since", "999999d")
    assert "is not a time" in refused(result, 2)


def test_what_cannot_be_done_is_one_line(app: Flask) -> None:
    endpoint_id = add_endpoint(app).id
    for arguments in (
        ("endpoints", "recover", "ep_none", "--since", "1h"),
        ("endpoints", "replay", "ep_none", "--since", "1h"),
        ("endpoints", "pause", "ep_none"),
        ("endpoints", "remove", "ep_none"),
        ("endpoints", "resume", endpoint_id),
        ("deliveries", "resend", "dlv_none"),
        ("tasks", "stop", "task_none"),
        ("tasks", "list", "--endpoint", "ep_none"),
    ):
        assert refused(run(app, *arguments))


def test_pause_resume_and_remove(app: Flask) -> None:
    endpoint_id = add_endpoint(app, name="Shop").id
    result = run(app, "endpoints", "pause", endpoint_id, "--reason", "moving")
    assert result.output.startswith(f"Paused {endpoint_id}.")
    paused = endpoint(app, endpoint_id)
    assert (paused.state, paused.state_reason) == ("paused", "moving")
    add_delivery(app, paused, "held")
    assert run(app, "endpoints", "resume", endpoint_id, "--held", "discard").exit_code == 0
    assert states(app) == {"cancelled": 1}
    refusing = app.test_cli_runner().invoke(
        args=["webhooks", "endpoints", "remove", endpoint_id], input="n\n"
    )
    assert "Delete Shop?" in refusing.output
    assert endpoint(app, endpoint_id).deleted_at is None
    assert run(app, "endpoints", "remove", endpoint_id, "--yes").output == (
        f"Deleted {endpoint_id}.\n"
    )
    assert endpoint(app, endpoint_id).deleted_at is not None
    assert [row.action for row in activity(app)] == [
        "endpoint.created",
        "endpoint.paused",
        "endpoint.resumed",
        "endpoint.deleted",
    ]


def test_a_delivery_is_resent(app: Flask) -> None:
    delivery_id = add_delivery(app, add_endpoint(app), "failed")
    result = run(app, "deliveries", "resend", delivery_id)
    assert result.output == f"Queued {delivery_id} (license.created).\n"
    assert states(app) == {"pending": 1}


def test_tasks_are_listed_and_stopped(app: Flask) -> None:
    assert run(app, "tasks", "list").output == "There are no tasks.\n"
    endpoint_id = add_endpoint(app).id
    task = actions.start_task(accessing(app, "mallory\x1b[2J"), "cancel", endpoint_id)
    head, row = run(app, "tasks", "list", "--unfinished").output.splitlines()
    assert head.split() == [
        "ID",
        "KIND",
        "STATE",
        "DONE",
        "OF",
        "BY",
        "STARTED",
        "ENDPOINT",
        "ERROR",
    ]
    assert row.split()[:5] == [task.id, "cancel", "waiting", "0", "0"]
    assert "\x1b" not in row
    assert run(app, "tasks", "stop", task.id).output == f"Stopped {task.id} after 0 deliveries.\n"
    assert "already stopped" in refused(run(app, "tasks", "stop", task.id))
    [listed] = json.loads(run(app, "tasks", "list", "--json", "--endpoint", endpoint_id).output)
    assert (listed["id"], listed["state"], listed["kind"]) == (task.id, "stopped", "cancel")
    assert listed["finished_at"] is not None


def test_a_delivery_is_cancelled(app: Flask) -> None:
    delivery_id = add_delivery(app, add_endpoint(app))
    result = run(app, "deliveries", "cancel", delivery_id)
    assert result.output == f"Cancelled {delivery_id} (license.created).\n"
    assert states(app) == {"cancelled": 1}
    assert "is already cancelled" in refused(run(app, "deliveries", "cancel", delivery_id))


def test_all_that_fit_are_resent_or_cancelled(app: Flask) -> None:
    one, two = add_endpoint(app), add_endpoint(app)
    for item in (one, two):
        for state, status in (
            ("failed", 503),
            ("failed", 404),
            ("pending", None),
            ("sending", None),
        ):
            add_delivery(app, item, state, last_status=status)
    filters = ("--endpoint", one.id, "--status", "5xx", "--since", "1h")
    result = run(app, "deliveries", "resend-all", *filters, "--dry-run")
    assert result.output.startswith("1 deliveries, from ")
    assert queries.list_tasks(accessing(app)).items == []
    assert "Started task_" in run(app, "deliveries", "resend-all", *filters, "--yes").output
    work(app)
    assert states(app) == {"failed": 3, "pending": 3, "sending": 2}
    update(app, "Endpoint", two.id, state="paused")
    runner = app.test_cli_runner()
    arguments = ["webhooks", "deliveries", "cancel-all", "--endpoint", two.id]
    result = runner.invoke(args=arguments, input="y\n")
    assert "Cancel them? [y/N]" in result.output
    assert "held until" not in result.output, "they are not sent"
    work(app)
    assert states(app) == {"failed": 3, "pending": 2, "sending": 2, "cancelled": 1}


def test_a_filter_that_makes_no_sense_is_one_line(app: Flask) -> None:
    assert "5xx" in refused(run(app, "deliveries", "resend-all", "--status", "6xx"))
    result = run(app, "deliveries", "cancel-all", "--state", "failed")
    assert result.exit_code == 2
    assert "'held', 'pending'" in result.output


# -- progress -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_progress_is_shown_until_a_worker_has_finished(app: Flask, tmp_path: Path) -> None:
    endpoint_id = add_endpoint(app, "https://127.0.0.1:1025/in").id
    update(app, "Endpoint", endpoint_id, state="paused")
    failed(app, endpoint_id, 3)
    command = ["endpoints", "recover", endpoint_id, "--since", "2d", "--yes", "--wait"]
    with WorkerProcess(COMMAND, config_of(app), tmp_path / "worker.log") as worker:
        # The bar is for terminals.
        control, terminal = os.openpty()
        done = subprocess.run(
            [sys.executable, "-m", "flask", "webhooks", *command],
            env={**environment(config_of(app)), "TERM": "xterm"},
            cwd=ROOT,
            stdout=terminal,
            stderr=terminal,
            timeout=60,
            check=False,
        )
        os.close(terminal)
        shown = os.read(control, 100_000).decode()
        os.close(control)
        worker.terminate()
        worker.wait(20)
    assert done.returncode == 0, shown
    assert "Recover" in shown
    assert "100%" in shown
    assert "Finished: 3 deliveries." in shown
    assert states(app) == {"held": 3}


def test_waiting_for_a_task_that_was_stopped_fails(app: Flask) -> None:
    endpoint_id = add_endpoint(app).id
    failed(app, endpoint_id, 2)
    started = run(app, "endpoints", "recover", endpoint_id, "--since", "2d", "--yes").stdout
    task_id = started.split("Started ")[1].split(".")[0]
    run(app, "tasks", "stop", task_id)
    result = run(app, "tasks", "watch", task_id)
    assert result.exit_code == 1
    assert f"{task_id} was stopped after 0 deliveries" in result.stderr
    assert "There is no task" in refused(run(app, "tasks", "watch", "task_x"))
