"""When a delivery is tried again. Pure: time and chance come in as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

#: Seconds for which an endpoint gets nothing after a 429 that names no usable time.
PAUSE = 60.0


def next_attempt(
    schedule: Sequence[float],
    failures: int,
    now: datetime,
    *,
    jitter: float,
    chance: float,
    retry_after: float | None = None,
) -> datetime | None:
    """The time of the next attempt, or ``None`` when the schedule is used up.

    :param schedule: seconds between one attempt and the next.
    :param failures: failures so far, this one included.
    :param jitter: the largest share by which a delay is changed.
    :param chance: a random number from 0 to 1.
    :param retry_after: seconds that the receiver asked for; it is never tried sooner.
    """
    if failures > len(schedule):
        return None
    delay = schedule[failures - 1] * (1 + jitter * (2 * chance - 1))
    return now + timedelta(seconds=max(delay, retry_after or 0.0))
