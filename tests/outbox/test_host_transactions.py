"""Hosts whose transactions are unusual: they carry an event or say why not, and hear when they have ended."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import blinker
import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy.track_modifications import models_committed
from sqlalchemy import orm
from sqlalchemy.exc import DBAPIError, OperationalError

from flask_webhooks import signals
from flask_webhooks.app_state import state_of
from flask_webhooks.columns import utc_now
from flask_webhooks.errors import ConfigurationError, InvalidInput
from tests.support import mariadb
from tests.support.delivering import close, db_of, make_app, models_of, webhooks_of
from tests.support.helpers import URL, missing

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}
CREATED, REFUSED = "license.created", "user.login_failed"

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def types(app: Flask) -> list[str]:
    """The types of the events that others see."""
    event = models_of(app).table("Event").c
    with state_of(app).own_engine.connect() as connection:
        return list(connection.scalars(sa.select(event.type).order_by(event.id)))


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "flask_webhooks.alarm"
    ]


# -- without transactions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": "AUTOCOMMIT"},
        {"execution_options": {"isolation_level": "AUTOCOMMIT"}},
    ],
    ids=["engine", "execution options"],
)
def test_engine_without_transactions_is_refused(
    database_url: str, redis_url: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=r"AUTOCOMMIT.*SQLALCHEMY_ENGINE_OPTIONS"):
        make_app(database_url, redis_url, SQLALCHEMY_ENGINE_OPTIONS=options)


@pytest.fixture
def driver_app(database_url: str, redis_url: str) -> Iterator[Flask]:
    """A host whose driver commits each statement, which shows only once it is connected."""
    sqlite = database_url.startswith("sqlite")
    arguments = {"isolation_level": None} if sqlite else {"autocommit": True}
    app = make_app(database_url, redis_url, SQLALCHEMY_ENGINE_OPTIONS={"connect_args": arguments})
    with app.app_context():
        webhooks_of(app).create_endpoint(URL)
        # Our transactions have left their connection with transactions.
        db_of(app).engine.dispose()
        yield app
        close(app)


def test_driver_that_commits_by_itself_is_refused(
    driver_app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigurationError, match="commits each statement"):
        webhooks_of(driver_app).emit(CREATED, DATA)
    signals.license_created.send(driver_app, data=DATA)
    [complaint] = complaints(caplog)
    assert "commits each statement" in complaint
    db_of(driver_app).session.rollback()
    assert types(driver_app) == []
    signals.user_login_failed.send(driver_app, data={"reason": "password"})
    assert types(driver_app) == [REFUSED]


def test_session_without_transactions_is_refused(app: Flask) -> None:
    engine = db_of(app).engine.execution_options(isolation_level="AUTOCOMMIT")
    webhooks_of(app).create_endpoint(URL)
    with orm.Session(engine) as own:
        with pytest.raises(ConfigurationError, match="commits each statement"):
            webhooks_of(app).emit(CREATED, DATA, session=own)
        own.rollback()
    assert types(app) == []
    webhooks_of(app).emit(CREATED, DATA)
    db_of(app).session.commit()
    assert types(app) == [CREATED]


# -- errors that end the host's transaction -----------------------------------------------------------


@pytest.fixture(scope="module")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not mariadb.installed():
        missing("no MariaDB server on PATH", "REQUIRE_MARIADB")
    with mariadb.mariadb(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


@pytest.fixture(scope="module")
def strict_mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that rolls back a transaction which has waited too long for a lock."""
    if not mariadb.installed():
        missing("no MariaDB server on PATH", "REQUIRE_MARIADB")
    directory = tmp_path_factory.mktemp("mariadb")
    with mariadb.mariadb(directory, "utf8mb4", "--innodb-rollback-on-timeout=ON") as url:
        yield url


@pytest.fixture(params=["mariadb", "postgresql"])
def server_app(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Flask]:
    """A host with two rows of its own, and an endpoint."""
    if request.param.endswith("mariadb"):
        url = request.getfixturevalue(f"{request.param}_url")
    else:
        url = request.getfixturevalue("postgres_server").create_database(f"t_{uuid.uuid4().hex}")
    app = make_app(url, redis_url)
    with app.app_context(), db_of(app).engine.begin() as connection:
        for name in ("delivery", "event", "endpoint_health", "endpoint"):
            connection.execute(sa.text(f"DELETE FROM webhooks_{name}"))
        connection.execute(sa.text("DROP TABLE IF EXISTS note"))
        connection.execute(sa.text("CREATE TABLE note (id int PRIMARY KEY, text int)"))
        connection.execute(sa.text("INSERT INTO note VALUES (1, 0), (2, 0)"))
    with app.app_context():
        webhooks_of(app).create_endpoint(URL)
        yield app
        close(app)


def notes(app: Flask) -> list[int]:
    with db_of(app).engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT text FROM note ORDER BY id")))


@contextmanager
def deadlock(app: Flask) -> Iterator[threading.Event]:
    """The transaction that holds the host's first note, says so, and then wants a delivery is the victim."""
    held = threading.Event()
    endpoint = models_of(app).table("Endpoint").c
    with db_of(app).engine.connect() as other:
        # MariaDB lets the one win that has changed more, PostgreSQL the one that looks for deadlocks later.
        if other.dialect.name == "postgresql":
            other.execute(sa.text("SET deadlock_timeout = '60s'"))
        other.execute(
            sa.text("INSERT INTO note VALUES (:id, 0)"), [{"id": n} for n in range(100, 300)]
        )
        other.execute(sa.select(endpoint.id).with_for_update()).all()

        def want() -> None:
            assert held.wait(30)
            other.execute(sa.text("UPDATE note SET text = 9 WHERE id = 1"))

        thread = threading.Thread(target=want)
        thread.start()
        try:
            yield held
        finally:
            db_of(app).session.rollback()
            thread.join(30)
            other.rollback()


def send_signal(app: Flask) -> None:
    signals.license_created.send(app, data=DATA)


def send_connected(app: Flask) -> None:
    signal = blinker.Signal()
    webhooks_of(app).connect(signal, CREATED, lambda sender: DATA)
    signal.send(app)


def send_with_query(app: Flask) -> None:
    """A deadlock in a function of the host's ends its transaction as well."""
    signal = blinker.Signal()
    endpoint = models_of(app).table("Endpoint").c

    def build(sender: object) -> dict[str, str]:
        db_of(app).session.execute(sa.select(endpoint.id).with_for_update()).all()
        return DATA

    webhooks_of(app).connect(signal, CREATED, build)
    signal.send(app)


@pytest.mark.parametrize("send", [send_signal, send_connected, send_with_query])
def test_deadlock_in_a_signal_is_raised_to_the_host(
    server_app: Flask, send: Callable[[Flask], None], caplog: pytest.LogCaptureFixture
) -> None:
    session = db_of(server_app).session

    def work(held: threading.Event) -> None:
        session.execute(sa.text("UPDATE note SET text = 1 WHERE id = 1"))
        held.set()
        send(server_app)
        session.commit()

    with (
        deadlock(server_app) as held,
        pytest.raises(OperationalError, match=r"(?i)deadlock"),
    ):
        work(held)
    assert (notes(server_app), types(server_app)) == ([0, 0], [])
    # As a host does that repeats what met a deadlock.
    work(held)
    assert (notes(server_app), types(server_app)) == ([1, 0], [CREATED])
    assert complaints(caplog) == []


def test_connection_that_breaks_in_a_signal_is_raised_to_the_host(server_app: Flask) -> None:
    session = db_of(server_app).session
    session.execute(sa.text("UPDATE note SET text = 1 WHERE id = 1"))
    with db_of(server_app).engine.connect() as other:
        if other.dialect.name == "mysql":
            number = session.scalar(sa.text("SELECT connection_id()"))
            other.execute(sa.text(f"KILL {number}"))
        else:
            number = session.scalar(sa.text("SELECT pg_backend_pid()"))
            other.execute(sa.text(f"SELECT pg_terminate_backend({number})"))
    with pytest.raises(OperationalError):
        send_signal(server_app)
    session.rollback()
    assert (notes(server_app), types(server_app)) == ([0, 0], [])


@pytest.mark.slow
@pytest.mark.parametrize("server_app", ["strict_mariadb"], indirect=True)
def test_lock_wait_that_rolls_back_is_raised_to_the_host(
    server_app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    session, endpoint = db_of(server_app).session, models_of(server_app).table("Endpoint").c
    session.execute(sa.text("SET innodb_lock_wait_timeout = 1"))
    session.execute(sa.text("UPDATE note SET text = 1 WHERE id = 1"))
    with db_of(server_app).engine.connect() as other:
        other.execute(sa.select(endpoint.id).with_for_update()).all()
        with pytest.raises(OperationalError, match="1205"):
            send_signal(server_app)
    session.rollback()
    assert (notes(server_app), types(server_app)) == ([0, 0], [])
    assert complaints(caplog) == []


def send_after_conflict(app: Flask) -> None:
    """A function of the host's meets the conflict."""
    signal = blinker.Signal()

    def build(sender: object) -> dict[str, str]:
        db_of(app).session.execute(sa.text("UPDATE note SET text = 1 WHERE id = 2"))
        return DATA

    webhooks_of(app).connect(signal, CREATED, build)
    signal.send(app)


@pytest.mark.parametrize("send", [send_signal, send_after_conflict])
@pytest.mark.parametrize("server_app", ["postgresql"], indirect=True)
def test_serialization_failure_in_a_signal_is_raised_to_the_host(
    server_app: Flask, send: Callable[[Flask], None], caplog: pytest.LogCaptureFixture
) -> None:
    session, models = db_of(server_app).session, models_of(server_app)
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    session.execute(sa.text("UPDATE note SET text = 1 WHERE id = 1"))
    with db_of(server_app).engine.begin() as other:
        other.execute(sa.text("UPDATE note SET text = 5 WHERE id = 2"))
        # No event of ours can refer to what is gone since the host's snapshot.
        other.execute(sa.delete(models.table("EndpointHealth")))
        other.execute(sa.delete(models.table("Endpoint")))
    with pytest.raises(DBAPIError) as caught:
        send(server_app)
    assert caught.value.orig is not None
    assert getattr(caught.value.orig, "sqlstate", None) == "40001"
    session.rollback()
    assert (notes(server_app), types(server_app)) == ([0, 5], [])
    assert complaints(caplog) == []


@pytest.mark.parametrize("server_app", ["mariadb"], indirect=True)
def test_lock_wait_that_leaves_the_transaction_whole_is_logged(
    server_app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless the server is set to roll back there, see `innodb_rollback_on_timeout`."""
    session, endpoint = db_of(server_app).session, models_of(server_app).table("Endpoint").c
    session.execute(sa.text("SET innodb_lock_wait_timeout = 1"))
    session.execute(sa.text("UPDATE note SET text = 1 WHERE id = 1"))
    with db_of(server_app).engine.connect() as other:
        other.execute(sa.select(endpoint.id).with_for_update()).all()
        send_signal(server_app)
    session.commit()
    assert (notes(server_app), types(server_app)) == ([1, 0], [])
    [complaint] = complaints(caplog)
    assert "could not be recorded" in complaint


# -- when it is too late ------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["after_commit", "models_committed"])
def test_event_after_the_commit_is_refused_with_what_to_do(
    app: Flask, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).create_endpoint(URL)
    session, raised = db_of(app).session(), []
    sent: list[bool] = []

    def committed(*_: object, **__: object) -> None:
        if sent:
            return
        sent.append(True)
        send_signal(app)
        with pytest.raises(InvalidInput, match=r"already committed.*before") as caught:
            webhooks_of(app).emit(CREATED, DATA)
        raised.append(caught.value)
        signals.user_login_failed.send(app, data={"reason": "password"})

    if hook == "after_commit":
        sa.event.listen(session, "after_commit", committed)
    else:
        # Flask-SQLAlchemy sends it from a listener of this kind.
        sa.event.listen(session, "after_commit", lambda _: models_committed.send(app, changes=()))
        models_committed.connect(committed, app)
    session.execute(sa.text("SELECT 1"))
    session.add(models_of(app).Event(type="license.renewed", data={}, occurred_at=utc_now()))
    session.commit()
    models_committed.disconnect(committed, app)
    assert len(raised) == 1
    [complaint] = complaints(caplog)
    assert "already committed" in complaint
    assert [record.exc_info for record in caplog.records if record.levelno >= logging.WARNING] == [
        None
    ]
    assert types(app) == ["license.renewed", REFUSED]
