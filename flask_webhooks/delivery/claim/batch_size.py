"""How many slots of a drain one claim fills, and when the next claim is worthwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..outcome import AttemptRecord

#: Maximum number of parts into which the slots are divided, which are claimed, sent and settled one after another.
#: If all requests started together, they would end together, and none would be in flight during the next claim:
#: with a receiver at 50 ms, this halves the throughput.
MOST_PARTS = 3


class BatchSize:
    """Measures the duration of claims and settlements compared with that of requests."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._parts = 1
        self._claimed_at = float("-inf")
        #: Duration of the last claim and of the last settlement in seconds.
        self._claim_took = self._settle_took = 0.0

    @property
    def part(self) -> int:
        """The maximum number of slots that one claim fills."""
        return max(self._slots // self._parts, 1)

    @property
    def most(self) -> int | None:
        """The maximum size of one claim; ``None`` is the whole capacity."""
        return self.part if self._parts > 1 else None

    def claim_in(self, free: int) -> float:
        """Return the seconds until a claim is worthwhile: a part is free, or claims take at most half of the time."""
        if free >= self.part:
            return 0.0
        return self._claimed_at + self._claim_took - time.monotonic()

    def claimed(self, began: float) -> None:
        """Record a claim that has just ended, with the start of its requests."""
        self._claimed_at = time.monotonic()
        self._claim_took = self._claimed_at - began

    def settled(self, began: float, attempts: Sequence[AttemptRecord]) -> None:
        """Record a settlement; then choose as many parts as can be processed while one waits for its receivers."""
        self._settle_took = time.monotonic() - began
        shortest = min((item.duration_ms or 0.0 for item in attempts), default=0.0) / 1000
        work = self._claim_took + self._settle_took
        if self._parts * work <= shortest:
            self._parts = min(self._parts + 1, MOST_PARTS)
        elif (self._parts - 1) * work > shortest:
            self._parts = max(self._parts - 1, 1)
