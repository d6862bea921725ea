"""Event types with the versions of their data, and the endpoints that subscribe to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..access import Access, shown
from ..catalog.differences import Difference, compare_data
from ..catalog.registry import EventType
from ..catalog.type_filter import subscribed_to
from ..catalog.versions import INITIAL
from ..columns import compact_json
from ..errors import ConversionFailed, NotFound
from ..models import Endpoint

#: The maximum number of listed endpoints.
MOST_SUBSCRIBERS = 50


@dataclass(frozen=True, slots=True)
class DataVersion:
    """One version of the data of an event type."""

    #: Its date, or ``initial`` for the data before the first version.
    name: str
    #: Its changes; empty for the first, and if one of the two examples could not be created.
    changes: tuple[Difference, ...]
    #: The example of the type; ``None`` if a function of the application fails.
    example: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Subscribers:
    """The subscribers of an event type."""

    #: Endpoints in scope that name it, or a prefix such as ``license.*``, newest first; at most `MOST_SUBSCRIBERS`.
    endpoints: list[Endpoint]
    #: Their total number.
    by_name: int
    #: How many endpoints get all event types.
    by_everything: int


@dataclass(frozen=True, slots=True)
class EventTypeRow:
    """An event type with the versions of its data."""

    kind: EventType
    #: Newest first; empty if the data has never changed.
    data_versions: list[DataVersion]


@dataclass(frozen=True, slots=True)
class EventTypeDetail(EventTypeRow):
    """An event type with its subscribers."""

    subscribers: Subscribers


def list_event_types(access: Access) -> list[EventTypeRow]:
    """Return the offered event types. No statement.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    return [EventTypeRow(kind, _data_versions(access, kind)) for kind in access.state.offered_types]


def get_event_type(access: Access, name: str) -> EventTypeDetail:
    """One event type. Two statements.

    :raises NotFound: no such event type is offered.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    catalog = access.state.offered_types
    if name not in catalog:
        raise NotFound("There is no event type %(name)s.", name=shown(name))
    kind = catalog[name]
    return EventTypeDetail(kind, _data_versions(access, kind), _subscribers(access, kind))


def _data_versions(access: Access, kind: EventType) -> list[DataVersion]:
    versions = access.state.catalog.versions
    dates = versions.of(kind.name)
    if not dates:
        return []
    most = access.state.settings.max_data_bytes
    newest = compact_json(kind.example)
    examples: list[Mapping[str, Any] | None] = []
    for name in (*dates, INITIAL):
        try:
            text = versions.convert(kind.name, newest, dates[0], name, most)
            examples.append(json.loads(text))
        except ConversionFailed:
            examples.append(None)
    changes = [
        () if older is None or newer is None else compare_data(older, newer)
        for newer, older in zip(examples, [*examples[1:], None], strict=True)
    ]
    return [DataVersion(*row) for row in zip((*dates, INITIAL), changes, examples, strict=True)]


def _subscribers(access: Access, kind: EventType) -> Subscribers:
    table = access.state.models.Endpoint
    everything = table.events.is_(None)
    conditions = (
        access.scope(table.tenant),
        table.deleted_at.is_(None),
        subscribed_to(table.events, access.state.catalog, kind.name),
    )
    named = sa.and_(*conditions, sa.not_(everything))
    counts = sa.select(everything, sa.func.count()).where(*conditions).group_by(everything)
    found = sa.select(table).where(named).order_by(table.id.desc()).limit(MOST_SUBSCRIBERS)
    with access.read() as session:
        numbers = {bool(of_all): number for of_all, number in session.execute(counts)}
        endpoints = list(session.scalars(found))
    return Subscribers(endpoints, numbers.get(False, 0), numbers.get(True, 0))
