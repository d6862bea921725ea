"""How a JSON object is defined: a class whose annotations are its members.

One line says the name, the type and the description of a member, and where its value comes from.
`JsonObject.serialize` makes the values of it, and the API lets pydantic make the schema of it. Nothing here needs
pydantic: commands print the same objects.
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
    """What an annotation says of a member beside its type, as keywords of JSON Schema."""

    def __init__(self, description: str = "", /, **schema: Any) -> None:
        self.schema = {**({"description": description} if description else {}), **schema}

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core_schema), **self.schema}


def member(description: str = "", /, *, source: str | Read | None = None, **schema: Any) -> Any:
    """Describe a member of a `JsonObject`.

    :param source: the attribute that has the value, or a function of the thing that is serialized. Without it the
        attribute has the name of the member.
    :param schema: more keywords of JSON Schema.
    """
    read = attrgetter(source) if isinstance(source, str) else source
    # Pydantic knows the metadata of that name.
    extra = Member(description, **schema).schema
    return field(metadata={_SOURCE: read, "json_schema_extra": extra})


def one_of(choices: Iterable[str], description: str = "") -> Member:
    """Text that is one of these."""
    return Member(description, enum=[str(choice) for choice in choices])


@dataclass
class JsonObject:
    """The base of all objects. Each member is always there, and later versions may add some."""

    _base: ClassVar[type[JsonObject] | None] = None
    _part: ClassVar[str | None] = None

    def __init_subclass__(cls, *, part: str | None = None) -> None:
        """:param part: the attribute of the thing that is serialized which has the inherited members."""
        cls._base = next((base for base in cls.__bases__ if base is not JsonObject), None)
        cls._part = part
        # None is ever made: pydantic knows the schema of a dataclass.
        dataclass(cls)

    @classmethod
    def serialize(cls, thing: Any, /, **given: Any) -> dict[str, Any]:
        """Return the members of a thing, for `to_json`.

        :param given: members that the thing does not have, serialized.
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
    # Not by the application's JSON provider, which the host may have changed.
    return json.dumps(value, allow_nan=False, default=iso_milliseconds, indent=indent)


def _reader(item: Field[Any], hint: Any) -> Read:
    """Return what makes the value of a member of a thing."""
    read = item.metadata.get(_SOURCE) or attrgetter(item.name)
    convert = _converter(hint)
    return read if convert is None else lambda thing: convert(read(thing))


def _converter(hint: Any) -> Read | None:
    """Return what serializes the objects within a value of this type; ``None`` where there are none."""
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

#: A member that is there though the person may not see it.
IS_VISIBLE: Final = Member(
    "Whether data and bodies are included: the action `view_payload` is allowed."
)
