"""What a drain does beside delivering: soon after it starts and every few seconds."""

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

#: Seconds from the start to the first time, unless there is time for it before.
FIRST = 0.1
#: Seconds between two times, at least.
SHORTEST_PAUSE = 1.0
#: Seconds between two looks for overdue work, which pass by every endpoint.
OVERDUE_PAUSE = 60.0
#: Leases that are recovered in one transaction.
BATCH = 500


class Maintenance:
    """The periodic work of one drain.

    :param dispatch: takes what came of lost attempts, for the host's signals.
    :param forget: a secret that the drain knows may have expired.
    :param log: told of overdue work.
    :param worker_name: the worker whose job the drain is; it is alive as long as we are.
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
        #: When it is due next, by `time.monotonic`.
        self.due = time.monotonic() + FIRST
        self._pruning: Pruning | None = None
        self._prune_until = 0.0
        self._overdue_at = time.monotonic() + OVERDUE_PAUSE
        #: It was done once.
        self.done = False

    def run_due(self) -> bool:
        """Do what is due; returns whether anything was, after which there may be something to deliver."""
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
        """Whether there is more to remove, batch by batch between whatever else the database has to do."""
        return self._pruning is not None

    def run(self) -> None:
        """Give a sign of life, put right what others left behind, and remove what is old."""
        self.done = True
        try:
            self._database.run(self._run, patient=False)
        except Exception as error:
            log_failure(logger, "Maintenance failed; deliveries continue", error=error)
        self.due = time.monotonic() + self._interval

    def sign_off(self) -> None:
        """Take the drain off the list of those that live."""
        try:
            self._database.run(
                lambda connection: heartbeat.end(self._state, connection, self._sign.name),
                patient=False,
            )
        except DBAPIError:
            # After a while it is forgotten anyway.
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
        # One batch, for drains too short for more; deliveries wait for this.
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
