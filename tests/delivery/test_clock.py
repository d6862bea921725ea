"""A machine whose clock is wrong: what goes out and what is recorded goes by that of the database."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from demo.services import PostgresServer
from flask_webhooks import actions, queries
from flask_webhooks.access import system_access
from flask_webhooks.app_state import state_of
from flask_webhooks.db.clock import DatabaseClock
from tests.support.delivering import (
    attempts,
    close,
    drain,
    emit,
    make_app,
    states,
    statistics,
    webhooks_of,
)
from tests.support.pages import Browser
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

#: Seconds by which the machine is behind its database, beyond the tolerance of any receiver.
BEHIND = 600


@pytest.fixture
def behind(postgres_server: PostgresServer, redis_url: str) -> Iterator[Flask]:
    """The host on a PostgreSQL whose clock is ahead of ours."""
    postgres_server.start()
    name = f"clock_{uuid.uuid4().hex}"
    url = postgres_server.create_database(name)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in (
            "CREATE SCHEMA ahead",
            "CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
            f"$$SELECT pg_catalog.clock_timestamp() + interval '{BEHIND} s'$$",
        ):
            connection.execute(sa.text(statement))
    engine.dispose()
    app = make_app(f"{url}?options=-csearch_path%3Dpublic,ahead,pg_catalog", redis_url)
    with app.app_context():
        yield app
        close(app)
    postgres_server.drop_database(name)


def seconds_from_right(moment: datetime | float) -> float:
    stamp = moment if isinstance(moment, float) else moment.timestamp()
    return abs(stamp - time.time() - BEHIND)


def test_deliveries_are_signed_and_recorded_by_the_clock_of_the_database(
    behind: Flask, receiver: Receiver
) -> None:
    made = webhooks_of(behind).create_endpoint(receiver.url())
    emit(behind)
    assert drain(behind) == 1
    assert states(behind) == {"succeeded": 1}
    [request] = receiver.requests
    assert seconds_from_right(float(request.headers["webhook-timestamp"])) < 30
    [attempt] = attempts(behind)
    assert seconds_from_right(attempt.started_at) < 30
    [hour] = statistics(behind)
    assert hour.hour <= attempt.started_at < hour.hour + timedelta(hours=1)
    assert made.secret


@pytest.mark.parametrize("key_pair", [False, True])
def test_old_secret_ends_by_the_clock_of_the_database(
    behind: Flask, receiver: Receiver, key_pair: bool
) -> None:
    made = webhooks_of(behind).create_endpoint(receiver.url(), key_pair=key_pair).endpoint
    access = system_access(state_of(behind), "test")
    actions.rotate(access, made.id, overlap_seconds=BEHIND / 2, key_pair=key_pair)
    emit(behind)
    drain(behind)
    [request] = receiver.requests
    assert len(request.headers["webhook-signature"].split()) == 2
    newest, old = queries.get_endpoint(access, made.id).secrets_until
    assert newest is None
    assert old is not None
    assert seconds_from_right(old - timedelta(seconds=BEHIND / 2)) < 30
    assert len(queries.public_keys(access, made.id)) == (2 if key_pair else 0)

    actions.rotate(access, made.id, overlap_seconds=0.1, key_pair=key_pair)
    time.sleep(0.2)
    # It has ended for the workers, so it is not shown, or served, as one that signs.
    assert queries.get_endpoint(access, made.id).secrets_until == (None,)
    assert len(queries.public_keys(access, made.id)) == (1 if key_pair else 0)


@pytest.mark.slow
def test_health_page_shows_how_wrong_the_clock_of_a_worker_is(
    behind: Flask, tmp_path: Path
) -> None:
    with WorkerProcess(OURS, config_of(behind), tmp_path / "worker.log") as process:
        wait_until(
            lambda: "10 min behind the database" in Browser(behind).get("/health").text,
            60,
            what=process.output,
        )
    assert "Set the clock" in Browser(behind).get("/health").text


def test_clock_that_is_right_is_not_spoken_of(app: Flask) -> None:
    clock = DatabaseClock()
    with state_of(app).engine.connect() as connection:
        clock.read(connection)
    assert abs(clock.skew) < 1
    assert abs((datetime.now(UTC) - clock.now()).total_seconds() - clock.skew) < 1
