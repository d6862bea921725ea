"""``flask webhooks tail``: attempts of a real worker as they are made."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.queries import Follower, following
from tests.cli.test_cli import environment, refused, run
from tests.support.delivering import deliveries, drain, emit, make_due
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    as_tenant,
    database_time,
    update,
)
from tests.support.processes import COMMAND, ROOT, WorkerProcess, config_of
from tests.support.receiver import Receiver


def seen(follower: Follower) -> list[tuple[str, int]]:
    return [(item.delivery.id, item.attempt.number) for item in follower.look()]


def deliver(app: Flask) -> None:
    drain(app, retry_schedule=(60.0, 60.0, 60.0))


# -- what is followed ---------------------------------------------------------------------------------


def test_each_attempt_is_seen_once(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/status/503"))
    emit(app)
    deliver(app)
    follower = Follower(accessing(app))
    # What was before is left alone.
    assert seen(follower) == []
    first = deliveries(app)[0].id
    emit(app)
    deliver(app)
    second = deliveries(app)[-1].id
    assert seen(follower) == [(second, 1)]
    assert seen(follower) == []
    make_due(app)
    deliver(app)
    assert sorted(seen(follower)) == sorted([(first, 2), (second, 2)])


@pytest.mark.parametrize("way", ["retry", "resent"])
def test_attempts_of_old_deliveries_are_seen_too(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """They are far from the newest."""
    monkeypatch.setattr(following, "NEWEST", 2)
    endpoint = add_endpoint(app, receiver.url("/status/503"))
    emit(app)
    deliver(app)
    [old] = deliveries(app)
    for _ in range(5):
        add_delivery(app, endpoint, "succeeded")
    follower = Follower(accessing(app))
    if way == "retry":
        make_due(app)
        assert seen(follower) == []
    else:
        actions.resend(accessing(app), old.id)
    deliver(app)
    assert seen(follower) == [(old.id, 2)]


def test_filters_are_those_of_the_lists(app: Flask, receiver: Receiver) -> None:
    one = add_endpoint(app, receiver.url("/ok"), tenant="app_1")
    two = add_endpoint(app, receiver.url("/ok2"), tenant="app_2")
    access = accessing(app)
    by_endpoint = Follower(access, two.id)
    by_type = Follower(access, event_type="user.deleted")
    by_tenant = Follower(as_tenant(app, "app_1"))
    [event] = emit(app, event_type="license.created", tenant="app_1")
    by_event = Follower(access, event_id=event)
    emit(app, event_type="user.deleted", tenant="app_2")
    deliver(app)

    def endpoints(follower: Follower) -> list[str]:
        return [item.endpoint.id for item in follower.look()]

    assert endpoints(by_endpoint) == [two.id]
    assert endpoints(by_type) == [two.id]
    assert endpoints(by_tenant) == [one.id]
    assert endpoints(by_event) == [one.id]


def test_attempts_since_a_time_come_first(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/ok"))
    emit(app)
    deliver(app)
    [past] = deliveries(app)
    follower = Follower(accessing(app), since=past.created_at)
    emit(app)
    deliver(app)
    new = deliveries(app)[-1].id
    assert seen(follower) == [(past.id, 1), (new, 1)]
    assert seen(follower) == []
    later = database_time(app) + timedelta(hours=1)
    assert seen(Follower(accessing(app), since=later)) == []
    line, _ = run(app, "tail", "--since", "1h", "--limit", "2").stdout.splitlines()
    assert past.id in line


def test_nothing_large_is_read(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/ok"))
    follower = Follower(accessing(app))
    emit(app)
    deliver(app)
    [item] = follower.look()
    assert item.attempt.request_body is None
    detail = queries.get_delivery(accessing(app), item.delivery.id)
    assert detail.attempts[0].request_body is not None


# -- the command --------------------------------------------------------------------------------------


@pytest.fixture
def tailing(app: Flask) -> Iterator[Any]:
    """Start the command in a process of its own; ends it."""
    started: list[subprocess.Popen[str]] = []

    # A process that is started in the background of a shell ignores Ctrl-C, and so would those that it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "flask", "webhooks", "tail", *arguments],
            env={**environment(config_of(app)), "no_proxy": "*"},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    signal.signal(signal.SIGINT, before)
    for process in started:
        if process.poll() is None:
            process.kill()
        assert process.stdout is not None
        process.stdout.close()
        process.wait(10)


@pytest.mark.slow
def test_attempts_of_a_worker_come_as_they_are_made(
    app: Flask, receiver: Receiver, tmp_path: Path, tailing: Any
) -> None:
    good = add_endpoint(app, receiver.url("/ok"), name="Good")
    bad = add_endpoint(app, receiver.url("/status/503"), name="Bad")
    update(app, "Endpoint", bad.id, name="Bad \x1b[2J")
    everything, failures = tailing(), tailing("--failed", "--limit", "2", "--json")

    def read(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()

    for process in (everything, failures):
        assert read(process) == "Waiting for attempts. Press Ctrl-C to stop.\n"
    with WorkerProcess(COMMAND, config_of(app), tmp_path / "worker.log") as worker:
        emit(app)
        documents = [json.loads(read(failures)) for _ in range(2)]
        assert failures.wait(20) == 0
        lines = [read(everything) for _ in range(3)]
        worker.terminate()
        worker.wait(20)
    assert {item["endpoint_id"] for item in documents} == {bad.id}
    assert {item["status"] for item in documents} == {503}
    assert "request_body" not in documents[0]
    line = next(line for line in lines if "succeeded" in line)
    assert "license.created" in line
    assert " #1  Good" in line
    assert good.id not in line
    assert not any("\x1b" in line for line in lines)
    everything.send_signal(signal.SIGINT)
    assert everything.wait(20) == 0


def test_endpoint_that_is_not_there_ends_with_one_line(app: Flask) -> None:
    assert refused(run(app, "tail", "--endpoint", "ep_x")) == "There is no endpoint 'ep_x'."
