"""A drain's side of the wake-up channel: it says that it is there, is notified, and leaves without missing anything.

Redis may be gone at any moment; then the drain looks for work by the clock, and says nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import redis
import rq
from redis.exceptions import RedisError

from .redis_thread import RedisThread
from .scripts import LEAVE, PRESENT
from .worker_queue import PATIENCE, WorkerQueue

#: Milliseconds after which a drain that says nothing is taken for dead.
PRESENCE = 3000
#: Seconds between two signs of life.
STEP = 1.0
#: Behind errors of redis-py: a connection was not opened.
_NO_CONNECTION = (ConnectionRefusedError, FileNotFoundError, socket.gaierror)
#: Seconds that the first requests get before we speak to Redis, and after which we do so anyway.
HEADSTART, LATEST = 0.01, 0.25
#: Seconds for a hand-over, which asks Redis several times, where there is no hurry: given up too early, it is made once
#: more, and each leaves a job.
HAND_OVER_PATIENCE = 5.0


class Listening(Protocol):
    """What the drain is asked and told, from other threads."""

    def has_capacity(self) -> bool: ...

    def busy(self) -> bool: ...

    def look(self) -> None: ...

    def stop(self) -> None: ...

    def make_way(self, jobs_wait: bool) -> None: ...


class Listener:
    """One drain's presence in Redis. All calls go through one thread, and so happen in their order.

    :param worker_name: the RQ worker that runs the job, asked in Redis whether it was told to stop.
    :param parent: the process id of that worker, where it forked us; without it we stop.
    :param queues: keys of the RQ queues that this worker serves, which are watched for other jobs.
    """

    def __init__(
        self,
        worker_queue: WorkerQueue,
        drain_id: str,
        drain: Listening,
        worker_name: str | None = None,
        parent: int | None = None,
        queues: Sequence[str] = (),
    ) -> None:
        self._worker_queue = worker_queue
        self._keys = worker_queue.keys
        self._id = drain_id
        self._drain = drain
        self._worker_name = worker_name
        self._parent = parent
        self._queues = queues
        self._redis = RedisThread(worker_queue)
        self._claimed = threading.Event()
        self._arrived = False
        self._gone = False
        #: Until when others may count on our last sign of life, by `time.monotonic`.
        self._counted_on_until = float("-inf")
        self._closing = threading.Event()
        #: Whether wake-ups come to us, as far as we know.
        self.listening = False
        #: Whether we had one passed on, and have not listened again since.
        self.passed_on = False

    @property
    def away(self) -> bool:
        """Whether Redis does not respond: no wake-up can reach us."""
        return self._redis.away

    def start(self) -> None:
        """Listen from a moment after the first claim on. Until then, wake-ups make jobs, and none is lost."""
        self._redis.start(self._check_in, STEP)

    def first_claim_made(self) -> None:
        """What the drain got first goes first."""
        self._claimed.set()

    def capacity_again(self) -> None:
        """Say so now rather than in a second, if a wake-up met us without."""
        if self.passed_on:
            self._redis.submit("check in", lambda client: self._check_in())

    def leave(self) -> bool:
        """Sign off, unless there was a wake-up since the mark was taken away; returns whether we are gone.

        When not, the mark is taken away: look for work. Without an answer we stay, as long as wake-ups may
        come to us that would else start a job.
        """
        keys = (self._keys.dirty, self._keys.drains, self._keys.listening)

        def call(client: redis.Redis) -> int:
            left = int(client.eval(LEAVE, 3, *keys, self._id))
            # Here, in the thread: the next call must know of it.
            self._gone = left == 1
            return left

        if self._redis.call(call) is None:
            self._gone |= time.monotonic() > self._counted_on_until
        return self._gone

    def vanish(self) -> None:
        """Sign off, whatever there is: another drain will see to it."""
        if not self._gone:
            self._gone = True
            self._redis.call(self._forget)

    def hand_over(self, *, to_others: bool) -> bool:
        """Sign off, and have another drain go on; returns whether we are gone.

        :param to_others: our own worker ends, too; otherwise it is free and takes the job.
        """

        def call(client: redis.Redis) -> bool:
            self._forget(client)
            if to_others:
                self._worker_queue.notify(client)
            else:
                self._worker_queue.enqueue(client)
            # Here, in the thread: the next call must know of it.
            self._gone = True
            return True

        patience = PATIENCE if to_others else HAND_OVER_PATIENCE
        return self._redis.call(call, patience) is True

    def pass_on(self) -> None:
        """Have another drain notified: we were, and have no capacity."""
        self.listening, self.passed_on = False, True

        def call(client: redis.Redis) -> None:
            client.zrem(self._keys.listening, self._id)
            self._worker_queue.notify(client)

        self._redis.submit("pass on", call)

    def request_worker(self) -> None:
        """Have one more worker deliver, if there is one."""
        self._redis.submit("request worker", self._worker_queue.request_worker)

    def schedule(self, at: datetime) -> None:
        """Have a drain started at a time by RQ's clock, the local one."""
        self._redis.call(lambda client: self._worker_queue.schedule(client, at))

    def close(self) -> None:
        """End the threads, which they do within a second or two."""
        self._closing.set()
        self._claimed.set()
        self._redis.close()

    # -- in the thread ------------------------------------------------------------------------------

    def _check_in(self) -> None:
        """Arrive; after that, give a sign of life and hear what there is."""
        if not self._arrived:
            self._claimed.wait(LATEST)
            time.sleep(HEADSTART)
            self._arrived = True
            if self._closing.is_set():
                return
            threading.Thread(
                target=self._wait_for_wake_ups, name="flask-webhooks-listener", daemon=True
            ).start()
            if self.arrive():
                self._drain.look()
            self._redis.call(self._worker_queue.forget_past)
            return
        if self._must_stop():
            self._drain.stop()
        listens_again = self.present(self._drain.has_capacity())
        if self._queues:
            self._drain.make_way(bool(self._redis.call(self._jobs_wait)))
        # Also for retries that fall due in the middle of steady traffic.
        if listens_again or self.away or self._drain.busy():
            self._drain.look()

    def arrive(self) -> bool:
        """Take the mark away and listen, in one go; returns whether we do. Look for work afterwards."""

        def call(client: redis.Redis) -> int:
            client.delete(self._keys.dirty)
            return self._say(client, capacity=True)

        return self._present(call, capacity=True)

    def present(self, capacity: bool) -> bool:
        """Give a sign of life; with `capacity`, wake-ups come to us instead of starting a job.

        :return: whether wake-ups come to us from now on and did not before: look for work once more.
        """
        before = self.listening
        say = self._present(lambda client: self._say(client, capacity), capacity)
        return say and not before

    def _present(self, call: Callable[[redis.Redis], int], capacity: bool) -> bool:
        # A sign of life that overtook the farewell would have wake-ups wait for us in vain.
        said = self._redis.call(lambda client: 0 if self._gone else call(client))
        self.listening = bool(said) and capacity
        self.passed_on &= not self.listening
        return self.listening

    def _say(self, client: redis.Redis, capacity: bool) -> int:
        keys = self._keys
        arguments = (self._id, PRESENCE, int(capacity))
        before = self._counted_on_until
        # Already now: the drain does not wait for the answer as long as Redis may take for it.
        self._counted_on_until = time.monotonic() + PRESENCE / 1000
        heard = True
        try:
            return int(client.eval(PRESENT, 2, keys.drains, keys.listening, *arguments))
        except (RedisError, OSError) as error:
            # Whatever else went wrong, Redis may have done it.
            heard = not isinstance(error.__context__, _NO_CONNECTION)
            raise
        finally:
            self._counted_on_until = time.monotonic() + PRESENCE / 1000 if heard else before

    def _must_stop(self) -> bool:
        if self._parent is not None and os.getppid() != self._parent:
            return True
        if self._worker_name is None:
            return False
        # RQ tells its work-horse in no other way.
        key = rq.Worker.redis_worker_namespace_prefix + self._worker_name
        return bool(self._redis.call(lambda client: client.hexists(key, "shutdown_requested_date")))

    def _jobs_wait(self, client: redis.Redis) -> bool:
        return any(client.llen(key) for key in self._queues)

    def _forget(self, client: redis.Redis) -> None:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.zrem(self._keys.listening, self._id)
            pipeline.zrem(self._keys.drains, self._id)
            pipeline.execute()

    def _wait_for_wake_ups(self) -> None:
        # Waiting is what it is for: it needs more patience than it waits.
        with contextlib.closing(self._worker_queue.connect(patience=2 * PATIENCE)) as client:
            while not self._closing.is_set():
                try:
                    if client.blpop([self._keys.channel(self._id)], timeout=1):
                        # The mark stays: to take it away here could hide the next wake-up from `leave`.
                        if not self._drain.has_capacity():
                            self.pass_on()
                        self._drain.look()
                except (RedisError, OSError):
                    # A wake-up may have been on its way. While Redis is away, the drain looks by the clock.
                    self._drain.look()
                    self._closing.wait(STEP)
