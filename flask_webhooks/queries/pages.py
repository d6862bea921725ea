"""Keyset pagination, and conditions that several lists share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from ..access import is_id, shown
from ..errors import InvalidInput
from ..models import DeliveryState, Trigger

T = TypeVar("T")
U = TypeVar("U")

MAX_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, newest first."""

    items: list[T]
    #: Pass it as `before` to get the next page; ``None`` on the last one.
    next_before: str | None
    #: Rows that are examined one by one if there is no index.
    searched: int | None = None

    def map(self, function: Callable[[T], U]) -> Page[U]:
        """Return the page with converted items."""
        return Page([function(item) for item in self.items], self.next_before, self.searched)


def page_of(rows: Sequence[T], limit: int, id_of: Callable[[T], str]) -> Page[T]:
    """Create a page from up to ``limit + 1`` rows: an additional one only shows that there are more."""
    items = list(rows[:limit])
    return Page(items, id_of(items[-1]) if len(rows) > limit else None)


def check_limit(limit: int) -> int:
    """Check a limit.

    :raises InvalidInput: it is not a number from 1 to `MAX_LIMIT`.
    """
    if not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(
            "limit must be a whole number from 1 to %(most)s.", most=MAX_LIMIT, field="limit"
        )
    return limit


def older_than(column: Any, before: str | None) -> list[sa.ColumnElement[bool]]:
    """Return the condition for everything after a page.

    :raises InvalidInput: `before` is not an id.
    """
    if before is None:
        return []
    if not is_id(before):
        raise InvalidInput("before must be the last id of the previous page.", field="before")
    return [column < before]


def check_state(state: str, states: Iterable[str]) -> str:
    """Check a state.

    :raises InvalidInput: it is not one of these states.
    """
    choices = list(states)
    if state not in choices:
        raise InvalidInput(
            "There is no state %(name)s. Choose one of: %(choices)s.",
            name=shown(state),
            choices=", ".join(choices),
            field="state",
        )
    return state


def literal(state: DeliveryState | Trigger) -> sa.ColumnElement[Any]:
    """Return a state or a trigger as an SQL literal: with a parameter, SQLite would not use its partial index."""
    return sa.literal(str(state), sa.String(), literal_execute=True)
