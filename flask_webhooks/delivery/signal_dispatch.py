"""Signals to the host's receivers: once, in order, after the commit, in a separate thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

from ..log import get_logger
from .announce import Announcer, SignalMessage
from .outcome import Settled

logger = get_logger("flask_webhooks.delivery")

#: The maximum number of waiting signals; further ones are dropped.
MOST_WAITING = 20_000


class SignalDispatcher:
    """Sends the signals of one drain, which does not wait for them.

    :param sent: called in the thread each time that no signal is waiting.
    """

    def __init__(self, announcer: Announcer, sent: Callable[[], None]) -> None:
        self._announcer = announcer
        self._sent = sent
        self._messages: queue.SimpleQueue[SignalMessage | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._waiting = 0
        self._dropped = 0
        self._given_up = False

    @property
    def busy(self) -> bool:
        """Whether signals are waiting or being sent."""
        return not self._idle.is_set()

    def dispatch(self, settled: Settled) -> None:
        """Queue the signals of a committed batch. May be called from any thread."""
        messages = self._announcer.messages(settled)
        if not messages:
            return
        with self._lock:
            room = max(MOST_WAITING - self._waiting, 0)
            if len(messages) > room:
                self._drop(len(messages) - room)
                messages = messages[:room]
            self._waiting += len(messages)
            if messages:
                self._idle.clear()
            for message in messages:
                self._messages.put(message)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="flask-webhooks-signals", daemon=True
                )
                self._thread.start()

    def close(self, seconds: float) -> None:
        """Wait until all signals are sent, but at most a number of seconds."""
        self._messages.put(None)
        self._idle.wait(seconds)
        self._given_up = True
        if (left := self._waiting) > 0:
            logger.error(
                "%d signals were not sent: a signal receiver of the application is too slow", left
            )
        if self._dropped:
            logger.error("%d signals were dropped in total", self._dropped)

    def _drop(self, count: int) -> None:
        if not self._dropped:
            logger.error(
                "Signals are dropped: a signal receiver of the application is so slow that %d are waiting. Have "
                "receivers hand long work to a queue.",
                self._waiting,
            )
        self._dropped += count

    def _serve(self) -> None:
        while (message := self._messages.get()) is not None and not self._given_up:
            with contextlib.suppress(Exception):  # logs exceptions of receivers
                self._announcer.send([message])
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._idle.set()
                    self._sent()
