"""Work other than deliveries that a drain does when no worker has come for it.

A lone worker that delivers without a pause takes no other job of its queue before its drain ends. Ending the
drain for it would keep deliveries waiting for the slowest request in flight; so they go on, beside it.
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

#: Seconds between two looks. With the slice it is the share of the time that deliveries have to themselves.
PAUSE = 2.0
#: Seconds after which the drain has its processor for itself again.
SLICE = 1.0
#: Seconds that a drain waits at its end for the batch under way.
GRACE = 1.0


class OtherWork(Protocol):
    """What there may be to do."""

    def waits(self, connection: sa.Connection) -> bool: ...

    def work(self, connection: sa.Connection, enough: Callable[[], bool]) -> None: ...


class BackgroundRunner:
    """Runs the other work of one drain in a thread, over a connection of its own.

    :param active: whether the drain delivers. One that does not leaves the work to the job that was enqueued for it.
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
        """End the work after the batch under way, and begin no more."""
        self._closing.set()

    def close(self) -> None:
        """Wait for that end; a statement that takes long is left to itself."""
        self.end()
        self._thread.join(GRACE)

    def _serve(self) -> None:
        while not self._closing.wait(PAUSE):
            if not self._active():
                continue
            try:
                if self._database.run(self._other.waits, patient=False):
                    self._database.run(self._work, patient=False)
            except Exception as error:
                # That the database is away, deliveries say themselves.
                if not (isinstance(error, DBAPIError) and may_pass(error)):
                    log_failure(logger, "A bulk task could not run", error=error)
            finally:
                self._database.close()

    def _work(self, connection: sa.Connection) -> None:
        began = time.monotonic()
        self._other.work(
            connection, lambda: self._closing.is_set() or time.monotonic() - began >= SLICE
        )
