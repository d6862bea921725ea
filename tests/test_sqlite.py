"""SQLite as we recommend it: transactions that begin at once, and readers that wait for nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from flask_webhooks import sqlite
from flask_webhooks.sqlite import READ_ONLY, immediate

#: Longer than a statement takes, and much shorter than the time that SQLite waits for a lock.
SOON = 3.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.sqlite"


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
    immediate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    yield engine
    engine.dispose()


def count(connection: sa.Connection) -> int:
    found: int = connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one()
    return found


def insert(connection: sa.Connection) -> None:
    connection.exec_driver_sql("INSERT INTO t VALUES (1)")


def test_released_savepoint_goes_with_its_transaction(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        transaction = connection.begin()
        with connection.begin_nested():
            insert(connection)
        transaction.rollback()
        assert count(connection) == 0


def test_engine_left_to_the_driver_keeps_it(path: Path, engine: sa.Engine) -> None:
    """Should this fail one day, `immediate` has become less important: tell the docs."""
    plain = sa.create_engine(f"sqlite:///{path}")
    with plain.connect() as connection:
        transaction = connection.begin()
        with connection.begin_nested():
            insert(connection)
        transaction.rollback()
        assert count(connection) == 1
    plain.dispose()


def test_transactions_that_read_first_take_turns(engine: sa.Engine) -> None:
    """With a late BEGIN, most of these would fail with "database is locked"."""

    def work() -> None:
        for _ in range(20):
            with engine.begin() as connection:
                before = count(connection)
                insert(connection)
                assert count(connection) == before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with engine.connect() as connection:
        assert count(connection) == 80


def test_connection_that_only_reads_waits_for_nobody(engine: sa.Engine) -> None:
    with engine.begin() as writer:
        insert(writer)
        began = time.monotonic()
        with engine.connect().execution_options(**{READ_ONLY: True}) as reader:
            assert count(reader) == 0
            assert reader.in_transaction()
        assert time.monotonic() - began < SOON


def test_connection_that_only_reads_sees_one_state(engine: sa.Engine) -> None:
    with engine.connect().execution_options(**{READ_ONLY: True}) as reader:
        assert count(reader) == 0
        with engine.begin() as writer:
            insert(writer)
        assert count(reader) == 0
        reader.rollback()
        assert count(reader) == 1


def test_connection_goes_back_to_the_pool_as_an_ordinary_one(engine: sa.Engine) -> None:
    with engine.connect().execution_options(**{READ_ONLY: True}) as reader:
        count(reader)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.execute("PRAGMA busy_timeout = 50")
        with engine.begin() as writer:
            insert(writer)
            # It would only read, but has to begin as a writer.
            with pytest.raises(OperationalError, match="locked"):
                count(connection)


def test_lock_that_was_held_for_long_is_taken_as_soon_as_it_is_free(engine: sa.Engine) -> None:
    """SQLite's own waiting would try again 0.23 and 0.33 seconds after the first try, and not in between."""
    held, late = 0.245, []
    for _ in range(5):
        with engine.connect() as writer, engine.connect() as waiting:
            transaction = writer.begin()
            free_at: list[float] = []

            def release(
                transaction: sa.RootTransaction = transaction, free_at: list[float] = free_at
            ) -> None:
                free_at.append(time.monotonic())
                transaction.rollback()

            timer = threading.Timer(held, release)
            timer.start()
            with waiting.begin():
                late.append(time.monotonic() - free_at[0])
            timer.join()
    assert min(late) < 0.04


def test_what_is_no_lock_is_not_waited_for(engine: sa.Engine) -> None:
    with engine.connect() as connection, connection.begin():
        began = time.monotonic()
        with pytest.raises(OperationalError, match="no such table"):
            sqlite.lock(connection, "UPDATE missing SET x = 1")
        assert time.monotonic() - began < SOON
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == sqlite.BUSY_TIMEOUT


def test_second_call_changes_nothing(engine: sa.Engine) -> None:
    immediate(engine)
    with engine.begin() as connection:
        insert(connection)
    with engine.connect() as connection:
        assert count(connection) == 1


def test_database_is_set_up_for_many_processes(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == sqlite.BUSY_TIMEOUT
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def test_database_in_memory_works_too() -> None:
    engine = sa.create_engine("sqlite://")
    immediate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
        insert(connection)
    with engine.connect() as connection:
        assert count(connection) == 1
    engine.dispose()


def test_other_databases_are_left_alone() -> None:
    engine = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    immediate(engine)
    assert not sa.event.contains(engine, "begin", sqlite._begin)
    assert not sa.event.contains(engine, "connect", sqlite._set_up)
