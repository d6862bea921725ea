"""Types of values in requests: each accepts JSON, and the text form in a query if there is one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, ValidatorFunctionWrapHandler, WrapValidator

from ..serializers import Member, one_of

T = TypeVar("T")

#: A placeholder in schemas for the names of the application's formats.
FORMAT_NAMES: Final = "names of formats"


def _to_boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _to_whole(value: Any) -> Any:
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9
    return int(value) if digits else value


def _to_sequence(value: Any) -> Any:
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18
    return int(value) if digits else value


def _to_moment(value: Any) -> Any:
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo is not None else value
    except (TypeError, ValueError, OverflowError):
        return value


def _as_given(value: T, check: ValidatorFunctionWrapHandler) -> T:
    check(value)
    return value


def _unless_false(value: T, check: ValidatorFunctionWrapHandler) -> T:
    # A literal of pydantic accepts 0 as false.
    return value if value is False else check(value)


# Each returns unreadable values unchanged; the type then refuses them.
Boolean = Annotated[bool, BeforeValidator(_to_boolean)]
Whole = Annotated[int, BeforeValidator(_to_whole)]
#: The number of a delivery.
SequenceNumber = Annotated[int, BeforeValidator(_to_sequence)]
#: RFC 3339, with a time zone.
Moment = Annotated[datetime, BeforeValidator(_to_moment)]
#: Whole numbers stay integers.
Number = Annotated[float, WrapValidator(_as_given)]
TextOrFalse = Annotated[
    str | None,
    WrapValidator(_unless_false),
    Member(anyOf=[{"type": "string"}, {"type": "null"}, {"const": False}]),
]

FormatName = Annotated[str, one_of([FORMAT_NAMES])]
