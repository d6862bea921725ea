"""What tests of the read and the write side share."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import certifi
import pytest
import sqlalchemy as sa
import trustme
from flask import Flask

from flask_webhooks import actions, ids, queries
from flask_webhooks.access import Access, system_access
from flask_webhooks.app_state import state_of
from flask_webhooks.columns import utc_now
from flask_webhooks.delivery.http.certificates import PUBLIC_AUTHORITIES
from flask_webhooks.models import Activity, DeliveryState, Endpoint, Task
from tests.support import delivering
from tests.support.delivering import close as close

URL = "https://hooks.example.com/in"

T = TypeVar("T")


def missing(what: str, required: str) -> NoReturn:
    """Skip the test for want of something; where the environment variable requires it, the test fails."""
    if os.environ.get(required):
        pytest.fail(f"{what}, and {required} is set")
    pytest.skip(what)


def make_app(database_url: str, redis_url: str, **config: Any) -> Flask:
    """The host of `tests.support.hostapp`, with tables and without pages."""
    return delivering.make_app(database_url, redis_url, **{"WEBHOOKS_URL_PREFIX": None, **config})


def accessing(app: Flask, actor: str = "tester") -> Access:
    """Access to everything."""
    return system_access(state_of(app), actor)


def as_tenant(app: Flask, tenant: str) -> Access:
    """Somebody who may do everything, but only to one tenant's."""
    return Access(state_of(app), "customer", tenant, lambda action, endpoint: True)


def add_endpoint(app: Flask, url: str = URL, **values: Any) -> Endpoint:
    return actions.create_endpoint(accessing(app), url, **values).endpoint


def add_delivery(
    app: Flask,
    endpoint: Endpoint,
    state: str = "pending",
    event_type: str = "license.created",
    **values: Any,
) -> str:
    """A delivery with an event of its own, straight into the database; returns its id."""
    state_ = state_of(app)
    delivery_id = ids.new_id("dlv")
    event_id = values.pop("event_id", None) or ids.new_id("evt")
    due_at = values.pop("due_at", utc_now() if state == DeliveryState.PENDING else None)
    with state_.engine.begin() as connection:
        connection.execute(
            sa.insert(state_.table("Event")).values(
                id=event_id,
                type=event_type,
                tenant=endpoint.tenant,
                data={"license_id": "lic_1"},
                occurred_at=utc_now(),
            )
        )
        connection.execute(
            sa.insert(state_.table("Delivery")).values(
                id=delivery_id,
                event_id=event_id,
                endpoint_id=endpoint.id,
                tenant=endpoint.tenant,
                event_type=event_type,
                state=state,
                due_at=due_at,
                **values,
            )
        )
    return delivery_id


def add_scheduled(app: Flask, tenant: str | None = None, key: str | None = None) -> str:
    """An event that is due in a week, straight into the database; returns its id."""
    state = state_of(app)
    scheduled_id = ids.new_id("sch")
    moment = datetime.now(UTC) + timedelta(days=7)
    with state.engine.begin() as connection:
        connection.execute(
            sa.insert(state.table("ScheduledEvent")).values(
                id=scheduled_id,
                type="license.created",
                tenant=tenant,
                data={"license_id": "lic_1"},
                deliver_at=moment,
                occurred_at=moment,
                key=key,
            )
        )
    return scheduled_id


def add_portal_link(app: Flask, tenant: str = "app_1", actor: str = "mira") -> str:
    """A portal link; returns its id."""
    with app.test_request_context():
        return actions.create_portal_link(accessing(app), tenant, actor=actor).link.id


def update(app: Flask, model: str, key: str, **values: Any) -> None:
    """Change a row by its primary key, behind everybody's back."""
    state = state_of(app)
    table = state.table(model)
    [column] = table.primary_key.columns
    with state.engine.begin() as connection:
        connection.execute(sa.update(table).where(column == key).values(**values))


def activity(app: Flask) -> list[Activity]:
    """The audit log, oldest first."""
    state = state_of(app)
    with sa.orm.Session(state.engine) as session:
        model = state.models.Activity
        return list(session.scalars(sa.select(model).order_by(model.id)))


def task_of(app: Flask, task_id: str) -> Task:
    return queries.get_task(accessing(app), task_id).task


def database_time(app: Flask) -> datetime:
    with state_of(app).engine.connect() as connection:
        return connection.execute(sa.select(utc_now())).scalar_one()


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """The SQL that runs on our engine meanwhile."""
    engine = state_of(app).engine
    executed: list[str] = []

    def note(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        # The round trip that bounds the time of a statement on PostgreSQL shows nothing.
        if not statement.startswith("SET LOCAL statement_timeout"):
            executed.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@contextmanager
def slow_clock(app: Flask, then: Callable[[], None]) -> Iterator[None]:
    """When the time is read from the database, the answer is late, and something happens before it comes."""
    engine = state_of(app).engine

    def wait(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if re.match(r"SELECT \(?(clock_timestamp|strftime)", statement):
            time.sleep(0.6)
            then()

    sa.event.listen(engine, "after_cursor_execute", wait)
    try:
        yield
    finally:
        sa.event.remove(engine, "after_cursor_execute", wait)


def at_once(*functions: Callable[[], T]) -> list[T | Exception]:
    """Run functions in threads that start together; returns results, or the exceptions raised."""
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], T]) -> T | Exception:
        barrier.wait(10)
        try:
            return function()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))


def trust(
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    *authorities: trustme.CA,
    public: bool = True,
) -> None:
    """Have workers trust these authorities.

    :param public: and one of those of the internet, as nearly every machine does.
    """
    file = directory / "authorities.pem"
    own = b"".join(authority.cert_pem.bytes() for authority in authorities)
    file.write_bytes(own + (_public_authority() if public else b""))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@cache
def _public_authority() -> bytes:
    """The certificate of a well-known authority."""
    store = ssl.create_default_context(cafile=certifi.where())
    known = (
        found
        for found in store.get_ca_certs(True)
        if hashlib.sha256(found).hexdigest() in PUBLIC_AUTHORITIES
    )
    return ssl.DER_cert_to_PEM_cert(next(known)).encode()
