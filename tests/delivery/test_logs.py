"""The log: what stands in it at which level, how much of it, and what never does."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, jobs
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery import delivery_log, maintenance
from flask_webhooks.delivery.outcome import Settled
from flask_webhooks.log_limit import INTERVAL, LimitedLog
from tests.support.delivering import (
    add_backlog,
    attempts,
    drain,
    emit,
    expire_leases,
    make_due,
    models_of,
    states,
    the_delivery,
    webhooks_of,
)
from tests.support.helpers import accessing
from tests.support.processes import COMMAND, OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

FIELDS = [
    "event_id",
    "delivery_id",
    "endpoint_id",
    "tenant",
    "event_type",
    "attempt",
    "status",
    "outcome",
    "duration_ms",
]


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """What our loggers wrote at a level."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == level and record.name.startswith("flask_webhooks")
    ]


# -- lines -------------------------------------------------------------------------------------------------


def test_each_attempt_is_a_line_at_debug(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/status/503"), tenant="app_1")
    emit(app, tenant="app_1")
    with caplog.at_level(logging.DEBUG, "flask_webhooks.delivery"):
        drain(app, failing_after=99)
    [record] = [item for item in caplog.records if item.getMessage().startswith("Attempt")]
    delivery, [attempt] = the_delivery(app), attempts(app)
    assert {name: getattr(record, name) for name in FIELDS} == {
        "event_id": delivery.event_id,
        "delivery_id": delivery.id,
        "endpoint_id": created.endpoint.id,
        "tenant": "app_1",
        "event_type": "license.created",
        "attempt": 1,
        "status": 503,
        "outcome": "refused",
        "duration_ms": pytest.approx(attempt.duration_ms),
    }
    assert json.dumps(record.__dict__["outcome"]) == '"refused"'
    assert re.fullmatch(
        rf"Attempt 1 of delivery {delivery.id}, license.created to endpoint {created.endpoint.id}: "
        r"refused with 503 in \d+ ms",
        record.getMessage(),
    )


def test_an_attempt_without_an_answer_has_no_status(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/close"))
    emit(app)
    with caplog.at_level(logging.DEBUG, "flask_webhooks.delivery"):
        drain(app)
    [record] = [item for item in caplog.records if hasattr(item, "attempt")]
    assert record.__dict__["status"] is None
    assert re.search(r": broken in \d+ ms$", record.getMessage())


def test_lost_attempts_are_lines_too(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/ok"))
    add_backlog(app, created.endpoint.id, 1, state="sending", due_at=None, attempt_count=1)
    with state_of(app).engine.begin() as connection:
        table = models_of(app).table("Delivery")
        connection.execute(sa.update(table).values(last_attempt_at=table.c.created_at))
    expire_leases(app)
    with caplog.at_level(logging.DEBUG, "flask_webhooks.delivery"):
        drain(app, max_interruptions=1)
    [line] = [item for item in said(caplog, logging.DEBUG) if "Attempt 1 of" in item]
    assert line.endswith(": interrupted")
    [given_up] = [item for item in said(caplog, logging.INFO) if "given up" in item]
    assert given_up.endswith("is given up after attempt 1 (interrupted)")


def test_endpoints_and_deliveries_given_up_are_lines_at_info(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks = webhooks_of(app)
    created = webhooks.create_endpoint(receiver.url("/flaky/2"), tenant="app_1")
    id = created.endpoint.id
    emit(app, tenant="app_1")
    caplog.set_level(logging.INFO, "flask_webhooks")
    drain(app, failing_after=1)
    make_due(app)
    drain(app, failing_after=1, retry_schedule=(60.0,) * 3)
    make_due(app)
    drain(app)
    assert states(app) == {"succeeded": 1}
    actions.pause_endpoint(accessing(app), id)
    actions.resume_endpoint(accessing(app), id)
    gone = webhooks.create_endpoint(receiver.url("/status/410"), tenant="app_2").endpoint.id
    emit(app, tenant="app_2")
    drain(app)
    lines = said(caplog, logging.INFO)
    assert [line for line in lines if not line.startswith("Drained")] == [
        f"Endpoint {id} is failing (refused with 500): it gets one probe at a time",
        f"Endpoint {id} has recovered (succeeded with 200)",
        f"Endpoint {id} is paused",
        f"Endpoint {id} is resumed",
        *[line for line in lines if "given up after attempt 1 (gone)" in line],
        f"Endpoint {gone} is disabled (refused with 410)",
    ]
    assert sum(line.startswith("Drained: 1 attempts, ") for line in lines) == 4
    [disabled] = [item for item in caplog.records if "disabled" in item.getMessage()]
    assert disabled.__dict__["tenant"] == "app_2"
    assert disabled.__dict__["endpoint_id"] == gone


def test_nothing_is_made_for_a_level_that_is_off(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the fields of a line."""
    webhooks_of(app).create_endpoint(receiver.url("/ok"))
    emit(app, 3)
    made: list[Any] = []
    monkeypatch.setattr(delivery_log, "_fields", made.append)
    logger = logging.getLogger("flask_webhooks.delivery")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        assert drain(app) == 3
    finally:
        logger.setLevel(before)
    assert made == []


class Broken(logging.Handler):
    """Fails, as where the disk is full."""

    records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        raise RuntimeError("the disk is full")


@pytest.fixture
def broken() -> Iterator[Broken]:
    logger, handler = logging.getLogger("flask_webhooks"), Broken()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_a_handler_that_fails_stops_no_delivery(
    app: Flask, receiver: Receiver, broken: Broken
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/status/410"))
    emit(app, 2)
    drain(app)
    assert "failed" in states(app)
    assert all(attempt.status == 410 for attempt in attempts(app))


def test_a_handler_that_fails_stops_no_request(
    app: Flask, receiver: Receiver, broken: Broken
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url()).endpoint
    state_of(app).settings = dataclasses.replace(state_of(app).settings, validate_data="log")
    emit(app, data={"license": "not an object"})
    assert broken.records
    before = broken.records
    actions.pause_endpoint(accessing(app), created.id)
    actions.resume_endpoint(accessing(app), created.id)
    assert broken.records > before
    assert states(app) == {"pending": 1}


# -- how much of it ----------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_subject_gets_a_line_a_minute_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO)
    log = LimitedLog(logging.getLogger("flask_webhooks.test"), clock)
    for number in range(100):
        log.write("a", logging.INFO, "A %d", number, fields={"attempt": number})
        log.write("b", logging.INFO, "B")
    assert said(caplog, logging.INFO) == ["A 0", "B"]
    caplog.clear()
    clock.now += INTERVAL
    log.write_due()
    assert said(caplog, logging.INFO) == [
        "A 99 (99 like it since the last line)",
        "B (99 like it since the last line)",
    ]
    [record, _] = caplog.records
    assert (record.__dict__["attempt"], record.__dict__["count"]) == (99, 99)
    caplog.clear()
    log.write("a", logging.INFO, "A %d", 100)
    assert said(caplog, logging.INFO) == []
    log.close()
    assert said(caplog, logging.INFO) == ["A 100"]


def test_subjects_of_which_there_is_nothing_new_are_forgotten() -> None:
    clock = Clock()
    logger = logging.getLogger("flask_webhooks.test")
    logger.setLevel(logging.INFO)
    log = LimitedLog(logger, clock)
    for number in range(1000):
        log.write(number, logging.INFO, "Once")
    clock.now += INTERVAL
    log.write_due()
    assert log._lines == {}
    logger.setLevel(logging.NOTSET)


def test_a_storm_of_deliveries_given_up_is_two_lines(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/status/500"))
    add_backlog(app, created.endpoint.id, 300)
    caplog.set_level(logging.INFO, "flask_webhooks")
    drain(app, retry_schedule=(), failing_after=10_000)
    assert states(app) == {"failed": 300}
    lines = [line for line in said(caplog, logging.INFO) if "given up" in line]
    assert len(lines) == 2
    assert lines[1].endswith("(299 like it since the last line)")
    # Each job of a plain worker is a drain of its own.
    emit(app, 100)
    drain(app, retry_schedule=(), failing_after=10_000)
    lines = [line for line in said(caplog, logging.INFO) if "given up" in line]
    assert len(lines) == 4
    assert lines[3].endswith("(99 like it since the last line)")


# -- warnings ----------------------------------------------------------------------------------------------


def test_overdue_work_that_no_worker_was_woken_for_is_a_warning(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/ok"))
    add_backlog(app, created.endpoint.id, 1)
    with state_of(app).engine.begin() as connection:
        table = models_of(app).table("Delivery")
        past = sa.text("'2020-01-01 00:00:00'")
        connection.execute(sa.update(table).values(due_at=past))
    jobs._limited.close()
    assert jobs.sweep(state_of(app))
    assert said(caplog, logging.WARNING) == [
        "Deliveries were overdue, and no worker had been woken for them; one is woken now"
    ]


def test_a_drain_says_that_it_does_not_keep_up(
    app: Flask,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once a minute, and not of an endpoint to which something was sent."""
    monkeypatch.setattr(maintenance, "OVERDUE_PAUSE", 0.0)
    for number in range(2):
        created = webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.8/{number}"))
        add_backlog(app, created.endpoint.id, 1)
    # The other one waits for the only slot.
    drain(app, health_overdue=1.0, concurrency=1)
    [line] = said(caplog, logging.WARNING)
    assert re.match(r"Deliveries are overdue, the oldest by [1-9]\d* s: ", line)


# -- what never stands in it -------------------------------------------------------------------------------


def test_no_secret_payload_or_url_is_logged_at_any_level(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    key, path, token = "CANARY-KEY-1234", "canary-path", "canary-token"
    created = webhooks_of(app).create_endpoint(
        receiver.url(f"/says/I%20got%20{key}/{path}"),
        name="canary-name",
        headers={"Authorization": token},
    )
    failing = webhooks_of(app).create_endpoint(
        receiver.url(f"/status/410/{path}"), name="canary-name", headers={"X-Token": token}
    )
    caplog.set_level(logging.DEBUG, "flask_webhooks")
    emit(app, 3, data={"license_id": "lic_1", "license_key": key})
    drain(app)
    text = "\n".join(f"{item.getMessage()} {item.__dict__}" for item in caplog.records)
    assert "Attempt 1 of" in text
    secrets = (created.secret, failing.secret)
    for canary in (key, path, token, "canary-name", "lic_1", *secrets):
        assert canary
        assert canary not in text


# -- workers -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", [OURS, COMMAND], ids=["rq", "flask"])
def test_a_worker_shows_what_it_does(
    command: list[str], app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    """Also where nobody has set up logging."""
    webhooks_of(app).create_endpoint(receiver.url("/status/410"))
    with WorkerProcess(command, config_of(app), tmp_path / "log") as worker:
        emit(app)
        wait_until(lambda: states(app) == {"failed": 1}, what=worker.output)
        worker.terminate()
        worker.wait(20)
        output = worker.output()
    assert re.search(r"Worker \w+ started for webhooks", output), output
    assert "is disabled (refused with 410)" in output
    assert "is given up after attempt 1 (gone)" in output
    assert "Drained: 1 attempts, 0 succeeded" in output
    assert re.search(r"Worker \w+ stopped after \d+ s: 1 attempts in \d+ drains", output), output
    assert "Attempt 1 of" not in output


@pytest.mark.slow_on_postgresql
def test_a_verbose_worker_shows_attempts(app: Flask, receiver: Receiver, tmp_path: Path) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/ok"))
    with WorkerProcess([*OURS, "-v"], config_of(app), tmp_path / "log") as worker:
        emit(app)
        wait_until(lambda: "Attempt 1 of delivery" in worker.output(), what=worker.output)


@pytest.mark.slow
def test_a_worker_warns_that_redis_is_away(
    app: Flask, receiver: Receiver, tmp_path: Path, redis_server: Any
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    with WorkerProcess(OURS, config_of(app), tmp_path / "log") as worker:
        emit(app)
        receiver.wait_for(1)
        redis_server.stop()
        try:
            wait_until(lambda: "Polling for work instead" in worker.output(), 20, worker.output)
        finally:
            redis_server.start()
        wait_until(lambda: "Redis responds again" in worker.output(), 20, worker.output)
    [line] = [line for line in worker.output().splitlines() if "Polling for work" in line]
    assert "redis://" not in line


#: A host on a machine whose name servers do not answer, which no test can bring about.
WITHOUT_DNS = """
import socket
from flask_webhooks.delivery.http import resolver
from tests.support.hostapp import create_app

def no_answer(*_):
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

resolver._lookup = no_answer
"""


@pytest.mark.slow_on_postgresql
def test_a_worker_warns_that_no_name_can_be_resolved(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url(host="hooks.example.com"))
    (tmp_path / "without_dns.py").write_text(WITHOUT_DNS)
    (tmp_path / ".flaskenv").write_text("FLASK_APP=without_dns:create_app\n")
    (tmp_path / ".env").write_text(f"TEST_CONFIG='{json.dumps(config_of(app))}'\n")
    log = tmp_path / "log"
    with WorkerProcess(COMMAND, config_of(app), log, folder=tmp_path) as worker:
        emit(app)
        wait_until(lambda: "Names cannot be resolved" in worker.output(), 30, worker.output)
    assert "hooks.example.com" not in worker.output()
    assert attempts(app) == []


def test_an_empty_batch_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "flask_webhooks")
    log = delivery_log.DeliveryLog()
    log.write(Settled())
    log.close()
    assert said(caplog, logging.INFO) == []
