"""The component schemas of the OpenAPI document, which pydantic generates from our types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from .request_reader import adapter

JsonSchema = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"


class _Generator(GenerateJsonSchema):
    """Omit titles, which repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def normalize_name(self, name: str) -> str:
        return component_name(super().normalize_name(name))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return _without_title(super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return _without_title(super().typed_dict_schema(schema))


def component_name(name: str) -> str:
    """Return the name of a type in the document: ``DeliveryRow`` for `DeliveryRowObject`, ``Pause`` for
    `PauseBody`.
    """
    return name.removesuffix("Object").removesuffix("Body")


def components(objects: Iterable[type], bodies: Iterable[type]) -> dict[str, JsonSchema]:
    """Return the schemas of these types and of nested types by name.

    :param objects: kinds of `JsonObject`.
    :param bodies: types of `bodies`.
    """
    inputs: list[tuple[type, JsonSchemaMode, TypeAdapter[Any]]] = [
        *((kind, "serialization", TypeAdapter(kind)) for kind in objects),
        *((kind, "validation", adapter(kind)) for kind in bodies),
    ]
    _, schemas = TypeAdapter.json_schemas(
        inputs, ref_template=_REFERENCE, schema_generator=_Generator
    )
    found: dict[str, JsonSchema] = schemas["$defs"]
    return found


def properties(query: type) -> dict[str, JsonSchema]:
    """Return the schemas of the parameters of a query."""
    schema = adapter(query).json_schema(schema_generator=_Generator)
    found: dict[str, JsonSchema] = schema["properties"]
    return found


def reference(kind: type) -> JsonSchema:
    """Return a reference to the schema of a type."""
    return {"$ref": _REFERENCE.format(model=component_name(kind.__name__))}


def _without_title(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {name: value for name, value in schema.items() if name != "title"}
