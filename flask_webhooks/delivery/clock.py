"""The database's clock, read seldom and carried on by the monotonic one.

Leases are compared by all workers, so they follow one clock: the database's. The local wall clock may
differ or jump; the monotonic clock does not.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from ..columns import utc_now

_NOW = sa.select(utc_now())


class DatabaseClock:
    """Call `read` once before `now`, and again every few seconds."""

    def __init__(self) -> None:
        self._base = datetime.now(UTC)
        self._at = time.monotonic()

    def read(self, connection: sa.Connection) -> datetime:
        """Ask the database; returns its time."""
        # Never behind the database's own: what it has just committed as due must not lie ahead of us.
        # Who then found nothing would go, and the wake-up would be spent.
        at = time.monotonic()
        moment = connection.execute(_NOW).scalar_one()
        self._base, self._at = moment, at
        return moment

    def now(self) -> datetime:
        """The database's time, without asking it."""
        return self._base + timedelta(seconds=time.monotonic() - self._at)
