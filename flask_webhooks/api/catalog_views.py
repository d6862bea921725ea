"""Formats, event types, and what a format makes of an event type."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import queries
from ..access import Access, shown
from ..catalog import EventType
from ..errors import NotFound
from ..formats import Format
from ..state import State
from .answering import answer, answer_all
from .reading import read_query, text


def format_list(access: Access) -> Response:
    """The formats that endpoints can have."""
    access.require("view")
    read_query()
    return answer_all(_format_members(access.state, item) for item in access.state.formats)


def event_type_list(access: Access) -> Response:
    """The catalogue."""
    access.require("view")
    read_query()
    return answer_all(_type_members(item) for item in access.state.catalog)


def event_type(access: Access, name: str) -> Response:
    """One event type, with schema and example."""
    access.require("view")
    read_query()
    return answer(_type_members(_known(access.state, name)))


def event_type_example(access: Access, name: str) -> Response:
    """The example of an event type, as an endpoint of a format would get it."""
    access.require("view")
    query = read_query(format=text)
    kind = _known(access.state, name)
    default = access.state.settings.default_format
    example = queries.example(access, query.get("format", default), kind.name)
    return answer(
        {
            "format": example.format,
            "event_type": example.event_type,
            "url": example.url,
            "headers": example.headers,
            "body": example.body.decode(errors="replace"),
        }
    )


ROUTES = (
    ("GET", "/formats", format_list),
    ("GET", "/event-types", event_type_list),
    ("GET", "/event-types/<name>", event_type),
    ("GET", "/event-types/<name>/example", event_type_example),
)


def _known(state: State, name: str) -> EventType:
    if name not in state.catalog:
        raise NotFound(f"There is no event type {shown(name)}.")
    return state.catalog[name]


def _format_members(state: State, item: Format) -> dict[str, Any]:
    return {
        "name": item.name,
        "title": item.label,
        "default": item.name == state.settings.default_format,
        "recognised_by_url": item.matches(item.example_url),
        "example_url": item.example_url,
        "url_secret": item.secret_url,
        "signed": item.signed,
        "secret_optional": item.secret_optional,
        "test_event": item.test_event,
        "timeout": item.timeout,
        "event_names": dict(item.event_names),
        "example_options": dict(item.example_options),
    }


def _type_members(item: EventType) -> dict[str, Any]:
    return {
        "name": item.name,
        "group": item.group,
        "description": item.description,
        "schema": item.schema,
        "example": item.example,
        "transactional": item.transactional,
        "high_volume": item.high_volume,
        "operational": item.operational,
        "subscribable": item.subscribable,
    }
