"""Events that describe a refusal, while the database does not take them: they are kept and written later."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm

from demo.services import PostgresServer
from flask_webhooks import signals, unwritten
from flask_webhooks.app_state import state_of
from flask_webhooks.sqlite import READ_ONLY
from tests.support.delivering import close, db_of, make_app, models_of, webhooks_of
from tests.support.helpers import URL
from tests.support.processes import wait_until

REFUSED = "user.login_failed"


@pytest.fixture
def postgres_app(postgres_server: PostgresServer, redis_url: str) -> Iterator[Flask]:
    postgres_server.start()
    app = make_app(postgres_server.create_database("unwritten"), redis_url)
    with app.app_context():
        webhooks_of(app).create_endpoint(URL)
        yield app
        close(app)
    postgres_server.start()
    postgres_server.drop_database("unwritten")


@pytest.fixture(params=[False, True], ids=["plain", "immediate"])
def sqlite_app(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}",
        redis_url,
        SQLITE_IMMEDIATE=request.param,
        WEBHOOKS_WAKE_TIMEOUT=0.25,
    )
    with app.app_context():
        webhooks_of(app).create_endpoint(URL)
        yield app
        close(app)


def refuse(app: Flask, reason: str = "password") -> None:
    signals.user_login_failed.send(app, data={"reason": reason})


def reasons(app: Flask) -> list[str]:
    """Those of the events that others see, each of which is owed to the endpoint."""
    event, delivery = models_of(app).table("Event"), models_of(app).table("Delivery")
    query = sa.select(event.c.data).join(delivery, delivery.c.event_id == event.c.id)
    engine = state_of(app).own_engine
    with engine.connect().execution_options(**{READ_ONLY: True}) as connection:
        return [data["reason"] for data in connection.scalars(query.order_by(event.c.id))]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name == "flask_webhooks.outbox"
    ]


@pytest.mark.slow
def test_refusal_after_a_restart_of_the_database_is_written_at_once(
    postgres_app: Flask, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections in the pool are stale, which shows only when one is used."""
    refuse(postgres_app, "before")
    postgres_server.restart()
    refuse(postgres_app, "after")
    assert reasons(postgres_app) == ["before", "after"]
    assert logged(caplog) == []


@pytest.mark.slow
def test_refusals_are_kept_while_the_database_is_away(
    postgres_app: Flask, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flask_webhooks.outbox")
    woken: list[bool] = []
    notifier = state_of(postgres_app).notifier
    wake = notifier.notify
    notifier.notify = lambda: woken.append(wake()) or True  # type: ignore[method-assign, func-returns-value]
    postgres_server.stop()
    event = webhooks_of(postgres_app).emit(REFUSED, {"reason": "0"})
    assert event is not None
    refuse(postgres_app, "1")
    refuse(postgres_app, "2")
    assert woken == []
    postgres_server.start()
    # Without another event.
    wait_until(lambda: woken, 20)
    assert reasons(postgres_app) == ["0", "1", "2"]
    kept, written = logged(caplog)
    assert kept.startswith(f"The event {REFUSED} could not be written")
    assert "3" in written


@pytest.mark.slow
def test_more_than_can_be_kept_is_counted_and_logged(
    postgres_app: Flask,
    postgres_server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unwritten, "MOST_EVENTS", 3)
    postgres_server.stop()
    for number in range(5):
        refuse(postgres_app, str(number))
    assert state_of(postgres_app).unwritten.lost == 2
    lost = [line for line in logged(caplog) if "is lost" in line]
    assert [f"{REFUSED} could not be recorded and is lost" in line for line in lost] == [True, True]
    assert "2 lost" in lost[-1]
    postgres_server.start()
    wait_until(lambda: reasons(postgres_app) == ["0", "1", "2"], 20)


@pytest.mark.slow
def test_large_events_are_kept_up_to_a_number_of_bytes(
    postgres_app: Flask, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unwritten, "MOST_BYTES", 5000)
    postgres_server.stop()
    for _ in range(4):
        refuse(postgres_app, "x" * 2000)
    assert state_of(postgres_app).unwritten.lost == 2
    postgres_server.start()
    wait_until(lambda: len(reasons(postgres_app)) == 2, 20)


def test_request_writes_what_was_kept_where_no_thread_does(
    postgres_app: Flask, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under uWSGI without threads."""
    monkeypatch.setattr(unwritten.Unwritten, "_start", lambda self: None)
    monkeypatch.setattr(unwritten, "LATE", 0.1)
    postgres_server.stop()
    refuse(postgres_app)
    postgres_server.start()
    time.sleep(0.2)
    assert reasons(postgres_app) == []
    with postgres_app.app_context():
        pass
    assert reasons(postgres_app) == ["password"]


def test_event_whose_commit_was_not_confirmed_is_not_written_twice(app: Flask) -> None:
    """The connection broke after the commit had reached the database."""
    webhooks_of(app).create_endpoint(URL)
    engine = state_of(app).engine
    broken: list[bool] = []

    def commit_and_break(connection: sa.Connection) -> None:
        if not broken:
            broken.append(True)
            connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            connection.invalidate()
            raise sa.exc.OperationalError(
                "COMMIT", {}, Exception("gone"), connection_invalidated=True
            )

    sa.event.listen(engine, "commit", commit_and_break)
    try:
        refuse(app)
    finally:
        sa.event.remove(engine, "commit", commit_and_break)
    assert broken
    assert reasons(app) == ["password"]


@pytest.mark.slow
def test_what_is_left_when_the_process_ends_is_logged(
    postgres_app: Flask, postgres_server: PostgresServer
) -> None:
    program = """
import sys
from tests.support.delivering import make_app
from flask_webhooks import signals
import logging; logging.basicConfig()
from tests.support.hostapp import create_app
app = create_app(SQLALCHEMY_DATABASE_URI=sys.argv[1], WEBHOOKS_REDIS_URL=sys.argv[2])
with app.app_context():
    signals.user_login_failed.send(app, data={"reason": "password"})
"""
    config = postgres_app.config
    postgres_server.stop()
    done = subprocess.run(
        [
            *(sys.executable, "-c", program),
            *(config["SQLALCHEMY_DATABASE_URI"], config["WEBHOOKS_REDIS_URL"]),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"1 events are lost because the process is exiting: {REFUSED}" in done.stderr


# -- SQLite, which has one writer ---------------------------------------------------------------------

_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute(sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
connection.rollback()
"""


@contextmanager
def locked(app: Flask, statement: str) -> Iterator[None]:
    """Another process holds the lock of the database."""
    command = [sys.executable, "-c", _LOCK, str(db_of(app).engine.url.database), statement]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "locked\n"
        yield
        other.stdin.close()


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_refusal_does_not_wait_for_another_process(
    sqlite_app: Flask, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(sqlite_app, statement):
        began = time.monotonic()
        refuse(sqlite_app, "1")
        refuse(sqlite_app, "2")
        # The driver's own patience is 5 seconds, and 15 as we recommend it.
        assert time.monotonic() - began < 2
    wait_until(lambda: reasons(sqlite_app) == ["1", "2"], 20)
    assert not any("lost" in line for line in logged(caplog))


def test_refusal_does_not_wait_for_a_session_of_the_same_request(sqlite_app: Flask) -> None:
    """One that the host did not name: we cannot know that it is the writer."""
    models = models_of(sqlite_app)
    with orm.Session(db_of(sqlite_app).engine) as own:
        own.execute(sa.update(models.table("Endpoint")).values(name="n"))
        began = time.monotonic()
        refuse(sqlite_app)
        assert time.monotonic() - began < 2
        own.commit()
    wait_until(lambda: reasons(sqlite_app) == ["password"], 20)


def test_connection_goes_back_with_the_patience_of_the_host(sqlite_app: Flask) -> None:
    with db_of(sqlite_app).engine.connect() as connection:
        before = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    refuse(sqlite_app)
    with db_of(sqlite_app).engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == before
