"""The members of an event's data as lines of text, with secrets masked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from .names import MAX_NAME, MaskReason, humanise, members_of, words_of
from .text import SEEN, clean_start, clean_text

MASK = "••••"
#: Names joined to one label; what lies deeper is shown as JSON.
MAX_DEPTH = 4
#: Values of an event that are looked at, and once more so many for what must be masked. Rendering takes the
#: event loop's time; what lies beyond is counted.
LOOKED_AT = 500
#: Items of a list that are shown.
MAX_ITEMS = 20
#: Masked values that are looked for in other texts too.
MAX_REMEMBERED = 50
#: No address of mail is longer, nor does a key's end need more to be found.
LONGEST_EMAIL, LONGEST_TAIL = 320, 100
#: Characters of a masked value from which on its end is shown, so that two can be told apart.
LONG_ENOUGH = 12


@dataclass(frozen=True, slots=True)
class MessageField:
    """One line of a message. The label has no punctuation in it that could be markup."""

    label: str
    text: str


Path = tuple[str, ...]
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)")

#: Members that people look for first, in this order, and those that only a search needs.
_FIRST_NAMES = """
message username user user_id license license_key license_id kind name value amount currency product
action actor_name threat change failure verification status reason
"""
_FIRST = {name: place for place, name in enumerate(_FIRST_NAMES.split())}
_LAST = {
    "code",
    "ip",
    "sha256",
    "user_agent",
    "session_id",
    "endpoint_id",
    "delivery_id",
    "event_id",
}


def fields_of(data: Any, *, most: int, show_keys: bool) -> tuple[MessageField, ...]:
    """Return the lines of an event's data for a chat: at most `most`, the last of which says how many are missing."""
    leaves = list(islice(_leaves(data, (), None), LOOKED_AT))
    total = len(leaves) if len(leaves) < LOOKED_AT else _count(data)
    # Stable: members without a rank keep the order of the host.
    leaves.sort(key=lambda leaf: _rank(leaf[0]))
    shown = leaves if total <= most else leaves[: most - 1]
    hidden = _Hidden(leaves, show_keys)
    fields = [
        MessageField(hidden.label(path), hidden.text(value, kind)) for path, value, kind in shown
    ]
    if len(shown) < total:
        fields.append(MessageField("More", f"and {total - len(shown):,} more"))
    return tuple(fields)


def _rank(path: Path) -> tuple[int, int]:
    return _rank_of_name(path[0][:MAX_NAME]) if path and not path[0].isdigit() else (1, 0)


@lru_cache(4096)
def _rank_of_name(name: str) -> tuple[int, int]:
    name = "_".join(word.lower() for word in words_of(name))
    if name in _FIRST:
        return 0, _FIRST[name]
    return (2 if name in _LAST else 1), 0


# -- flattening ------------------------------------------------------------------------------------


def _leaves(
    value: Any, path: Path, kind: MaskReason | None
) -> Iterator[tuple[Path, Any, MaskReason | None]]:
    """Yield the members that become lines: a plain value, a list of them, or a deeply nested value."""
    if isinstance(value, dict) and value and len(path) < MAX_DEPTH:
        for name, item, member_kind in members_of(value, kind):
            yield from _leaves(item, (*path, name), member_kind)
    elif isinstance(value, list) and len(path) < MAX_DEPTH and any(map(_nested, value)):
        for number, item in enumerate(value, 1):
            yield from _leaves(item, (*path, str(number)), kind)
    elif path or not _nested(value) or value:
        yield path, value, kind


def _count(value: Any, depth: int = 0) -> int:
    """Count the leaves."""
    if depth < MAX_DEPTH:
        if isinstance(value, dict) and value:
            return sum(_count(item, depth + 1) for item in value.values())
        if isinstance(value, list) and any(map(_nested, value)):
            return sum(_count(item, depth + 1) for item in value)
    return 1 if depth or not _nested(value) or value else 0


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list)


# -- masking ---------------------------------------------------------------------------------------


class _Hidden:
    """Formats values without secrets, even if these are repeated in another text."""

    def __init__(self, leaves: list[tuple[Path, Any, MaskReason | None]], show_keys: bool) -> None:
        self._show_keys = show_keys
        self._looks = 2 * LOOKED_AT
        found: dict[str, str] = {}
        # There may be many deeply nested ones, so they come last.
        for _, value, kind in sorted(leaves, key=lambda leaf: _nested(leaf[1])):
            if kind is None and not _nested(value):
                continue
            for text, masked in self._secrets(value, kind):
                if len(text) >= 6:
                    found.setdefault(text, masked)
                if len(found) >= MAX_REMEMBERED:
                    self._looks = 0
        # A longer one may contain a shorter one.
        self._found = sorted(found.items(), key=lambda item: (-len(item[0]), item[0]))

    def label(self, path: Path) -> str:
        names = [humanise(self._without(name)) for name in path]
        return " · ".join(name for name in names if name) or "Data"

    def text(self, value: Any, kind: MaskReason | None) -> str:
        if isinstance(value, list) and not any(map(_nested, value)):
            shown = [self._plain(item, kind) for item in value[:MAX_ITEMS]]
            more = f" and {len(value) - MAX_ITEMS:,} more" if len(value) > MAX_ITEMS else ""
            text = ", ".join(shown) + more if shown else "none"
        elif _nested(value):
            text = self._deep(value, kind) if value else "none"
        else:
            text = self._plain(value, kind)
        return clean_start(text) or "(empty)"

    def _deep(self, value: Any, kind: MaskReason | None) -> str:
        """Return JSON; the part that is not shown only counts."""
        self._room = SEEN
        text = json.dumps(self._copy(value, kind), ensure_ascii=False)
        if self._room > 0:
            return text
        return text + "…" * (len(json.dumps(value, ensure_ascii=False)) - len(text))

    def _plain(self, value: Any, kind: MaskReason | None) -> str:
        if value is None:
            return "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        text = str(value)
        masked = self._masked(value, kind)
        if masked is not None:
            return masked
        if _MOMENT.fullmatch(text):
            text = _moment(text)
        return self._without(text) or "(empty)"

    def _masked(self, value: Any, kind: MaskReason | None) -> str | None:
        """Return the mask of a secret value; ``None`` for other values."""
        if kind is None or value is None or isinstance(value, bool) or value == "":
            return None
        if kind is MaskReason.SECRET:
            return MASK
        text = str(value)
        if kind is MaskReason.EMAIL:
            name, at, host = clean_text(text[: LONGEST_EMAIL + 1]).rpartition("@")
            return name[:1] + MASK + at + host if name and len(text) <= LONGEST_EMAIL else MASK
        # Small numbers under such a name are counts.
        if self._show_keys or (not isinstance(value, str) and len(text) < 6):
            return None
        tail = clean_text(text[-LONGEST_TAIL:])
        return MASK + tail[-4:] if len(tail) >= LONG_ENOUGH else MASK

    def _without(self, text: str) -> str:
        for secret, masked in self._found:
            text = text.replace(secret, masked)
        return text

    def _secrets(self, value: Any, kind: MaskReason | None) -> Iterator[tuple[str, str]]:
        self._looks -= 1
        if self._looks < 0:
            return
        if isinstance(value, dict):
            for _, item, member_kind in members_of(value, kind):
                if self._looks <= 0:
                    return
                yield from self._secrets(item, member_kind)
        elif isinstance(value, list):
            for item in value:
                if self._looks <= 0:
                    return
                if kind is not None or _nested(item):
                    yield from self._secrets(item, kind)
        elif (masked := self._masked(value, kind)) is not None:
            yield str(value), masked

    def _copy(self, value: Any, kind: MaskReason | None) -> Any:
        """Return the value without secrets, as far as there is room for it."""
        if isinstance(value, dict):
            copied = {}
            for name, item, member_kind in members_of(value, kind):
                if self._room <= 0:
                    break
                self._room -= len(name)
                copied[self._without(name)] = self._copy(item, member_kind)
            return copied
        if isinstance(value, list):
            items = []
            for item in value:
                if self._room <= 0:
                    break
                items.append(self._copy(item, kind))
            return items
        self._room -= len(value) if isinstance(value, str) else 1
        masked = self._masked(value, kind)
        if masked is not None:
            return masked
        return self._without(value) if isinstance(value, str) else value


def _moment(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return text
