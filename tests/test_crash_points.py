"""A process is killed at a named place, by a signal that leaves no chance to tidy up: nothing is lost or half-done.

A request under way when its worker was killed is sent again, and has an ``interrupted`` attempt: whether the receiver
had it cannot be known. Nothing else arrives twice.
"""

from __future__ import annotations

import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions, jobs
from flask_webhooks.app_state import state_of
from flask_webhooks.db import schema_changes
from tests.actions.test_reencryption import values
from tests.security.test_vault import NEW, OLD
from tests.support.crashing import variables
from tests.support.delivering import (
    attempts,
    close,
    count,
    deliveries,
    drain,
    emit,
    endpoint,
    events,
    make_app,
    models_of,
    states,
    webhooks_of,
)
from tests.support.helpers import accessing, activity, add_endpoint, task_of, update
from tests.support.processes import OURS, PLAIN_SCHEDULER, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

AGAIN = ["interrupted", "succeeded"]
ONCE = ["succeeded"]

#: Where a worker is killed that delivers an event: how often that is sent, and how its attempts end.
DELIVERING = {
    "in a claim": ("after", "delivery.claim.claim:lease_rows", 1, ONCE),
    "after a claim": ("before", "delivery.drain:Drain._begin", 1, AGAIN),
    "before it is sent": ("before", "delivery.http.client:Client.start", 1, AGAIN),
    "after it was sent": ("before", "delivery.settle.recorder:Recorder.write", 2, AGAIN),
    "in a settlement": ("after", "delivery.settle.write:count_attempts", 2, AGAIN),
    "after a settlement": ("after", "delivery.settle.recorder:Recorder.write", 1, ONCE),
    "before signals": ("before", "delivery.signal_dispatch:SignalDispatcher.dispatch", 1, ONCE),
    "before it leaves": ("before", "wakeup.listener:Listener.leave", 1, ONCE),
    "after it left": ("after", "wakeup.listener:Listener.leave", 1, ONCE),
    "before a hand-over": ("before", "wakeup.listener:Listener.hand_over", 1, ONCE),
    "after a hand-over": ("after", "wakeup.listener:Listener.hand_over", 1, ONCE),
}


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "crashed"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "process.log"


def place(when: str, name: str, mark: Path, **options: Any) -> dict[str, str]:
    return variables(when, f"flask_webhooks.{name}", mark, **options)


def killed(command: list[str], app: Flask, log: Path, crash: dict[str, str], **config: Any) -> None:
    """Run a process that crashes."""
    with WorkerProcess(command, {**config_of(app), **config}, log, variables=crash) as process:
        process.wait(60)
    assert process.process.returncode == -signal.SIGKILL, process.output()


def request(app: Flask, name: str, log: Path, crash: dict[str, str]) -> None:
    """Run a request of the host's that crashes."""
    killed(["tests.support.requests_of_host", name], app, log, crash)


@pytest.mark.parametrize("point", DELIVERING)
def test_worker_is_killed(
    app: Flask, receiver: Receiver, mark: Path, log: Path, point: str
) -> None:
    when, where, sent, outcomes = DELIVERING[point]
    webhooks_of(app).create_endpoint(receiver.url())
    [first] = emit(app)
    config, command = config_of(app), OURS
    if "hand-over" in point:
        config["WEBHOOKS_DRAIN_TIME"] = 1.0
    elif "leave" in where:
        # Ours stays. This one makes the application in its work-horses only, and does not warm up or sweep.
        command = PLAIN_SCHEDULER
    crash = place(when, where, mark, forked=command is OURS)
    with WorkerProcess(command, config, log, variables=crash) as worker:
        wait_until(mark.exists, what=worker.output)
        [second] = emit(app)

        def done() -> bool:
            if command is PLAIN_SCHEDULER:
                jobs.sweep(state_of(app))
            return states(app) == {"succeeded": 2}

        wait_until(done, what=worker.output)
    assert receiver.ids() == {first: sent, second: 1}
    [delivery] = [item.id for item in deliveries(app) if item.event_id == first]
    found = [item.outcome for item in attempts(app) if item.delivery_id == delivery]
    assert found == outcomes


@pytest.mark.parametrize(
    ("name", "when", "where", "stored"),
    [
        ("emit", "after", "outbox.emit:store", 0),
        ("emit", "before", "outbox.session_events:wake", 1),
        ("emit", "before", "wakeup.notifier:Notifier.notify", 1),
        ("refuse", "before", "outbox.session_events:write", 0),
        ("refuse", "after", "outbox.session_events:store", 0),
        ("refuse", "after", "outbox.session_events:write", 1),
    ],
)
def test_request_of_the_host_is_killed(
    app: Flask,
    receiver: Receiver,
    mark: Path,
    log: Path,
    name: str,
    when: str,
    where: str,
    stored: int,
) -> None:
    """Before the commit there is nothing of it; after it, it is delivered."""
    webhooks_of(app).create_endpoint(receiver.url())
    request(app, name, log, place(when, where, mark))
    assert (count(app, "Event"), count(app, "Delivery")) == (stored, stored)
    with WorkerProcess(OURS, config_of(app), log) as worker:
        [later] = emit(app)
        wait_until(lambda: states(app) == {"succeeded": stored + 1}, what=worker.output)
    assert receiver.ids() == Counter(event.id for event in events(app))
    assert later in receiver.ids()


@pytest.mark.parametrize(
    ("when", "where"),
    [
        ("before", "delivery.scheduled:store"),
        ("after", "delivery.scheduled:store"),
        ("after", "delivery.scheduled:record_due"),
    ],
)
def test_worker_is_killed_when_a_scheduled_event_falls_due(
    app: Flask, receiver: Receiver, mark: Path, log: Path, when: str, where: str
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    [scheduled] = emit(app, deliver_at=datetime.now(UTC) + timedelta(seconds=1))
    crash = place(when, where, mark, forked=True)
    with WorkerProcess(OURS, config_of(app), log, variables=crash) as worker:
        wait_until(mark.exists, what=worker.output)
        assert count(app, "Event") + count(app, "ScheduledEvent") == 1
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
    [event] = events(app)
    assert receiver.ids() == {event.id: 1}
    assert scheduled.startswith("sch_")


@pytest.mark.parametrize(
    ("when", "where"),
    [
        ("after", "bulk.runner:create_deliveries"),
        ("after", "bulk.runner:Runner.step"),
        ("before", "bulk.runner:Runner.end"),
    ],
)
def test_worker_is_killed_amid_a_replay(
    app: Flask, receiver: Receiver, mark: Path, log: Path, when: str, where: str
) -> None:
    """What was replayed before is not replayed again."""
    actions.pause_endpoint(accessing(app), add_endpoint(app).id)
    ids = emit(app, 3)
    late = webhooks_of(app).create_endpoint(receiver.url()).endpoint
    task = actions.start_task(accessing(app), "replay", late.id, since=LONG_AGO)
    crash = place(when, where, mark, forked=True)
    with WorkerProcess(OURS, config_of(app), log, variables=crash) as worker:
        wait_until(mark.exists, what=worker.output)
        update(app, "Task", task.id, lease_until=LONG_AGO)
        receiver.wait_for(3, 60)
        wait_until(lambda: task_of(app, task.id).state == "finished", what=worker.output)
    assert receiver.ids() == Counter(ids)


@pytest.mark.parametrize(
    "where", ["delivery.retention:remove_events", "delivery.retention:Pruning.step"]
)
def test_worker_is_killed_amid_pruning(
    app: Flask, receiver: Receiver, mark: Path, log: Path, where: str
) -> None:
    """Events go with their deliveries and attempts, or stay with them."""
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 3)
    drain(app)
    request(app, "prune", log, place("after", where, mark))
    left = [count(app, name) for name in ("Event", "Delivery", "Attempt")]
    assert left == ([3] * 3 if "remove" in where else [0] * 3)


@pytest.mark.parametrize(("where", "changed"), [("record", False), ("rotate", True)])
def test_rotation_is_killed(app: Flask, mark: Path, log: Path, where: str, changed: bool) -> None:
    """The old secret goes on signing, with its successor or alone."""
    created = webhooks_of(app).create_endpoint("https://example.com/hook")
    before = len(activity(app))
    command = ["flask", "webhooks", "endpoints", "rotate", created.endpoint.id]
    killed(command, app, log, place("after", f"actions.secrets:{where}", mark))
    sealed = endpoint(app, created.endpoint.id).secrets_sealed
    assert sealed is not None
    secrets = [item["secret"] for item in state_of(app).vault.decrypt(sealed)]
    assert len(secrets) == 1 + changed
    assert secrets[-1] == created.secret
    assert len(activity(app)) == before + changed


@pytest.mark.parametrize("where", ["_renew", "_record"])
def test_reencryption_is_killed(
    database_url: str, redis_url: str, mark: Path, log: Path, where: str
) -> None:
    """Everything can be read, and the next run does what is left."""
    old = make_app(database_url, redis_url, WEBHOOKS_ENCRYPTION_KEYS=[OLD])
    with old.app_context():
        for number in range(3):
            add_endpoint(old, name=f"Shop {number}", headers={"X-Key": f"hush {number}"})
        before = values(old)
    close(old)
    app = make_app(database_url, redis_url, WEBHOOKS_ENCRYPTION_KEYS=[NEW, OLD])
    command = ["flask", "webhooks", "reencrypt"]
    with app.app_context():
        killed(command, app, log, place("after", f"actions.reencryption:{where}", mark))
        assert values(app) == before
    with WorkerProcess(command, config_of(app), log) as again:
        again.wait(60)
    close(app)
    alone = make_app(database_url, redis_url, WEBHOOKS_ENCRYPTION_KEYS=[NEW])
    with alone.app_context():
        assert values(alone) == before
    close(alone)


@pytest.mark.parametrize("when", ["before", "after"])
def test_upgrade_of_tables_is_killed(app: Flask, mark: Path, log: Path, when: str) -> None:
    """It goes on where it ended."""
    state = state_of(app)
    for name in ("Token", "PortalLink"):
        models_of(app).table(name).drop(state.engine)
    command = ["flask", "webhooks", "upgrade-db"]
    killed(command, app, log, place(when, "db.schema_changes:_make", mark))
    assert len(missing(app)) == (2 if when == "before" else 1)
    with WorkerProcess(command, config_of(app), log) as again:
        again.wait(60)
    assert missing(app) == []


def missing(app: Flask) -> list[Any]:
    with state_of(app).engine.begin() as connection:
        return list(schema_changes.missing(state_of(app), connection))
