"""Count what the work-horses of a worker do: numbers that forks share with their parent."""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

_NUMBERS = struct.Struct("=QQ")


class Done(NamedTuple):
    """What was done so far."""

    drains: int
    attempts: int


class Tally:
    """Numbers in memory that is shared with forks. One process at a time counts."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NUMBERS.size)

    def count(self, attempts: int) -> None:
        """Count a drain."""
        done = self.done
        _NUMBERS.pack_into(self._memory, 0, done.drains + 1, done.attempts + attempts)

    @property
    def done(self) -> Done:
        return Done(*_NUMBERS.unpack_from(self._memory))
