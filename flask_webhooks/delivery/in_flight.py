"""The requests that a drain has in flight, what waits for a slot, and what has come of those that ended."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime

from ..app_state import AppState
from ..attempt_errors import IMPOSSIBLE, STOPPED
from ..db.clock import DatabaseClock
from ..formats import Target
from ..log import get_logger, log_without_locals
from .claim import rate_limit as rates
from .http.client import Client
from .http.exchange import Exchange
from .outcome import AttemptRecord, Claimed, Outcome, Released, Unsettled
from .render import OWN_TROUBLE_DELAY, Outgoing, deadline, prepare
from .settle.answers import Answers

logger = get_logger("flask_webhooks.delivery")

#: Lease that must be left for a request to be started, beyond the request's own deadline.
LEASE_MARGIN = 1.0
#: Seconds that a delivery waits for a slot at most: so long others cannot have it, and what was true of its
#: endpoint when it was claimed may have changed.
LONGEST_WAIT = 1.0


class InFlight:
    """Requests of one drain, and deliveries that wait for a slot.

    Those were claimed ahead, so that a slot that becomes free is not empty until the next claim. What waits
    can be given back at any time.

    :param slots: requests under way up to which those that wait are started.
    """

    def __init__(
        self, state: AppState, client: Client, clock: DatabaseClock, slots: int = 1
    ) -> None:
        self._state = state
        self._client = client
        self._clock = clock
        self._slots = slots
        self._answers = Answers(state)
        #: By the identity of their exchanges.
        self._requests: dict[int, Outgoing] = {}
        #: Those that a rate limit lets start at a time, by the database's clock; with a number that breaks ties.
        self._reserved: list[tuple[datetime, int, Claimed, Target]] = []
        self._number = 0
        #: With the time since when, monotonic.
        self._waiting: deque[tuple[Claimed, Target, float]] = deque()
        self._attempts: list[AttemptRecord] = []
        self._released: list[Released] = []
        #: Requests that have ended, ever.
        self.ended = 0

    def __len__(self) -> int:
        """How many are under way, or have a slot for their time."""
        return len(self._requests) + len(self._reserved)

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    @property
    def outcomes(self) -> int:
        """How many are to be settled."""
        return len(self._attempts) + len(self._released)

    @property
    def next_start(self) -> datetime | None:
        """When the next one starts that a rate limit lets start at a time, by the database's clock."""
        return self._reserved[0][0] if self._reserved else None

    def launch(self, claimed: Claimed, target: Target) -> None:
        """Start a request, at its time if it has one."""
        if claimed.not_before is not None:
            self._number += 1
            heapq.heappush(self._reserved, (claimed.not_before, self._number, claimed, target))
        else:
            self._start(claimed, target)

    def wait(self, claimed: Claimed, target: Target) -> None:
        """Start a request as soon as there is a slot."""
        self._waiting.append((claimed, target, time.monotonic()))
        self._fill_slots()

    def advance(self) -> None:
        """Take in what has ended, and start what may start now."""
        for exchange in self._client.take_ended():
            self._end(exchange)
        while self._reserved and self._reserved[0][0] <= self._clock.now():
            moment, _, claimed, target = heapq.heappop(self._reserved)
            # If its time is missed, the next one could follow too closely.
            if (self._clock.now() - moment).total_seconds() <= rates.TOLERANCE:
                self._start(claimed, target)
            else:
                self._released.append(Released(claimed))
        self._fill_slots()

    def release(self, released: Iterable[Released]) -> None:
        """Give claimed deliveries back without sending them."""
        self._released.extend(released)

    def close(self) -> None:
        """Start nothing more of what waits."""
        self._slots = 0

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
        """What a claim must know of the attempts that the database does not know yet."""
        now = self._clock.now()
        found = Unsettled()
        for item in self._attempts:
            claimed = item.claimed
            if item.plain and claimed.lease_until > now:
                # Not after its lease, for then the row may be another worker's.
                found.answered[claimed.endpoint_id] += 1
            else:
                found.troubled.update(filter(None, (claimed.endpoint_id, claimed.bucket)))
        found.troubled.update(
            item.claimed.endpoint_id for item in self._released if item.hold_reason
        )
        return found

    def take_outcomes(self, most: int) -> tuple[list[AttemptRecord], list[Released]]:
        """What is to be settled: up to so many attempts, and all that is given back."""
        attempts, self._attempts = self._attempts[:most], self._attempts[most:]
        released, self._released = self._released, []
        return attempts, released

    def interrupt(self) -> None:
        """Break off all that is under way."""
        self.release_waiting()
        self.release(Released(claimed) for _, _, claimed, _ in self._reserved)
        self._reserved.clear()
        self.advance()
        for exchange in self._client.abort():
            outgoing = self._requests.pop(id(exchange))
            self.ended += 1
            self._note(
                AttemptRecord(
                    claimed=outgoing.claimed,
                    target=outgoing.target,
                    outcome=Outcome.INTERRUPTED,
                    started_at=outgoing.started_at,
                    duration_ms=exchange.duration_ms,
                    error=STOPPED,
                    request_headers=outgoing.shown_headers,
                    request_body=outgoing.shown_body,
                )
            )

    def _start(self, claimed: Claimed, target: Target) -> None:
        now = self._clock.now()
        left = (claimed.lease_until - now).total_seconds()
        timeout = deadline(self._state, target)
        if left < timeout + LEASE_MARGIN:
            self._released.append(Released(claimed))
            return
        outgoing = prepare(self._state, claimed, target, now, timeout)
        if isinstance(outgoing, Released):
            self._note(outgoing)
            return
        try:
            exchange = self._client.start(outgoing.request)
        except ValueError:
            self._note(_impossible(outgoing))
        except Exception as error:
            log_without_locals(
                logger,
                "Delivery %s could not be sent",
                claimed.delivery_id,
                error=error,
                redact=outgoing.redactor.text,
            )
            self._note(Released(claimed, OWN_TROUBLE_DELAY))
        else:
            self._requests[id(exchange)] = outgoing

    def _end(self, exchange: Exchange) -> None:
        outgoing = self._requests.pop(id(exchange))
        self.ended += 1
        self._note(self._answers.read(outgoing, exchange))

    def _fill_slots(self) -> None:
        self.release_overdue()
        while self._waiting and len(self) < self._slots:
            claimed, target, _ = self._waiting.popleft()
            self.launch(claimed, target)

    def _note(self, result: AttemptRecord | Released) -> None:
        """Keep what has come of a request.

        What the endpoint does not simply take may be the last that it gets for now. Settling tells, so nothing
        more is sent to it until then.
        """
        if isinstance(result, Released):
            self._released.append(result)
        else:
            self._attempts.append(result)
            if result.plain:
                return
        endpoint_id = result.claimed.endpoint_id
        given_back = [item for item in self._waiting if item[0].endpoint_id == endpoint_id]
        if given_back:
            self.release(Released(claimed) for claimed, _, _ in given_back)
            self._waiting = deque(
                item for item in self._waiting if item[0].endpoint_id != endpoint_id
            )


def _impossible(outgoing: Outgoing) -> AttemptRecord:
    """The attempt of a request that cannot be made as it is."""
    return AttemptRecord(
        claimed=outgoing.claimed,
        target=outgoing.target,
        outcome=Outcome.BROKEN,
        started_at=outgoing.started_at,
        duration_ms=0.0,
        error=IMPOSSIBLE,
        request_headers=outgoing.shown_headers,
        request_body=outgoing.shown_body,
    )
