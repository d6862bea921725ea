"""The host's calls to Redis: at most one short wait, then none until Redis is back."""

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

#: Seconds after which an idle thread checks whether its application still exists.
_IDLE = 15.0
#: Seconds after which an idle connection is replaced, because routers and balancers drop it silently.
STALE = 10.0
#: Seconds that the thread may be late with its next attempt before a caller waits for it again.
_OVERDUE = 1.0


@dataclass(slots=True)
class _Request:
    """A caller that waits for an action that begins after its request."""

    action: Action[Any]
    lasting: bool
    done: threading.Event = field(default_factory=threading.Event)
    outcome: Any = None


class _Process:
    """The state of one process: a fork has a copy of the lock, possibly locked, but not the thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        #: The connection of the thread, and when it was last used.
        self.client: redis.Redis | None = None
        self.used_at = 0.0
        self.trouble: RedisTrouble | None = None
        #: When the thread must have tried again, if threads run.
        self.tried_by = 0.0
        #: Persistent actions that failed, or that were requested without waiting.
        self.owed: dict[Action[Any], None] = {}


class Notifier:
    """Makes calls in a separate thread, because nothing else limits DNS, connect and response together.

    Concurrent requests of the same action share the next call. After a failure no caller waits: the thread retries
    at intervals of some seconds until a call succeeds.

    :param queue: its settings have the timeout of callers, and the interval of retries; it creates clients in the
        thread.
    :param muted: whether the host's tests are capturing events, for which no worker is woken.
    """

    def __init__(self, queue: WorkerQueue, muted: Callable[[], bool] = lambda: False) -> None:
        self.queue = queue
        self._muted = muted
        self._timeout = queue.settings.wake_timeout
        self.pause = queue.settings.wake_pause
        self._processes: dict[int, _Process] = {}

    @property
    def trouble(self) -> RedisTrouble | None:
        """Why actions currently fail; ``None`` if they do not."""
        return self._here.trouble

    def notify(self) -> bool:
        """Notify the workers that work is due. Never raises.

        :return: whether Redis accepted it. Otherwise it is repeated when Redis is back, or the next sweep finds
            the work.
        """
        return not self._muted() and self.submit(self.queue.notify)

    def request_task_worker(self) -> bool:
        """Request a worker for waiting bulk tasks. Never raises.

        :return: whether Redis accepted it.
        """
        return self.submit(self.queue.request_task_worker)

    def submit(self, action: Action[Any]) -> bool:
        """Execute an action, and wait for it unless the last one failed; return whether it was done.

        Otherwise it is done once Redis is available.

        :param action: equal actions are executed once for all callers.
        """
        return not isinstance(self._ask(action, lasting=True), RedisTrouble)

    def read(self, action: Action[T]) -> T | RedisTrouble:
        """Return the result of an action, or the reason of its failure."""
        answer: T | RedisTrouble = self._ask(action, lasting=False)
        return answer

    @property
    def _here(self) -> _Process:
        pid = os.getpid()
        here = self._processes.get(pid)
        if here is None:
            # Created at the first use: gevent and eventlet replace locks and queues after the application was
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
        """Return whether the thread should have tried again but has not, because threads only run during requests,
        as in uWSGI without ``enable-threads``.

        In this case one caller waits, and the next ones do not.
        """
        if here.thread is None or time.monotonic() < here.tried_by:
            return False
        self._expect(here)
        return True

    def _expect(self, here: _Process) -> None:
        here.tried_by = time.monotonic() + self.pause + 2 * self._timeout + _OVERDUE

    def attempt(self, here: _Process, requests: list[_Request]) -> None:
        """Execute requested and postponed actions. Only for the thread."""
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
            # A kept connection may be from before a restart of Redis: retry on a new one.
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
            # Too many threads, or the interpreter is shutting down.
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
    """Run the thread. It keeps its owner alive only while it works, because test suites create many applications."""
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
    """Return all requests, once there are any or the time is over."""
    taken = []
    with contextlib.suppress(queue.Empty):
        taken.append(requests.get(timeout=timeout))
        while True:
            taken.append(requests.get_nowait())
    return taken
