"""What the audit log keeps of a change: enough to recognise it, and never more than a bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Characters of a text, members of a list or an object, and how deep they may be nested.
MAX_TEXT = 500
MAX_MEMBERS = 50
MAX_EVENT_TYPES = 500
MAX_DEPTH = 4

_MORE = "…"


def cut_values(changes: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The changes with long values cut; what was cut ends with ``…``.

    There may be more event types than members of others, and a filter, which has bounds of its own, stays whole:
    "why did it not get it?" reads them.
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
