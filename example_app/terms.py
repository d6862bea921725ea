"""Licence keys and their terms: pure functions without a database."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta

#: Without the letters and digits that people confuse when they type a key.
KEY_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LIFETIME = "lifetime"
DURATION_HINT = "Write hours, days, weeks or years such as 12h, 30d, 4w, 1y, or lifetime."

#: How long before the end of a term `license.expiring` is sent, and how far ahead it can be scheduled.
NOTICE = timedelta(days=7)
_FARTHEST_NOTICE = timedelta(days=10 * 365)

_DAYS = {"h": 1 / 24, "d": 1, "w": 7, "y": 365}
_LONGEST = timedelta(days=100 * 365)


def new_license_key() -> str:
    """Make a key such as ``K7QF-29XM-4TRD-PL3B``, with 80 random bits."""
    return "-".join("".join(secrets.choice(KEY_ALPHABET) for _ in range(4)) for _ in range(4))


def tidy_license_key(text: str) -> str:
    """Return a key in its usual form, when it was typed in lower case or without dashes."""
    letters = re.sub(r"[\s-]", "", text).upper()
    if len(letters) != 16:
        return text.strip()
    return "-".join(letters[start : start + 4] for start in range(0, 16, 4))


def parse_duration(text: str) -> timedelta | None:
    """Return how long ``30d`` is; ``None`` for ``lifetime``.

    :raises ValueError: this is not a duration, or it is longer than a hundred years.
    """
    if text == LIFETIME:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,5})([hdwy])", text)
    if found is None:
        raise ValueError(DURATION_HINT)
    duration = timedelta(days=int(found[1]) * _DAYS[found[2]])
    if duration > _LONGEST:
        raise ValueError("A licence can run for at most 100 years; use lifetime for more.")
    return duration


def ends_at(duration: str, start: datetime) -> datetime | None:
    """Return the end of a term that begins at `start`; ``None`` for never.

    :raises ValueError: as `parse_duration` does.
    """
    length = parse_duration(duration)
    return None if length is None else start + length


def notice_at(expires_at: datetime | None, now: datetime) -> datetime | None:
    """Return when to send `license.expiring`; ``None`` if the end is too near, too far or never."""
    if expires_at is None or not NOTICE < expires_at - now < _FARTHEST_NOTICE:
        return None
    return expires_at - NOTICE


def has_ended(expires_at: datetime | None, now: datetime) -> bool:
    """Tell whether a term is over."""
    return expires_at is not None and expires_at <= now
