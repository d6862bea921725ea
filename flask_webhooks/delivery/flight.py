"""The requests that a drain has in flight, and what has come of those that landed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime

from ..attempt_errors import STOPPED
from ..db.clock import DatabaseClock
from ..formats import Target
from ..logs import log_without_locals
from . import rates
from .outcome import Claimed, Outcome, Released, Sent, Unsettled
from .send import OWN_TROUBLE_DELAY, Sender

logger = logging.getLogger("flask_webhooks.delivery")

#: Lease that must be left for a request to be started, beyond the request's own deadline.
LEASE_MARGIN = 1.0
#: Seconds that a delivery waits for a place at most: so long others cannot have it, and what was true of its
#: endpoint when it was claimed may have changed.
LONGEST_WAIT = 1.0


class Flight:
    """Tasks of one event loop, and deliveries that wait for a place.

    Those were claimed ahead, so that a place that becomes free is not empty until the next claim. What waits
    can be given back at any time.

    :param landed: called whenever one has ended.
    :param places: requests under way up to which those that wait are started.
    """

    def __init__(
        self,
        sender: Sender,
        clock: DatabaseClock,
        landed: Callable[[], None],
        places: int = 1,
    ) -> None:
        self._sender = sender
        self._clock = clock
        self._landed = landed
        self._places = places
        self._tasks: dict[asyncio.Task[None], Claimed] = {}
        #: With the time since when, monotonic.
        self._waiting: deque[tuple[Claimed, Target, float]] = deque()
        self._sent: list[Sent] = []
        self._released: list[Released] = []
        #: Requests that have ended, ever.
        self.ended = 0

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    @property
    def outcomes(self) -> int:
        """How many are to be settled."""
        return len(self._sent) + len(self._released)

    def launch(self, claimed: Claimed, target: Target) -> None:
        """Start a request."""
        task = asyncio.create_task(self._deliver(claimed, target))
        self._tasks[task] = claimed
        task.add_done_callback(self._land)

    def wait(self, claimed: Claimed, target: Target) -> None:
        """Start a request as soon as there is a place."""
        self._waiting.append((claimed, target, time.monotonic()))
        self._fill_places()

    def release(self, released: Iterable[Released]) -> None:
        """Give claimed deliveries back without sending them."""
        self._released.extend(released)

    def close(self) -> None:
        """Start nothing more of what waits. From any thread."""
        self._places = 0

    def release_waiting(self) -> None:
        """Give back all that wait."""
        self.release(Released(claimed) for claimed, _, _ in self._waiting)
        self._waiting.clear()

    def release_overdue(self) -> None:
        """Give back what has waited for too long."""
        since = time.monotonic() - LONGEST_WAIT
        while self._waiting and self._waiting[0][2] < since:
            claimed, _, _ = self._waiting.popleft()
            self._released.append(Released(claimed))

    def unsettled(self) -> Unsettled:
        """What a claim must know of the attempts that the database does not know yet. From any thread."""
        now = self._clock.now()
        found = Unsettled()
        for item in tuple(self._sent):
            claimed = item.claimed
            if item.plain and claimed.lease_until > now:
                # Not after its lease, for then the row may be another worker's.
                found.answered[claimed.endpoint_id] += 1
            else:
                found.troubled.update(filter(None, (claimed.endpoint_id, claimed.bucket)))
        found.troubled.update(
            item.claimed.endpoint_id for item in tuple(self._released) if item.hold_reason
        )
        return found

    def take_outcomes(self, most: int) -> tuple[list[Sent], list[Released]]:
        """What is to be settled: up to so many attempts, and all that is given back."""
        sent, self._sent = self._sent[:most], self._sent[most:]
        released, self._released = self._released, []
        return sent, released

    async def interrupt(self) -> None:
        """Break off all that is under way."""
        self.release_waiting()
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
        started_at = self._clock.now()
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
                error=str(STOPPED),
            )
        self._note(result)

    async def _its_turn(self, moment: datetime) -> bool:
        """Wait for the turn that a rate limit gave; returns whether it was met."""
        await asyncio.sleep((moment - self._clock.now()).total_seconds())
        # If it is missed, the next one could follow too closely.
        return (self._clock.now() - moment).total_seconds() <= rates.TOLERANCE

    def _fill_places(self) -> None:
        self.release_overdue()
        while self._waiting and len(self._tasks) < self._places:
            claimed, target, _ = self._waiting.popleft()
            self.launch(claimed, target)

    def _note(self, result: Sent | Released) -> None:
        """Keep what has come of a request.

        What the endpoint does not simply take may be the last that it gets for now. Settling tells, so nothing
        more is sent to it until then.
        """
        if isinstance(result, Released):
            self._released.append(result)
        else:
            self._sent.append(result)
            if result.plain:
                return
        endpoint_id = result.claimed.endpoint_id
        given_back = [item for item in self._waiting if item[0].endpoint_id == endpoint_id]
        if given_back:
            self.release(Released(claimed) for claimed, _, _ in given_back)
            self._waiting = deque(
                item for item in self._waiting if item[0].endpoint_id != endpoint_id
            )

    def _land(self, task: asyncio.Task[None]) -> None:
        self.ended += 1
        claimed = self._tasks.pop(task)
        if task.cancelled():
            # Cancelled before it began.
            self._released.append(Released(claimed))
        elif (error := task.exception()) is not None:
            log_without_locals(logger, "A delivery task failed", error=error)
            self._released.append(Released(claimed, OWN_TROUBLE_DELAY))
        self._fill_places()
        self._landed()
