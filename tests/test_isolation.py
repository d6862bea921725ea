"""Hosts that run their transactions at another isolation level than PostgreSQL's own: ours do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.errors import EndpointLimitReached
from flask_webhooks.state import state_of

from .delivering import close, drain, emit, make_app, states, webhooks_of
from .helpers import URL, as_tenant, at_once
from .receiver import Receiver

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
