"""Names of event types in requests, which may be those of a format. Responses always have our names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..app_state import AppState
from ..errors import InvalidInput, InvalidSubscription


def dialect_of_change(state: AppState, body: Mapping[str, Any]) -> str | None:
    """Return the value of the member ``dialect``; without it the names are ours, so that a list from a response
    can be sent back.

    :returns: the name of a format; ``None`` is ours.
    :raises InvalidInput: there is no such format.
    """
    dialect: str | None = body.get("dialect")
    if dialect is not None and dialect not in state.offered_formats:
        choices = ", ".join(item.name for item in state.offered_formats)
        raise InvalidInput(
            f"Choose one of these dialects: {choices}. Leave it out if you use the names that responses have.",
            field="dialect",
        )
    return dialect


def dialect_of_new(state: AppState, body: Mapping[str, Any]) -> str | None:
    """Return the dialect of a new endpoint: without the member, its format, if names have the same meaning in both.

    :raises InvalidInput: there is no such format, or a name has different meanings.
    """
    if "dialect" in body:
        return dialect_of_change(state, body)
    dialect = body.get("format") or state.settings.default_format
    if not isinstance(dialect, str) or dialect not in state.formats:
        # The action reports the error.
        return None
    spoken = state.formats[dialect]
    given = body.get("events")
    for item in given if isinstance(given, list) else ():
        name = item.strip() if isinstance(item, str) else ""
        theirs = spoken.event_types(name)
        if theirs and theirs != (name,) and name in state.catalog:
            raise InvalidSubscription(
                f"{name!r} is {' and '.join(theirs)} to {spoken.label}, and another event type here. Add "
                f'"dialect": "{dialect}" for what {spoken.label} means by it, or "dialect": "standard" for ours.'
            )
    return dialect
