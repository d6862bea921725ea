"""The requests of a drain in flight, waiting deliveries, and outcomes."""

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

#: Required remaining lease of a new request, in addition to its timeout.
LEASE_MARGIN = 1.0
#: Maximum wait of a delivery for a slot in seconds: other workers cannot take it meanwhile, and the state of its
#: endpoint may have changed since the claim.
LONGEST_WAIT = 1.0


class InFlight:
    """Requests of one drain, and deliveries that wait for a slot.

    These were claimed ahead, so that a free slot does not stay empty until the next claim. Waiting deliveries can
    be released at any time.

    :param slots: maximum number of requests in flight.
    """

    def __init__(
        self, state: AppState, client: Client, clock: DatabaseClock, slots: int = 1
    ) -> None:
        self._state = state
        self._client = client
        self._clock = clock
        self._slots = slots
        self._answers = Answers(state)
        #: By the identity of the exchange.
        self._requests: dict[int, Outgoing] = {}
        #: Deliveries with a slot of a rate limit, by the database's clock, with a number that breaks ties.
        self._reserved: list[tuple[datetime, int, Claimed, Target]] = []
        self._number = 0
        #: With the start of the wait, by `time.monotonic`.
        self._waiting: deque[tuple[Claimed, Target, float]] = deque()
        self._attempts: list[AttemptRecord] = []
        self._released: list[Released] = []
        #: Total number of ended requests.
        self.ended = 0

    def __len__(self) -> int:
        """Return the number of deliveries in flight, or with a reserved slot."""
        return len(self._requests) + len(self._reserved)

    @property
    def waiting(self) -> int:
        """The number of waiting deliveries."""
        return len(self._waiting)

    @property
    def outcomes(self) -> int:
        """The number of outcomes to settle."""
        return len(self._attempts) + len(self._released)

    @property
    def next_start(self) -> datetime | None:
        """When the next delivery with a slot of a rate limit starts, by the database's clock."""
        return self._reserved[0][0] if self._reserved else None

    def launch(self, claimed: Claimed, target: Target) -> None:
        """Start a request, at its reserved time if it has one."""
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
        """Collect ended requests, and start those that may start now."""
        for exchange in self._client.take_ended():
            self._end(exchange)
        while self._reserved and self._reserved[0][0] <= self._clock.now():
            moment, _, claimed, target = heapq.heappop(self._reserved)
            # If it missed its time, the next one could follow too closely.
            if (self._clock.now() - moment).total_seconds() <= rates.TOLERANCE:
                self._start(claimed, target)
            else:
                self._released.append(Released(claimed))
        self._fill_slots()

    def release(self, released: Iterable[Released]) -> None:
        """Release claimed deliveries without sending them."""
        self._released.extend(released)

    def close(self) -> None:
        """Stop starting waiting deliveries."""
        self._slots = 0

    def release_waiting(self) -> None:
        """Release all waiting deliveries."""
        self.release(Released(claimed) for claimed, _, _ in self._waiting)
        self._waiting.clear()

    def release_overdue(self) -> None:
        """Release deliveries that have waited too long."""
        since = time.monotonic() - LONGEST_WAIT
        while self._waiting and self._waiting[0][2] < since:
            claimed, _, _ = self._waiting.popleft()
            self._released.append(Released(claimed))

    def unsettled(self) -> Unsettled:
        """Return the attempts that are not in the database yet, for a claim."""
        now = self._clock.now()
        found = Unsettled()
        for item in self._attempts:
            claimed = item.claimed
            if item.plain and claimed.lease_until > now:
                # Not after its lease, because another worker may then own the row.
                found.answered[claimed.endpoint_id] += 1
            else:
                found.troubled.update(filter(None, (claimed.endpoint_id, claimed.bucket)))
        found.troubled.update(
            item.claimed.endpoint_id for item in self._released if item.hold_reason
        )
        return found

    def take_outcomes(self, most: int) -> tuple[list[AttemptRecord], list[Released]]:
        """Return attempts to settle, up to a number, and all released deliveries."""
        attempts, self._attempts = self._attempts[:most], self._attempts[most:]
        released, self._released = self._released, []
        return attempts, released

    def interrupt(self) -> None:
        """Abort all requests in flight."""
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
        """Record the outcome of a request.

        After anything but a plain success, the settlement may stop further requests to the endpoint, so nothing is
        sent to it until then.
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
    """Return the attempt of an impossible request."""
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
