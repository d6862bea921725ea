"""Counts of the work-horses of a worker, in memory that is shared with forks."""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

_NUMBERS = struct.Struct("=QQ")


class Done(NamedTuple):
    """The current counts."""

    drains: int
    attempts: int


class Tally:
    """Counters in shared memory. Only one process counts at a time."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NUMBERS.size)

    def count(self, attempts: int) -> None:
        """Count a drain."""
        done = self.done
        _NUMBERS.pack_into(self._memory, 0, done.drains + 1, done.attempts + attempts)

    @property
    def done(self) -> Done:
        return Done(*_NUMBERS.unpack_from(self._memory))
