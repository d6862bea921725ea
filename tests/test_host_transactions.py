"""Hosts whose transactions are unusual: they carry an event or say why not, and hear when they have ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm

from flask_webhooks import signals
from flask_webhooks.errors import ConfigurationError
from flask_webhooks.state import state_of

from .delivering import close, db_of, make_app, models_of, webhooks_of
from .helpers import URL

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
