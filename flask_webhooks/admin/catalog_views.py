"""The event types: descriptions, schemas, and examples in each format."""

from __future__ import annotations

import json
from dataclasses import dataclass

from flask import Blueprint, Response

from .. import queries
from ..access import Access
from ..catalog.registry import EventType
from ..formats import Format
from .page import current_access, render

_MASK = "••••••••"


@dataclass(frozen=True, slots=True)
class Sample:
    """The example of an event type in a format."""

    format: Format
    #: The name of the event type in the format.
    name: str
    headers: list[list[str]]
    #: ``None`` if the format cannot show it without an endpoint.
    body: str | None


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/event-types", view_func=event_type_list)
    blueprint.add_url_rule("/event-types/<name>", view_func=event_type)


def event_type_list() -> Response:
    """The whole catalogue."""
    access = current_access()
    access.require("view")
    groups, versions = access.state.offered_types.groups(), access.state.catalog.versions
    return render("event_type_list.html", groups=groups, versions=versions)


def event_type(name: str) -> Response:
    """One event type with schema and example."""
    access = current_access()
    detail = queries.get_event_type(access, name)
    kind = detail.kind
    samples = [sample(access, item, kind) for item in access.state.offered_formats]
    return render(
        "event_type.html",
        detail=detail,
        kind=kind,
        fields=fields(kind),
        samples=samples,
        show_tenants=not isinstance(access.tenant, str),
    )


@dataclass(frozen=True, slots=True)
class Field:
    """A member of the data, as the schema describes it."""

    path: str
    type: str
    required: bool
    description: str


def fields(kind: EventType) -> list[Field]:
    """Return the members in the schema, including those of nested objects."""
    found: list[Field] = []

    def walk(schema: object, prefix: str) -> None:
        if not isinstance(schema, dict) or prefix.count(".") > 6:
            return
        required = schema.get("required") or ()
        for name, member in (schema.get("properties") or {}).items():
            if not isinstance(member, dict):
                continue
            found.append(
                Field(
                    prefix + name,
                    _type(member),
                    name in required,
                    str(member.get("description", "")),
                )
            )
            walk(member, f"{prefix}{name}.")

    walk(dict(kind.schema), "")
    return found


def sample(access: Access, item: Format, kind: EventType) -> Sample:
    """Return the example of an event type in a format, with secrets masked."""
    name = item.event_name(kind.name)
    try:
        example = queries.example(access, item.name, kind.name)
    except Exception:
        # A custom format of the host may fail; the rest of the page is still useful.
        return Sample(item, name, [], None)
    headers = [
        [key, _MASK if _is_secret(key, example.secret_headers) else value]
        for key, value in example.headers.items()
    ]
    return Sample(item, name, headers, example.pretty_body)


def _is_secret(name: str, secret_headers: frozenset[str]) -> bool:
    # A signature of an example is made with a throw-away secret, and cannot be verified.
    return name.lower() in secret_headers or "signature" in name.lower()


def _type(schema: dict[str, object]) -> str:
    given = schema.get("type")
    if "enum" in schema and isinstance(schema["enum"], list):
        return " | ".join(json.dumps(value) for value in schema["enum"])
    text = " | ".join(map(str, given)) if isinstance(given, list) else str(given or "any")
    return f"{text} ({schema['format']})" if "format" in schema else text
