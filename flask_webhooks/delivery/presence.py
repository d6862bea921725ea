"""A drain among the workers: it says every second that it is there, is woken, and hears that it must stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Protocol

from .bell import STEP, Bell

#: Seconds that the first requests get before we speak to Redis, and after which we do so anyway.
HEADSTART, LATEST = 0.01, 0.25


class Present(Protocol):
    """What the drain is asked and told."""

    def has_room(self) -> bool: ...

    def busy(self) -> bool: ...

    def look(self) -> None: ...

    def stop(self) -> None: ...


class Presence:
    """One drain's.

    :param worker_name: the RQ worker that runs the job, asked in Redis whether it was told to stop.
    :param parent: the process id of that worker, where it forked us; without it we stop.
    """

    def __init__(
        self, drain: Present, bell: Bell, worker_name: str | None, parent: int | None
    ) -> None:
        self._drain = drain
        self._bell = bell
        self._worker_name = worker_name
        self._parent = parent
        self._room_again = asyncio.Event()

    async def run(self, claimed: asyncio.Event) -> None:
        """Until cancelled. Nothing is lost before we are known: until then, wake-ups make jobs.

        :param claimed: the drain has claimed for the first time, and what it got comes first.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LATEST):
                await claimed.wait()
                await asyncio.sleep(HEADSTART)
        self._bell.listen(self._rung)
        if await self._bell.arrive():
            self._drain.look()
        self._bell.forget_past()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STEP):
                    await self._room_again.wait()
            self._room_again.clear()
            if await self._must_stop():
                self._drain.stop()
            listens_again = await self._bell.present(self._drain.has_room())
            # Also for retries that fall due in the middle of steady traffic.
            if listens_again or self._bell.away or self._drain.busy():
                self._drain.look()

    def has_room_again(self) -> None:
        """Say so now rather than in a second, if a wake-up met us without."""
        if self._bell.passed_on:
            self._room_again.set()

    def _rung(self) -> None:
        if not self._drain.has_room():
            self._bell.pass_on()
        self._drain.look()

    async def _must_stop(self) -> bool:
        if self._parent is not None and os.getppid() != self._parent:
            return True
        if self._worker_name is None:
            return False
        return await self._bell.stop_requested(self._worker_name)
