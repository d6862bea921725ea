"""The database connection of a drain, with retries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..db.errors import may_pass
from ..log import get_logger, safe_text

logger = get_logger("flask_webhooks.delivery")

T = TypeVar("T")

#: Seconds between retries while the database is unavailable; the pause doubles.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class Database:
    """Runs calls sequentially over one connection, which is opened on demand.

    :param patience: seconds for which a call is retried while the database does not respond.
    :param pause: waits between retries.
    :param opened: called with each opened driver connection; it returns a function that is called when the
        connection is given back.
    """

    def __init__(
        self,
        engine: sa.Engine,
        patience: float,
        pause: Callable[[float], None] = time.sleep,
        opened: Callable[[Any], Callable[[], None]] | None = None,
    ) -> None:
        self._engine = engine
        self._patience = patience
        self._pause = pause
        self._opened = opened
        self._restore: Callable[[], None] | None = None
        self._give_up_at = float("inf")
        self._connection: sa.Connection | None = None

    def hurry(self, seconds: float) -> None:
        """Stop retrying after this many seconds."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + seconds)

    def run(self, call: Callable[[sa.Connection], T], *, patient: bool = True) -> T:
        """Run a call that opens and ends its own transaction; repeat it from the start if the database fails.

        :param patient: ``False`` to try only once.
        :raises DBAPIError: the database remained unavailable, or refuses this call.
        """
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                return self._run(call)
            except DBAPIError as error:
                late = time.monotonic() + pause > min(deadline, self._give_up_at)
                if not patient or late or not may_pass(error):
                    raise
                logger.warning("The database did not respond (%s); trying again", safe_text(error))
            self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def close(self) -> None:
        """Give the connection back."""
        if self._restore is not None:
            self._restore()
            self._restore = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError):
                connection.close()

    def _run(self, call: Callable[[sa.Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._engine.connect()
            if self._opened is not None:
                self._restore = self._opened(self._connection.connection.dbapi_connection)
        try:
            return call(self._connection)
        except BaseException:
            self.close()
            raise
