"""Values as pages show them, in the page's language; templates reach these through ``wh``."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from ..formats.standard import iso_milliseconds
from ..models import BUCKETS
from .i18n import decimal
from .i18n import gettext as _

#: Characters of one body that a page shows; what is stored may be longer.
SHOWN_CHARACTERS = 20_000
#: Header lines that a page shows of one request or response.
SHOWN_HEADERS = 60
#: Attempts that a delivery's page shows; the latest ones.
SHOWN_ATTEMPTS = 20


#: Characters that change the order or the look of others around them, and what is no text at all.
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
    """For the ``datetime`` attribute: ``2026-01-31T12:00:00.250Z``."""
    return iso_milliseconds(moment)


def date_text(moment: datetime) -> str:
    """For people, in lists: ``2026-01-31``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def utc_text(moment: datetime) -> str:
    """For people: ``2026-01-31 12:00:00 UTC``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def milliseconds(value: float) -> str:
    """``0.4 ms``, ``38 ms``, ``1.25 s``; what is infinite is slower than we tell apart."""
    if value == math.inf:
        return f"> {seconds(BUCKETS[-1] / 1000)}"
    if value >= 1000:
        return seconds(value / 1000, 2)
    return _("%(number)s ms", number=decimal(value, 1 if value < 10 else 0))


def seconds(value: float, places: int | None = None) -> str:
    """``2.5 s``"""
    return _("%(number)s s", number=decimal(value, places))


def duration(value: float) -> str:
    """The largest unit of so many seconds that fits: ``45 s``, ``12 min``, ``3 h``, ``2 d``."""
    if value >= 86_400:
        return _("%(number)s d", number=decimal(value / 86_400, 0))
    if value >= 3600:
        return _("%(number)s h", number=decimal(value / 3600, 0))
    if value >= 60:
        return _("%(number)s min", number=decimal(value / 60, 0))
    return seconds(max(value, 0), 0)


def count(value: int, most: int | None = None) -> str:
    """``12,345``; with a plus where counting ended."""
    shown = decimal(value, 0)
    return f"{shown}+" if most is not None and value >= most else shown


def pretty(value: Any) -> str:
    """JSON to read. Never what was signed: that is shown as it was sent."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def visible(text: str) -> str:
    """A text from outside with its invisible characters written as in JSON, ``\\u202e``.

    They could show a request as another one than it was.
    """
    return text.translate(_UNSEEN)


def cut(text: str, most: int = SHOWN_CHARACTERS) -> tuple[str, int]:
    """The beginning of a text, made visible, and how many characters are left out."""
    return visible(text[:most]), max(len(text) - most, 0)


def short(text: str, most: int = 80) -> str:
    """A text for a list, cut in its middle: both ends of a URL tell something."""
    text = visible(text)
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 1]}…{text[-end:]}"


def percent(share: float) -> str:
    """``98.4 %``; never rounded to a perfect 100, nor to nothing."""
    value = share * 100
    if value not in (0, 100):
        value = min(max(value, 0.1), 99.9)
    return f"{decimal(round(value, 1))} %"
