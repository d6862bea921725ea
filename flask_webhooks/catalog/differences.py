"""Differences between two versions of the data of an event type, found in their examples."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class DifferenceKind(enum.StrEnum):
    """The kind of a difference."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """A member that differs."""

    #: ``user.email``
    path: str
    kind: DifferenceKind
    #: Its value in the older version; ``None`` if it did not exist.
    before: Any
    #: Its value in the newer version; ``None`` if it no longer exists.
    after: Any


def compare_data(older: Mapping[str, Any], newer: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Compare JSON data member by member, in the order of the newer version, including nested objects but not
    lists.
    """
    return tuple(_differing(older, newer, ""))


def _differing(
    older: Mapping[str, Any], newer: Mapping[str, Any], prefix: str
) -> Iterator[Difference]:
    for name, after in newer.items():
        path = prefix + name
        if name not in older:
            yield Difference(path, DifferenceKind.ADDED, None, after)
            continue
        before = older[name]
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differing(before, after, f"{path}.")
        elif before != after or type(before) is not type(after):
            yield Difference(path, DifferenceKind.CHANGED, before, after)
    for name, before in older.items():
        if name not in newer:
            yield Difference(prefix + name, DifferenceKind.REMOVED, before, None)
