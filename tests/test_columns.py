"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import StatementError

from flask_webhooks.columns import JsonText, LongText, SealedText, UtcDateTime, utc_now
from flask_webhooks.security.vault import Sealed

metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime),
    sa.Column("data", JsonText),
    sa.Column("text", LongText),
    sa.Column("sealed", SealedText),
    sa.Column("made_at", UtcDateTime, default=utc_now()),
)


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(database_url)
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def stored(connection: sa.Connection, column: str, value: Any) -> Any:
    """The value after it was written and read."""
    connection.execute(sa.delete(things))
    connection.execute(sa.insert(things).values({column: value}))
    return connection.scalar(sa.select(things.c[column]))


def test_time_comes_back_aware_and_in_utc(connection: sa.Connection) -> None:
    moment = datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    found = stored(connection, "at", moment)
    assert found == moment
    assert found.tzinfo is UTC
    assert found.microsecond == 456789
    assert stored(connection, "at", None) is None


def test_times_compare_in_the_database_as_they_do_in_python(connection: sa.Connection) -> None:
    base = datetime(2024, 2, 29, 12, tzinfo=UTC)
    moments = [base + timedelta(microseconds=step) for step in (0, 1, 999, 1000, 999_999, 10**6)]
    connection.execute(sa.insert(things), [{"at": moment} for moment in reversed(moments)])
    assert list(connection.scalars(sa.select(things.c.at).order_by(things.c.at))) == moments
    for moment in moments:
        earlier = connection.scalar(
            sa.select(sa.func.count()).select_from(things).where(things.c.at < moment)
        )
        assert earlier == moments.index(moment)


def test_time_without_zone_is_refused(connection: sa.Connection) -> None:
    with pytest.raises(StatementError, match="pass an aware time"):
        stored(connection, "at", datetime(2024, 1, 1))  # noqa: DTZ001


def test_databases_clock_is_utc_whatever_the_session_says(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET TIME ZONE 'Asia/Tokyo'"))
    now = connection.scalar(sa.select(utc_now()))
    assert now is not None
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=10)
    connection.execute(sa.insert(things).values(id=1))
    made_at = connection.scalar(sa.select(things.c.made_at))
    assert made_at is not None
    assert timedelta(0) <= made_at - now < timedelta(seconds=10)


def test_databases_clock_compares_with_times_that_were_written(connection: sa.Connection) -> None:
    for offset, due in ((-1, 1), (60, 0)):
        at = datetime.now(UTC) + timedelta(seconds=offset)
        connection.execute(sa.delete(things))
        connection.execute(sa.insert(things).values(at=at))
        found = connection.scalar(
            sa.select(sa.func.count()).select_from(things).where(things.c.at <= utc_now())
        )
        assert found == due


def test_clock_runs_on_within_a_transaction(connection: sa.Connection) -> None:
    first = connection.scalar(sa.select(utc_now()))
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_sleep(0.02)"))
    else:
        time.sleep(0.02)
    second = connection.scalar(sa.select(utc_now()))
    assert first is not None
    assert second is not None
    assert second > first


def test_json_keeps_its_order_and_its_numbers(connection: sa.Connection) -> None:
    value = {"b": 1, "a": [1.0, 10**30, "é\u2028\0"], "": None}
    found = stored(connection, "data", value)
    assert found == value
    assert list(found) == ["b", "a", ""]
    assert type(found["a"][0]) is float
    raw = connection.scalar(sa.select(sa.type_coerce(things.c.data, sa.Text)))
    assert raw == '{"b":1,"a":[1.0,1000000000000000000000000000000,"é\u2028\\u0000"],"":null}'


def test_json_none_is_null(connection: sa.Connection) -> None:
    assert stored(connection, "data", None) is None
    assert connection.scalar(sa.select(things.c.data.is_(None)))


def test_large_text_comes_back_whole(connection: sa.Connection) -> None:
    text = "é" * 300_000
    assert stored(connection, "text", text) == text


def test_sealed_text_stays_sealed(connection: sa.Connection) -> None:
    assert stored(connection, "sealed", Sealed("gAAA")) == Sealed("gAAA")
    assert stored(connection, "sealed", None) is None


@pytest.mark.parametrize(
    ("column_type", "expected"),
    [(UtcDateTime(), "DATETIME(6)"), (LongText(), "MEDIUMTEXT"), (JsonText(), "MEDIUMTEXT")],
)
def test_mysql_gets_microseconds_and_room(column_type: Any, expected: str) -> None:
    assert column_type.compile(mysql.dialect()) == expected


def test_mysql_has_a_clock_in_utc() -> None:
    statement = str(sa.select(utc_now()).compile(dialect=mysql.dialect()))
    assert statement.startswith("SELECT UTC_TIMESTAMP(6)")
