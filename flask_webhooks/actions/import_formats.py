"""Detect the service of an export by the names of its events and of the member with the URL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..app_state import AppState
from ..catalog.registry import EVERYTHING, matches
from ..errors import InvalidEndpoint
from ..formats import Format


def possible_formats(state: AppState, items: Iterable[Any]) -> list[Format]:
    """Return the formats that all entries of an export fit, including the default if the names are ours.

    A name that only one format has is decisive. A name of several formats, such as ``license.activated`` of
    AuthForge and ours, may have different meanings.
    """
    entries = list(_entries(items))
    default = state.formats[state.settings.default_format]
    names = {name for entry in entries for name in _events(entry)}
    told = {name for name in names if _is_known(state, name)}
    if told:
        possible = [
            style
            for style in state.formats
            if style.event_names and all(style.event_types(name) for name in told)
        ]
        if default not in possible and all(_is_ours(state, name) for name in told):
            possible.append(default)
    else:
        possible = [default]
    with_url = [entry for entry in entries if any(url_of(item, entry) for item in state.formats)]
    fitting = [style for style in possible if all(url_of(style, entry) for entry in with_url)]
    if not fitting and not told:
        fitting = [
            style for style in state.formats if all(url_of(style, entry) for entry in with_url)
        ]
    return fitting


def only_format(state: AppState, items: Iterable[Any]) -> Format:
    """Return the only format that an export fits.

    :raises InvalidEndpoint: there are several, or none.
    """
    possible = possible_formats(state, items)
    if not possible:
        raise InvalidEndpoint(
            "No format has all of these event types: import the entries of each service by themselves, "
            "and name its format.",
            field="format",
        )
    if len(possible) > 1:
        raise InvalidEndpoint(
            "The event types of this export fit several formats: name one of them (%(choices)s).",
            choices=", ".join(style.name for style in possible),
            field="format",
        )
    return possible[0]


def url_of(style: Format, item: Mapping[str, Any]) -> str | None:
    """Return the value of the URL member of an entry."""
    answer = item.get("data")
    for place in (item, answer if isinstance(answer, Mapping) else {}):
        for name in style.url_members:
            if isinstance(place.get(name), str) and place[name]:
                return str(place[name])
    return None


def _entries(items: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    return (item for item in items if isinstance(item, Mapping))


def _events(entry: Mapping[str, Any]) -> Iterator[str]:
    """Return the names of the events of an entry, as far as they are valid."""
    answer = entry.get("data")
    for place in (entry, answer if isinstance(answer, Mapping) else {}):
        events = place.get("events")
        if isinstance(events, str):
            # A column that contains a JSON array.
            try:
                events = json.loads(events)
            except (ValueError, RecursionError):
                events = [events]
        if isinstance(events, list):
            yield from (name.strip() for name in events if isinstance(name, str))


def _is_known(state: AppState, name: str) -> bool:
    """Return whether a name is known: unknown names are reported with their entry."""
    return name != EVERYTHING and (
        _is_ours(state, name) or any(style.event_types(name) for style in state.formats)
    )


def _is_ours(state: AppState, name: str) -> bool:
    if name.endswith(f".{EVERYTHING}"):
        return any(matches([name], kind.name) for kind in state.catalog)
    return name in state.catalog
