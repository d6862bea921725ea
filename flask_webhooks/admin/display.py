"""Formatting of values in the language of the page; templates use these functions through ``wh``."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from ..formats.standard import iso_milliseconds
from ..models import BUCKETS
from .i18n import decimal
from .i18n import gettext as _

#: Characters of one body that a page shows; the stored body may be longer.
SHOWN_CHARACTERS = 20_000
#: Header lines that a page shows of one request or response.
SHOWN_HEADERS = 60
#: The number of latest attempts on the page of a delivery.
SHOWN_ATTEMPTS = 20


#: Characters that change the order or appearance of others, and non-characters.
_UNSEEN = {
    code: f"\\u{code:04x}"
    for code in (
        *range(0x00, 0x09),
        *range(0x0B, 0x0D),
        *range(0x0E, 0x20),
        *range(0x7F, 0xA0),
        0x061C,
        0x180E,
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2060, 0x2070),
        0xFEFF,
    )
}


def iso(moment: datetime) -> str:
    """Format a time for the ``datetime`` attribute: ``2026-01-31T12:00:00.250Z``."""
    return iso_milliseconds(moment)


def date_text(moment: datetime) -> str:
    """Format a date for lists: ``2026-01-31``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def utc_text(moment: datetime) -> str:
    """Format a time for people: ``2026-01-31 12:00:00 UTC``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def milliseconds(value: float) -> str:
    """``0.4 ms``, ``38 ms``, ``1.25 s``; an infinite value is beyond the largest bucket."""
    if value == math.inf:
        return f"> {seconds(BUCKETS[-1] / 1000)}"
    if value >= 1000:
        return seconds(value / 1000, 2)
    return _("%(number)s ms", number=decimal(value, 1 if value < 10 else 0))


def seconds(value: float, places: int | None = None) -> str:
    """``2.5 s``"""
    return _("%(number)s s", number=decimal(value, places))


def duration(value: float) -> str:
    """Format seconds in the largest unit that fits: ``45 s``, ``12 min``, ``3 h``, ``2 d``."""
    if value >= 86_400:
        return _("%(number)s d", number=decimal(value / 86_400, 0))
    if value >= 3600:
        return _("%(number)s h", number=decimal(value / 3600, 0))
    if value >= 60:
        return _("%(number)s min", number=decimal(value / 60, 0))
    return seconds(max(value, 0), 0)


def count(value: int, most: int | None = None) -> str:
    """Format a number, with a plus at the counting limit: ``12,345``, ``10,000+``."""
    shown = decimal(value, 0)
    return f"{shown}+" if most is not None and value >= most else shown


def pretty(value: Any) -> str:
    """Indent JSON for reading. Signed bodies are never changed: they are shown as they were sent."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def visible(text: str) -> str:
    """Escape invisible characters of foreign text as in JSON, ``\\u202e``.

    They could show a request as another one than it was.
    """
    return text.translate(_UNSEEN)


def cut(text: str, most: int = SHOWN_CHARACTERS) -> tuple[str, int]:
    """Return the beginning of a text, with invisible characters escaped, and the number of omitted characters."""
    return visible(text[:most]), max(len(text) - most, 0)


def short(text: str, most: int = 80) -> str:
    """Shorten a text in its middle, because both ends of a URL are informative."""
    text = visible(text)
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 1]}…{text[-end:]}"


def percent(share: float) -> str:
    """Format a share as ``98.4 %``; never rounded up to 100, or down to 0."""
    value = share * 100
    if value not in (0, 100):
        value = min(max(value, 0.1), 99.9)
    return f"{decimal(round(value, 1))} %"
