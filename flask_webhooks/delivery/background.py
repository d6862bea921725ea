"""Work other than deliveries that a drain does if no other worker takes it.

A single worker that delivers without a pause takes no other job before its drain ends. Ending the drain for this
would delay deliveries until the slowest request in flight has ended, so they continue in parallel.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..app_state import AppState
from ..db.errors import may_pass
from ..log import get_logger, log_failure
from .database import Database

logger = get_logger("flask_webhooks.delivery")

#: Seconds between checks. Together with the slice, this determines the share of time for deliveries alone.
PAUSE = 2.0
#: Seconds after which the work pauses for the drain.
SLICE = 1.0
#: Seconds that a drain waits at its end for the current batch.
GRACE = 1.0


class OtherWork(Protocol):
    """The interface of such work."""

    def waits(self, connection: sa.Connection) -> bool: ...

    def work(self, connection: sa.Connection, enough: Callable[[], bool]) -> None: ...


class BackgroundRunner:
    """Runs the other work of one drain in a thread with a separate connection.

    :param active: whether the drain delivers. An idle drain leaves the work to the job that was enqueued for it.
    """

    def __init__(self, state: AppState, other: OtherWork, active: Callable[[], bool]) -> None:
        self._database = Database(state.own_engine, patience=0.0)
        self._other = other
        self._active = active
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._serve, name="flask-webhooks-background", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Stop after the current batch."""
        self._closing.set()

    def close(self) -> None:
        """Wait for the end, but not for a slow statement. It may not have started."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(GRACE)

    def _serve(self) -> None:
        while not self._closing.wait(PAUSE):
            if not self._active():
                continue
            try:
                if self._database.run(self._other.waits, patient=False):
                    self._database.run(self._work, patient=False)
            except Exception as error:
                # Deliveries report that the database is unavailable.
                if not (isinstance(error, DBAPIError) and may_pass(error)):
                    log_failure(logger, "A bulk task could not run", error=error)
            finally:
                self._database.close()

    def _work(self, connection: sa.Connection) -> None:
        began = time.monotonic()
        self._other.work(
            connection, lambda: self._closing.is_set() or time.monotonic() - began >= SLICE
        )
