"""``python -m tests.support.requests_of_host NAME``: what a host's request may do, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.delivery import retention

from .delivering import db_of, webhooks_of
from .hostapp import create_app

DATA = {"license_id": "lic_1"}


def emit(app: Flask) -> None:
    """Emit an event and commit."""
    webhooks_of(app).emit("license.created", DATA)
    db_of(app).session.commit()


def refuse(app: Flask) -> None:
    """Emit an event that describes a refusal, and roll back."""
    db_of(app).session.connection()
    webhooks_of(app).emit("license.created", DATA, transactional=False)
    db_of(app).session.rollback()


def prune(app: Flask) -> None:
    """Remove what will be old in a month, as a worker does."""
    state = state_of(app)
    with state.own_engine.connect() as connection:
        retention.prune(state, connection, datetime.now(UTC) + timedelta(days=31))


REQUESTS: dict[str, Callable[[Flask], None]] = {"emit": emit, "refuse": refuse, "prune": prune}


if __name__ == "__main__":
    app = create_app()
    with app.app_context():
        REQUESTS[sys.argv[1]](app)
