"""The requests that a drain has in flight, and what has come of those that landed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ..formats import Target
from ..logs import log_failure
from . import rates
from .clock import DatabaseClock
from .outcome import Claimed, Outcome, Released, Sent
from .send import OWN_TROUBLE_DELAY, Sender

logger = logging.getLogger("flask_webhooks.delivery")

#: Lease that must be left for a request to be started, beyond the request's own deadline.
LEASE_MARGIN = 1.0


class Flight:
    """Tasks of one event loop.

    :param landed: called whenever one has ended.
    """

    def __init__(self, sender: Sender, clock: DatabaseClock, landed: Callable[[], None]) -> None:
        self._sender = sender
        self._clock = clock
        self._landed = landed
        self._tasks: dict[asyncio.Task[None], Claimed] = {}
        self._sent: list[Sent] = []
        self._released: list[Released] = []

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._tasks)

    @property
    def outcomes(self) -> int:
        """How many are to be settled."""
        return len(self._sent) + len(self._released)

    def launch(self, claimed: Claimed, target: Target) -> None:
        """Start a request."""
        task = asyncio.create_task(self._deliver(claimed, target))
        self._tasks[task] = claimed
        task.add_done_callback(self._land)

    def release(self, released: list[Released]) -> None:
        """Give claimed deliveries back without sending them."""
        self._released.extend(released)

    def take_outcomes(self, most: int) -> tuple[list[Sent], list[Released]]:
        """What is to be settled: up to so many attempts, and all that is given back."""
        sent, self._sent = self._sent[:most], self._sent[most:]
        released, self._released = self._released, []
        return sent, released

    async def interrupt(self) -> None:
        """Break off all that is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, claimed: Claimed, target: Target) -> None:
        if claimed.not_before is not None and not await self._its_turn(claimed.not_before):
            self._released.append(Released(claimed))
            return
        left = (claimed.lease_until - self._clock.now()).total_seconds()
        if left < self._sender.deadline(target) + LEASE_MARGIN:
            self._released.append(Released(claimed))
            return
        started_at = datetime.now(UTC)
        began = time.monotonic()
        try:
            result = await self._sender.send(claimed, target)
        except asyncio.CancelledError:
            result = Sent(
                claimed=claimed,
                target=target,
                outcome=Outcome.INTERRUPTED,
                started_at=started_at,
                duration_ms=round((time.monotonic() - began) * 1000, 3),
                error="The worker was stopped while it waited for an answer. The request may have arrived.",
            )
        if isinstance(result, Released):
            self._released.append(result)
        else:
            self._sent.append(result)

    async def _its_turn(self, moment: datetime) -> bool:
        """Wait for the turn that a rate limit gave; returns whether it was met."""
        await asyncio.sleep((moment - self._clock.now()).total_seconds())
        # If it is missed, the next one could follow too closely.
        return (self._clock.now() - moment).total_seconds() <= rates.TOLERANCE

    def _land(self, task: asyncio.Task[None]) -> None:
        claimed = self._tasks.pop(task)
        if task.cancelled():
            # Cancelled before it began.
            self._released.append(Released(claimed))
        elif (error := task.exception()) is not None:
            log_failure(logger, "A delivery task failed", error=error)
            self._released.append(Released(claimed, OWN_TROUBLE_DELAY))
        self._landed()
