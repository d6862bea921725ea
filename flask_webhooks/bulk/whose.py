"""The identification of a person's data: members of event data and their values, such as ``user_id`` and 42."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..columns import compact_json
from ..db.conditions import holds
from ..errors import InvalidInput
from ..models import Event

#: The maximum number of members, and lengths of a name and of a value.
MOST_MEMBERS, MOST_NAME, MOST_VALUE = 10, 200, 500

#: A function of the host that returns whether to erase an event.
Predicate = Callable[[Event], bool]


class Whose:
    """Selects events whose data has all of the members with the given values.

    A member is a name, which may be anywhere in the data, or a path of names separated by dots. A number equals
    its text form.
    """

    def __init__(self, members: Mapping[str, str]) -> None:
        self.members = dict(members)
        # A name may also contain a dot.
        self._paths = [
            ({tuple(name.split(".")), (name,)}, value) for name, value in self.members.items()
        ]

    def fits(self, data: Any) -> bool:
        """Return whether an event with this data matches."""
        return all(
            any(_leads(item, path, value) for item in _objects(data) for path in paths)
            for paths, value in self._paths
        )

    def may_fit(self, column: Any) -> sa.ColumnElement[bool]:
        """Return the condition for data, as JSON text, that contains all of the values anywhere."""
        return sa.and_(
            *(
                sa.or_(*(holds(column, text) for text in _as_written(value)))
                for value in self.members.values()
            )
        )


def check_members(given: Any) -> dict[str, str]:
    """Check members and values; return the values as text.

    :raises InvalidInput: one is invalid.
    """
    if not isinstance(given, Mapping) or not given:
        raise InvalidInput(
            "Specify whose data to erase by a member and its value, such as user_id and 42.",
            field="where",
        )
    if len(given) > MOST_MEMBERS:
        raise InvalidInput("Name at most %(most)s members.", most=MOST_MEMBERS, field="where")
    members = {}
    for name, value in given.items():
        parts = name.split(".") if isinstance(name, str) else [""]
        if not all(parts) or not name.isprintable() or len(name) > MOST_NAME:
            raise InvalidInput(
                "Write the name of a member as it appears in the data, such as user_id or user.id.",
                field="where",
            )
        text = ids.host_id(value)
        if not text or len(text) > MOST_VALUE:
            raise InvalidInput(
                "Write the value of %(name)s as a text or a whole number, of at most %(most)s characters.",
                name=name,
                most=MOST_VALUE,
                field="where",
            )
        members[name] = text
    return members


def read_members(lines: Iterable[str]) -> dict[str, str]:
    """Parse lines of members and values, ``user_id=42``.

    :raises InvalidInput: a line is invalid.
    """
    members: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if not equals or not name.strip() or not value.strip():
            raise InvalidInput(
                "Write a member and its value with = between them, such as user_id=42.",
                field="where",
            )
        if name.strip() in members:
            raise InvalidInput("Name each member once.", field="where")
        members[name.strip()] = value.strip()
    return members


def _objects(data: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all objects in the data at any depth."""
    left = [data]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            yield item
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)


def _leads(item: Mapping[str, Any], path: tuple[str, ...], value: str) -> bool:
    found: list[Any] = [item]
    for name in path:
        found = [each[name] for each in _flat(found) if isinstance(each, dict) and name in each]
    return any(_text(each) == value for each in _flat(found))


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    left = list(values)
    while left:
        item = left.pop()
        if isinstance(item, list):
            left.extend(item)
        else:
            yield item


def _text(value: Any) -> str | None:
    """Return the text of a single value; ``None`` for others."""
    if isinstance(value, str):
        return value
    return compact_json(value) if isinstance(value, bool | int | float) else None


def _as_written(value: str) -> set[str]:
    """Return a text as it may appear within JSON."""
    return {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)}
