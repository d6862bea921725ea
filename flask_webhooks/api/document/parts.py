"""Short forms for JSON Schema (draft 2020-12), as OpenAPI 3.1 uses it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...ids import MAX_LENGTH

Schema = dict[str, Any]


def value(kind: str, description: str = "", /, **more: Any) -> Schema:
    """A schema of one type; ``"string?"`` may be null as well."""
    plain = kind.removesuffix("?")
    found: Schema = {"type": plain if plain == kind else [plain, "null"]}
    if description:
        found["description"] = description
    return {**found, **more}


def text(description: str = "", /, **more: Any) -> Schema:
    return value("string", description, **more)


def optional_text(description: str = "", /, **more: Any) -> Schema:
    return value("string?", description, **more)


def flag(description: str) -> Schema:
    return value("boolean", description)


def whole(description: str = "", /, **more: Any) -> Schema:
    return value("integer", description, **{"minimum": 0, **more})


def identifier(description: str = "") -> Schema:
    return text(description, maxLength=MAX_LENGTH)


def time(description: str = "") -> Schema:
    return text(description, format="date-time")


def optional_time(description: str = "") -> Schema:
    return optional_text(description, format="date-time")


def one_of(choices: Iterable[str], description: str = "") -> Schema:
    return text(description, enum=[str(choice) for choice in choices])


def list_of(items: Schema, description: str = "") -> Schema:
    return value("array", description, items=items)


def members(properties: dict[str, Schema], description: str = "") -> Schema:
    """An object of an answer: every member is always there, and later versions may add some."""
    return value("object", description, properties=properties, required=list(properties))


def body(properties: dict[str, Schema], *required: str) -> Schema:
    """An object of a request: other members are refused."""
    found = value("object", properties=properties, additionalProperties=False)
    return {**found, "required": list(required)} if required else found


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}
