"""The time of the next attempt. Pure: time and random numbers are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

#: Pause of an endpoint after a 429 without a usable time, in seconds.
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
    """Return the time of the next attempt, or ``None`` if the schedule is exhausted.

    :param schedule: seconds between attempts.
    :param failures: failures so far, including this one.
    :param jitter: the maximum share by which a delay is changed.
    :param chance: a random number from 0 to 1.
    :param retry_after: seconds that the receiver requested; the next attempt is never earlier.
    """
    if failures > len(schedule):
        return None
    delay = schedule[failures - 1] * (1 + jitter * (2 * chance - 1))
    return now + timedelta(seconds=max(delay, retry_after or 0.0))
