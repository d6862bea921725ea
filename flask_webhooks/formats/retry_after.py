"""Parse ``Retry-After``."""

from __future__ import annotations

import email.utils
import math
from datetime import UTC, datetime
from decimal import Decimal

#: Statuses whose ``Retry-After`` applies to the whole endpoint (RFC 9110, 10.2.3; RFC 6585, 4).
HOLDING_STATUSES = frozenset({429, 503})


def parse_retry_after(value: str | None, now: datetime, longest: float) -> float | None:
    """Return the seconds of a ``Retry-After`` header (RFC 9110, 10.2.3: seconds or an HTTP date).

    :param longest: the maximum in seconds.
    :return: 0 to `longest`, or ``None`` if the header is missing or invalid.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), longest)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    except (ValueError, TypeError, IndexError, ArithmeticError):
        # The parser raises any of them for hostile dates.
        return None
    return min(max(seconds, 0.0), longest)


def usable_wait(seconds: object, longest: float) -> float | None:
    """Return any value as seconds from 0 to `longest`, or ``None`` if it is not a number."""
    if not isinstance(seconds, int | float | Decimal):
        return None
    try:
        found = float(seconds)
    except (ValueError, ArithmeticError):
        return None
    return None if math.isnan(found) else min(max(found, 0.0), longest)
