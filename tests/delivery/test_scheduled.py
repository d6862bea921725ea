"""Events for a time ahead: when they fall due, who gets them, and what a drain does about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.models import ScheduledEvent
from tests.support.delivering import db_of, drain, events, models_of, webhooks_of
from tests.support.receiver import Receiver

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}


def schedule(app: Flask, seconds: float = 3600, **options: Any) -> ScheduledEvent:
    """Schedule an event for a time ahead, and commit."""
    made = webhooks_of(app).emit(
        "license.created",
        DATA,
        deliver_at=datetime.now(UTC) + timedelta(seconds=seconds),
        **options,
    )
    assert made is not None
    db_of(app).session.commit()
    return made


def scheduled(app: Flask) -> list[ScheduledEvent]:
    """All that is scheduled, oldest first."""
    model = models_of(app).ScheduledEvent
    with sa.orm.Session(state_of(app).engine) as session:
        return list(session.scalars(sa.select(model).order_by(model.id)))


def test_event_is_delivered_when_its_time_has_come(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/ok"))
    schedule(app, 0.6, key="expiring:lic_1")
    assert drain(app) == 0
    assert [row.key for row in scheduled(app)] == ["expiring:lic_1"]
    assert events(app) == []
    assert drain(app, linger=2.0) == 1
    assert scheduled(app) == []
    [event] = events(app)
    assert event.data == DATA
    assert len(receiver.requests) == 1
