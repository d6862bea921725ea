"""The host's way to Redis: one short wait at most, and then none until Redis is back."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis

from ..log import get_logger, without_stop
from .redis_trouble import RedisTrouble, TroubleKind, explain_error
from .worker_queue import WorkerQueue

logger = get_logger("flask_webhooks.alarm")

T = TypeVar("T")
Action = Callable[[redis.Redis], T]

#: Seconds after which an idle thread looks whether its application is still there.
_IDLE = 15.0
#: Seconds after which an unused connection is replaced: routers and balancers forget it without a word.
STALE = 10.0
#: Seconds that the thread may be late with its next attempt before a caller waits for it again.
_OVERDUE = 1.0


@dataclass(slots=True)
class _Request:
    """One caller, waiting for an action that begins after it asked."""

    action: Action[Any]
    lasting: bool
    done: threading.Event = field(default_factory=threading.Event)
    outcome: Any = None


class _Process:
    """What belongs to one process: a fork has a copy of the lock, maybe held, but not the thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        #: For the thread alone, and when it was last used.
        self.client: redis.Redis | None = None
        self.used_at = 0.0
        self.trouble: RedisTrouble | None = None
        #: When the thread has surely tried again, if threads run.
        self.tried_by = 0.0
        #: Lasting actions that failed, or that a caller asked for without waiting.
        self.owed: dict[Action[Any], None] = {}


class Notifier:
    """Makes calls in a thread of its own, because nothing else bounds DNS, connect and answer together.

    Callers that ask for the same action while a call is under way share the next one. After a failure no caller
    waits any more: the thread goes on trying by itself, some seconds apart, until a call succeeds.

    :param queue: its settings say how long a caller waits, and how long the thread does between two attempts after
        a failure; it makes clients in the thread.
    :param muted: whether the host's tests look at events now, for which no worker is to be woken.
    """

    def __init__(self, queue: WorkerQueue, muted: Callable[[], bool] = lambda: False) -> None:
        self.queue = queue
        self._muted = muted
        self._timeout = queue.settings.wake_timeout
        self.pause = queue.settings.wake_pause
        self._processes: dict[int, _Process] = {}

    @property
    def trouble(self) -> RedisTrouble | None:
        """Why actions are not done now; ``None`` where all is well."""
        return self._here.trouble

    def notify(self) -> bool:
        """Tell the workers that there is work due. Never raises.

        :return: whether Redis took it. What it did not take it gets once it is back, or the next sweep finds the work.
        """
        return not self._muted() and self.submit(self.queue.notify)

    def request_task_worker(self) -> bool:
        """Have a worker work on the bulk tasks that wait. Never raises.

        :return: whether Redis took it.
        """
        return self.submit(self.queue.request_task_worker)

    def submit(self, action: Action[Any]) -> bool:
        """Have an action done, and wait for it unless the last one failed; returns whether it was done.

        What was not done is done once Redis allows it.

        :param action: equal ones are done once for all who ask for them.
        """
        return not isinstance(self._ask(action, lasting=True), RedisTrouble)

    def read(self, action: Action[T]) -> T | RedisTrouble:
        """Return what an action finds, or why it found nothing."""
        answer: T | RedisTrouble = self._ask(action, lasting=False)
        return answer

    @property
    def _here(self) -> _Process:
        pid = os.getpid()
        here = self._processes.get(pid)
        if here is None:
            # Made at the first use: gevent and eventlet replace locks and queues after the application was
            # loaded, in a process that was forked from the one that loaded it.
            here = self._processes.setdefault(pid, _Process())
            for other in self._processes.keys() - {pid}:
                self._processes.pop(other, None)
        return here

    def _ask(self, action: Action[Any], lasting: bool) -> Any:
        here = self._here
        request = _Request(action, lasting)
        with here.lock:
            if here.thread is None:
                self._start(here)
            trouble = here.trouble
            if trouble is not None and (lasting or not trouble.answered) and not self._late(here):
                if lasting:
                    here.owed[action] = None
                return trouble
            here.requests.put(request)
        if not request.done.wait(self._timeout):
            with here.lock:
                if not request.done.is_set():
                    request.outcome = RedisTrouble(
                        TroubleKind.SILENT, f"no response within {self._timeout:g} s"
                    )
                    self._fail(here, request.outcome)
        return request.outcome

    def _late(self, here: _Process) -> bool:
        """Whether the thread should have tried again and has not: it runs only while a request waits for it.

        That is so in uWSGI without ``enable-threads``. Then one caller waits, and the next ones do not.
        """
        if here.thread is None or time.monotonic() < here.tried_by:
            return False
        self._expect(here)
        return True

    def _expect(self, here: _Process) -> None:
        here.tried_by = time.monotonic() + self.pause + 2 * self._timeout + _OVERDUE

    def attempt(self, here: _Process, requests: list[_Request]) -> None:
        """Do what was asked for, and what is owed. Only for the thread."""
        with here.lock:
            owed, here.owed = here.owed, {}
        lasting = {**owed, **{request.action: None for request in requests if request.lasting}}
        actions = dict.fromkeys([*lasting, *(request.action for request in requests)])
        outcomes = self._do_all(here, actions or [_ping])
        failed = {
            action: outcome
            for action, outcome in outcomes.items()
            if isinstance(outcome, RedisTrouble)
        }
        with here.lock:
            here.owed.update({action: None for action in lasting if action in failed})
            causes = [
                outcome
                for action, outcome in failed.items()
                if action in lasting or not outcome.answered
            ]
            if causes:
                self._fail(here, causes[0])
                self._expect(here)
            else:
                if here.trouble is not None:
                    here.trouble = None
                    logger.info("Redis responds again; webhook workers are woken as usual")
                for action in here.owed:
                    here.requests.put(_Request(action, lasting=True))
                here.owed.clear()
            for request in requests:
                request.outcome = outcomes[request.action]
                request.done.set()

    def _do_all(self, here: _Process, actions: Iterable[Action[Any]]) -> dict[Action[Any], Any]:
        outcomes: dict[Action[Any], Any] = {}
        silence: RedisTrouble | None = None
        for action in actions:
            if silence is not None:
                outcomes[action] = silence
                continue
            try:
                outcomes[action] = self._do(here, action)
            except Exception as error:
                trouble = outcomes[action] = explain_error(error)
                silence = None if trouble.answered else trouble
        return outcomes

    def _do(self, here: _Process, action: Action[T]) -> T:
        if here.client is None:
            here.client = self.queue.connect(self._timeout)
        pool = here.client.connection_pool
        if time.monotonic() - here.used_at > STALE:
            pool.disconnect()
        try:
            return action(here.client)
        except redis.TimeoutError:
            pool.disconnect()
            raise
        except redis.ConnectionError:
            # A pooled connection may be from before a restart of Redis: one more, on a fresh one.
            pool.disconnect()
            return action(here.client)
        finally:
            here.used_at = time.monotonic()

    def _start(self, here: _Process) -> None:
        thread = threading.Thread(
            target=_serve, args=(weakref.ref(self), here), name="flask-webhooks-alarm", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # Too many threads, or the interpreter is about to end.
            self._fail(here, RedisTrouble(TroubleKind.SILENT, str(error)))
        else:
            here.thread = thread
            if here.trouble is not None:
                self._expect(here)

    def _fail(self, here: _Process, trouble: RedisTrouble) -> None:
        before = here.trouble
        here.trouble = trouble
        if before is None:
            self._expect(here)
        if before is not None and before.kind is trouble.kind:
            return
        if trouble.answered:
            logger.warning(
                "Could not wake the webhook workers. %s. Nothing is lost, but nothing is delivered until this is "
                "fixed.",
                without_stop(str(trouble)),
            )
        else:
            logger.warning(
                "Could not wake the webhook workers: %s. Nothing is lost: they are woken when Redis is "
                "back, and the next sweep delivers.",
                without_stop(trouble.cause),
            )


def _ping(client: redis.Redis) -> None:
    client.ping()


def _serve(owner: weakref.ref[Notifier], here: _Process) -> None:
    """The thread. It keeps its owner alive only while it works: test suites make many applications."""
    pause = 0.0
    while True:
        asked = _take(here.requests, pause)
        notifier = owner()
        if notifier is None:
            return
        if asked or here.trouble is not None:
            notifier.attempt(here, asked)
        pause = notifier.pause if here.trouble is not None else _IDLE
        del notifier


def _take(requests: queue.SimpleQueue[_Request], timeout: float) -> list[_Request]:
    """Everything that was asked for, once there is something or the time is over."""
    taken = []
    with contextlib.suppress(queue.Empty):
        taken.append(requests.get(timeout=timeout))
        while True:
            taken.append(requests.get_nowait())
    return taken
