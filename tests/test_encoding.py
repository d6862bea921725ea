"""Event data to JSON: what goes through unchanged, what is converted, what is refused and where."""

from __future__ import annotations

import json
import math
import time as clock
from collections import OrderedDict, UserDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_webhooks.encoding import MAX_DEPTH, encode_data
from flask_webhooks.errors import InvalidData

LIMIT = 256 * 1024

#: Text without halves of surrogate pairs, which UTF-8 has no bytes for.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)


def encode(data: Any, max_bytes: int = LIMIT) -> str:
    return encode_data(data, max_bytes)


def refusal(data: Any, max_bytes: int = LIMIT) -> InvalidData:
    with pytest.raises(InvalidData) as caught:
        encode(data, max_bytes)
    assert caught.value.field == "data"
    return caught.value


# -- unchanged --------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON_VALUES, max_size=5))
def test_json_comes_back_as_it_was(data: dict[str, Any]) -> None:
    text = encode(data)
    assert json.loads(text) == data
    assert json.loads(text.encode()) == data
    # What signatures cover is compact and in the order given.
    assert list(json.loads(text)) == list(data)
    assert text == json.dumps(data, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.slow
@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON_VALUES, max_size=5))
def test_what_was_encoded_is_encoded_the_same_again(data: dict[str, Any]) -> None:
    text = encode(data)
    assert encode(json.loads(text)) == text


@settings(deadline=None)
@given(st.recursive(st.from_type(object), st.lists, max_leaves=5))
def test_anything_is_either_json_or_refused(value: Any) -> None:
    try:
        text = encode({"value": value})
    except InvalidData as error:
        path, message = error.path, str(error)
    else:
        json.loads(text, parse_constant=pytest.fail)
        return
    assert path.startswith("data.value")
    assert path in message


def test_text_is_utf8_and_compact() -> None:
    assert encode({"name": "Zoë \u2028 \U0001f511", "n": [1, {}]}) == (
        '{"name":"Zoë \u2028 \U0001f511","n":[1,{}]}'
    )
    assert encode({"nul": "\0"}) == '{"nul":"\\u0000"}'


# -- converted --------------------------------------------------------------------------------------------


class Level(StrEnum):
    GOLD = "gold"


class Colour(Enum):
    RED = 1


class Kind(str, Enum):  # noqa: UP042
    TRIAL = "trial"


class Rank(IntEnum):
    FIRST = 1


class Right(Flag):
    READ = 1
    WRITE = 2


class Shout(str):
    def __str__(self) -> str:
        return "not this"


class Whole(int):
    def __repr__(self) -> str:
        return "not this"


class Share(float):
    def __repr__(self) -> str:
        return "not this"


class Point(NamedTuple):
    x: int
    y: int


CONVERSIONS: list[tuple[Any, Any]] = [
    (datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC), "2024-02-29T12:30:01.000005+00:00"),
    (
        datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=-5))),
        "2024-02-29T12:30:00-05:00",
    ),
    (datetime(2024, 2, 29, 12, 30), "2024-02-29T12:30:00+00:00"),  # noqa: DTZ001
    (date(2024, 2, 29), "2024-02-29"),
    (time(12, 30), "12:30:00"),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (Decimal("19.90"), "19.90"),
    (Decimal("NaN"), "NaN"),
    (Level.GOLD, "gold"),
    (Kind.TRIAL, "trial"),
    (Colour.RED, "RED"),
    (Rank.FIRST, "FIRST"),
    (Right.READ | Right.WRITE, "READ|WRITE"),
    ((1, 2), [1, 2]),
    (Point(1, 2), [1, 2]),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (MappingProxyType({"a": 1}), {"a": 1}),
    (UserDict(a=1), {"a": 1}),
    (Shout("text"), "text"),
    (Whole(7), 7),
    (Share(0.5), 0.5),
    (True, True),
    (10**400, 10**400),
    (-0.0, -0.0),
]


@pytest.mark.parametrize(("value", "expected"), CONVERSIONS, ids=lambda value: repr(value)[:40])
def test_conversion(value: Any, expected: Any) -> None:
    loaded = json.loads(encode({"value": value, "list": [value]}))
    for found in (loaded["value"], loaded["list"][0]):
        assert found == expected
        assert type(found) is type(expected)


def test_member_names_may_be_any_text() -> None:
    assert encode({Level.GOLD: 1, Shout("text"): 2, "": 3}) == '{"gold":1,"text":2,"":3}'


def test_flag_without_a_name_is_no_crash() -> None:
    json.loads(encode({"rights": Right(0)}))


# -- refused ----------------------------------------------------------------------------------------------


@dataclass
class Thing:
    name: str = "thing"


REFUSED: list[tuple[Any, str, str]] = [
    ({"a": b"bytes"}, "data.a", "a bytes"),
    ({"user": {"avatar": bytearray()}}, "data.user.avatar", "a bytearray"),
    ({"items": [1, {"price": {1, 2}}]}, "data.items[1].price", "a set"),
    ({"a": Thing()}, "data.a", "a Thing"),
    ({"a": object}, "data.a", "a type"),
    ({"a": (1 for _ in ())}, "data.a", "a generator"),
    ({"a": timedelta(1)}, "data.a", "a timedelta"),
    ({"a": 1j}, "data.a", "a complex"),
    ({"a": math.nan}, "data.a", "nan"),
    ({"a": [math.inf]}, "data.a[0]", "inf"),
    ({"a": -math.inf}, "data.a", "-inf"),
    ({"a": {1: "x"}}, "data.a", "member name 1, a int"),
    ({None: 1}, "data", "member name None"),
    ({("a", "b"): 1}, "data", "member name ('a', 'b')"),
    ({"a": "\ud800"}, "data.a", "surrogate"),
    ({"a": {"\udfff": 1}}, "data.a", "surrogate"),
]


@pytest.mark.parametrize(("data", "path", "says"), REFUSED, ids=lambda value: repr(value)[:30])
def test_refusal_names_the_path(data: Any, path: str, says: str) -> None:
    error = refusal(data)
    assert error.path == path
    assert says in str(error)
    assert str(error).startswith(path)


def test_number_that_python_does_not_write_is_refused() -> None:
    error = refusal({"a": [10**5000]})
    assert error.path == "data.a[0]"
    assert "Send it as text" in str(error)
    error = refusal({"a": {10**5000: 1}})
    assert error.path == "data.a"
    assert "member name …, a int" in str(error)


@pytest.mark.parametrize("data", [None, [], "text", 7, [("a", 1)], Thing()], ids=str)
def test_data_must_be_a_mapping(data: Any) -> None:
    error = refusal(data)
    assert f"must be a dict, such as {{'license_id': 'lic_1'}}, not {type(data).__name__}." in str(
        error
    )
    assert error.path == "data"


# -- size and depth ---------------------------------------------------------------------------------------


def test_size_is_counted_in_bytes_of_utf8() -> None:
    overhead = len('{"a":""}')
    assert len(encode({"a": "x" * (LIMIT - overhead)})) == LIMIT
    error = refusal({"a": "x" * (LIMIT - overhead + 1)})
    assert "262,145 bytes as JSON; at most 262,144 are allowed" in str(error)
    assert "WEBHOOKS_MAX_DATA_BYTES" in str(error)
    euros = (2048 - overhead) // 3
    encode({"a": "€" * euros}, 2048)
    refusal({"a": "€" * (euros + 1)}, 2048)


def test_depth_is_limited() -> None:
    data: Any = {}
    for _ in range(MAX_DEPTH):
        data = {"a": data}
    encode(data)
    error = refusal({"a": data})
    assert error.path == "data" + ".a" * (MAX_DEPTH + 1)
    assert f"more than {MAX_DEPTH} deep" in str(error)


def test_what_contains_itself_is_refused_and_not_followed_for_ever() -> None:
    mapping: dict[str, Any] = {}
    mapping["me"] = mapping
    array: list[Any] = []
    array.extend([array, array, array])
    for data in (mapping, {"a": array}):
        assert "a structure that contains itself" in str(refusal(data))


def test_lists_that_hold_each_other_again_and_again_are_too_large_in_good_time() -> None:
    """Written out it would be 4 GB, though there are but 30 lists."""
    data: Any = ["ha"]
    for _ in range(30):
        data = [data, data]
    began = clock.monotonic()
    assert "more than 262,144 bytes" in str(refusal({"a": data}))
    assert clock.monotonic() - began < 10


def test_many_small_values_fit_as_long_as_their_text_does() -> None:
    count = (LIMIT - len('{"a":[]}')) // 2
    assert len(encode({"a": [1] * count})) <= LIMIT
