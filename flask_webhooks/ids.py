"""Identifiers that sort by time and are safe in URLs.

An identifier is a prefix, an underscore and 26 characters of lower-case Crockford base 32: 48 bits of Unix
milliseconds, then 80 random bits (the layout of a ULID). Within a process they are strictly increasing, so rows of
the same millisecond keep their order.

Ids of tenants belong to the host, have many types, and are text here.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from itertools import accumulate

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: Length of the part after the underscore.
LENGTH = 26
#: Characters that a column needs for any identifier of ours.
MAX_LENGTH = 32

_RANDOM_BITS = 80
#: Two characters for ten bits, and where each ten bits begin.
_PAIRS = [one + two for one in ALPHABET for two in ALPHABET]
_SHIFTS = range(120, -1, -10)
#: Where the characters end that hold the time, from the end of an identifier.
_TIME_END = 10 - LENGTH
#: To the digits that Python takes for base 32.
_AS_DIGITS = bytes.maketrans(ALPHABET.encode(), b"0123456789abcdefghijklmnopqrstuv")


class _Sequence:
    """The last issued number, so that the next one is larger."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def take(self, milliseconds: int, count: int) -> list[int]:
        """Return the next numbers in order."""
        random = os.urandom(_RANDOM_BITS // 8 + 4 * count)
        number = (milliseconds << _RANDOM_BITS) | int.from_bytes(random[4 * count :])
        # A random step keeps numbers of one millisecond apart from those of other processes.
        steps = [1 + step for step in struct.unpack_from(f"{count}I", random)]
        with self._lock:
            if number <= self._last and self._last >> _RANDOM_BITS >= milliseconds:
                number = self._last + steps[0]
            numbers = list(accumulate(steps[1:], initial=number))
            self._last = numbers[-1]
        return numbers

    def restart(self) -> None:
        self.__init__()  # type: ignore[misc]


_sequence = _Sequence()
# A fork copies the last number and possibly a locked lock: both processes would continue at the same number.
os.register_at_fork(after_in_child=_sequence.restart)


def new_id(prefix: str, milliseconds: int | None = None) -> str:
    """Return a new identifier such as ``evt_06f9…``.

    :param prefix: short noun without underscore, ``evt``.
    :param milliseconds: Unix time in milliseconds; the current time when not given.
    """
    return new_ids(prefix, 1, milliseconds)[0]


def new_ids(prefix: str, count: int, milliseconds: int | None = None) -> list[str]:
    """Return a number of new identifiers, at least one, in order."""
    if milliseconds is None:
        milliseconds = time.time_ns() // 1_000_000
    return [_written(prefix, number) for number in _sequence.take(milliseconds, count)]


def lowest_id(prefix: str, moment: datetime) -> str:
    """Return the identifier that sorts before all that were created at a time or later."""
    return _written(prefix, int(moment.timestamp() * 1000) << _RANDOM_BITS)


def milliseconds_of(identifiers: Iterable[str]) -> list[int]:
    """Return the Unix times in milliseconds of identifiers."""
    # All together: one by one takes three times as long.
    times = " ".join([identifier[-LENGTH:_TIME_END] for identifier in identifiers])
    return [int(digits, 32) for digits in times.encode().translate(_AS_DIGITS).split()]


def _written(prefix: str, number: int) -> str:
    return f"{prefix}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"


def host_id(value: object) -> str | None:
    """Return an id of the host as text: a text, an integer, a `UUID`, or the value of an `Enum`.

    :return: ``None`` for other values. Converting any object to text would be wrong: an object instead of its id
        would become ``<Application 1>``.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | bytes | bytearray):
        return None
    if isinstance(value, int):
        try:
            return str(int(value))
        except ValueError:  # thousands of digits
            return None
    # Those of other types, such as `UUID`, say themselves how they are written.
    return None if type(value).__str__ is object.__str__ else str(value)
