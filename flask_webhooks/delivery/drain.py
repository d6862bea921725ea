"""The loop inside one RQ job: claim, send, settle, until nothing is due.

One thread does all of it: statements, rendering, signing, and the network through libcurl, which needs no task per
request. Redis, bulk tasks and the host's signal receivers have separate threads, for which the loop never waits.
Batches form naturally: while one is settled, outcomes of the next accumulate. No transaction is open while a
request is started. Long, since the loop and its decisions belong together.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from .. import tracing
from ..app_state import AppState
from ..db.clock import DatabaseClock
from ..db.locks import read_only
from ..errors import WebhooksError
from ..log import get_logger, safe_text
from ..wakeup.listener import STEP, Listener
from . import attempt_spans
from .background import BackgroundRunner, OtherWork
from .claim.batch_size import BatchSize
from .claim.claim import Claim, Claimer
from .claim.plan import Capacity
from .database import Database
from .delivery_log import DeliveryLog
from .http.client import Client
from .in_flight import LONGEST_WAIT, InFlight
from .interpreter import often_switched, rarely_collected
from .maintenance import Maintenance
from .outcome import Released, Settled
from .overlap import wait_together
from .owner_dispatch import OwnerDispatch
from .scheduled import ScheduledEvents
from .settle.recorder import Recorder
from .settle.write import Settler
from .signal_dispatch import SignalDispatcher
from .stopping import on_sigterm

logger = get_logger("flask_webhooks.delivery")

#: The maximum number of outcomes in one settlement.
SETTLE_BATCH = 500
#: Seconds in which outcomes accumulate while more than this share of the slots is occupied. A claim and a
#: settlement take the same few milliseconds of Python for any number of rows.
GATHER, GATHER_SHARE = 0.01, 0.5
#: Seconds between two settlements while there are few outcomes. Claims, for which deliveries wait, have priority.
SETTLE_PAUSE = 0.025
#: Seconds for requests in flight when the worker must stop; the whole stop takes less than 8 s.
STOP_GRACE = 4.0
#: Seconds for the last settlement after that.
STOP_SETTLE = 2.0
#: Seconds after which a claim that conflicted with another worker is repeated.
CONTENTION_PAUSE = 0.02
#: Seconds without work after which a lingering drain queries the next due time.
SETTLED_DOWN = 0.1
#: Seconds for which every drain waits for deliveries that will be due, because clocks differ.
SOON = 0.02
#: Seconds for which a drain counts as active after its last delivery.
ACTIVE = 5.0
#: Seconds that a drain waits for slow signal receivers of the host: normally, and when it must stop.
DISPATCH_LINGER, DISPATCH_GRACE = 30.0, 0.5
#: The longest wait in seconds.
LONGEST_PAUSE = 60.0
#: Seconds beyond twice its time for which a drain that cannot hand over continues. RQ ends its job some time
#: later, see `WorkerQueue`.
UNRELIEVED = 30.0


class Drain:
    """One drain.

    :param worker_name: the RQ worker that runs the job, whose stop request is read from Redis.
    :param parent: the process id of that worker if it forked this process, which stops when the worker is gone.
    :param other: other work, which the drain does in the background if no worker takes it.
    :param clock: the clock of the worker.
    :param queues: keys of the RQ queues of a worker that lets its drain linger while no job is waiting in them.
    """

    def __init__(
        self,
        state: AppState,
        worker_name: str | None = None,
        parent: int | None = None,
        other: OtherWork | None = None,
        clock: DatabaseClock | None = None,
        queues: Sequence[str] = (),
    ) -> None:
        settings = state.settings
        self.state = state
        self.settings = settings
        self.id = uuid.uuid4().hex
        self._stays = bool(queues)
        self._clock = clock or DatabaseClock()
        self._client = Client(state.policy, settings.max_response_bytes, settings.proxy())
        self._database = Database(
            state.own_engine,
            patience=settings.lease,
            pause=self._run_network,
            opened=partial(wait_together, self._client),
        )
        self._claimer = Claimer(state)
        slots = settings.concurrency - self._claimer.reserve
        self._in_flight = InFlight(state, self._client, self._clock, slots)
        self._listener = Listener(state.worker_queue, self.id, self, worker_name, parent, queues)
        settler = Settler(state)
        self._dispatcher = SignalDispatcher(settler.announcer, self._client.wake)
        self._log = DeliveryLog()
        self._traces = tracing.enabled()
        self._recorder = Recorder(self._database, settler, self._clock, self._dispatch)
        self._batch_size = BatchSize(settings.concurrency)
        self._background = None if other is None else BackgroundRunner(state, other, self.active)
        self._owners = OwnerDispatch(state, self._client.wake)
        self._maintenance = Maintenance(
            state,
            self.id,
            self._database,
            self._clock,
            dispatch=self._dispatch,
            forget=self._claimer.forget,
            log=self._log,
            worker_name=worker_name,
        )
        self._scheduled = ScheduledEvents(state, self._database, self._clock)
        self._look = True
        #: When to claim again at the latest, by `time.monotonic`.
        self._look_at = float("inf")
        self._limited = False
        #: The last transaction was a settlement; claims and settlements alternate.
        self._settled = False
        #: Requests that had ended at the last claim.
        self._ended = 0
        #: The time of the last claim by the database's clock.
        self._looked_at = datetime.min.replace(tzinfo=UTC)
        self._must_stop = False
        self._stopping_since: float | None = None
        self._jobs_wait = False
        self._settled_at = float("-inf")
        self._started = self._active_at = time.monotonic()
        #: When the drain ends, by `time.monotonic`.
        self._until = self._started + settings.drain_time
        self.delivered = 0

    def run(self) -> int:
        """Deliver until there is nothing left to do; return the number of attempts.

        :raises WebhooksError: the database remained unavailable. Claimed deliveries are sent again after their
            lease.
        """
        self._started = self._active_at = time.monotonic()
        self._until = self._started + self.settings.drain_time
        try:
            with rarely_collected(), often_switched(), on_sigterm(self.stop):
                try:
                    self._database.run(self._set_clock)
                    self._listener.start()
                    if self._background is not None:
                        self._background.start()
                    self._owners.start()
                    while not self._step():
                        pass
                finally:
                    self._close()
        except DBAPIError as error:
            # RQ logs and stores exceptions of a job; SQLAlchemy's error would contain event data.
            raise WebhooksError(f"The database failed: {safe_text(error)}") from None
        return self.delivered

    def discard(self) -> None:
        """Free the resources of a drain that will not run."""
        self._client.close()

    # -- from other threads and from a signal handler ----------------------------------------------------

    def stop(self) -> None:
        """Stop claiming, and end within 8 seconds."""
        self._must_stop = True
        self._client.wake()

    def look(self) -> None:
        """Claim again, because there may be work."""
        self._look = True
        self._client.wake()

    def make_way(self, jobs_wait: bool) -> None:
        """Do not linger while other jobs wait for the worker."""
        if jobs_wait and not self._jobs_wait:
            self._client.wake()
        self._jobs_wait = jobs_wait

    def has_capacity(self) -> bool:
        """Return whether the drain could claim more."""
        return self._capacity().slots > 0

    def busy(self) -> bool:
        """Whether requests are in flight."""
        return len(self._in_flight) > 0

    def active(self) -> bool:
        """Whether requests are in flight, or were a moment ago."""
        return self.busy() or time.monotonic() - self._active_at < ACTIVE

    @property
    def cut_off(self) -> bool:
        """Whether the drain was told to stop while Redis did not respond."""
        return self._stopping_since is not None and self._listener.away

    # -- the loop ----------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Do the most urgent step; return whether the drain has ended."""
        flight = self._in_flight
        if self._must_stop and self._stopping_since is None:
            self._begin_to_stop()
        flight.advance()
        if self._over():
            flight.release_waiting()
        if self._look_at <= time.monotonic():
            self._look, self._look_at = True, float("inf")
        if not self._over() and (self._maintenance.run_due() or self._scheduled.run_due()):
            self._look = True
        claims = self._look and self._claim_in() <= 0
        # They alternate, unless outcomes accumulate faster than they are settled.
        claims_next = self._settled and flight.outcomes < SETTLE_BATCH
        settle_in = self._settle_in()
        if flight.outcomes and settle_in <= 0 and not (claims and claims_next):
            if self._gathers():
                self._run_network(GATHER)
            self._settle()
        elif claims:
            self._claim()
        elif flight.outcomes:
            self._pause(min(settle_in, self._claim_in()) if self._look else settle_in)
        elif self.busy():
            if self._stopping_since is not None:
                self._finish_or_interrupt()
            else:
                pause = LONGEST_WAIT if flight.waiting else LONGEST_PAUSE
                self._pause(min(pause, self._claim_in()) if self._look else pause)
        elif self._over():
            return self._hand_over()
        else:
            return self._idle()
        return False

    def _close(self) -> None:
        if self._background is not None:
            self._background.close()
        self._owners.close()
        self._listener.vanish()
        self._listener.close()
        self._dispatcher.close(DISPATCH_GRACE)
        self._log.close()
        if self._traces:
            tracing.flush()
        self._maintenance.sign_off()
        self._database.close()
        self._client.close()

    def _set_clock(self, connection: sa.Connection) -> None:
        if not self._clock.fresh:
            with read_only(connection):
                self._clock.read(connection)

    def _dispatch(self, settled: Settled) -> None:
        """Pass a committed batch to the log, traces and the host's signal receivers."""
        self._log.write(settled)
        if self._traces:
            attempt_spans.record_spans(settled)
        self._dispatcher.dispatch(settled)
        if settled.notified:
            self._owners.look()

    def _begin_to_stop(self) -> None:
        self._stopping_since = time.monotonic()
        self._database.hurry(STOP_GRACE + STOP_SETTLE)
        if self._background is not None:
            self._background.end()
        self._owners.end()
        logger.info("Asked to stop with %d requests in flight", len(self._in_flight))
        self._in_flight.close()

    def _over(self) -> bool:
        return self._stopping_since is not None or time.monotonic() > self._until

    # -- claims ------------------------------------------------------------------------------------------

    def _capacity(self) -> Capacity:
        if self._must_stop or self._over():
            return Capacity(0)
        concurrency = self.settings.concurrency
        # Probably as many will end until the next claim as since the last one.
        ahead = min(self._in_flight.ended - self._ended, concurrency) - self._in_flight.waiting
        return Capacity(concurrency - len(self._in_flight), max(ahead, 0))

    def _claim_in(self) -> float:
        """Return the seconds until a claim is worthwhile."""
        capacity = self._capacity()
        return self._batch_size.claim_in(capacity.slots) if capacity.total > 0 else LONGEST_PAUSE

    def _claim(self) -> None:
        self._look = self._settled = False
        began = time.monotonic()
        capacity = replace(self._capacity(), most=self._batch_size.most)
        whole = capacity.most is None
        self._ended = self._in_flight.ended

        def take(connection: sa.Connection) -> Claim:
            self._looked_at = self._clock.now()
            unsettled = self._in_flight.unsettled()
            return self._claimer.claim(connection, self._looked_at, capacity, unsettled)

        claim = self._database.run(take)
        self._limited = claim.limited
        # A response that arrived meanwhile may stop further requests to its endpoint.
        self._in_flight.advance()
        self._in_flight.release(claim.released)
        self._begin(claim)
        self._batch_size.claimed(began)
        self._scheduled.expect_news()
        self._listener.first_claim_made()
        if claim.claimed:
            self._active_at = time.monotonic()
        if self._capacity().slots > self._claimer.reserve and (
            claim.more or (claim.claimed and (claim.limited or not whole))
        ):
            self._look = True
        if claim.contended:
            self._look_in(CONTENTION_PAUSE)
        if claim.again is not None:
            self._look_in((claim.again - self._clock.now()).total_seconds())
        if claim.full and whole:
            self._listener.request_worker()

    def _begin(self, claim: Claim) -> None:
        """Send claimed deliveries, except to endpoints that have stopped accepting them meanwhile."""
        troubled = self._in_flight.unsettled().troubled
        for taken, start in (
            (claim.claimed, self._in_flight.launch),
            (claim.ahead, self._in_flight.wait),
        ):
            for claimed, target in taken:
                if self._must_stop or not troubled.isdisjoint(
                    {claimed.endpoint_id, claimed.bucket}
                ):
                    self._in_flight.release([Released(claimed)])
                else:
                    start(claimed, target)

    def _look_in(self, seconds: float) -> None:
        self._look_at = min(self._look_at, time.monotonic() + max(seconds, 0.0))

    # -- settlements -------------------------------------------------------------------------------------

    def _settle_in(self) -> float:
        """Return the seconds until the next settlement, unless a claim comes first."""
        if self._over() or self._limited or self._in_flight.outcomes >= SETTLE_BATCH:
            return 0.0
        return self._settled_at + SETTLE_PAUSE - time.monotonic()

    def _gathers(self) -> bool:
        """Return whether to wait a moment before settling, because many requests are still in flight."""
        under_way = len(self._in_flight) + self._in_flight.waiting
        return not self._over() and under_way > self.settings.concurrency * GATHER_SHARE

    def _settle(self) -> None:
        if not self._maintenance.done:
            # The drain must be in the list before its attempts are visible.
            self._maintenance.run()
        self._settled = True
        began = time.monotonic()
        attempts, released = self._in_flight.take_outcomes(SETTLE_BATCH)
        changed = self._recorder.write(attempts, released)
        self.delivered += len(attempts)
        self._active_at = self._settled_at = time.monotonic()
        self._batch_size.settled(began, attempts)
        # Released deliveries are due again.
        if self._limited or changed or released:
            self._look = True

    # -- waiting and leaving -----------------------------------------------------------------------------

    def _finish_or_interrupt(self) -> None:
        assert self._stopping_since is not None
        left = self._stopping_since + STOP_GRACE - time.monotonic()
        if left > 0:
            self._client.run(left)
        else:
            self._in_flight.interrupt()

    def _idle(self) -> bool:
        """Wait for work; return True if it is time to end and there was no wake-up at the last moment."""
        if not self._maintenance.done:
            # Recovered deliveries may be due at once.
            self._maintenance.run()
            self._look = True
            return False
        if self._lingering() > SETTLED_DOWN and self._pause(SETTLED_DOWN):
            return False
        if self._scheduled.run():
            self._look = True
            return False
        next_due = self._database.run(self._next_due)
        due_in = float("inf")
        if next_due is not None:
            due_in = (next_due - self._clock.now()).total_seconds()
            if due_in <= 0 and next_due > self._looked_at and self._lingering() > 0:
                self._look = True
                return False
            if due_in <= 0:
                # Due deliveries were found but not available: their endpoint is at its limit with other workers.
                # Or they have just become due, and this drain does not linger: the next job takes them.
                due_in = STEP
        due_in = min(due_in, self._scheduled.next_in)
        self._look_in(due_in)
        if self._lingering() <= 0 and due_in > max(self.settings.linger, SOON):
            return self._leave(due_in)
        while not self._look and not self._must_stop and time.monotonic() < self._look_at:
            lingering = self._lingering()
            if lingering <= 0 and due_in > max(self.settings.linger, SOON):
                break
            if self._maintenance.pending or self._maintenance.due <= time.monotonic():
                break
            if self._scheduled.due <= time.monotonic():
                break
            self._pause(min(lingering, due_in) if lingering > 0 else due_in)
        return False

    def _hand_over(self) -> bool:
        """Hand over to another drain; return whether this one has left."""
        stopping = self._stopping_since is not None
        # Our worker takes the job, unless it was told to stop.
        if self._listener.hand_over(to_others=stopping) or stopping:
            return True
        now = time.monotonic()
        last = self._started + 2 * self.settings.drain_time + UNRELIEVED
        if now >= last:
            return True
        # With a plain worker, no other drain would deliver the rest.
        self._until = min(now + self.settings.wake_pause, last)
        self._look = True
        return False

    def _leave(self, due_in: float) -> bool:
        """Leave, unless there was a wake-up; return whether this drain has left."""
        if self._look or not self._listener.leave():
            if self._listener.away:
                # Other processes may still rely on this drain, which would not receive their wake-ups.
                self._pause(STEP)
            self._look = True
            return False
        if due_in < float("inf"):
            # RQ's scheduler uses the local clock.
            self._listener.schedule(datetime.now(UTC) + timedelta(seconds=due_in))
        return True

    def _lingering(self) -> float:
        """Return the seconds to linger without work."""
        now = time.monotonic()
        if self._stays:
            if self._jobs_wait:
                return 0.0
            return self._until - now
        linger = self.settings.linger
        if self._dispatcher.busy or self._owners.busy:
            linger = max(linger, DISPATCH_LINGER)
        return self._active_at + linger - now

    def _next_due(self, connection: sa.Connection) -> datetime | None:
        with read_only(connection):
            now = self._clock.now()
            due = (
                self._claimer.next_due(connection, now),
                self._owners.next_due(connection, now),
            )
        return min((moment for moment in due if moment is not None), default=None)

    def _pause(self, seconds: float) -> bool:
        """Wait until something happens; return whether there may be work."""
        if self.has_capacity():
            self._listener.capacity_again()
        now = time.monotonic()
        until = min(now + seconds, self._look_at, self._maintenance.due)
        if not self._over():
            until = min(until, self._scheduled.due)
        if self._maintenance.pending:
            until = now
        if (start := self._in_flight.next_start) is not None:
            until = min(until, now + (start - self._clock.now()).total_seconds())
        self._client.run(min(until - now, LONGEST_PAUSE))
        return self._look or self._must_stop

    def _run_network(self, seconds: float) -> None:
        """Let requests continue for a time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._client.run(left)
            self._in_flight.advance()
