"""What a drain does beside delivering, soon after it starts and every few seconds."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..db.clock import DatabaseClock
from ..db.locks import reading
from ..logs import log_failure
from ..state import State
from . import heartbeat
from .database import Database
from .outcome import Settled
from .recovery import recover_expired, release_stragglers
from .retention import BUDGET, Pruning, prune

logger = logging.getLogger("flask_webhooks.delivery")

#: Seconds from the start to the first time, unless there is time for it before.
FIRST = 0.1
#: Seconds between two times, at least.
SHORTEST_PAUSE = 1.0
#: Leases that are recovered in one transaction.
BATCH = 500


class House:
    """One drain's.

    :param tell: takes what came of lost attempts, for the host's signals.
    :param forget: called in the database's thread: a secret that the drain knows may have expired.
    :param worker_name: the worker whose job the drain is; it is alive as long as we are.
    """

    def __init__(
        self,
        state: State,
        drain_id: str,
        database: Database,
        clock: DatabaseClock,
        tell: Callable[[Settled], None],
        forget: Callable[[], None],
        worker_name: str | None = None,
    ) -> None:
        self._state = state
        self._sign = heartbeat.Sign(drain_id, "drain", socket.gethostname(), os.getpid())
        self._database = database
        self._clock = clock
        self._tell = tell
        self._forget = forget
        self._worker_name = worker_name
        #: Whether it was kept, or is being kept, for the first time.
        self.kept = False

    async def keep(self) -> None:
        """Give a sign of life, put right what others left behind, and remove what is old."""
        self.kept = True
        try:
            await self._database.run(self._keep, patient=False)
        except Exception as error:
            log_failure(logger, "Housekeeping failed; deliveries go on", error=error)

    async def keep_now_and_then(self, kept: Callable[[], None]) -> None:
        """Until cancelled.

        :param kept: called each time afterwards: there may be something due.
        """
        await asyncio.sleep(FIRST)
        if not self.kept:
            await self.keep()
            kept()
        while True:
            await asyncio.sleep(max(self._state.settings.sweep_interval, SHORTEST_PAUSE))
            await self.keep()
            kept()

    async def prune_now_and_then(self) -> None:
        """Until cancelled, remove what is old, batch by batch between whatever else the database has to do."""
        while True:
            await asyncio.sleep(max(self._state.settings.sweep_interval, SHORTEST_PAUSE))
            pruning = Pruning(self._state, self._clock.now())
            deadline = time.monotonic() + BUDGET
            try:
                while time.monotonic() < deadline:
                    if not await self._database.run(pruning.step, patient=False):
                        break
            except Exception as error:
                log_failure(logger, "Old events could not be removed", error=error)

    async def sign_off(self) -> None:
        """Take the drain off the list of those that live."""
        try:
            await self._database.run(
                lambda connection: heartbeat.end(self._state, connection, self._sign.name),
                patient=False,
            )
        except DBAPIError:
            # After a while it is forgotten anyway.
            logger.debug("The drain could not be taken off the list")

    def _keep(self, connection: sa.Connection) -> None:
        state = self._state
        with reading(connection):
            now = self._clock.read(connection)
        self._forget()
        skew = self._clock.skew
        heartbeat.beat(state, connection, self._sign, now, self._worker_name, skew)
        while recover_expired(state, connection, now, BATCH, tell=self._tell) >= BATCH:
            pass
        release_stragglers(state, connection, now)
        # One batch, for drains too short for more; deliveries wait for this.
        prune(state, connection, now, budget=0.0)
