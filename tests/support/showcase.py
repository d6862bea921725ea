"""A licensing server worth a picture: believable endpoints, and deliveries that were really made.

The receiver answers on loopback. Afterwards its addresses are written over with names that documentation may
use, and the past is filled in, for charts to show something.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.catalog.registry import builtin_catalog
from tests.support.delivering import drain, emit, make_due
from tests.support.helpers import accessing, add_endpoint, update
from tests.support.receiver import Receiver, Request


@dataclass(frozen=True)
class Site:
    """A customer's receiver."""

    name: str
    #: As it is shown, and what the receiver of the tests does in its place.
    url: str
    path: str
    events: list[str] | None
    #: Attempts in an hour, the share that fails, and for how many hours all have.
    rate: float
    failing: float = 0.0
    outage: int = 0
    #: Days since it was added.
    age: int = 30
    user_agent: str = ""


SITES = {
    "shop": Site(
        "Northwind shop",
        "https://shop.northwind.example/webhooks/licences",
        "/ok",
        ["license.*", "payment.*"],
        rate=140,
        failing=0.004,
        age=212,
    ),
    "fraud": Site(
        "Fraud desk",
        "https://desk.contoso.example/in",
        "/flaky/2",
        ["hwid.mismatched", "security.alert", "user.banned"],
        rate=22,
        failing=0.03,
        age=96,
        user_agent="Contoso/2",
    ),
    "erp": Site(
        "Adventure Works ERP",
        "https://erp.adventure-works.example/api/licensing",
        "/status/503",
        ["license.*", "payment.succeeded"],
        rate=60,
        failing=0.01,
        outage=7,
        age=160,
    ),
    "mail": Site(
        "Fabrikam mailing",
        "https://hooks.fabrikam.example/licences",
        "/ok/mail",
        ["user.registered", "license.expired"],
        rate=8,
        age=41,
    ),
}

#: What happens, in this order.
EVENTS = (
    "license.created",
    "payment.succeeded",
    "license.activated",
    "user.registered",
    "license.validated",
    "hwid.mismatched",
    "license.renewed",
    "payment.failed",
    "user.banned",
    "license.expired",
    "license.activated",
)


@dataclass
class Show:
    """What `make` made."""

    endpoints: dict[str, str]
    #: Of the event that went to some, and not to others.
    event: str
    #: Of which all attempts failed.
    delivery: str
    #: As the shop got it.
    request: Request


def make(app: Flask, receiver: Receiver) -> Show:
    """Endpoints, and deliveries to them."""
    access = accessing(app, "ann")
    with app.app_context():
        endpoints = {
            key: add_endpoint(
                app,
                receiver.url(f"{site.path}/{key}"),
                name=site.name,
                events=site.events,
                user_agent=site.user_agent or None,
            ).id
            for key, site in SITES.items()
        }
        events = []
        for event_type in EVENTS:
            data = dict(builtin_catalog()[event_type].example)
            events += emit(app, event_type=event_type, data=data)
        for _ in range(3):
            drain(app, retry_schedule=(60.0, 300.0), failing_after=1000)
            make_due(app)
        actions.pause_endpoint(access, endpoints["mail"], "Moving to another host until Monday")
        emit(app, 3, "user.registered", data=dict(builtin_catalog()["user.registered"].example))
        drain(app)
        endpoints["chat"] = add_endpoint(
            app,
            "https://discord.com/api/webhooks/1298437650918273645/kJ8sPq2LmZ0xWv4YbT6nR1cD",
            name="Team chat",
            events=["security.alert", "license.revoked"],
        ).id
        _add_tasks(app, access, endpoints)
    _rename(app, receiver, endpoints)
    _spread(app)
    _age(app, endpoints)
    request = next(item for item in receiver.requests if item.path.endswith("/shop"))
    return Show(endpoints, events[0], _delivery(app, endpoints["erp"]), request)


def _add_tasks(app: Flask, access: Access, endpoints: dict[str, str]) -> None:
    """One that is over, and one that workers have got half-way through."""
    now = datetime.now(UTC)
    resent = actions.start_task(access, "resend", None, status="5xx")
    times = {"started_at": now, "finished_at": now}
    update(app, "Task", resent.id, state="finished", total=37, done=37, **times)
    replayed = actions.start_task(
        access, "replay", endpoints["shop"], since=now - timedelta(days=3)
    )
    update(app, "Task", replayed.id, state="running", total=1284, done=712, started_at=now)


def _delivery(app: Flask, endpoint_id: str) -> str:
    table = state_of(app).table("Delivery")
    with state_of(app).engine.connect() as connection:
        found: str = connection.execute(
            sa.select(sa.func.max(table.c.id)).where(table.c.endpoint_id == endpoint_id)
        ).scalar_one()
    return found


def _rename(app: Flask, receiver: Receiver, endpoints: dict[str, str]) -> None:
    """Put names that are nobody's in place of the receiver's address."""
    state = state_of(app)
    table = state.table("Attempt")
    local = receiver.url("").removeprefix("http://")
    with state.engine.begin() as connection:
        for key, site in SITES.items():
            host = site.url.split("/")[2]
            mine = sa.select(table).where(table.c.endpoint_id == endpoints[key])
            for row in connection.execute(mine).all():
                headers = [[name, v.replace(local, host)] for name, v in row.request_headers or []]
                _set(connection, table, row, url=site.url, request_headers=headers)
        connection.execute(sa.update(table).values(address="203.0.113.24"))
    for key, site in SITES.items():
        update(app, "Endpoint", endpoints[key], url_shown=site.url)


def _set(connection: sa.Connection, table: sa.Table, row: Any, **values: Any) -> None:
    """Change a row that was read from the table."""
    key = [column == getattr(row, column.name) for column in table.primary_key.columns]
    connection.execute(sa.update(table).where(*key).values(**values))


def _spread(app: Flask) -> None:
    """Let the events have come one after another, and their retries after a minute and five more."""
    state = state_of(app)
    events, deliveries, attempts = map(state.table, ("Event", "Delivery", "Attempt"))
    with state.engine.begin() as connection:
        found = connection.execute(sa.select(events).order_by(events.c.id.desc())).all()
        for number, event in enumerate(found):
            back = timedelta(seconds=400 + 37 * number)
            then = event.created_at - back
            _set(connection, events, event, created_at=then, occurred_at=then)
            mine = sa.select(deliveries).where(deliveries.c.event_id == event.id)
            for delivery in connection.execute(mine).all():
                made = sa.select(attempts).where(attempts.c.delivery_id == delivery.id)
                last = None
                for attempt in connection.execute(made.order_by(attempts.c.number)).all():
                    waited = timedelta(seconds=(0, 60, 360)[attempt.number - 1])
                    last = then + waited + timedelta(milliseconds=120)
                    _set(connection, attempts, attempt, started_at=last)
                ended = last if delivery.completed_at else None
                times = {"created_at": then, "last_attempt_at": last, "completed_at": ended}
                _set(connection, deliveries, delivery, **times)


def _age(app: Flask, endpoints: dict[str, str]) -> None:
    """Give them a past."""
    now = datetime.now(UTC)
    for key, site in SITES.items():
        add_history(app, endpoints[key], site.rate, failing=site.failing, outage=site.outage)
        update(app, "Endpoint", endpoints[key], created_at=now - timedelta(days=site.age))
    add_history(app, endpoints["chat"], 3)
    update(app, "Endpoint", endpoints["chat"], created_at=now - timedelta(days=12))
    update(app, "EndpointHealth", endpoints["chat"], last_success_at=now - timedelta(minutes=17))
    update(
        app,
        "EndpointHealth",
        endpoints["erp"],
        failing_since=now - timedelta(hours=SITES["erp"].outage),
        probe_interval=960.0,
        hold_reason="failing",
        hold_until=now + timedelta(minutes=11),
    )


def add_history(
    app: Flask, endpoint_id: str, rate: float, *, failing: float = 0.0, outage: int = 0
) -> None:
    """A month of statistics of days and nights; the same each time.

    :param rate: attempts in an hour.
    :param failing: the share that fails.
    :param outage: for how many hours all have failed.
    """
    chance = random.Random(2)
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    rows = []
    for back in range(30 * 24):
        then = hour - timedelta(hours=back)
        level = rate * (1 + 0.6 * math.sin(2 * math.pi * (then.hour - 9) / 24))
        if not back:
            level *= now.minute / 60
        attempts = max(0, round(chance.gauss(level, level / 8)))
        failed = attempts
        if back >= outage:
            failed = sum(chance.random() < failing for _ in range(attempts))
        succeeded = attempts - failed
        quick, usual = round(succeeded * chance.uniform(0.35, 0.6)), round(succeeded * 0.3)
        slow = round(succeeded * chance.uniform(0.02, 0.09))
        rows.append(
            {
                "endpoint_id": endpoint_id,
                "hour": then,
                "succeeded": succeeded,
                "failed": failed,
                "duration_ms": 74.0 * attempts,
                "ms_50": quick,
                "ms_100": usual,
                "ms_250": succeeded - quick - usual - slow,
                "ms_500": slow,
                "ms_1000": failed,
            }
        )
    table = state_of(app).table("Statistic")
    with state_of(app).engine.begin() as connection:
        # What was really sent just now would be a dent at the end.
        connection.execute(sa.delete(table).where(table.c.endpoint_id == endpoint_id))
        connection.execute(sa.insert(table), rows)
