"""Work other than deliveries that a drain does when no worker has come for it.

A lone worker that delivers without a pause takes no other job of its queue before its drain ends. Ending the
drain for it would keep deliveries waiting for the slowest request in flight; so they go on, beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..logs import log_failure
from ..state import State
from .database import Database, may_pass

logger = logging.getLogger("flask_webhooks.delivery")

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


class Aside:
    """One drain's.

    :param database: the drain's own, which looks whether there is something to do. The work has a thread and
        a connection of its own, opened when there is some.
    """

    def __init__(self, state: State, database: Database, other: OtherWork) -> None:
        self._database = database
        self._beside = Database(state.own_engine, patience=0.0)
        self._other = other
        self._used = False
        self._closing = False

    async def run(self) -> None:
        """Until cancelled."""
        while not self._closing:
            await asyncio.sleep(PAUSE)
            try:
                if await self._database.run(self._other.waits, patient=False):
                    self._used = True
                    await self._beside.run(self._work, patient=False)
            except Exception as error:
                # That the database is away, deliveries say themselves.
                if not (isinstance(error, DBAPIError) and may_pass(error)):
                    log_failure(logger, "A bulk task could not be worked on", error=error)

    def end(self) -> None:
        """End the work after the batch under way, and begin no more."""
        self._closing = True

    async def close(self) -> None:
        """Wait for that end; a statement that takes long is left to itself."""
        self.end()
        if not self._used:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._beside.close()

    def _work(self, connection: sa.Connection) -> None:
        began = time.monotonic()
        self._other.work(connection, lambda: self._closing or time.monotonic() - began >= SLICE)
