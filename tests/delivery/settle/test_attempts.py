"""Attempts as rows, which go to the driver without SQLAlchemy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.settle.attempts import AttemptRows
from tests.support.delivering import close
from tests.support.helpers import make_app


def test_time_is_what_sqlalchemy_writes_into_sqlite(tmp_path: Path, redis_url: str) -> None:
    """The driver would do without microseconds where there are none, and Python 3.12 warns that it will not do it."""
    app = make_app(f"sqlite:///{tmp_path / 'db'}", redis_url)
    with app.app_context():
        written = AttemptRows(state_of(app))._time(datetime(2026, 11, 30, 12, tzinfo=UTC))
    assert written == "2026-11-30 12:00:00.000000"
    close(app)
