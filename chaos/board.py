"""A few numbers that the processes of a run share, in a file that each of them maps."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

#: Each number has eight bytes of its own and one writer.
NAMES = ("in_flight", "requests", "pause", "stop", "calm")
_NUMBER = struct.Struct("d")


class Board:
    """The numbers; all are 0 at first."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_NUMBER.size * len(NAMES)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def __getitem__(self, name: str) -> float:
        return float(_NUMBER.unpack_from(self._map, NAMES.index(name) * _NUMBER.size)[0])

    def __setitem__(self, name: str, value: float) -> None:
        _NUMBER.pack_into(self._map, NAMES.index(name) * _NUMBER.size, value)
