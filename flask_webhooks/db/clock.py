"""The database's clock, read rarely and extrapolated with the monotonic clock.

Leases are compared by all workers, and receivers compare the time of a signature with their own, so both follow
one clock: the database's. The local wall clock may differ or jump; the monotonic clock does not.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from ..columns import utc_now

#: Seconds for which a reading is valid. The clocks of two machines drift apart slowly.
FRESH = 30.0

#: The resolution of SQLite's clock.
TICK = timedelta(milliseconds=1)

_NOW = sa.select(utc_now())


class DatabaseClock:
    """Call `read` once before `now`, and again every few seconds.

    A fork may continue to use the clock of its parent, because the monotonic clock belongs to the machine.
    """

    def __init__(self) -> None:
        self._base = datetime.now(UTC)
        self._at = time.monotonic()
        self._read = False

    @property
    def fresh(self) -> bool:
        """Whether it was read recently."""
        return self._read and time.monotonic() - self._at < FRESH

    def read(self, connection: sa.Connection) -> datetime:
        """Read the time of the database."""
        # Never behind the database: deliveries that were just committed as due must not be in the future.
        # Otherwise a drain would find nothing and leave, and the wake-up would be lost.
        at = time.monotonic()
        moment = connection.execute(_NOW).scalar_one()
        self._base, self._at, self._read = moment + TICK, at, True
        return moment

    def now(self) -> datetime:
        """Return the database's time without a query."""
        return self._base + timedelta(seconds=time.monotonic() - self._at)

    @property
    def skew(self) -> float:
        """Return the seconds by which the clock of this machine is ahead of the database's."""
        return (datetime.now(UTC) - self.now()).total_seconds()
