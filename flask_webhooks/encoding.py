"""Conversion of event data to JSON text. Common Python types are converted; others are refused with their path."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from .errors import InvalidData
from .texts import OperatorText

MAX_DEPTH = 32

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode_data(
    data: Mapping[str, Any],
    max_bytes: int,
    check: Callable[[Mapping[str, Any]], None] | None = None,
) -> str:
    """Return compact JSON text of an event's data, with members in the given order.

    Dates and times become ISO 8601, where a `datetime` without a time zone is UTC; `UUID`, `Decimal` and `Enum`
    become text.

    :param max_bytes: the largest allowed size in UTF-8.
    :param check: called with the data as plain JSON values; its exceptions are raised.
    :raises InvalidData: it is not a mapping, is too large, or contains an unsupported value; the message has the
        path.
    """
    if not isinstance(data, Mapping):
        raise InvalidData(
            "The data of an event must be a dict, such as {'license_id': 'lic_1'}, not %(type)s.",
            type=type(data).__name__,
        )
    plain = _Converter(max_bytes).plain(data, "data", 0)
    if check is not None:
        check(plain)
    text = _compact(plain)
    size = len(text.encode())
    if size > max_bytes:
        raise _too_large(f"{size:,}", max_bytes)
    return text


@dataclass(slots=True)
class _Converter:
    """Converts the data of one event to plain JSON values."""

    max_bytes: int
    #: Values so far.
    count: int = 0

    def plain(self, value: Any, path: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise InvalidData(
                "%(where)s is nested more than %(most)s deep. Flatten it; a structure that contains "
                "itself cannot be sent.",
                where=path,
                most=MAX_DEPTH,
                path=path,
            )
        # Each value takes at least a byte. A few lists that contain each other repeatedly could otherwise exhaust
        # the memory before their size is known.
        self.count += 1
        if self.count > self.max_bytes:
            raise _too_large(f"more than {self.max_bytes:,}", self.max_bytes)
        # The most common case.
        if type(value) is str and value.isascii():
            return value
        if isinstance(value, Mapping):
            members: dict[str, Any] = {}
            for key, item in value.items():
                name = key if type(key) is str and key.isascii() else _key(key, path)
                members[name] = self.plain(item, f"{path}.{key}", depth + 1)
            return members
        if isinstance(value, list | tuple):
            return [
                self.plain(item, f"{path}[{position}]", depth + 1)
                for position, item in enumerate(value)
            ]
        return _scalar(value, path)


def _scalar(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _text(value.value if isinstance(value.value, str) else str(value.name), path)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return _whole(int(value), path)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidData(
                "%(where)s is %(value)s, which JSON cannot represent. Send null or text.",
                where=path,
                value=value,
                path=path,
            )
        return float(value)
    if isinstance(value, datetime):
        return with_zone(value).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    raise InvalidData(
        "%(where)s is a %(type)s, which JSON cannot represent. Use text, numbers, true, false, null, lists and dicts "
        "(dates, UUID, Decimal and Enum are converted).",
        where=path,
        type=type(value).__name__,
        path=path,
    )


def with_zone(moment: datetime) -> datetime:
    """Return a time with a time zone: UTC if it has none, as in columns without time zone."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _whole(value: int, path: str) -> int:
    try:
        str(value)
    except ValueError:
        raise InvalidData(
            "%(where)s is an integer with more digits than Python can convert. Send it as text.",
            where=path,
            path=path,
        ) from None
    return value


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise InvalidData(
            "%(where)s has the member name %(name)s, a %(type)s. Member names must be text.",
            where=path,
            name=_shown(key),
            type=type(key).__name__,
            path=path,
        )
    return _text(key, path)


def _shown(key: object) -> str:
    """Return a member name that is not text, for a message; Python cannot print integers with thousands of digits."""
    try:
        return repr(key)[:50]
    except ValueError:
        return "…"


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidData(
            "%(where)s contains half of a surrogate pair, which UTF-8 cannot represent. Decode it with "
            "errors='replace' first.",
            where=path,
            path=path,
        ) from None
    return str.__str__(value)


def _too_large(size: str, max_bytes: int) -> InvalidData:
    return InvalidData(
        "The data is %(size)s bytes as JSON; at most %(most)s are allowed. Send an id or a URL instead of the "
        "whole object.%(hint)s",
        hint=OperatorText(" The limit is WEBHOOKS_MAX_DATA_BYTES."),
        size=size,
        most=f"{max_bytes:,}",
    )
