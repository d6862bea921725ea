"""How much one claim is to bring: parts of the slots where receivers take longer than the work on a part."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from flask_webhooks.delivery.claim.batch_size import MOST_PARTS, BatchSize


def settle(size: BatchSize, work: float, milliseconds: float) -> None:
    """A claim and a settlement that take half of the work each, of requests that took so long."""
    sent: Any = [SimpleNamespace(duration_ms=milliseconds), SimpleNamespace(duration_ms=9_999.0)]
    size.claimed(time.monotonic() - work / 2)
    size.settled(time.monotonic() - work / 2, sent)


def test_fast_receivers_get_all_slots_at_once() -> None:
    size = BatchSize(256)
    assert (size.part, size.most) == (256, None)
    for _ in range(5):
        settle(size, 0.02, 1.0)
    assert (size.part, size.most) == (256, None)


def test_slow_receivers_get_as_many_parts_as_can_be_worked_on_meanwhile() -> None:
    size = BatchSize(256)
    for _ in range(20):
        settle(size, 0.1, 250.0)
    # Two or three parts of a tenth of a second fit into a quarter.
    assert 256 // 3 <= size.part <= 256 // 2
    assert size.most == size.part
    for _ in range(20):
        settle(size, 0.01, 5_000.0)
    assert size.part == 256 // MOST_PARTS
    for _ in range(20):
        settle(size, 0.1, 1.0)
    assert size.most is None


def test_claim_waits_for_a_part_or_for_as_long_as_the_last_one_took() -> None:
    size = BatchSize(10)
    assert size.claim_in(10) == 0
    assert size.claim_in(1) < 0
    size.claimed(time.monotonic() - 60.0)
    assert size.claim_in(10) == 0
    assert 50 < size.claim_in(9) <= 60
