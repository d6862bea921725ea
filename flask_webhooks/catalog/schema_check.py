"""Check an event's data against the JSON Schema of its type.

It runs in the host's request for each event, so schemas are compiled once, and only these keywords are checked:
``type``, ``enum``, ``const``, ``properties``, ``required``, ``additionalProperties``, ``items``, ``pattern``,
``minLength``, ``maxLength``, ``minimum``, ``maximum``, ``exclusiveMinimum``, ``exclusiveMaximum``, ``minItems``
and ``maxItems``. Other keywords are ignored. Errors contain the path and never a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidData

#: Called with a plain JSON value and its path; raises `InvalidData`.
SchemaCheck = Callable[[Any, str], None]


def compile_schema(schema: Any) -> SchemaCheck:
    """Return a function that checks plain JSON values against a schema.

    :raises Exception: of any kind, if the schema is malformed.
    """
    if schema is True:
        return _accept
    if schema is False:
        return _refuse
    checks = [
        check
        for keyword, make in _KEYWORDS.items()
        if keyword in schema and (check := make(schema[keyword], schema)) is not None
    ]
    if not checks:
        return _accept
    if len(checks) == 1:
        return checks[0]

    def check_all(value: Any, path: str) -> None:
        for check in checks:
            check(value, path)

    return check_all


def _accept(value: Any, path: str) -> None:
    pass


def _refuse(value: Any, path: str) -> None:
    raise InvalidData(
        "%(where)s is not a member of this event type. Leave it out.", where=path, path=path
    )


def _type(types: Any, schema: Mapping[str, Any]) -> SchemaCheck:
    names = (types,) if isinstance(types, str) else tuple(types)
    accepted = frozenset(kind for name in names for kind in _PYTHON_TYPES[name])
    # JSON has one kind of number: 2.0 is an integer.
    whole_floats = "integer" in names

    def check(value: Any, path: str) -> None:
        kind = type(value)
        if kind in accepted or (whole_floats and kind is float and value.is_integer()):
            return
        raise InvalidData(
            "%(where)s must be %(types)s, not %(found)s.%(hint)s",
            where=path,
            types=" or ".join(_NAMES[name] for name in names),
            found=_FOUND[kind],
            hint=" Leave the member out if there is no value." if value is None else "",
            path=path,
        )

    return check


def _enum(values: Any, schema: Mapping[str, Any]) -> SchemaCheck:
    allowed = list(values)
    shown = ", ".join(map(repr, allowed[:10]))
    return _fitting(
        lambda value: any(_same(value, item) for item in allowed), None, f"one of {shown}"
    )


def _const(wanted: Any, schema: Mapping[str, Any]) -> SchemaCheck:
    return _fitting(lambda value: _same(value, wanted), None, repr(wanted))


def _properties(members: Any, schema: Mapping[str, Any]) -> SchemaCheck:
    checks = {name: compile_schema(member) for name, member in members.items()}

    def check(value: Any, path: str) -> None:
        if type(value) is dict:
            for name, item in value.items():
                if name in checks:
                    checks[name](item, f"{path}.{name}")

    return check


def _additional(member: Any, schema: Mapping[str, Any]) -> SchemaCheck | None:
    if member is True:
        return None
    known = frozenset(schema.get("properties", ()))
    patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", ())]
    check_member = compile_schema(member)

    def check(value: Any, path: str) -> None:
        if type(value) is dict:
            for name, item in value.items():
                if name not in known and not any(pattern.search(name) for pattern in patterns):
                    check_member(item, f"{path}.{name}")

    return check


def _required(names: Any, schema: Mapping[str, Any]) -> SchemaCheck:
    needed = tuple(names)

    def check(value: Any, path: str) -> None:
        if type(value) is dict:
            for name in needed:
                if name not in value:
                    raise InvalidData(
                        "%(where)s lacks the member %(name)s.",
                        where=path,
                        name=repr(name),
                        path=path,
                    )

    return check


def _items(item: Any, schema: Mapping[str, Any]) -> SchemaCheck:
    check_item = compile_schema(item)
    # `items` applies to those after `prefixItems`.
    first = len(schema.get("prefixItems", ()))

    def check(value: Any, path: str) -> None:
        if type(value) is list:
            for position, element in enumerate(value[first:], first):
                check_item(element, f"{path}[{position}]")

    return check


def _pattern(pattern: Any, schema: Mapping[str, Any]) -> SchemaCheck:
    search = re.compile(pattern).search
    return _fitting(lambda value: search(value) is not None, (str,), f"text that matches {pattern}")


def _limit(
    kinds: tuple[type, ...], wanted: str, is_within: Callable[[Any, Any], bool]
) -> Callable[[Any, Mapping[str, Any]], SchemaCheck]:
    def make(limit: Any, schema: Mapping[str, Any]) -> SchemaCheck:
        float(limit)
        return _fitting(lambda value: is_within(value, limit), kinds, wanted % limit)

    return make


def _fitting(
    fits: Callable[[Any], bool], kinds: tuple[type, ...] | None, wanted: str
) -> SchemaCheck:
    """Return a check of values of these types, or of all."""

    def check(value: Any, path: str) -> None:
        if (kinds is None or type(value) in kinds) and not fits(value):
            raise InvalidData("%(where)s must be %(wanted)s.", where=path, wanted=wanted, path=path)

    return check


def _same(one: Any, other: Any) -> bool:
    """Compare JSON values: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


_NUMBERS = (int, float)

_KEYWORDS: dict[str, Callable[[Any, Mapping[str, Any]], SchemaCheck | None]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "pattern": _pattern,
    "minLength": _limit(
        (str,), "text of at least %s characters", lambda value, limit: len(value) >= limit
    ),
    "maxLength": _limit(
        (str,), "text of at most %s characters", lambda value, limit: len(value) <= limit
    ),
    "minItems": _limit((list,), "a list of at least %s", lambda value, limit: len(value) >= limit),
    "maxItems": _limit((list,), "a list of at most %s", lambda value, limit: len(value) <= limit),
    "minimum": _limit(_NUMBERS, "at least %s", lambda value, limit: value >= limit),
    "maximum": _limit(_NUMBERS, "at most %s", lambda value, limit: value <= limit),
    "exclusiveMinimum": _limit(_NUMBERS, "more than %s", lambda value, limit: value > limit),
    "exclusiveMaximum": _limit(_NUMBERS, "less than %s", lambda value, limit: value < limit),
}
#: The Python types of each type of JSON Schema.
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}
#: Names of types for people.
_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "object": "an object",
    "array": "a list",
}
_FOUND: dict[type, str] = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    dict: "an object",
    list: "a list",
}
