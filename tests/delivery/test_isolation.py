"""Hosts that run their transactions at another isolation level than PostgreSQL's own: ours do not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from psycopg import IsolationLevel
from sqlalchemy import orm
from sqlalchemy.exc import DBAPIError

from flask_webhooks import actions, jobs, queries, signals
from flask_webhooks.access import Access
from flask_webhooks.app_state import AppState, state_of
from flask_webhooks.delivery.warmup import warm_up
from flask_webhooks.errors import EndpointLimitReached
from tests.support.delivering import (
    close,
    db_of,
    drain,
    emit,
    make_app,
    models_of,
    states,
    webhooks_of,
)
from tests.support.helpers import URL, accessing, as_tenant, at_once
from tests.support.receiver import Receiver

CREATED = "license.created"

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(params=["REPEATABLE READ", "SERIALIZABLE"])
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(database_url: str, redis_url: str, level: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url, SQLALCHEMY_ENGINE_OPTIONS={"isolation_level": level})
    with app.app_context():
        yield app
        close(app)


def test_limit_of_endpoints_holds_under_concurrent_creation(app: Flask) -> None:
    """Whoever waited for the others must see what they did."""
    mine = as_tenant(app, "app_1")
    results = at_once(*[lambda: actions.create_endpoint(mine, URL) for _ in range(12)])
    refused = [item for item in results if isinstance(item, Exception)]
    assert {type(item) for item in refused} == {EndpointLimitReached}
    assert len(results) - len(refused) == 5


def test_workers_are_not_refused_for_each_others_sake(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        webhooks_of(app).create_endpoint(receiver.url(f"/slow/0.02/{number}"))
    ids = emit(app, 30)
    drains = [
        threading.Thread(
            target=drain, args=(app,), kwargs={"concurrency": 16, "endpoint_concurrency": 4}
        )
        for _ in range(4)
    ]
    for thread in drains:
        thread.start()
    for thread in drains:
        thread.join(60)
    assert states(app) == {"succeeded": 300}
    assert receiver.ids() == dict.fromkeys(ids, 10)
    assert max(receiver.most_in_flight.values()) <= 4
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []


def test_connections_of_the_host_keep_their_level(app: Flask, level: str) -> None:
    """They come from the same pool."""
    webhooks_of(app).create_endpoint(URL)
    drain(app)
    with state_of(app).engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        assert driver.autocommit is False
        assert connection.get_isolation_level() == level


# -- keys that repeat, and what we read ---------------------------------------------------------------


@pytest.mark.parametrize("by_signal", [False, True], ids=["emit", "signal"])
def test_key_that_another_transaction_used_since_ours_began_is_recognised(
    app: Flask, by_signal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Our snapshot does not show the first event, and PostgreSQL refuses to pass over a row that it hides."""
    webhooks_of(app).create_endpoint(URL)
    session, models = db_of(app).session, models_of(app)
    session.execute(sa.update(models.table("Endpoint")).values(name="changed by the host"))
    with orm.Session(db_of(app).engine) as other:
        first = webhooks_of(app).emit(
            CREATED, {"license_id": "1"}, idempotency_key="k", session=other
        )
        assert first is not None
        other.commit()
    if by_signal:
        signals.license_created.send(app, data={"license_id": "2"}, idempotency_key="k")
    else:
        again = webhooks_of(app).emit(CREATED, {"license_id": "2"}, idempotency_key="k")
        assert again is not None
        assert again.id == first.id
    session.commit()
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []
    assert states(app) == {"pending": 1}
    [endpoint] = queries.list_endpoints(accessing(app))
    assert endpoint.endpoint.name == "changed by the host"


def test_other_conflict_of_an_event_with_a_key_is_raised(app: Flask) -> None:
    """The endpoint was deleted since our snapshot: the event cannot refer to it."""
    endpoint = webhooks_of(app).create_endpoint(URL).endpoint
    session, table = db_of(app).session, models_of(app).table("Endpoint")
    session.execute(sa.select(sa.func.count()).select_from(table)).scalar()
    with state_of(app).own_engine.begin() as other:
        other.execute(sa.delete(models_of(app).table("EndpointHealth")))
        other.execute(sa.delete(table).where(table.c.id == endpoint.id))
    with pytest.raises(DBAPIError):
        webhooks_of(app).emit(CREATED, {"license_id": "1"}, idempotency_key="k")
    session.rollback()
    assert states(app) == {}


@pytest.mark.parametrize(
    "work",
    [
        warm_up,
        jobs.sweep,
        lambda state: queries.list_endpoints(accessing(state.app)),
        lambda state: jobs.drain(state.settings.installation),
    ],
    ids=["warm-up", "sweep", "page", "drain"],
)
def test_what_we_read_is_no_conflict_of_the_hosts(
    app: Flask, work: Callable[[AppState], object]
) -> None:
    engine = state_of(app).engine
    levels: set[Any] = set()

    def look(connection: sa.Connection, *_: Any) -> None:
        driver: Any = connection.connection.dbapi_connection
        levels.add(driver.isolation_level)

    webhooks_of(app).create_endpoint(URL)
    sa.event.listen(engine, "before_cursor_execute", look)
    try:
        work(state_of(app))
    finally:
        sa.event.remove(engine, "before_cursor_execute", look)
    # None: each statement commits by itself, at the level of the server.
    assert levels
    assert levels <= {IsolationLevel.READ_COMMITTED, None}


@pytest.mark.parametrize(
    "change",
    [
        lambda access, id_: actions.create_endpoint(access, f"{URL}/other"),
        lambda access, id_: actions.update_endpoint(access, id_, name="changed"),
        lambda access, id_: actions.rotate_secret(access, id_),
        lambda access, id_: actions.pause_endpoint(access, id_),
        lambda access, id_: actions.delete_endpoint(access, id_),
        lambda access, id_: drain(access.state.app),
    ],
    ids=["create", "update", "rotate", "pause", "delete", "deliver"],
)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_change_of_an_endpoint_costs_the_host_no_retry(
    app: Flask, receiver: Receiver, change: Callable[[Access, str], object], before: bool
) -> None:
    """Whether it comes between the host's first statement and its event, or between that and the commit."""
    endpoint = webhooks_of(app).create_endpoint(receiver.url()).endpoint
    emit(app)
    with state_of(app).engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE licences AS SELECT 1 AS id")
    session = db_of(app).session
    session.execute(sa.text("SELECT * FROM licences")).all()
    session.execute(sa.text("UPDATE licences SET id = 2"))
    if before:
        change(accessing(app), endpoint.id)
    assert webhooks_of(app).emit(CREATED, {"license_id": "1"}) is not None
    if not before:
        change(accessing(app), endpoint.id)
    session.commit()
    with state_of(app).engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT id FROM licences")) == 2


@pytest.mark.parametrize("command", ["init-db", "upgrade-db", "upgrade-db --dry-run", "doctor"])
def test_commands_read_and_change_tables_at_our_level(app: Flask, level: str, command: str) -> None:
    with state_of(app).engine.begin() as connection:
        models_of(app).table("Metric").drop(connection)
    levels: set[object] = set()

    def note(connection: sa.Connection, *_: Any) -> None:
        driver: Any = connection.connection.dbapi_connection
        levels.add(driver.isolation_level)

    sa.event.listen(state_of(app).engine, "before_cursor_execute", note)
    result = app.test_cli_runner().invoke(args=["webhooks", *command.split()])
    assert "webhooks_metric" in result.output
    # None: each statement commits by itself, at the level of the server.
    assert levels
    assert levels <= {IsolationLevel.READ_COMMITTED, None}
