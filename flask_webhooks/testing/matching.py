"""Compare the data of an event with the expectation of a test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from ..encoding import encode_data

_CONVERTED = (date, time, UUID, Decimal, Enum)
#: Bytes of one expected value.
_MOST = 1024 * 1024


def differences(expected: Any, found: Any, path: str = "data") -> Iterator[str]:
    """Yield differences, one line each.

    A dict matches one that has at least its members; a list matches one of the same length. Values that are sent
    as text (dates, `UUID`, `Decimal`, `Enum`) may be given unconverted. Anything else is compared with ``==``, so
    that `unittest.mock.ANY` and `pytest.approx` work.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, dict):
            yield f"{path}: expected an object, found {found!r}"
            return
        for name, value in expected.items():
            if name in found:
                yield from differences(value, found[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: expected {value!r}, but there is no such member"
        return
    if isinstance(expected, list | tuple):
        if not isinstance(found, list) or len(found) != len(expected):
            yield f"{path}: expected a list of {len(expected)}, found {found!r}"
            return
        for position, value in enumerate(expected):
            yield from differences(value, found[position], f"{path}[{position}]")
        return
    if isinstance(expected, _CONVERTED):
        expected = _as_sent(expected)
    # True == 1 in Python, and not in JSON.
    is_bool = isinstance(expected, bool)
    if expected != found or (isinstance(expected, int) and is_bool != isinstance(found, bool)):
        yield f"{path}: expected {expected!r}, found {found!r}"


def _as_sent(value: Any) -> Any:
    return json.loads(encode_data({"value": value}, _MOST))["value"]
