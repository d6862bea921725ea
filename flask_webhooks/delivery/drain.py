"""The loop inside one RQ job: claim, send, settle, until nothing is due and a moment has passed.

Requests run on the event loop; the database, Redis and the host's signal receivers each in a thread of their
own, and only the database is ever waited for. Batches form by themselves: while the database works on one,
outcomes of the next gather. No transaction is open while a request is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..db.clock import DatabaseClock
from ..db.locks import reading
from ..errors import WebhooksError
from ..logs import log_failure, safe_text
from ..state import State
from .aside import Aside, OtherWork
from .attempts import less_demanding
from .bell import STEP, Bell
from .claim import Claim, Claimer, Room
from .database import Database, may_pass
from .flight import LONGEST_WAIT, Flight
from .garbage import rarely_collected
from .housekeeping import House
from .outcome import Released, Sent, Settled
from .presence import Presence
from .send import Sender
from .settle import Settler
from .stopping import on_sigterm
from .telling import Teller

with contextlib.suppress(ImportError):
    # Here, so that a worker has it before it forks.
    import uvloop  # noqa: F401

logger = logging.getLogger("flask_webhooks.delivery")

#: Outcomes that are written at once.
SETTLE_BATCH = 500
#: Seconds in which outcomes gather while more than this share of the places is taken. A claim and a
#: settlement take the same few milliseconds of Python however little they bring.
GATHER, GATHER_SHARE = 0.01, 0.5
#: Seconds between two settlements while few outcomes come. Claims, which deliveries wait for, go first.
SETTLE_PAUSE = 0.025
#: Seconds that requests in flight get when the worker must stop; with the rest it stays under 8 s.
STOP_GRACE = 4.0
#: Seconds that the last settling may take after that.
STOP_SETTLE = 2.0
#: Seconds after which a claim is repeated that met another worker's.
CONTENTION_PAUSE = 0.02
#: Seconds without work after which a lingering drain asks what falls due next.
SETTLED_DOWN = 0.1
#: Seconds for which a drain waits for what falls due, also where it does not linger: clocks run apart.
SOON = 0.02
#: Seconds that a drain stays for slow receivers of the host's signals, and when it must go.
TELL_LINGER, TELL_GRACE = 30.0, 0.5


class Drain:
    """One drain.

    :param worker_name: the RQ worker that runs the job, asked in Redis whether it was told to stop.
    :param parent: the process id of that worker, where it forked us; without it we stop.
    :param other: work of another kind, which the drain does beside if nobody else comes for it.
    :param clock: that of the worker.
    """

    def __init__(
        self,
        state: State,
        worker_name: str | None = None,
        parent: int | None = None,
        other: OtherWork | None = None,
        clock: DatabaseClock | None = None,
    ) -> None:
        self.state = state
        self.settings = state.settings
        self.id = uuid.uuid4().hex
        self._worker = (worker_name, parent)
        self._clock = clock or DatabaseClock()
        self._claimer = Claimer(state)
        self._settler = Settler(state)
        self._database = Database(state.own_engine, patience=self.settings.lease)
        self._aside = None if other is None else Aside(state, self._database, other)
        self._look = True
        self._limited = False
        #: Whether the database did a settling last; claims and settlements take turns.
        self._settled = False
        #: Requests that had ended at the last claim.
        self._ended = 0
        #: The database's time of the last claim.
        self._looked_at = datetime.min.replace(tzinfo=UTC)
        self._stopping_since: float | None = None
        self._settled_at = float("-inf")
        self._started = time.monotonic()
        self._active_at = time.monotonic()
        self.delivered = 0

    def run(self) -> int:
        """Deliver until there is nothing left to do; returns how many attempts were made.

        :raises WebhooksError: the database stayed away. What was claimed is sent again after its lease.
        """
        try:
            with rarely_collected(), asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._run())
        except DBAPIError as error:
            # RQ logs and keeps what a job raises; SQLAlchemy's error would show it event data.
            raise WebhooksError(f"The database failed: {safe_text(error)}") from None
        return self.delivered

    def stop(self) -> None:
        """Claim nothing more; end within 8 seconds."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._database.hurry(STOP_GRACE + STOP_SETTLE)
            if self._aside is not None:
                self._aside.end()
            logger.info("Asked to stop with %d requests in flight", len(self._flight))
            self._flight.close()
        self._wake.set()

    @property
    def cut_off(self) -> bool:
        """Whether we were told to stop while Redis did not answer."""
        return self._stopping_since is not None and self._bell.away

    def look(self) -> None:
        """Look for work: there may be some."""
        self._look = True
        self._wake.set()

    def has_room(self) -> bool:
        """Whether there is any use in waking us."""
        return self._room().places > 0

    def busy(self) -> bool:
        """Whether requests are under way."""
        return len(self._flight) > 0

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._claimed = asyncio.Event()
        self._bell = Bell(self.state.worker_queue, self.id)
        self._presence = Presence(self, self._bell, *self._worker)
        self._teller = Teller(self._settler.announcer, self._signals_are_sent)
        self._house = House(
            self.state,
            self.id,
            self._database,
            self._clock,
            tell=self._teller.tell,
            forget=self._claimer.forget,
            worker_name=self._worker[0],
        )
        # Connecting takes about as long as the rest of the start: let the database begin.
        opening = asyncio.create_task(self._database.run(self._set_clock))
        await asyncio.sleep(0)
        async with Sender(self.state, self._clock) as sender:
            places = self.settings.concurrency - self._claimer.reserve
            self._flight = Flight(sender, self._clock, self._wake.set, places)
            # The first claim waits for neither of them, and has the processor for itself.
            beside = [
                asyncio.create_task(self._presence.run(self._claimed)),
                asyncio.create_task(self._house.keep_now_and_then(self.look)),
                asyncio.create_task(self._house.prune_now_and_then()),
            ]
            if self._aside is not None:
                beside.append(asyncio.create_task(self._aside.run()))
            with on_sigterm(self.stop):
                try:
                    await opening
                    await self._work()
                finally:
                    for task in beside:
                        task.cancel()
                    await asyncio.wait(beside)
                    if self._aside is not None:
                        await self._aside.close()
                    await self._bell.vanish()
                    self._bell.close()
                    await self._teller.close(TELL_GRACE)
                    await self._house.sign_off()
                    await self._database.close()

    def _set_clock(self, connection: sa.Connection) -> None:
        if not self._clock.fresh:
            with reading(connection):
                self._clock.read(connection)

    async def _work(self) -> None:
        while True:
            if self._over():
                self._flight.release_waiting()
            self._flight.release_overdue()
            claims = self._look and self._room().total > 0
            # They take turns, unless outcomes come faster than they are settled.
            claims_next = self._settled and self._flight.outcomes < SETTLE_BATCH
            settle_in = self._settle_in()
            if self._flight.outcomes and settle_in <= 0 and not (claims and claims_next):
                if self._gathers():
                    await asyncio.sleep(GATHER)
                await self._settle()
            elif claims:
                await self._claim()
            elif self._flight.outcomes:
                await self._pause(settle_in)
            elif self.busy():
                if self._stopping_since is not None:
                    await self._finish_or_interrupt()
                else:
                    await self._pause(LONGEST_WAIT if self._flight.waiting else None)
            elif self._over():
                # Our own worker takes the job, unless it was told to stop.
                await self._bell.hand_over(to_others=self._stopping_since is not None)
                return
            elif await self._idle():
                return

    def _room(self) -> Room:
        if self._over():
            return Room(0)
        concurrency = self.settings.concurrency
        # As many as ended since the last claim will probably do so until the next one.
        ahead = min(self._flight.ended - self._ended, concurrency) - self._flight.waiting
        return Room(concurrency - len(self._flight), max(ahead, 0))

    def _settle_in(self) -> float:
        """Seconds until outcomes are to be settled, unless there is a claim to make before."""
        if self._over() or self._limited or self._flight.outcomes >= SETTLE_BATCH:
            return 0.0
        return self._settled_at + SETTLE_PAUSE - time.monotonic()

    def _gathers(self) -> bool:
        """Whether it pays to wait for a moment before settling: plenty is under way, and has to come yet."""
        under_way = len(self._flight) + self._flight.waiting
        return not self._over() and under_way > self.settings.concurrency * GATHER_SHARE

    def _over(self) -> bool:
        return (
            self._stopping_since is not None
            or time.monotonic() - self._started > self.settings.drain_time
        )

    async def _claim(self) -> None:
        self._look = self._settled = False
        room = self._room()
        self._ended = self._flight.ended

        def take(connection: sa.Connection) -> Claim:
            self._looked_at = self._clock.now()
            unsettled = self._flight.unsettled()
            return self._claimer.claim(connection, self._looked_at, room, unsettled)

        claim = await self._database.run(take)
        self._limited = claim.limited
        self._flight.release(claim.released)
        self._begin(claim)
        self._claimed.set()
        if claim.claimed:
            self._active_at = time.monotonic()
        if self._room().places > self._claimer.reserve:
            self._look |= claim.more or bool(claim.claimed and claim.limited)
        if claim.contended:
            self._loop.call_later(CONTENTION_PAUSE, self.look)
        if claim.again is not None:
            wait = (claim.again - self._clock.now()).total_seconds()
            self._loop.call_later(max(wait, 0.0), self.look)
        if claim.full:
            self._bell.summon()

    def _begin(self, claim: Claim) -> None:
        """Send what was claimed, but for what became unwelcome while the database was at it."""
        troubled = self._flight.unsettled().troubled
        for taken, start in (
            (claim.claimed, self._flight.launch),
            (claim.ahead, self._flight.wait),
        ):
            for claimed, target in taken:
                if self._stopping_since is not None or not troubled.isdisjoint(
                    {claimed.endpoint_id, claimed.bucket}
                ):
                    self._flight.release([Released(claimed)])
                else:
                    start(claimed, target)

    async def _settle(self) -> None:
        if not self._house.kept:
            # Whoever hears of an attempt should find the drain that made it on the list.
            await self._house.keep()
        self._settled = True
        sent, released = self._flight.take_outcomes(SETTLE_BATCH)
        try:
            changed = await self._write(sent, released)
        except Exception as error:
            if may_pass(error):
                raise
            changed = await self._write_one_by_one(sent, released)
        self.delivered += len(sent)
        self._active_at = self._settled_at = time.monotonic()
        if self._limited or changed:
            self._look = True

    async def _write(self, sent: Sequence[Sent], released: Sequence[Released] = ()) -> bool:
        """Settle a batch; returns whether that made new work, or let other work go on."""

        def write(connection: sa.Connection) -> Settled:
            return self._settler.settle(connection, self._clock.now(), sent, released)

        settled = await self._database.run(write)
        self._teller.tell(settled)
        return bool(settled.changes) or settled.emitted

    async def _write_one_by_one(self, sent: Sequence[Sent], released: Sequence[Released]) -> bool:
        """Settle each by itself, so that one that cannot be written does not stop the others."""
        changed = await self._write([], released)
        for item in sent:
            changed |= await self._write_alone(item)
        return changed

    async def _write_alone(self, sent: Sent) -> bool:
        """Settle an attempt, with less of it if the database refuses it. At worst its lease runs out."""
        refusal: Exception | None = None
        for version in (sent, *less_demanding(sent)):
            try:
                changed = await self._write([version])
            except Exception as error:
                if may_pass(error):
                    raise
                refusal = error
            else:
                if refusal is not None and version.request_body is None:
                    logger.warning(
                        "The attempt of delivery %s is recorded without bodies (%s): see whether the database "
                        "can hold every character",
                        sent.claimed.delivery_id,
                        type(refusal).__name__,
                    )
                return changed
        assert refusal is not None
        delivery_id = sent.claimed.delivery_id
        log_failure(
            logger, "The attempt of delivery %s cannot be recorded", delivery_id, error=refusal
        )
        return False

    async def _finish_or_interrupt(self) -> None:
        assert self._stopping_since is not None
        left = self._stopping_since + STOP_GRACE - time.monotonic()
        if left > 0:
            await self._pause(left)
        else:
            await self._flight.interrupt()

    async def _idle(self) -> bool:
        """Wait for work; returns True when it is time to go and nothing came up at the last moment."""
        if not self._house.kept:
            # What others left behind may be due at once.
            await self._house.keep()
            self._look = True
            return False
        if self._lingering() > SETTLED_DOWN and await self._pause(SETTLED_DOWN):
            return False
        next_due = await self._database.run(self._next_due)
        due_in = float("inf")
        if next_due is not None:
            due_in = (next_due - self._clock.now()).total_seconds()
            if due_in <= 0 and next_due > self._looked_at and self._lingering() > 0:
                self._look = True
                return False
            if due_in <= 0:
                # We saw it and could not have it: its endpoint is at its limit with other workers. Or it
                # fell due this moment, and we do not linger: it is for the next job.
                due_in = STEP
        lingering = self._lingering()
        if lingering <= 0 and due_in > max(self.settings.linger, SOON):
            return await self._leave(due_in)
        due_at = time.monotonic() + due_in
        await self._pause(min(due_in, lingering) if lingering > 0 else due_in)
        self._look |= time.monotonic() >= due_at
        return False

    async def _leave(self, due_in: float) -> bool:
        """Go, unless there was a wake-up; returns whether we are gone."""
        if self._look or not await self._bell.leave():
            if self._bell.away:
                # Others may still count on us, and we would not hear of it.
                await self._pause(STEP)
            self._look = True
            return False
        if due_in < float("inf"):
            # RQ's scheduler goes by the local clock.
            await self._bell.schedule(datetime.now(UTC) + timedelta(seconds=due_in))
        return True

    def _lingering(self) -> float:
        """Seconds for which we stay although there is nothing to do."""
        linger = self.settings.linger
        if self._teller.busy:
            linger = max(linger, TELL_LINGER)
        return self._active_at + linger - time.monotonic()

    def _next_due(self, connection: sa.Connection) -> datetime | None:
        with reading(connection):
            return self._claimer.next_due(connection, self._clock.now())

    async def _pause(self, seconds: float | None) -> bool:
        """Wait to be woken; returns whether we were."""
        if self.has_room():
            self._presence.has_room_again()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    def _signals_are_sent(self) -> None:
        """From the thread of the signals."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake.set)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
