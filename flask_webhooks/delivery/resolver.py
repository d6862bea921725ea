"""Name lookups in threads of their own: names whose servers hang stop no other.

The system's resolver gives a lookup up only after tens of seconds, and nothing ends it before. So each
runs in a thread of its own, and what is scarce, the number of threads, is shared out: a name has one lookup
at a time, which everybody who asks for it joins; a zone has a few; and names that hung the last time
never get so many that a name that nobody has asked for yet finds no room. Names that answered lately
always have room, and failing that their last answer. What finds none is refused by `NoRoom`, which is our
own trouble and not the receiver's.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

logger = logging.getLogger("flask_webhooks.delivery")

#: Lookups at the same time. Those that hang keep their thread, which waits and costs little more.
THREADS = 256
#: Lookups at the same time of names that have not answered lately; the rest are for those that have.
THREADS_FOR_OTHERS = 192
#: Of these, names whose last lookup hung or got no answer.
THREADS_FOR_SLOW = 64
#: Lookups at the same time in one zone, of names that have not answered lately; one zone has one owner.
THREADS_IN_ZONE = 8
#: Of these, names whose last lookup hung or got no answer.
THREADS_IN_ZONE_FOR_SLOW = 2
#: Seconds that a lookup waits for room.
PATIENCE = 3.0
#: Seconds after which a lookup counts as hanging, also if an answer comes in the end.
HANGING = 2.0
#: Seconds for which a name's last answer vouches for it, and stands in for a new one if there is no room.
#: The network policy looks at the address in any case.
VOUCHED = 600.0
#: Names that are remembered.
MEMORY = 10_000
#: Looked up when another name got no answer: whoever can resolve anything can answer for this one,
#: if only that it does not exist here.
CONTROL_NAME = "a.root-servers.net."
#: Seconds that the control lookup may take.
CONTROL_TIMEOUT = 2.0
#: Seconds for which an answer for any name proves that names can be resolved.
PROOF = 5.0
#: Seconds for which a name that was found proves that names that are said not to exist do not.
PROOF_OF_NAMES = 60.0
#: Seconds between two warnings that there is no room.
WARN_INTERVAL = 60.0

_Infos = list[Any]
_Key = tuple[str, int]


class Trouble(enum.Enum):
    """Why a lookup got no answer, where that is not the name's own fault."""

    #: No name at all can be resolved.
    NO_DNS = enum.auto()
    #: Too many other lookups hang.
    NO_ROOM = enum.auto()


class NoRoom(socket.gaierror):
    """A lookup was not made, because too many others hang."""

    def __init__(self) -> None:
        super().__init__(socket.EAI_AGAIN, "too many other names are being looked up")


class _Standing(enum.Enum):
    """What is known of a name."""

    VOUCHED = enum.auto()
    NEW = enum.auto()
    SLOW = enum.auto()


@dataclass(eq=False, slots=True)
class _Lookup:
    key: _Key
    zone: str
    standing: _Standing
    answer: asyncio.Future[_Infos]
    #: It had to wait for room.
    waited: bool = False
    #: When it began, by `time.monotonic`.
    began: float | None = None


@dataclass(slots=True)
class _Counts:
    """Lookups that run, by what limits them."""

    all: int = 0
    others: int = 0
    slow: int = 0
    in_zone: Counter[str] = field(default_factory=Counter)
    slow_in_zone: Counter[str] = field(default_factory=Counter)

    def has_room(self, lookup: _Lookup) -> bool:
        if self.all >= THREADS:
            return False
        if lookup.standing == _Standing.VOUCHED:
            return True
        if self.others >= THREADS_FOR_OTHERS or self.in_zone[lookup.zone] >= THREADS_IN_ZONE:
            return False
        return lookup.standing == _Standing.NEW or (
            self.slow < THREADS_FOR_SLOW
            and self.slow_in_zone[lookup.zone] < THREADS_IN_ZONE_FOR_SLOW
        )

    def add(self, lookup: _Lookup, number: int) -> None:
        self.all += number
        if lookup.standing == _Standing.VOUCHED:
            return
        self.others += number
        _add(self.in_zone, lookup.zone, number)
        if lookup.standing == _Standing.SLOW:
            self.slow += number
            _add(self.slow_in_zone, lookup.zone, number)


class ThreadResolver(AbstractResolver):
    """`getaddrinfo` in threads that nothing else uses; the event loop's own pool has a handful."""

    def __init__(self) -> None:
        #: When any lookup got an answer, and when a name was found.
        self._answered_at = self._found_at = float("-inf")
        self._warned_at = float("-inf")
        self._lookups: dict[_Key, _Lookup] = {}
        self._waiting: dict[_Lookup, None] = {}
        self._counts = _Counts()
        #: The last answers, and when they came; names that hung or got no answer; names that found no room.
        self._answers: dict[_Key, tuple[_Infos, float]] = {}
        self._slow: dict[_Key, float] = {}
        self._refused: dict[str, float] = {}
        #: Has a thread beside all others: it must tell a full pool from a resolver that is down.
        self._control: asyncio.Future[_Infos] | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        infos = await asyncio.shield(self._ask(host, family))
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in infos
        ]

    async def trouble(self, host: str) -> Trouble | None:
        """Whose fault it is that a lookup got no answer; ``None``: the name's. Ask at once afterwards.

        Takes up to `CONTROL_TIMEOUT`.
        """
        now = time.monotonic()
        # Asked first: the control lookup takes a moment.
        refused = now - self._refused.get(host, float("-inf")) < PATIENCE or any(
            # One that has hardly begun has not shown yet that it hangs.
            lookup.waited and (lookup.began is None or now - lookup.began < HANGING)
            for lookup in self._lookups.values()
            if lookup.key[0] == host
        )
        if not await self._works():
            return Trouble.NO_DNS
        return Trouble.NO_ROOM if refused else None

    async def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.answer.cancel()
        if self._control is not None:
            self._control.cancel()
        self._waiting.clear()

    async def finds_names(self) -> bool:
        """Return whether any name is found: without a network, some systems say of each that there is none."""
        return await self._works(found=True)

    # -- lookups ------------------------------------------------------------------------------------

    def _ask(self, host: str, family: int) -> asyncio.Future[_Infos]:
        """The lookup of a name that runs, waits, or begins now."""
        key = (host, family)
        lookup = self._lookups.get(key)
        if lookup is not None:
            return lookup.answer
        loop = asyncio.get_running_loop()
        lookup = _Lookup(key, zone_of(host), self._standing(key), loop.create_future())
        # Whoever asked may have gone when the answer comes.
        lookup.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        self._lookups[key] = lookup
        if self._counts.has_room(lookup):
            self._begin(lookup)
        elif lookup.standing == _Standing.VOUCHED:
            self._turn_away(lookup)
        else:
            lookup.waited = True
            self._waiting[lookup] = None
            loop.call_later(PATIENCE, self._turn_away, lookup)
        return lookup.answer

    def _standing(self, key: _Key) -> _Standing:
        if key in self._slow:
            return _Standing.SLOW
        _, at = self._answers.get(key, (None, float("-inf")))
        return _Standing.VOUCHED if time.monotonic() - at < VOUCHED else _Standing.NEW

    def _begin(self, lookup: _Lookup) -> None:
        self._waiting.pop(lookup, None)
        self._counts.add(lookup, 1)
        began = lookup.began = time.monotonic()

        def end(infos: _Infos | None, error: BaseException | None) -> None:
            self._counts.add(lookup, -1)
            self._lookups.pop(lookup.key, None)
            self._note(lookup.key, infos, error, time.monotonic() - began)
            _settle(lookup.answer, infos, error)
            self._let_in()

        _start(*lookup.key, end)

    def _let_in(self) -> None:
        for lookup in list(self._waiting):
            if self._counts.has_room(lookup):
                self._begin(lookup)

    def _turn_away(self, lookup: _Lookup) -> None:
        if lookup.began is not None or lookup.answer.done():
            return
        self._waiting.pop(lookup, None)
        self._lookups.pop(lookup.key, None)
        infos, at = self._answers.get(lookup.key, ([], float("-inf")))
        now = time.monotonic()
        if now - at < VOUCHED:
            lookup.answer.set_result(infos)
            return
        _remember(self._refused, lookup.key[0], now)
        lookup.answer.set_exception(NoRoom())
        if now - self._warned_at > WARN_INTERVAL:
            self._warned_at = now
            logger.warning(
                "%d lookups of names hang; deliveries to names that have not answered lately wait",
                self._counts.all,
            )

    def _note(
        self, key: _Key, infos: _Infos | None, error: BaseException | None, seconds: float
    ) -> None:
        """Remember how a lookup went."""
        now = time.monotonic()
        unanswered = isinstance(error, socket.gaierror) and is_temporary(error)
        if not unanswered:
            self._answered_at = now
        if unanswered or seconds > HANGING:
            _remember(self._slow, key, now)
        else:
            self._slow.pop(key, None)
        if infos is not None:
            self._found_at = now
            _remember(self._answers, key, (infos, now))
        elif not unanswered:
            self._answers.pop(key, None)

    # -- the control --------------------------------------------------------------------------------

    async def _works(self, *, found: bool = False) -> bool:
        """Whether names can be looked up at all just now.

        :param found: an answer is not enough, it has to be an address.
        """
        now = time.monotonic()
        if now - self._found_at < (PROOF_OF_NAMES if found else PROOF):
            return True
        if not found and now - self._answered_at < PROOF:
            return True
        if self._control is None or self._control.done():
            self._control = self._ask_for_control_name()
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT):
                await asyncio.shield(self._control)
        except socket.gaierror as error:
            works = not found and not is_temporary(error)
        except OSError:  # TimeoutError is one
            works = False
        else:
            works = True
        if not works:
            logger.warning("No name can be resolved; deliveries to names wait")
        return works

    def _ask_for_control_name(self) -> asyncio.Future[_Infos]:
        answer: asyncio.Future[_Infos] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())

        def end(infos: _Infos | None, error: BaseException | None) -> None:
            if not (isinstance(error, socket.gaierror) and is_temporary(error)):
                self._answered_at = time.monotonic()
            if infos is not None:
                self._found_at = time.monotonic()
            _settle(answer, infos, error)

        _start(CONTROL_NAME, socket.AF_UNSPEC, end)
        return answer


def is_temporary(error: socket.gaierror) -> bool:
    """Whether the lookup got no answer, as opposed to the answer that there is no such name."""
    return error.errno == socket.EAI_AGAIN


def zone_of(host: str) -> str:
    """The part of a name that has one owner, roughly: ``example.com``, ``example.co.uk``."""
    labels = host.lower().rstrip(".").split(".")
    short = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if short else -2 :])


def _start(
    host: str, family: int, end: Callable[[_Infos | None, BaseException | None], None]
) -> None:
    """Look a name up in a new thread; `end` is called on the event loop."""
    loop = asyncio.get_running_loop()

    def run() -> None:
        infos: _Infos | None = None
        failure: BaseException | None = None
        try:
            infos = _lookup(host, 0, family)
        except Exception as error:
            failure = error
        # The loop may have ended long ago.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(end, infos, failure)

    try:
        # A daemon: a name that still resolves must not hold up the end of the job, or of the process.
        threading.Thread(target=run, name="flask-webhooks-dns", daemon=True).start()
    except RuntimeError:  # no thread left
        loop.call_soon(end, None, NoRoom())


def _settle(
    answer: asyncio.Future[_Infos], infos: _Infos | None, error: BaseException | None
) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(infos or [])


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Set the newest entry, and drop the oldest beyond `MEMORY`."""
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
