"""Size limits of values in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Maximum length of a text, members of a list or an object, and nesting depth.
MAX_TEXT = 500
MAX_MEMBERS = 50
MAX_EVENT_TYPES = 500
MAX_DEPTH = 4

_MORE = "…"


def cut_values(changes: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Shorten long values of changes, which then end with ``…``.

    More event types than other members are kept, and a filter, which has its own limits, is never shortened,
    because the explanation of missing events reads them.
    """
    if changes is None:
        return None
    return {
        name: value
        if name in ("filter", "coalesce")
        else _bounded(value, MAX_DEPTH, MAX_EVENT_TYPES if name == "events" else MAX_MEMBERS)
        for name, value in changes.items()
    }


def _bounded(value: Any, depth: int, most: int) -> Any:
    match value:
        case str():
            return value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 1] + _MORE
        case dict() | list() | tuple() if depth == 0:
            return _MORE
        case dict():
            kept = {
                _bounded(name, depth, most): _bounded(item, depth - 1, most)
                for name, item in list(value.items())[:most]
            }
            return kept if len(value) <= most else {**kept, _MORE: _MORE}
        case list() | tuple():
            kept_items = [_bounded(item, depth - 1, most) for item in value[:most]]
            return kept_items if len(value) <= most else [*kept_items, _MORE]
        case _:
            return value
