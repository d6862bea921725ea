"""Filter lists and tasks by event type: a name, or a prefix such as ``license.*``."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from .registry import EVERYTHING, Catalog, matches


def of_type(column: Any, pattern: str) -> sa.ColumnElement[bool]:
    """Return the condition for a column with the name of an event type."""
    # PostgreSQL refuses text with NUL; no event type contains it.
    if not pattern.isprintable():
        return sa.false()
    if pattern == EVERYTHING:
        return sa.true()
    found: sa.ColumnElement[bool] = column == pattern
    if pattern.endswith(".*"):
        found = column.startswith(pattern[:-1], autoescape=True)
    return found


def subscribed_to(column: Any, catalog: Catalog, pattern: str) -> sa.ColumnElement[bool]:
    """Return the condition for a column with subscriptions that cover an event type.

    :param pattern: a prefix selects endpoints that get any of these event types.
    """
    covering: set[str] = set()
    for event_type in catalog:
        if event_type.subscribable and matches([pattern], event_type.name):
            parts = event_type.name.split(".")
            prefixes = (".".join(parts[:number]) for number in range(1, len(parts)))
            covering |= {event_type.name, *(f"{prefix}.*" for prefix in prefixes)}
    if not covering:
        return sa.false()
    text = sa.type_coerce(column, sa.Text())
    named = (text.contains(f'"{name}"', autoescape=True) for name in sorted(covering))
    return sa.or_(column.is_(None), *named)
