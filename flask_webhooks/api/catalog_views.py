"""Formats, event types, and what a format makes of an event type."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import queries
from ..access import Access, shown
from ..app_state import AppState
from ..catalog.registry import EventType
from ..errors import NotFound
from ..serializers import EventTypeDetailObject, EventTypeObject, ExampleObject, FormatObject
from .answering import answer, answer_all
from .parameters import ExampleQuery
from .routes import AllOf, Route


def format_list(access: Access) -> Response:
    """The formats that endpoints can have."""
    default = access.state.settings.default_format
    items = [
        FormatObject.serialize(item, default=item.name == default)
        for item in access.state.offered_formats
    ]
    return answer({"items": items})


def event_type_list(access: Access) -> Response:
    """The catalogue of event types."""
    return answer_all(queries.list_event_types(access), EventTypeObject)


def event_type(access: Access, name: str) -> Response:
    """One event type, with schema, example, versions of its data and subscribers."""
    return answer(EventTypeDetailObject.serialize(queries.get_event_type(access, name)))


def event_type_example(access: Access, name: str, query: dict[str, Any]) -> Response:
    """The example of an event type in a format."""
    kind = _known(access.state, name)
    default = access.state.settings.default_format
    style = access.state.offered_formats[query.get("format", default)]
    example = queries.example(access, style.name, kind.name, data_version=query.get("data_version"))
    return answer(ExampleObject.serialize(example))


ROUTES = (
    Route("GET", "/formats", format_list, AllOf(FormatObject), requires="view"),
    Route("GET", "/event-types", event_type_list, AllOf(EventTypeObject), requires="view"),
    Route("GET", "/event-types/<name>", event_type, EventTypeDetailObject, requires="view"),
    Route(
        "GET",
        "/event-types/<name>/example",
        event_type_example,
        ExampleObject,
        requires="view",
        query=ExampleQuery,
        converts=True,
    ),
)


def _known(state: AppState, name: str) -> EventType:
    if name not in state.offered_types:
        raise NotFound(f"There is no event type {shown(name)}.")
    return state.catalog[name]
