"""Count attempts for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from ... import ids
from ...app_state import AppState
from ...db.counters import ATTEMPTS, DURATION, FIRST_REQUEST, Amounts, counters
from ...models import Trigger
from ..outcome import AttemptRecord, Outcome

# Compared with every attempt; looking them up in the enumeration takes longer than comparing.
_INTERRUPTED, _EVENT = Outcome.INTERRUPTED, str(Trigger.EVENT.value)


def count_in_metrics(
    state: AppState, connection: sa.Connection, attempts: Sequence[AttemptRecord]
) -> None:
    """Count a batch of attempts, at the end of the transaction that records them."""
    # In comprehensions, because this is done for every attempt.
    outcomes = Counter([(item.target.format, item.outcome) for item in attempts])
    timed = [
        (item.target.format, item.duration_ms)
        for item in attempts
        if item.duration_ms is not None and item.outcome is not _INTERRUPTED
    ]
    first = [
        item
        for item in attempts
        if item.claimed.number == 1 and item.claimed.trigger == _EVENT and not item.lost
    ]
    amounts = Amounts()
    for (format, outcome), count in outcomes.items():
        amounts.count(ATTEMPTS, count, format=format, outcome=outcome)
    for format in {format for format, _ in outcomes}:
        amounts.observe(DURATION, [taken for name, taken in timed if name == format], format=format)
    made = ids.milliseconds_of([item.claimed.delivery_id for item in first])
    began = [item.started_at.timestamp() * 1000 for item in first]
    # Not negative: the clocks of two machines differ.
    waits = [max(at - since, 0.0) for at, since in zip(began, made, strict=True)]
    amounts.observe(FIRST_REQUEST, waits)
    counters(state).add(connection, amounts)
