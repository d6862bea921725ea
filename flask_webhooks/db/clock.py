"""The database's clock, read seldom and carried on by the monotonic one.

Leases are compared by all workers, and receivers compare the time of a signature with their own, so both follow
one clock: the database's. The local wall clock may differ or jump; the monotonic clock does not.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from ..columns import utc_now

#: Seconds for which a reading is as good as a new one. The clocks of two machines run apart slowly.
FRESH = 30.0

#: What SQLite's clock may have gone on since it last ticked.
TICK = timedelta(milliseconds=1)

_NOW = sa.select(utc_now())


class DatabaseClock:
    """Call `read` once before `now`, and again every few seconds.

    A fork may go on with the clock of its parent: the monotonic clock is that of the machine.
    """

    def __init__(self) -> None:
        self._base = datetime.now(UTC)
        self._at = time.monotonic()
        self._read = False

    @property
    def fresh(self) -> bool:
        """Whether it was read a short while ago."""
        return self._read and time.monotonic() - self._at < FRESH

    def read(self, connection: sa.Connection) -> datetime:
        """Ask the database; returns its time."""
        # Never behind the database's own: what it has just committed as due must not lie ahead of us.
        # Who then found nothing would go, and the wake-up would be spent.
        at = time.monotonic()
        moment = connection.execute(_NOW).scalar_one()
        self._base, self._at, self._read = moment + TICK, at, True
        return moment

    def now(self) -> datetime:
        """The database's time, without asking it."""
        return self._base + timedelta(seconds=time.monotonic() - self._at)

    @property
    def skew(self) -> float:
        """Seconds by which the clock of this machine is ahead of the database's."""
        return (datetime.now(UTC) - self.now()).total_seconds()
