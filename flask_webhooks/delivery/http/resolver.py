"""Name lookups in threads, so that names whose servers hang do not block others.

The system's resolver gives up only after tens of seconds, and a lookup cannot be interrupted. Each lookup runs in
a separate thread, and the number of threads is limited: a name has one lookup at a time, which is shared; a zone
has a few; and names whose last lookup hung never occupy so many threads that new names find none. Names that were
resolved recently always find a thread, or use their result of the last minute. Other lookups without a thread fail
with `NoCapacity`, which is a local problem and not the receiver's. Long, since the limits of its threads depend on
each other.
"""

from __future__ import annotations

import enum
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...log import get_logger

logger = get_logger("flask_webhooks.delivery")

#: Maximum number of concurrent lookups. Hanging ones keep their thread, which is cheap.
THREADS = 256
#: Maximum number of concurrent lookups of names that were not resolved recently; the rest are for those that were.
THREADS_FOR_OTHERS = 192
#: Of these, names whose last lookup hung or failed.
THREADS_FOR_SLOW = 64
#: Maximum number of concurrent lookups in one zone, of names that were not resolved recently; a zone has one owner.
THREADS_IN_ZONE = 8
#: Of these, names whose last lookup hung or failed.
THREADS_IN_ZONE_FOR_SLOW = 2
#: Seconds that a lookup waits for capacity.
PATIENCE = 3.0
#: Seconds after which a lookup counts as hanging, even if it succeeds later.
HANGING = 2.0
#: Seconds for which a result is cached.
FRESH = 10.0
#: Seconds for which the last result of a name is used if there is no thread: moved receivers are found within a
#: minute, even if other lookups hang. The network policy always checks the address.
STANDS_IN = 60.0
#: Seconds for which a name counts as recently resolved, and may use the reserved threads.
ANSWERED = 600.0
#: Names that are remembered.
MEMORY = 10_000
#: Resolved after a failed lookup: any working resolver responds for this name, at least that it does not exist.
CONTROL_NAME = "a.root-servers.net."
#: Timeout of the control lookup in seconds.
CONTROL_TIMEOUT = 2.0
#: Seconds for which any response proves that names can be resolved.
PROOF = 5.0
#: Seconds for which a found name proves that other names really do not exist.
PROOF_OF_NAMES = 60.0
#: Seconds between two warnings that there is no thread.
WARN_INTERVAL = 60.0

_Addresses = tuple[str, ...]


class NoCapacity(socket.gaierror):
    """A lookup was not made, because too many others hang."""

    def __init__(self) -> None:
        super().__init__(socket.EAI_AGAIN, "too many other names are being looked up")


class _History(enum.Enum):
    """The history of a name."""

    ANSWERED = enum.auto()
    NEW = enum.auto()
    SLOW = enum.auto()


@dataclass(eq=False, slots=True)
class Lookup:
    """A lookup that is running, waiting for capacity, or has ended."""

    name: str
    zone: str
    history: _History
    #: The end of its wait for capacity, by `time.monotonic`.
    waits_until: float | None = None
    #: When it began, by `time.monotonic`.
    began: float | None = None
    #: After its end: the addresses, or the error.
    addresses: _Addresses = ()
    error: OSError | None = None
    #: The addresses are from an earlier result, up to `STANDS_IN` seconds old.
    stands_in: bool = False


@dataclass(slots=True)
class _Counts:
    """Running lookups by limit."""

    all: int = 0
    others: int = 0
    slow: int = 0
    in_zone: Counter[str] = field(default_factory=Counter)
    slow_in_zone: Counter[str] = field(default_factory=Counter)

    def has_capacity(self, lookup: Lookup) -> bool:
        if self.all >= THREADS:
            return False
        if lookup.history == _History.ANSWERED:
            return True
        if self.others >= THREADS_FOR_OTHERS or self.in_zone[lookup.zone] >= THREADS_IN_ZONE:
            return False
        return lookup.history == _History.NEW or (
            self.slow < THREADS_FOR_SLOW
            and self.slow_in_zone[lookup.zone] < THREADS_IN_ZONE_FOR_SLOW
        )

    def add(self, lookup: Lookup, number: int) -> None:
        self.all += number
        if lookup.history == _History.ANSWERED:
            return
        self.others += number
        _add(self.in_zone, lookup.zone, number)
        if lookup.history == _History.SLOW:
            self.slow += number
            _add(self.slow_in_zone, lookup.zone, number)


class Resolver:
    """`getaddrinfo` in threads. Its methods are for one thread.

    :param notify: called from another thread when a lookup has ended, which `take_ended` then returns.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify
        #: When any lookup last got a response, and when a name was last found.
        self._answered_at = self._found_at = float("-inf")
        self._warned_at = float("-inf")
        self._lookups: dict[str, Lookup] = {}
        self._waiting: dict[Lookup, None] = {}
        self._counts = _Counts()
        #: The last results with their times; names whose lookup hung or failed; names that found no thread.
        self._answers: dict[str, tuple[_Addresses, float]] = {}
        self._slow: dict[str, float] = {}
        self._refused: dict[str, float] = {}
        self._results: queue.SimpleQueue[tuple[Lookup, _Addresses, OSError | None]] = (
            queue.SimpleQueue()
        )
        self._ended: list[Lookup] = []
        #: Has a separate thread, because it distinguishes a full pool from a resolver that is down.
        self._control: Lookup | None = None
        #: It took too long, and is still running, because it cannot be interrupted.
        self._control_overdue = False
        self._control_ended_at = float("-inf")

    @property
    def due(self) -> float:
        """Return when to call `take_ended` or `works` at the latest, by `time.monotonic`."""
        times = [lookup.waits_until for lookup in self._waiting if lookup.waits_until is not None]
        if self._control is not None and not self._control_overdue:
            times.append(_until(self._control))
        return min(times, default=float("inf"))

    def known(self, name: str) -> _Addresses | None:
        """Return the cached addresses of a name."""
        addresses, at = self._answers.get(name, ((), float("-inf")))
        return addresses if time.monotonic() - at < FRESH else None

    def lookup(self, name: str) -> Lookup:
        """Return the lookup of a name, which is running, waiting, or starts now."""
        lookup = self._lookups.get(name)
        if lookup is not None:
            return lookup
        lookup = Lookup(name, zone_of(name), self._history_of(name))
        self._lookups[name] = lookup
        if self._counts.has_capacity(lookup):
            self._begin(lookup)
        elif lookup.history == _History.ANSWERED:
            self._turn_away(lookup)
        else:
            lookup.waits_until = time.monotonic() + PATIENCE
            self._waiting[lookup] = None
        return lookup

    def take_ended(self) -> list[Lookup]:
        """Return the lookups that have ended since the last call."""
        while True:
            try:
                lookup, addresses, error = self._results.get_nowait()
            except queue.Empty:
                break
            lookup.addresses, lookup.error = addresses, error
            if lookup is self._control:
                self._end_control(lookup)
            else:
                self._end(lookup)
        now = time.monotonic()
        if self._control is not None and not self._control_overdue and _until(self._control) <= now:
            self._control_overdue = True
            _warn_of_silence()
        for lookup in list(self._waiting):
            if lookup.waits_until is not None and lookup.waits_until <= now:
                self._turn_away(lookup)
        ended, self._ended = self._ended, []
        return ended

    def refused(self, name: str) -> bool:
        """Return whether a lookup failed because it found no thread, or found it too late."""
        now = time.monotonic()
        if now - self._refused.get(name, float("-inf")) < PATIENCE + CONTROL_TIMEOUT:
            return True
        lookup = self._lookups.get(name)
        # It has just started, so it is not known yet whether it hangs.
        return (
            lookup is not None
            and lookup.waits_until is not None
            and (lookup.began is None or now - lookup.began < HANGING + CONTROL_TIMEOUT)
        )

    def works(self, *, found: bool = False) -> bool | None:
        """Return whether names can be resolved at all; ``None``: call again after `take_ended`.

        :param found: require a found address; without a network, some systems report for each name that it does
            not exist.
        """
        now = time.monotonic()
        if now - self._found_at < (PROOF_OF_NAMES if found else PROOF):
            return True
        if not found and now - self._answered_at < PROOF:
            return True
        if self._control is not None:
            return False if self._control_overdue else None
        if now - self._control_ended_at < PROOF:
            # It has just ended without a proof.
            return False
        self._control = Lookup(CONTROL_NAME, CONTROL_NAME, _History.NEW, began=now)
        self._control_overdue = False
        self._start(self._control)
        return None

    def close(self) -> None:
        """Abandon running lookups."""
        self._waiting.clear()
        self._lookups.clear()

    @staticmethod
    def is_unanswered(error: OSError) -> bool:
        """Return whether a lookup got no response, as opposed to the response that there is no such name."""
        return isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN

    # -- lookups ------------------------------------------------------------------------------------

    def _history_of(self, name: str) -> _History:
        if name in self._slow:
            return _History.SLOW
        _, at = self._answers.get(name, ((), float("-inf")))
        return _History.ANSWERED if time.monotonic() - at < ANSWERED else _History.NEW

    def _begin(self, lookup: Lookup) -> None:
        self._waiting.pop(lookup, None)
        self._counts.add(lookup, 1)
        lookup.began = time.monotonic()
        self._start(lookup)

    def _end(self, lookup: Lookup) -> None:
        assert lookup.began is not None
        self._counts.add(lookup, -1)
        self._lookups.pop(lookup.name, None)
        self._note(lookup, time.monotonic() - lookup.began)
        self._ended.append(lookup)
        for waiting in list(self._waiting):
            if self._counts.has_capacity(waiting):
                self._begin(waiting)

    def _turn_away(self, lookup: Lookup) -> None:
        self._waiting.pop(lookup, None)
        self._lookups.pop(lookup.name, None)
        self._ended.append(lookup)
        addresses, at = self._answers.get(lookup.name, ((), float("-inf")))
        now = time.monotonic()
        _remember(self._refused, lookup.name, now)
        if now - at < STANDS_IN:
            lookup.addresses, lookup.stands_in = addresses, True
            return
        lookup.error = NoCapacity()
        if now - self._warned_at > WARN_INTERVAL:
            self._warned_at = now
            logger.warning(
                "%d name lookups hang; deliveries to names that were not resolved recently wait",
                self._counts.all,
            )

    def _note(self, lookup: Lookup, seconds: float) -> None:
        """Record the result of a lookup."""
        now = time.monotonic()
        unanswered = lookup.error is not None and self.is_unanswered(lookup.error)
        if not unanswered:
            self._answered_at = now
        if unanswered or seconds > HANGING:
            _remember(self._slow, lookup.name, now)
        else:
            self._slow.pop(lookup.name, None)
        if lookup.error is None:
            self._found_at = now
            _remember(self._answers, lookup.name, (lookup.addresses, now))
        elif not unanswered:
            self._answers.pop(lookup.name, None)

    def _end_control(self, lookup: Lookup) -> None:
        now = time.monotonic()
        self._control, self._control_ended_at = None, now
        if lookup.error is None:
            self._found_at = self._answered_at = now
        elif not self.is_unanswered(lookup.error):
            self._answered_at = now
        elif not self._control_overdue:
            _warn_of_silence()

    def _start(self, lookup: Lookup) -> None:
        """Resolve a name in a new thread."""

        def run() -> None:
            addresses: _Addresses = ()
            error: OSError | None = None
            try:
                addresses = _addresses(_lookup(lookup.name, 0, socket.AF_UNSPEC))
            except OSError as failure:
                error = failure
            except Exception as failure:  # a name that cannot be encoded
                error = socket.gaierror(socket.EAI_NONAME, str(failure))
            self._results.put((lookup, addresses, error))
            self._notify()

        try:
            # A daemon: a running lookup must not delay the end of the job or of the process.
            threading.Thread(target=run, name="flask-webhooks-dns", daemon=True).start()
        except RuntimeError:  # no thread left
            self._results.put((lookup, (), NoCapacity()))
            self._notify()


def _warn_of_silence() -> None:
    logger.warning("Names cannot be resolved; deliveries to them wait")


def _until(control: Lookup) -> float:
    """Return when the control lookup counts as failed."""
    assert control.began is not None
    return control.began + CONTROL_TIMEOUT


def zone_of(host: str) -> str:
    """Return the part of a name that approximately has one owner: ``example.com``, ``example.co.uk``."""
    labels = host.lower().rstrip(".").split(".")
    short = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if short else -2 :])


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Set the newest entry, and remove the oldest ones beyond `MEMORY`."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MEMORY:
        del memory[next(iter(memory))]


def _add(counts: Counter[str], key: str, number: int) -> None:
    counts[key] += number
    if not counts[key]:
        del counts[key]


def _lookup(host: str, port: int, family: int) -> list[Any]:
    return socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )


def _addresses(infos: list[Any]) -> _Addresses:
    """Return the addresses in the order of the system.

    :raises socket.gaierror: there are none.
    """
    addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in infos))
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
    return addresses
