"""Short forms for what most tests do: make a host, an endpoint, an event, and deliver."""

from __future__ import annotations

import atexit
import dataclasses
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_webhooks import Webhooks
from flask_webhooks.app_state import AppState, state_of
from flask_webhooks.columns import UtcDateTime, utc_now
from flask_webhooks.config import Settings
from flask_webhooks.delivery.drain import Drain
from flask_webhooks.models import (
    Attempt,
    Delivery,
    Endpoint,
    EndpointHealth,
    Event,
    Models,
    Statistic,
)
from tests.support.hostapp import DEFAULTS, create_app

#: What the hosts of nearly all tests share: to map the tables for each anew takes longer than most tests.
_HOST_DB = SQLAlchemy()


def make_app(
    database_url: str, redis_url: str, *, db: SQLAlchemy | None = None, **config: Any
) -> Flask:
    """The host of `tests.support.hostapp`, with tables.

    :param db: for a host that changes its metadata.
    """
    url = sa.make_url(database_url)
    if db is None and url.get_backend_name() in ("sqlite", "postgresql"):
        db = _HOST_DB
    path = Path(url.database or "")
    if db is _HOST_DB and url.get_backend_name() == "sqlite" and not path.exists():
        shutil.copy(_sqlite_with_tables(), path)
    app = create_app(
        db, SQLALCHEMY_DATABASE_URI=database_url, WEBHOOKS_REDIS_URL=redis_url, **config
    )
    with app.app_context():
        db_of(app).create_all()
    return app


@cache
def _sqlite_with_tables() -> Path:
    """A database to copy: that takes a twentieth of the time of making the tables."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    path = Path(directory.name) / "tables.sqlite"
    app = create_app(_HOST_DB, SQLALCHEMY_DATABASE_URI=f"sqlite:///{path}")
    with app.app_context():
        db_of(app).create_all()
    close(app)
    return path


def close(app: Flask) -> None:
    """Close the application's database connections; without this they are closed with a warning."""
    with app.app_context():
        db_of(app).session.remove()
        for engine in db_of(app).engines.values():
            engine.dispose()


def db_of(app: Flask) -> SQLAlchemy:
    db: SQLAlchemy = app.extensions["sqlalchemy"]
    return db


def webhooks_of(app: Flask) -> Webhooks:
    webhooks: Webhooks = app.extensions["test_webhooks"]
    return webhooks


def models_of(app: Flask) -> Models:
    return state_of(app).models


def emit(
    app: Flask,
    count: int = 1,
    event_type: str = "license.created",
    *,
    data: dict[str, Any] | None = None,
    **options: Any,
) -> list[str]:
    """Emit and commit; returns the ids of the events."""
    webhooks = webhooks_of(app)
    ids = []
    for number in range(count):
        sample = {"license_id": f"lic_{number}", "license_key": "AAAA-BBBB"}
        event = webhooks.emit(event_type, data or sample, **options)
        assert event is not None
        ids.append(event.id)
    db_of(app).session.commit()
    return ids


def drain(app: Flask, **settings: Any) -> int:
    """Deliver what is due, in this process; returns how many attempts were made.

    The first retry and the end of a lease are a minute away, unless the application of the test or its call says
    otherwise: on a busy machine they would come before the drain is over, and it would make a second attempt.
    """
    state = state_of(app)
    own = state.settings
    calm: dict[str, Any] = {}
    if own.lease == DEFAULTS["WEBHOOKS_LEASE"]:
        calm["lease"] = 60.0
    if own.retry_schedule in (
        Settings().retry_schedule,
        tuple(DEFAULTS["WEBHOOKS_RETRY_SCHEDULE"]),
    ):
        calm["retry_schedule"] = tuple(max(delay, 60.0) for delay in own.retry_schedule)
    if settings:
        return Drain(with_settings(state, **calm | settings)).run()
    # The same object: tests follow its engines.
    state.settings = dataclasses.replace(own, **calm)
    try:
        return Drain(state).run()
    finally:
        state.settings = own


def with_settings(state: AppState, **settings: Any) -> AppState:
    """The same application with other settings, as another process might have."""
    changed = dataclasses.replace(state.settings, **settings)
    networks = settings.keys() & {"allowed_networks", "denied_networks", "allowed_ports"}
    policy = changed.network_policy() if networks else state.policy
    return dataclasses.replace(state, settings=changed, policy=policy)


def events(app: Flask) -> list[Event]:
    """All events, oldest first."""
    event = models_of(app).Event
    return _read(app, sa.select(event).order_by(event.id))


def deliveries(app: Flask) -> list[Delivery]:
    """All deliveries, oldest first, freshly read."""
    model = models_of(app).Delivery
    return _read(app, sa.select(model).order_by(model.id))


def the_delivery(app: Flask) -> Delivery:
    """The only one there is."""
    [delivery] = deliveries(app)
    return delivery


def attempts(app: Flask) -> list[Attempt]:
    """All attempts, oldest first."""
    model = models_of(app).Attempt
    return _read(app, sa.select(model).order_by(model.started_at, model.delivery_id, model.number))


def endpoint(app: Flask, endpoint_id: str) -> Endpoint:
    model = models_of(app).Endpoint
    found: list[Endpoint] = _read(app, sa.select(model).where(model.id == endpoint_id))
    return found[0]


def health(app: Flask, endpoint_id: str) -> EndpointHealth:
    model = models_of(app).EndpointHealth
    found: list[EndpointHealth] = _read(
        app, sa.select(model).where(model.endpoint_id == endpoint_id)
    )
    return found[0]


def statistics(app: Flask) -> list[Statistic]:
    return _read(app, sa.select(models_of(app).Statistic))


def count(app: Flask, name: str) -> int:
    """How many rows the table of a model has."""
    query = sa.select(sa.func.count()).select_from(models_of(app).table(name))
    with state_of(app).engine.connect() as connection:
        return connection.execute(query).scalar_one()


def states(app: Flask) -> Counter[str]:
    """How many deliveries stand in each state."""
    return Counter(str(item.state) for item in deliveries(app))


def update_row(app: Flask, model: type[Any], row_id: str, **values: Any) -> None:
    """Change one row behind everybody's back."""
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(model).where(model.id == row_id).values(values))


def add_backlog(app: Flask, endpoint_id: str, count: int, **values: Any) -> None:
    """Many deliveries to one endpoint that are due now, in the blink of an eye.

    :param values: columns that differ from a fresh delivery's.
    """
    models = models_of(app)
    number = sa.select(sa.literal(1_000_000).label("n")).cte("numbers", recursive=True)
    number = number.union_all(sa.select(number.c.n + 1).where(number.c.n < 999_999 + count))

    def numbered(prefix: str) -> sa.ColumnElement[str]:
        return sa.literal(f"{prefix}_{endpoint_id[-12:]}") + sa.cast(number.c.n, sa.String)

    def fill(table: sa.Table, columns: dict[str, Any]) -> None:
        selected = [
            value
            if isinstance(value, sa.ColumnElement)
            else sa.literal(value, table.c[name].type).label(name)
            for name, value in columns.items()
        ]
        statement = sa.insert(table).from_select(list(columns), sa.select(*selected))
        connection.execute(statement)

    with state_of(app).engine.begin() as connection:
        now = connection.execute(sa.select(utc_now())).scalar_one()
        due_at = now - timedelta(seconds=1)
        fresh = {"state": "pending", "trigger": "event", "due_at": due_at, **values}
        common: dict[str, Any] = {"created_at": due_at}
        event = {"type": "license.created", "data": {}, "occurred_at": due_at, **common}
        fill(models.table("Event"), {"id": numbered("evt"), **event})
        owed = {"endpoint_id": endpoint_id, "event_type": "license.created", **common}
        counts = {"attempt_count": 0, "failure_count": 0, "interruption_count": 0}
        fill(
            models.table("Delivery"),
            {"id": numbered("dlv"), "event_id": numbered("evt"), **owed, **counts, **fresh},
        )


def make_due(app: Flask) -> None:
    """Let the time pass until every pending delivery is due, and every hold is over."""
    models = models_of(app)
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.update(models.table("Delivery"))
            .where(models.table("Delivery").c.state == "pending")
            .values(due_at=utc_now())
        )
        connection.execute(sa.update(models.table("EndpointHealth")).values(hold_until=None))


def expire_leases(app: Flask) -> None:
    """Let the time pass until every lease has run out."""
    models = models_of(app)
    table = models.table("Delivery")
    with state_of(app).engine.begin() as connection:
        now = connection.execute(sa.select(sa.type_coerce(utc_now(), UtcDateTime()))).scalar_one()
        connection.execute(
            sa.update(table)
            .where(table.c.state == "sending")
            .values(lease_until=now - timedelta(seconds=1))
        )


def _read(app: Flask, statement: sa.Select[Any]) -> list[Any]:
    """Read in a session of our own, so that the host's is left alone."""
    from sqlalchemy.orm import Session

    with Session(state_of(app).engine) as session:
        return list(session.scalars(statement))
