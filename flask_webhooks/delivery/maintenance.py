"""Periodic work of a drain, soon after it starts and every few seconds."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..app_state import AppState
from ..db.clock import DatabaseClock
from ..db.locks import read_only
from ..log import get_logger, log_failure
from . import heartbeat
from .database import Database
from .delivery_log import DeliveryLog
from .outcome import Settled
from .overdue import seconds_overdue
from .recovery import recover_expired, release_stragglers
from .retention import BUDGET, Pruning, prune

logger = get_logger("flask_webhooks.delivery")

#: Seconds from the start to the first run, unless the drain is idle before.
FIRST = 0.1
#: Minimum seconds between two runs.
SHORTEST_PAUSE = 1.0
#: Seconds between checks for overdue work, which read every endpoint.
OVERDUE_PAUSE = 60.0
#: Leases that are recovered in one transaction.
BATCH = 500


class Maintenance:
    """The periodic work of one drain.

    :param dispatch: receives the results of lost attempts, for the host's signals.
    :param forget: clears cached secrets, which may have expired.
    :param log: receives overdue work.
    :param worker_name: the worker that runs the drain, which is alive as long as the drain.
    """

    def __init__(
        self,
        state: AppState,
        drain_id: str,
        database: Database,
        clock: DatabaseClock,
        dispatch: Callable[[Settled], None],
        forget: Callable[[], None],
        log: DeliveryLog,
        worker_name: str | None = None,
    ) -> None:
        self._state = state
        self._sign = heartbeat.Sign(drain_id, "drain", socket.gethostname(), os.getpid())
        self._database = database
        self._clock = clock
        self._dispatch = dispatch
        self._forget = forget
        self._log = log
        self._worker_name = worker_name
        self._interval = max(state.settings.sweep_interval, SHORTEST_PAUSE)
        #: The next run, by `time.monotonic`.
        self.due = time.monotonic() + FIRST
        self._pruning: Pruning | None = None
        self._prune_until = 0.0
        self._overdue_at = time.monotonic() + OVERDUE_PAUSE
        #: It has run once.
        self.done = False

    def run_due(self) -> bool:
        """Run if due; return whether it ran, after which there may be deliveries."""
        now = time.monotonic()
        if now >= self.due:
            if self.done:
                self._pruning = Pruning(self._state, self._clock.now())
                self._prune_until = now + BUDGET
            self.run()
            return True
        if self._pruning is not None:
            self._prune()
        return False

    @property
    def pending(self) -> bool:
        """Whether there is more to remove, in batches between other transactions."""
        return self._pruning is not None

    def run(self) -> None:
        """Write a heartbeat, recover lost deliveries, and remove old data."""
        self.done = True
        try:
            self._database.run(self._run, patient=False)
        except Exception as error:
            log_failure(logger, "Maintenance failed; deliveries continue", error=error)
        self.due = time.monotonic() + self._interval

    def sign_off(self) -> None:
        """Remove the drain from the list of processes."""
        try:
            self._database.run(
                lambda connection: heartbeat.end(self._state, connection, self._sign.name),
                patient=False,
            )
        except DBAPIError:
            # It is removed after a while in any case.
            logger.debug("The drain could not be removed from the list")

    def _run(self, connection: sa.Connection) -> None:
        state = self._state
        with read_only(connection):
            now = self._clock.read(connection)
        self._forget()
        skew = self._clock.skew
        heartbeat.beat(state, connection, self._sign, now, self._worker_name, skew)
        while recover_expired(state, connection, now, BATCH, tell=self._dispatch) >= BATCH:
            pass
        release_stragglers(state, connection, now)
        self._look_for_overdue(connection)
        # One batch, for drains that are too short for more; deliveries wait for this.
        prune(state, connection, now, budget=0.0)

    def _look_for_overdue(self, connection: sa.Connection) -> None:
        self._log.write_due()
        limit = self._state.settings.health_overdue
        if limit is None or time.monotonic() < self._overdue_at:
            return
        self._overdue_at = time.monotonic() + OVERDUE_PAUSE
        with read_only(connection):
            overdue = seconds_overdue(self._state, connection, limit)
        if overdue is not None:
            self._log.write_overdue(overdue)

    def _prune(self) -> None:
        assert self._pruning is not None
        more = False
        try:
            more = self._database.run(self._pruning.step, patient=False)
        except Exception as error:
            log_failure(logger, "Old events could not be removed", error=error)
        if not more or time.monotonic() >= self._prune_until:
            self._pruning = None
