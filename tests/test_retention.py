"""Old events go, with what belongs to them; nothing goes that is still owed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import ids
from flask_webhooks.access import system_access
from flask_webhooks.actions import delete_endpoint
from flask_webhooks.delivery import retention
from flask_webhooks.state import state_of
from tests.delivering import drain, emit, models_of, states, webhooks_of
from tests.receiver import Receiver

LATER = timedelta(days=31)


def prune(app: Flask, now: datetime) -> int:
    with state_of(app).engine.connect() as connection:
        return retention.prune(state_of(app), connection, now)


def count(app: Flask, name: str) -> int:
    table = models_of(app).table(name)
    with state_of(app).engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_settled_events_go_after_the_days_that_are_set(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app, 3)
    drain(app)
    now = datetime.now(UTC)
    assert prune(app, now + timedelta(days=29)) == 0
    assert count(app, "Attempt") == 3
    assert prune(app, now + LATER) == 3
    assert [count(app, name) for name in ("Event", "Delivery", "Attempt", "Statistic")] == [0] * 4
    assert count(app, "Endpoint") == 1


def test_what_is_still_owed_stays(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/status/500"), ["license.*"])
    emit(app)
    drain(app)
    assert states(app) == {"pending": 1}
    assert prune(app, datetime.now(UTC) + LATER) == 0
    assert count(app, "Event") == count(app, "Delivery") == count(app, "Attempt") == 1


def test_a_deleted_endpoint_goes_with_its_last_delivery(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app)
    drain(app)
    delete_endpoint(system_access(state_of(app), "test"), created.endpoint.id)
    now = datetime.now(UTC)
    assert prune(app, now + timedelta(days=1)) == 0
    assert count(app, "Endpoint") == 1
    prune(app, now + LATER)
    prune(app, now + LATER)
    assert [count(app, name) for name in ("Endpoint", "EndpointHealth", "Delivery")] == [0] * 3
    # Who deleted it is still to be seen.
    assert count(app, "Activity") > 0


def test_a_batch_at_a_time(app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app, 5)
    drain(app)
    later = datetime.now(UTC) + LATER
    assert [prune(app, later) for _ in range(4)] == [2, 2, 1, 0]


def test_a_drain_prunes_by_the_way(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app)
    drain(app)
    _age(app, timedelta(days=40))
    drain(app)
    assert count(app, "Event") == count(app, "Delivery") == count(app, "Attempt") == 0


def _age(app: Flask, by: timedelta) -> None:
    """Make the only event older."""
    models = models_of(app)
    event, delivery = models.table("Event"), models.table("Delivery")
    old = ids.lowest_id("evt", datetime.now(UTC) - by)
    with state_of(app).engine.begin() as connection:
        row = connection.execute(sa.select(event)).one()._mapping
        connection.execute(sa.insert(event).values({**row, "id": old}))
        connection.execute(sa.update(delivery).values(event_id=old))
        connection.execute(sa.delete(event).where(event.c.id != old))
