"""The database as the event loop sees it: one thread with one connection, and patience."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from ..logs import safe_text

logger = logging.getLogger("flask_webhooks.delivery")

T = TypeVar("T")

#: Seconds between tries while the database is away; the pause doubles.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class Database:
    """Runs calls one after the other, off the event loop.

    :param patience: for how many seconds a call is tried again while the database does not answer.
    """

    def __init__(self, engine: sa.Engine, patience: float) -> None:
        self._engine = engine
        self._patience = patience
        self._give_up_at = float("inf")
        # Not the loop's own threads: a resolver that hangs may hold all of those.
        self._thread = ThreadPoolExecutor(1, "flask-webhooks-db")
        self._connection: sa.Connection | None = None

    def hurry(self, seconds: float) -> None:
        """Try nothing again after so many seconds from now."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + seconds)

    async def run(self, call: Callable[[sa.Connection], T], *, patient: bool = True) -> T:
        """Run a call that opens and ends its own transaction, from the start again if the database fails.

        :param patient: ``False`` to try only once.
        :raises DBAPIError: the database stayed away, or refuses this call in particular.
        """
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                return await loop.run_in_executor(self._thread, self._run, call)
            except DBAPIError as error:
                late = time.monotonic() + pause > min(deadline, self._give_up_at)
                if not patient or late or not may_pass(error):
                    raise
                logger.warning("The database did not answer (%s); trying again", safe_text(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    def _run(self, call: Callable[[sa.Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            return call(self._connection)
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError):
                connection.close()


def may_pass(error: Exception) -> bool:
    """Whether an error is about the database and not about this statement: away, locked, deadlocked."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
