"""Events that the database cannot store at the moment, kept in memory.

These are events that describe a refusal: they are written after the host's transaction, when the host has
continued. A thread retries while there are any, or, if a server runs no threads, the end of the next request.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from .log import get_logger, log_without_locals

logger = get_logger("flask_webhooks.outbox")

#: The maximum numbers of events and bytes.
MOST_EVENTS, MOST_BYTES = 1000, 8 * 1024 * 1024
#: Seconds between retries; the pause doubles.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: Seconds without a retry after which a request makes one, because the thread does not run.
LATE = 5.0

#: The database cannot store anything: no connection, no space, shutting down, conflict, read-only.
_POSTGRESQL_CLASSES = ("08", "40", "53", "57", "25006", "55P03")
_MYSQL_NUMBERS = {1020, 1021, 1040, 1053, 1114, 1205, 1213, 1290, 1792, 1836, 1927}
#: Busy, locked, interrupted, I/O error, full, cannot be opened, locking protocol.
_SQLITE_CODES = {5, 6, 9, 10, 13, 14, 15}


class UnwrittenEvent(Protocol):
    """The interface of kept events."""

    @property
    def type(self) -> str: ...

    @property
    def size(self) -> int:
        """Its size in bytes."""

    def write_again(self) -> bool:
        """Write it unless an earlier attempt has; return whether workers have to be woken."""

    def wake(self) -> None:
        """Wake the workers."""


class Unwritten:
    """The kept events of one process for one application."""

    def __init__(self) -> None:
        #: The parent writes its own events; a fork creates a new instance.
        self.pid = os.getpid()
        #: Events that were lost in this process.
        self.lost = 0
        self._lock = threading.Lock()
        #: Locked while writing.
        self._writing = threading.Lock()
        self._events: deque[UnwrittenEvent] = deque()
        self._bytes = 0
        self._tried_at = 0.0
        self._thread: threading.Thread | None = None
        _all.add(self)

    @property
    def waiting(self) -> bool:
        return bool(self._events)

    def keep(self, event: UnwrittenEvent, reason: str) -> bool:
        """Keep an event; return ``False`` if there are too many."""
        with self._lock:
            fits = len(self._events) < MOST_EVENTS and self._bytes + event.size <= MOST_BYTES
            if fits:
                self._events.append(event)
                self._bytes += event.size
                first = len(self._events) == 1
        if not fits:
            self.lose(event.type, f"{len(self._events)} are kept in memory already")
            return False
        if first:
            self._tried_at = time.monotonic()
            logger.warning(
                "The event %s could not be written (%s). It and the events after it are kept in memory, and written "
                "when the database accepts them.",
                event.type,
                reason,
            )
        self._start()
        return True

    def lose(self, event_type: str, why: BaseException | str) -> None:
        """Count and log an event that cannot be kept."""
        with self._lock:
            self.lost += 1
        message, count = (
            "The event %s could not be recorded and is lost",
            f"{self.lost} lost so far",
        )
        if isinstance(why, BaseException):
            log_without_locals(logger, f"{message} (%s)", event_type, count, error=why)
        else:
            logger.error(f"{message}: %s (%s)", event_type, why, count)  # noqa: G004

    def write_if_late(self) -> None:
        """Write kept events, if the thread has not tried for a while."""
        if self._events and time.monotonic() - self._tried_at > LATE:
            self.write()

    def write(self, wait: float = 0.0) -> None:
        """Write kept events in order, as far as the database accepts them.

        :param wait: seconds to wait for another writing thread.
        """
        if not self._writing.acquire(timeout=wait):
            return
        written = 0
        last: UnwrittenEvent | None = None
        try:
            while self._events:
                event = self._events[0]
                self._tried_at = time.monotonic()
                try:
                    if event.write_again():
                        last = event
                except Exception as error:
                    if may_succeed_later(error):
                        break
                    self.lose(event.type, error)
                else:
                    written += 1
                with self._lock:
                    self._events.popleft()
                    self._bytes -= event.size
        finally:
            self._writing.release()
        if written and not self._events:
            logger.info(
                "The database accepts events again; kept events that were written: %d", written
            )
        if last is not None:
            last.wake()

    def drop(self, unwanted: Callable[[Any], bool]) -> int:
        """Remove events; return their number.

        :param unwanted: called with each kept event.
        """
        # Not while one of them is being written.
        with self._writing, self._lock:
            kept = [event for event in self._events if not unwanted(event)]
            dropped = len(self._events) - len(kept)
            self._events = deque(kept)
            self._bytes = sum(event.size for event in kept)
        return dropped

    def end(self) -> None:
        """Handle the end of the process: try once more, and log the rest."""
        self.write(wait=1.0)
        types = sorted({event.type for event in self._events})
        if types:
            logger.error(
                "%d events are lost because the process is exiting: %s",
                len(self._events),
                ", ".join(types),
            )

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            thread = threading.Thread(
                target=_serve,
                args=(weakref.ref(self),),
                name="flask-webhooks-unwritten",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError:
                # Too many threads, or the interpreter is shutting down. Requests retry.
                return
            self._thread = thread

    def _goes_on(self) -> bool:
        """Return whether the thread has to continue; otherwise it ends."""
        with self._lock:
            if not self._events:
                self._thread = None
            return bool(self._events)


def _serve(owner: weakref.ref[Unwritten]) -> None:
    pause = FIRST_PAUSE
    while True:
        time.sleep(pause)
        unwritten = owner()
        if unwritten is None:
            return
        unwritten.write()
        if not unwritten._goes_on():
            return
        del unwritten
        pause = min(pause * 2, LONGEST_PAUSE)


def may_succeed_later(error: BaseException) -> bool:
    """Return whether a retry may succeed: the database is unavailable, locked or full, or there was a conflict."""
    if isinstance(error, sa.exc.TimeoutError):
        # No connection of the pool was free.
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    original: Any = error.orig
    if (code := getattr(original, "sqlite_errorcode", None)) is not None:
        return code & 0xFF in _SQLITE_CODES
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if isinstance(state, str):
        return state.startswith(_POSTGRESQL_CLASSES)
    number = original.args[0] if getattr(original, "args", None) else None
    if isinstance(number, int) and 1000 <= number < 2000:
        return number in _MYSQL_NUMBERS
    # No error of a server: there was no connection.
    return isinstance(error, OperationalError | InterfaceError)


_all: weakref.WeakSet[Unwritten] = weakref.WeakSet()


def _end() -> None:
    for unwritten in list(_all):
        if unwritten.pid == os.getpid():
            unwritten.end()


atexit.register(_end)
