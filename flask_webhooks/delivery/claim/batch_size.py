"""How much of a drain's slots one claim is to fill, and how soon the next claim pays."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..outcome import AttemptRecord

#: Parts of the slots, at most, that are claimed, sent and settled one after another. All at once, they would end at
#: once, and nothing would be under way while the next are claimed: with a receiver at 50 ms, half of the speed.
MOST_PARTS = 3


class BatchSize:
    """Measures what claims and settlements take beside what receivers take."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._parts = 1
        self._claimed_at = float("-inf")
        #: Seconds that the last claim and the last settlement took.
        self._claim_took = self._settle_took = 0.0

    @property
    def part(self) -> int:
        """Slots that one claim fills at most."""
        return max(self._slots // self._parts, 1)

    @property
    def most(self) -> int | None:
        """The most that one claim is to bring; ``None`` is all that there is room for."""
        return self.part if self._parts > 1 else None

    def claim_in(self, free: int) -> float:
        """Seconds until a claim is worth its while: a part is free, or claims took half of the time at most."""
        if free >= self.part:
            return 0.0
        return self._claimed_at + self._claim_took - time.monotonic()

    def claimed(self, began: float) -> None:
        """Note a claim that has just ended, with the start of its requests."""
        self._claimed_at = time.monotonic()
        self._claim_took = self._claimed_at - began

    def settled(self, began: float, attempts: Sequence[AttemptRecord]) -> None:
        """Note a settlement; then make as many parts as can be worked on while one waits for its receivers."""
        self._settle_took = time.monotonic() - began
        shortest = min((item.duration_ms or 0.0 for item in attempts), default=0.0) / 1000
        work = self._claim_took + self._settle_took
        if self._parts * work <= shortest:
            self._parts = min(self._parts + 1, MOST_PARTS)
        elif (self._parts - 1) * work > shortest:
            self._parts = max(self._parts - 1, 1)
