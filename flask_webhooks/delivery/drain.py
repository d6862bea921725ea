"""The loop inside one RQ job: claim, send, settle, until nothing is due and a moment has passed.

Three things run at once: requests on the event loop, the database in one thread of its own, and a sign of
life in Redis every second. Batches form by themselves: while the database works on one, outcomes of the
next gather. No transaction is open while a request is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from redis import RedisError
from sqlalchemy.exc import DBAPIError

from ..errors import WebhooksError
from ..formats import Target
from ..logs import log_failure, safe_text
from ..state import State
from . import heartbeat, rates
from .bell import STEP, Bell
from .claim import Claim, Claimer
from .clock import DatabaseClock
from .database import Database, may_pass
from .locks import reading
from .outcome import Claimed, Outcome, Released, Sent
from .recovery import recover_expired, release_stragglers
from .retention import prune
from .send import Sender
from .settle import Settler
from .stopping import on_sigterm

logger = logging.getLogger("flask_webhooks.delivery")

#: Outcomes that are written at once.
SETTLE_BATCH = 500
#: Seconds that requests in flight get when the worker must stop; with the rest it stays under 8 s.
STOP_GRACE = 4.0
#: Seconds that the last settling may take after that.
STOP_SETTLE = 2.0
#: Lease that must be left for a request to be started, beyond the request's own deadline.
LEASE_MARGIN = 1.0
#: Seconds after which a claim is repeated that met another worker's.
CONTENTION_PAUSE = 0.02


class Drain:
    """One drain.

    :param worker_name: the RQ worker that runs the job, asked in Redis whether it was told to stop.
    :param parent: the process id of that worker, where it forked us; without it we stop.
    """

    def __init__(
        self, state: State, worker_name: str | None = None, parent: int | None = None
    ) -> None:
        self.state = state
        self.settings = state.settings
        self.id = uuid.uuid4().hex
        self._worker_name = worker_name
        self._parent = parent
        self._clock = DatabaseClock()
        self._claimer = Claimer(state)
        self._settler = Settler(state)
        self._database = Database(state.engine, patience=self.settings.lease)
        self._redis = ThreadPoolExecutor(1, "flask-webhooks-redis")
        self._flying: dict[asyncio.Task[None], tuple[Claimed, Target]] = {}
        self._sent: list[Sent] = []
        self._released: list[Released] = []
        self._look = True
        self._limited = False
        self._stopping_since: float | None = None
        self._started = time.monotonic()
        self._active_at = time.monotonic()
        self.delivered = 0

    def run(self) -> int:
        """Deliver until there is nothing left to do; returns how many attempts were made.

        :raises WebhooksError: the database stayed away. What was claimed is sent again after its lease.
        """
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
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
            logger.info("Asked to stop with %d requests in flight", len(self._flying))
        self._wake.set()

    async def _run(self) -> None:
        self._wake = asyncio.Event()
        self._bell = Bell(self.state.alarm, self.id)
        tasks = [asyncio.create_task(self._bell.listen(self._ring))]
        with on_sigterm(self.stop):
            try:
                await self._bell.clear()
                await self._bell.present(room=True)
                await self._database.run(self._housekeep)
                tasks.append(asyncio.create_task(self._keep_house()))
                async with Sender(self.state) as sender:
                    self._sender = sender
                    await self._work()
            finally:
                await self._bell.vanish()
                # Cancelling is not enough: redis-py swallows a cancellation that comes amid a command.
                self._bell.closing = True
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=2 * STEP)
                await self._bell.close()
                with contextlib.suppress(DBAPIError):
                    await self._database.run(self._sign_off, patient=False)
                await self._database.close()
                self._redis.shutdown()

    def _ring(self) -> None:
        self._look = True
        self._wake.set()

    # -- the loop -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            if self._sent or self._released:
                await self._settle()
            elif self._look and self._room() > 0:
                await self._claim()
            elif self._flying:
                if self._stopping_since is not None:
                    await self._finish_or_interrupt()
                else:
                    await self._pause(None)
            elif self._over():
                await self._hand_over()
                return
            elif await self._idle():
                return

    def _room(self) -> int:
        if self._over():
            return 0
        return self.settings.concurrency - len(self._flying)

    def _over(self) -> bool:
        return (
            self._stopping_since is not None
            or time.monotonic() - self._started > self.settings.drain_time
        )

    async def _claim(self) -> None:
        self._look = False
        room = self._room()
        claim: Claim = await self._database.run(
            lambda connection: self._claimer.claim(connection, self._clock.now(), room)
        )
        self._limited = claim.limited
        self._released.extend(claim.released)
        for claimed, target in claim.claimed:
            task = asyncio.create_task(self._deliver(claimed, target))
            self._flying[task] = (claimed, target)
            task.add_done_callback(self._landed)
        if claim.claimed:
            self._active_at = time.monotonic()
            self._look = claim.limited
        if claim.contended:
            asyncio.get_running_loop().call_later(CONTENTION_PAUSE, self._ring)
        if claim.again is not None:
            wait = (claim.again - self._clock.now()).total_seconds()
            asyncio.get_running_loop().call_later(max(wait, 0.0), self._ring)
        if claim.full:
            await self._summon()

    async def _deliver(self, claimed: Claimed, target: Target) -> None:
        if claimed.not_before is not None:
            await asyncio.sleep((claimed.not_before - self._clock.now()).total_seconds())
            if (self._clock.now() - claimed.not_before).total_seconds() > rates.TOLERANCE:
                # The next one could follow too closely.
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

    def _landed(self, task: asyncio.Task[None]) -> None:
        claimed, _ = self._flying.pop(task)
        if task.cancelled():
            # Cancelled before it began.
            self._released.append(Released(claimed))
        elif (error := task.exception()) is not None:
            log_failure(logger, "A delivery task failed", error=error)
            self._released.append(Released(claimed, delay=60.0))
        self._wake.set()

    async def _settle(self) -> None:
        sent, self._sent = self._sent[:SETTLE_BATCH], self._sent[SETTLE_BATCH:]
        released, self._released = self._released, []

        try:
            changed = await self._write(sent, released)
        except DBAPIError as error:
            if may_pass(error):
                raise
            changed = await self._write_one_by_one(sent, released)
        self.delivered += len(sent)
        self._active_at = time.monotonic()
        if self._limited or changed:
            self._look = True

    async def _write(self, sent: Sequence[Sent], released: Sequence[Released] = ()) -> bool:
        """Settle a batch; returns whether that made new work, or let other work go on."""

        def write(connection: sa.Connection) -> bool:
            settled = self._settler.settle(connection, self._clock.now(), sent, released)
            self._settler.announcer.tell(settled)
            return bool(settled.changes) or settled.emitted

        return await self._database.run(write)

    async def _write_one_by_one(self, sent: Sequence[Sent], released: Sequence[Released]) -> bool:
        """Settle what the database does not refuse. The lease of the rest runs out, in the end for good."""
        changed = await self._write([], released)
        for item in sent:
            try:
                changed |= await self._write([item])
            except DBAPIError as error:
                delivery_id = item.claimed.delivery_id
                log_failure(
                    logger,
                    "The attempt of delivery %s cannot be recorded",
                    delivery_id,
                    error=error,
                )
        return changed

    async def _finish_or_interrupt(self) -> None:
        assert self._stopping_since is not None
        left = self._stopping_since + STOP_GRACE - time.monotonic()
        if left > 0:
            await self._pause(left)
            return
        for task in list(self._flying):
            task.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)

    async def _idle(self) -> bool:
        """Wait for work; returns True when it is time to go and nothing came up at the last moment."""
        next_due = await self._database.run(self._next_due)
        now = self._clock.now()
        linger_left = self._active_at + self.settings.linger - time.monotonic()
        until_due = None if next_due is None else (next_due - now).total_seconds()
        if until_due is not None and until_due <= 0:
            # Due, but at its limit with other workers, or held at this moment.
            until_due = STEP
        if linger_left > 0 or (until_due is not None and until_due <= self.settings.linger):
            wait = min(
                value
                for value in (linger_left if linger_left > 0 else None, until_due)
                if value is not None
            )
            if not await self._pause(wait) and until_due is not None and wait == until_due:
                self._look = True
            return False
        if self._look or not await self._bell.leave():
            await self._bell.clear()
            self._look = True
            return False
        if next_due is not None:
            await self._schedule(next_due)
        return True

    def _next_due(self, connection: sa.Connection) -> datetime | None:
        with reading(connection):
            return self._claimer.next_due(connection, self._clock.now())

    async def _pause(self, seconds: float | None) -> bool:
        """Wait to be woken; returns whether we were."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    # -- Redis ----------------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        swept = time.monotonic()
        while not self._bell.closing:
            await asyncio.sleep(STEP)
            if self._parent is not None and os.getppid() != self._parent:
                self.stop()
            if self._worker_name and await self._bell.stop_requested(self._worker_name):
                self.stop()
            await self._bell.present(room=self._room() > 0)
            due = time.monotonic() - swept > max(self.settings.sweep_interval, STEP)
            if due and self._stopping_since is None:
                swept = time.monotonic()
                try:
                    await self._database.run(self._housekeep, patient=False)
                except Exception as error:
                    log_failure(logger, "Housekeeping failed; deliveries go on", error=error)
            if due or self._flying:
                # Also for retries that fall due in the middle of steady traffic.
                self._ring()

    async def _summon(self) -> None:
        await self._with_redis(self.state.alarm.summon)

    async def _schedule(self, at: datetime) -> None:
        # RQ's scheduler goes by the local clock.
        local = datetime.now(UTC) + (at - self._clock.now())
        await self._with_redis(lambda client: self.state.alarm.schedule(client, local))

    async def _hand_over(self) -> None:
        """Leave to others what there may be: a wake-up may be on its way to us."""
        await self._bell.vanish()
        stopping = self._stopping_since is not None
        # Our own place becomes free only if we were not told to stop.
        await self._with_redis(self.state.alarm.ring if stopping else self.state.alarm.enqueue)

    async def _with_redis(self, call: Callable[[Any], Any]) -> None:
        def run() -> None:
            client = self.state.alarm.connect()
            try:
                call(client)
            except (RedisError, OSError) as error:
                logger.warning("Redis does not answer: %s", error)
            finally:
                client.close()

        await asyncio.get_running_loop().run_in_executor(self._redis, run)

    # -- upkeep --------------------------------------------------------------------------------------

    def _housekeep(self, connection: sa.Connection) -> None:
        with connection.begin():
            now = self._clock.read(connection)
        self._claimer.forget()
        while recover_expired(self.state, connection, now) >= 500:
            pass
        release_stragglers(self.state, connection, now)
        prune(self.state, connection, now)
        heartbeat.beat(
            self.state,
            connection,
            heartbeat.Sign(self.id, "drain", socket.gethostname(), os.getpid()),
            now,
        )

    def _sign_off(self, connection: sa.Connection) -> None:
        heartbeat.end(self.state, connection, self.id)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
