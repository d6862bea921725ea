"""Definitions of JSON objects: classes whose annotations are their members.

One line defines the name, type and description of a member, and the source of its value. `JsonObject.serialize`
returns the values, and pydantic creates the schema for the API. This module does not need pydantic, because
commands print the same objects.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass, field, fields
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, ClassVar, Final, Union, get_args, get_origin, get_type_hints

from ..formats.standard import iso_milliseconds
from ..ids import MAX_LENGTH

Read = Callable[[Any], Any]

_SOURCE: Final = "source"


class Member:
    """The keywords of JSON Schema that an annotation adds to the type of a member."""

    def __init__(self, description: str = "", /, **schema: Any) -> None:
        self.schema = {**({"description": description} if description else {}), **schema}

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core_schema), **self.schema}


def member(description: str = "", /, *, source: str | Read | None = None, **schema: Any) -> Any:
    """Describe a member of a `JsonObject`.

    :param source: the attribute with the value, or a function of the serialized object. By default the attribute
    has the name of the member.
    :param schema: more keywords of JSON Schema.
    """
    read = attrgetter(source) if isinstance(source, str) else source
    # Pydantic recognises metadata of this name.
    extra = Member(description, **schema).schema
    return field(metadata={_SOURCE: read, "json_schema_extra": extra})


def one_of(choices: Iterable[str], description: str = "") -> Member:
    """Return the type of a text that is one of these values."""
    return Member(description, enum=[str(choice) for choice in choices])


@dataclass
class JsonObject:
    """The base of all objects. Each member is always present, and later versions may add members."""

    _base: ClassVar[type[JsonObject] | None] = None
    _part: ClassVar[str | None] = None

    def __init_subclass__(cls, *, part: str | None = None) -> None:
        """:param part: the attribute of the serialized object that has the inherited members."""
        cls._base = next((base for base in cls.__bases__ if base is not JsonObject), None)
        cls._part = part
        # Never instantiated: pydantic can create the schema of a dataclass.
        dataclass(cls)

    @classmethod
    def serialize(cls, thing: Any, /, **given: Any) -> dict[str, Any]:
        """Return the members of an object, for `to_json`.

        :param given: serialized members that the object does not have.
        """
        inherited = {}
        if cls._base is not None:
            inherited = cls._base.serialize(getattr(thing, cls._part) if cls._part else thing)
        own = {name: read(thing) for name, read in cls._own_members() if name not in given}
        return {**inherited, **own, **given}

    @classmethod
    @cache
    def _own_members(cls) -> list[tuple[str, Read]]:
        hints = get_type_hints(cls, include_extras=True)
        own = inspect.get_annotations(cls)
        return [
            (item.name, _reader(item, hints[item.name])) for item in fields(cls) if item.name in own
        ]


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return serialized objects as JSON text, with times as they are in payloads: ``2026-01-31T12:00:00.250Z``."""
    # Not with the application's JSON provider, which the host may have changed.
    return json.dumps(value, allow_nan=False, default=iso_milliseconds, indent=indent)


def _reader(item: Field[Any], hint: Any) -> Read:
    """Return the function that reads the value of a member."""
    read = item.metadata.get(_SOURCE) or attrgetter(item.name)
    convert = _converter(hint)
    return read if convert is None else lambda thing: convert(read(thing))


def _converter(hint: Any) -> Read | None:
    """Return the function that serializes the objects within a value of this type; ``None`` if there are none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, JsonObject):
        return hint.serialize
    if origin not in (Annotated, list, Union, UnionType):
        return None
    convert = _converter(arguments[0])
    if convert is None or origin is Annotated:
        return convert
    if origin is list:
        return lambda values: [convert(value) for value in values]
    return lambda value: None if value is None else convert(value)


# -- types of members ------------------------------------------------------------------------------

Identifier = Annotated[str, Member(maxLength=MAX_LENGTH)]
Count = Annotated[int, Member(minimum=0)]
Share = Annotated[float | None, Member("From 0 to 1; null without attempts.", minimum=0, maximum=1)]
Tenant = Annotated[str | None, Member("The tenant that it belongs to; null is the whole server.")]

#: A member that is present even if the person may not see its value.
IS_VISIBLE: Final = Member(
    "Whether data and bodies are included: the action `view_payload` is allowed."
)
