"""A database that goes away, or is locked, in the middle of a drain: it goes on, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError

from demo.services import PostgresServer
from flask_webhooks.app_state import state_of
from flask_webhooks.db.locks import read_only
from flask_webhooks.errors import DatabaseError
from tests.support.api_calls import PREFIX, Api
from tests.support.delivering import (
    close,
    drain,
    emit,
    expire_leases,
    make_app,
    states,
    webhooks_of,
)
from tests.support.hostapp import create_app
from tests.support.pages import Browser
from tests.support.receiver import Receiver

EVENTS = 60
ENDPOINTS = 5

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@contextmanager
def draining(app: Flask) -> Iterator[Callable[[], int]]:
    """A drain in a thread of its own; what is given waits for its end and returns how many it made."""
    result: list[int | BaseException] = []

    def run() -> None:
        try:
            result.append(drain(app, endpoint_concurrency=4))
        except BaseException as error:
            result.append(error)

    def finish() -> int:
        thread.join(30)
        [made] = result
        assert isinstance(made, int), made
        return made

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield finish
    finally:
        thread.join(30)


def prepare(app: Flask, receiver: Receiver) -> None:
    for number in range(ENDPOINTS):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.02/{number}"))
    emit(app, EVENTS)


def assert_all_arrived(app: Flask, receiver: Receiver, made: int) -> None:
    """All were sent by the drain that met the trouble, but for what it could not know that it had."""
    assert made > EVENTS * ENDPOINTS / 2
    if set(states(app)) != {"succeeded"}:
        # A claim whose commit was not confirmed: its rows are leased to nobody.
        expire_leases(app)
        drain(app)
    assert states(app) == {"succeeded": EVENTS * ENDPOINTS}
    came = Counter((request.id, request.path) for request in receiver.requests)
    assert len(came) == EVENTS * ENDPOINTS
    assert max(came.values()) <= 2


def test_postgresql_restarted_in_the_middle(
    postgres_server: PostgresServer, redis_url: str, receiver: Receiver
) -> None:
    postgres_server.start()
    app = make_app(postgres_server.create_database("restarted"), redis_url)
    try:
        with app.app_context():
            prepare(app, receiver)
            close(app)
            with draining(app) as finish:
                receiver.wait_for(40)
                postgres_server.restart()
                made = finish()
            assert_all_arrived(app, receiver, made)
            close(app)
    finally:
        postgres_server.drop_database("restarted")


_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(2)
connection.rollback()
"""


@pytest.mark.slow
@pytest.mark.parametrize("patience", [5.0, 0.1])
@pytest.mark.parametrize("immediate", [False, True])
def test_sqlite_locked_by_another_process_in_the_middle(
    tmp_path: Path, redis_url: str, receiver: Receiver, patience: float, immediate: bool
) -> None:
    """Whether the driver waits for longer than the lock lasts, or gives up before."""
    path = tmp_path / "database.sqlite"
    options: dict[str, Any] = {"connect_args": {"timeout": patience}}
    app = make_app(
        f"sqlite:///{path}",
        redis_url,
        SQLALCHEMY_ENGINE_OPTIONS=options,
        SQLITE_IMMEDIATE=immediate,
    )
    with app.app_context():
        prepare(app, receiver)
        with draining(app) as finish:
            receiver.wait_for(40)
            began = time.monotonic()
            with subprocess.Popen(
                [sys.executable, "-c", _LOCK, path], stdout=subprocess.PIPE, text=True
            ) as other:
                assert other.stdout is not None
                assert other.stdout.readline() == "locked\n"
                made = finish()
            assert time.monotonic() - began > 2
        assert made == EVENTS * ENDPOINTS
        assert_all_arrived(app, receiver, made)
        close(app)


# -- messages -------------------------------------------------------------------------------------------------


def test_missing_tables_are_a_message_on_pages_and_in_answers(
    tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'empty.sqlite'}",
        WEBHOOKS_REDIS_URL=redis_url,
    )
    app.register_blueprint(webhooks_of(app).api_blueprint(), url_prefix=PREFIX)
    for path in ("/", "/endpoints/new", "/deliveries", "/events", "/overview", "/health", "/tasks"):
        assert "flask webhooks upgrade-db" in Browser(app).get(path, 503).text
    for path in ("/endpoints", "/deliveries", "/events", "/health"):
        assert Api(app).get(path, 503)["code"] == "database_error"
    with app.app_context(), pytest.raises(DatabaseError, match="flask webhooks upgrade-db"):
        webhooks_of(app).create_endpoint("https://example.com/hook")
    assert "A request to the database failed" in caplog.text
    assert "SELECT" not in caplog.text
    close(app)


def test_database_that_is_away_is_a_message_without_its_address(redis_url: str) -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI="postgresql+psycopg://ann:hush@127.0.0.1:1/nothing",
        WEBHOOKS_REDIS_URL=redis_url,
    )
    page = Browser(app).get("/", 503)
    assert "The database does not respond" in page.text
    assert "127.0.0.1" not in page.text
    close(app)


# -- reading without a transaction ------------------------------------------------------------------------


def idle(connection: sa.Connection) -> bool:
    """Whether PostgreSQL has no transaction open for us."""
    driver: Any = connection.connection.dbapi_connection
    return bool(driver.info.transaction_status == TransactionStatus.IDLE)


@on_postgresql
def test_look_costs_no_transaction_and_leaves_those_that_follow_whole(app: Flask) -> None:
    with state_of(app).engine.connect() as connection:
        with read_only(connection):
            connection.execute(sa.text("SELECT 1"))
            assert idle(connection)
        with connection.begin():
            connection.execute(sa.text("CREATE TABLE gone (id int)"))
            assert not idle(connection)
            connection.rollback()
        with read_only(connection):
            assert connection.scalar(sa.text("SELECT to_regclass('gone')")) is None
        with pytest.raises(DBAPIError), read_only(connection):
            connection.execute(sa.text("SELECT 1 / 0"))
        with connection.begin():
            connection.execute(sa.text("SELECT 1"))
            assert not idle(connection)


@on_postgresql
def test_connection_that_breaks_while_it_reads_comes_back_with_transactions(app: Flask) -> None:
    engine = state_of(app).engine
    with engine.connect() as connection:
        with pytest.raises(DBAPIError), read_only(connection):
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        with connection.begin():
            connection.execute(sa.text("SELECT 1"))
            assert not idle(connection)
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        assert not idle(connection)


@on_postgresql
@pytest.mark.parametrize("moment", ["connect", "checkout"])
def test_transaction_that_a_listener_of_the_host_leaves_open_is_no_trouble(
    app: Flask, receiver: Receiver, moment: str
) -> None:
    """Such as one that says ``SET search_path`` on each new connection."""

    def begin(connection: Any, *_: Any) -> None:
        connection.execute("SET statement_timeout = '1min'")

    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 3)
    engine = state_of(app).engine
    engine.dispose()
    sa.event.listen(engine, moment, begin)
    try:
        assert drain(app) == 3
    finally:
        sa.event.remove(engine, moment, begin)
    assert states(app) == {"succeeded": 3}
