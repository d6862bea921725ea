"""The drain's side of the wake-up channel: it registers, is notified, and leaves without missing a wake-up.

If Redis is unavailable, the drain polls for work.
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

#: Milliseconds after which a silent drain counts as dead.
PRESENCE = 3000
#: Seconds between heartbeats.
STEP = 1.0
#: The cause of errors of redis-py if a connection was not opened.
_NO_CONNECTION = (ConnectionRefusedError, FileNotFoundError, socket.gaierror)
#: Seconds for the first requests before the first call to Redis.
HEADSTART, LATEST = 0.01, 0.25
#: Timeout of a hand-over in seconds, which needs several calls: if it is given up too early, it is repeated, and
#: each leaves a job.
HAND_OVER_PATIENCE = 5.0


class Listening(Protocol):
    """The interface of a drain for other threads."""

    def has_capacity(self) -> bool: ...

    def busy(self) -> bool: ...

    def look(self) -> None: ...

    def stop(self) -> None: ...

    def make_way(self, jobs_wait: bool) -> None: ...


class Listener:
    """The registration of one drain in Redis. All calls use one thread, and so are in order.

    :param worker_name: the RQ worker that runs the job, whose stop request is read from Redis.
    :param parent: the process id of that worker if it forked this process, which stops when the worker is gone.
    :param queues: keys of the RQ queues of this worker, which are watched for other jobs.
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
        #: Until when the last heartbeat is valid for others, by `time.monotonic`.
        self._counted_on_until = float("-inf")
        self._closing = threading.Event()
        #: Whether this drain receives wake-ups, as far as it knows.
        self.listening = False
        #: Whether it has passed one on, and has not listened again since then.
        self.passed_on = False

    @property
    def away(self) -> bool:
        """Whether Redis does not respond, so that no wake-up can arrive."""
        return self._redis.away

    def start(self) -> None:
        """Start listening a moment after the first claim. Until then, wake-ups enqueue jobs, and none is lost."""
        self._redis.start(self._check_in, STEP)

    def first_claim_made(self) -> None:
        """Give priority to the requests of the first claim."""
        self._claimed.set()

    def capacity_again(self) -> None:
        """Announce capacity at once, if a wake-up arrived while there was none."""
        if self.passed_on:
            self._redis.submit("check in", lambda client: self._check_in())

    def leave(self) -> bool:
        """Leave, unless there was a wake-up since the mark was cleared; return whether the drain has left.

        If not, the mark is cleared: look for work. Without a response the drain stays as long as it may receive
        wake-ups that would otherwise start a job.
        """
        keys = (self._keys.dirty, self._keys.drains, self._keys.listening)

        def call(client: redis.Redis) -> int:
            left = int(client.eval(LEAVE, 3, *keys, self._id))
            # In this thread, because the next call depends on it.
            self._gone = left == 1
            return left

        if self._redis.call(call) is None:
            self._gone |= time.monotonic() > self._counted_on_until
        return self._gone

    def vanish(self) -> None:
        """Leave in any case: another drain does the work."""
        if not self._gone:
            self._gone = True
            self._redis.call(self._forget)

    def hand_over(self, *, to_others: bool) -> bool:
        """Leave, and start another drain; return whether this one has left.

        :param to_others: this worker ends, too; otherwise it is free and takes the job.
        """

        def call(client: redis.Redis) -> bool:
            self._forget(client)
            if to_others:
                self._worker_queue.notify(client)
            else:
                self._worker_queue.enqueue(client)
            # In this thread, because the next call depends on it.
            self._gone = True
            return True

        patience = PATIENCE if to_others else HAND_OVER_PATIENCE
        return self._redis.call(call, patience) is True

    def pass_on(self) -> None:
        """Pass a wake-up on to another drain, because this one has no capacity."""
        self.listening, self.passed_on = False, True

        def call(client: redis.Redis) -> None:
            client.zrem(self._keys.listening, self._id)
            self._worker_queue.notify(client)

        self._redis.submit("pass on", call)

    def request_worker(self) -> None:
        """Request another worker, if there is one."""
        self._redis.submit("request worker", self._worker_queue.request_worker)

    def schedule(self, at: datetime) -> None:
        """Schedule a drain at a time of RQ's clock, the local one."""
        self._redis.call(lambda client: self._worker_queue.schedule(client, at))

    def close(self) -> None:
        """End the threads, which they do within a second or two."""
        self._closing.set()
        self._claimed.set()
        self._redis.close()

    # -- in the thread ------------------------------------------------------------------------------

    def _check_in(self) -> None:
        """Register; afterwards, send heartbeats and receive wake-ups."""
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
        # Also for retries that become due during steady traffic.
        if listens_again or self.away or self._drain.busy():
            self._drain.look()

    def arrive(self) -> bool:
        """Clear the mark and start listening, atomically; return whether this succeeded. Look for work afterwards."""

        def call(client: redis.Redis) -> int:
            client.delete(self._keys.dirty)
            return self._say(client, capacity=True)

        return self._present(call, capacity=True)

    def present(self, capacity: bool) -> bool:
        """Send a heartbeat; with `capacity`, this drain receives wake-ups instead of a new job.

        :return: whether it receives wake-ups from now on and did not before: look for work again.
        """
        before = self.listening
        say = self._present(lambda client: self._say(client, capacity), capacity)
        return say and not before

    def _present(self, call: Callable[[redis.Redis], int], capacity: bool) -> bool:
        # A heartbeat after leaving would direct wake-ups to a drain that is gone.
        said = self._redis.call(lambda client: 0 if self._gone else call(client))
        self.listening = bool(said) and capacity
        self.passed_on &= not self.listening
        return self.listening

    def _say(self, client: redis.Redis, capacity: bool) -> int:
        keys = self._keys
        arguments = (self._id, PRESENCE, int(capacity))
        before = self._counted_on_until
        # Already now, because the drain does not wait for the response as long as Redis may take.
        self._counted_on_until = time.monotonic() + PRESENCE / 1000
        heard = True
        try:
            return int(client.eval(PRESENT, 2, keys.drains, keys.listening, *arguments))
        except (RedisError, OSError) as error:
            # Even after an error, Redis may have executed it.
            heard = not isinstance(error.__context__, _NO_CONNECTION)
            raise
        finally:
            self._counted_on_until = time.monotonic() + PRESENCE / 1000 if heard else before

    def _must_stop(self) -> bool:
        if self._parent is not None and os.getppid() != self._parent:
            return True
        if self._worker_name is None:
            return False
        # RQ informs its work-horse in no other way.
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
        # It blocks on purpose, so its timeout must be longer.
        with contextlib.closing(self._worker_queue.connect(patience=2 * PATIENCE)) as client:
            while not self._closing.is_set():
                try:
                    if client.blpop([self._keys.channel(self._id)], timeout=1):
                        # Keep the mark: clearing it here could hide the next wake-up from `leave`.
                        if not self._drain.has_capacity():
                            self.pass_on()
                        self._drain.look()
                except (RedisError, OSError):
                    # A wake-up may have been lost. While Redis is unavailable, the drain polls.
                    self._drain.look()
                    self._closing.wait(STEP)
