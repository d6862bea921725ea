"""What is special about MySQL and MariaDB, on a MariaDB whose databases are in Latin-1 by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DataError

from flask_webhooks import actions, queries
from flask_webhooks.access import Access, system_access
from flask_webhooks.app_state import ALL_TENANTS, state_of
from flask_webhooks.delivery.retention import prune
from flask_webhooks.doctor import Level, examine
from flask_webhooks.queries.endpoints import _waiting
from flask_webhooks.security.vault import Vault
from tests.cli.test_cli import run
from tests.security.test_vault import NEW
from tests.support.delivering import (
    close,
    db_of,
    deliveries,
    drain,
    emit,
    make_app,
    models_of,
    webhooks_of,
)
from tests.support.receiver import Receiver
from tests.support.scraping import scrape
from tests.support.working import Worker

NAME = "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS} \N{PARTY POPPER} \N{CHECK MARK}"
DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB", "name": NAME}


@pytest.fixture
def app(mariadb_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(mariadb_url, redis_url)
    with app.app_context():
        yield app
        db_of(app).session.remove()
        state_of(app).models.metadata.drop_all(state_of(app).engine)
        close(app)


def events(app: Flask) -> list[Any]:
    model = models_of(app).Event
    with state_of(app).engine.connect() as connection:
        return list(connection.execute(sa.select(model.id, model.data)))


@pytest.mark.slow
def test_tables_hold_every_character_whatever_the_database_does(app: Flask) -> None:
    webhooks_of(app).create_endpoint("https://example.com/hook", name=NAME)
    [first] = emit(app, data=DATA, idempotency_key="one")
    assert [(event_id, data["name"]) for event_id, data in events(app)] == [(first, NAME)]


def test_key_that_repeats_gives_the_first_event(app: Flask) -> None:
    webhooks_of(app).create_endpoint("https://example.com/hook")
    first = emit(app, 2, data=DATA, idempotency_key="one")
    assert first[0] == first[1]
    assert emit(app, data=DATA, idempotency_key="one") == first[:1]
    [other] = emit(app, data=DATA, idempotency_key="two")
    assert {row.id for row in events(app)} == {first[0], other}
    assert len(deliveries(app)) == 2


def test_event_with_a_key_is_never_changed_without_a_word(app: Flask) -> None:
    webhooks_of(app).create_endpoint("https://example.com/hook")
    table = state_of(app).table("Event").name
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.text(f"ALTER TABLE {table} MODIFY data MEDIUMTEXT CHARACTER SET latin1")
        )
    with pytest.raises(DataError):
        emit(app, data=DATA, idempotency_key="one")
    db_of(app).session.rollback()
    assert events(app) == []


@pytest.mark.parametrize(
    "other", ["App_1", "app_1 ", "\N{LATIN SMALL LETTER A WITH ACUTE}pp_1", "APP_1"]
)
def test_tenants_are_told_apart_by_each_character(app: Flask, other: str) -> None:
    webhooks = webhooks_of(app)
    mine = webhooks.create_endpoint("https://example.com/mine", tenant="app_1").endpoint.id
    webhooks.create_endpoint("https://example.com/other", tenant=other)
    emit(app, tenant="app_1", data=DATA)
    assert [item.endpoint_id for item in deliveries(app)] == [mine]
    access = Access(state_of(app), "me", "app_1", lambda action, endpoint: True)
    assert [row.endpoint.id for row in queries.list_endpoints(access)] == [mine]
    everything = Access(state_of(app), "me", ALL_TENANTS, lambda action, endpoint: True)
    assert len(queries.list_endpoints(everything)) == 2
    assert len(queries.list_events(everything, tenant="app_1").items) == 1
    assert queries.list_events(everything, tenant=other).items == []


@pytest.mark.slow
def test_commands_read_and_write_here_too(app: Flask, receiver: Receiver) -> None:
    endpoint = webhooks_of(app).create_endpoint(receiver.url("/status/503")).endpoint
    access = system_access(state_of(app), "tester")
    follower = queries.Follower(access)
    [event_id] = emit(app, data=DATA)
    assert queries.readiness(state_of(app)).ready
    drain(app, retry_schedule=(60.0,))
    [item] = follower.look()
    assert item.delivery.event_id == event_id
    for command in (
        ["endpoints", "list", "--health", "healthy"],
        ["endpoints", "show", endpoint.id],
        ["events", "show", event_id],
        ["deliveries", "list", "--status", "5xx"],
        ["why", event_id, endpoint.id],
    ):
        result = run(app, *command)
        assert result.exit_code == 0, result.output
        assert "503" in result.stdout, result.output
    assert [
        finding
        for finding in examine(access)
        if finding.area in ("database", "clock", "keys") and finding.level is Level.PROBLEM
    ] == []


@pytest.mark.slow
def test_stored_secrets_are_encrypted_anew_here_too(app: Flask) -> None:
    webhooks_of(app).create_endpoint("https://example.com/hook")
    state = state_of(app)
    state.vault = Vault.from_config([NEW], ["for tests only"])
    access = system_access(state, "tester")
    assert len(queries.key_use(access).older) == 1
    [progress] = actions.reencrypt(access)
    assert (progress.renewed, progress.missed) == (1, 0)
    assert queries.key_use(access).older == ()


def test_attempts_are_counted_for_metrics(app: Flask) -> None:
    webhooks_of(app).create_endpoint("https://example.com/hook")
    emit(app, 6, data=DATA)
    with closing(Worker(app)) as worker:
        assert worker.answer_all() == 6
        emit(app, 2, data=DATA)
        worker.answer(worker.take_one(), 500)
        worker.answer(worker.take_one())
    told = scrape(app, ["endpoint"])
    assert told.all("up") == {("database",): 1, ("redis",): 1}
    assert told.all("attempts_total") == {("standard", "succeeded"): 7, ("standard", "refused"): 1}
    assert told.get("attempt_duration_seconds_sum", format="standard") == pytest.approx(0.1)


def test_counting_what_waits_ends_soon_here_too(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.queries.endpoints.MOST_COUNTED", 50)
    long, short = (webhooks_of(app).create_endpoint(f"https://example.com/{n}") for n in (1, 2))
    emit(app, 400, data=DATA)
    actions.pause_endpoint(system_access(state_of(app), "tester"), short.endpoint.id)
    deliveries = state_of(app).table("Delivery")
    of_short = deliveries.c.endpoint_id == short.endpoint.id
    with state_of(app).engine.begin() as connection:
        ids = connection.scalars(sa.select(deliveries.c.id).where(of_short)).all()
        connection.execute(sa.delete(deliveries).where(deliveries.c.id.in_(ids[49:])))

    def rows_read() -> int:
        """Of indexes, on this connection."""
        status = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read_next'")
        return int(status.one()[1])

    with state_of(app).engine.connect() as connection:
        # As the server does by itself after a while.
        connection.exec_driver_sql(f"ANALYZE TABLE {deliveries.name}").all()
        before = rows_read()
        waiting = connection.execute(_waiting(state_of(app), sa.true())).all()
        assert set(waiting) == {(long.endpoint.id, 50, 0), (short.endpoint.id, 0, 49)}
        assert 100 < rows_read() - before < 300
    rows = queries.list_endpoints(system_access(state_of(app), "tester"))
    assert [(row.pending, row.held) for row in rows] == [(0, 49), (50, 0)]


def test_deliveries_are_numbered_without_a_gap(app: Flask, receiver: Receiver) -> None:
    endpoint = webhooks_of(app).create_endpoint(receiver.url()).endpoint
    for _ in range(2):
        emit(app, 3)
        drain(app)
    page = webhooks_of(app).ledger(endpoint.id)
    assert [item.sequence for item in page.items] == [1, 2, 3, 4, 5, 6]
    assert {item.state for item in page.items} == {"succeeded"}
    sent = {(item.id, int(item.headers["webhook-sequence"])) for item in receiver.requests}
    assert sent == {(item.event_id, item.sequence) for item in page.items}


def test_flood_is_coalesced_and_its_keys_are_forgotten(app: Flask, receiver: Receiver) -> None:
    rules = {"license.created": {"by": "data.license_key", "seconds": 60}}
    webhooks_of(app).create_endpoint(receiver.url(), coalesce=rules)
    for _ in range(2):
        emit(app, 2, data={"license_id": "lic_1", "license_key": "AAAA-BBBB"})
        drain(app)
    assert len(receiver.requests) == 1
    assert [row.reason for row in deliveries(app)] == [None, *["coalesced"] * 3]
    state = state_of(app)
    key = state.table("CoalescingKey")
    with state.engine.connect() as connection:
        assert connection.execute(sa.select(key.c.skipped)).scalars().all() == [3]
        connection.rollback()
        prune(state, connection, datetime.now(UTC) + timedelta(days=400))
        assert connection.execute(sa.select(key.c.skipped)).scalars().all() == []
