"""Text for chats: cleaned of what cannot be seen, escaped, and cut to what a service takes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Characters of a text that are cleaned: more than any service shows of one.
SEEN = 2000
#: Accents on one letter; living scripts need fewer.
MAX_MARKS = 6
#: Joiners that are part of words (Persian, Indic scripts) and of emoji.
_JOINERS = "\u200c\u200d"
#: Blank letters, which names are made invisible with.
_FILLERS = "\u115f\u1160\u3164\uffa0"
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def clean_text(text: str) -> str:
    """The text without controls, marks of direction and invisible characters; empty if nothing is left to see.

    Newlines stay, but at most two in a row. Halves of surrogate pairs go, which UTF-8 cannot hold.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    kept: list[str] = []
    marks = 0
    visible = False
    for character in text.replace("\r\n", "\n"):
        category = unicodedata.category(character)
        if category in ("Mn", "Me"):
            marks += 1
            if marks > MAX_MARKS:
                continue
        else:
            marks = 0
        if character in "\n\r\v\f\x85" or category in ("Zl", "Zp"):
            character = "\n"
        elif character == "\t" or category == "Zs":
            character = " "
        elif character in _FILLERS or (category[0] == "C" and character not in _JOINERS):
            continue
        visible = visible or category[0] in "LNPS"
        kept.append(character)
    return re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip() if visible else ""


def clean_start(text: str) -> str:
    """As `clean`, in a bounded time. What lies beyond `SEEN` only counts: signs stand for it."""
    if len(text) <= SEEN:
        return clean_text(text)
    return clean_text(text[:SEEN]) + "…" * (len(text) - SEEN)


def utf16_units(text: str) -> int:
    """How long JavaScript thinks the text is: an emoji counts twice."""
    return len(text) + sum(character > "\uffff" for character in text)


def fair_cap(sizes: Sequence[int], room: int) -> int:
    """The most that each of several texts may take, so that all fit: short ones leave theirs to the long."""
    for position, size in enumerate(sorted(sizes)):
        share = room // (len(sizes) - position)
        if size > share:
            return share
        room -= size
    return max(sizes, default=0)


@dataclass(frozen=True)
class Markup:
    """How a service reads text, and how it counts it.

    :param special: finds single characters that must not stand as they are; it may look behind, not ahead.
    :param write: what is written for such a character.
    :param cost: what a character counts for, given plain and as written; 1 at least.
    """

    special: re.Pattern[str]
    write: Callable[[str], str]
    cost: Callable[[str, str], int]

    def escape(self, text: str) -> str:
        return self.special.sub(lambda found: self.write(found[0]), text)

    def size(self, text: str, most: int) -> int:
        """What the text counts for, up to `most` + 1: more is not looked at."""
        return min(sum(self._costs(text[: most + 1])), most + 1)

    def cut(self, text: str, most: int) -> str:
        """The text, escaped, with at most `most` units; what is cut off is said.

        Neither an escaped character nor what is seen as one (letter and accents, joined emoji) is cut in two.
        """
        if self.size(text, most) <= most:
            return self.escape(text)
        note = f"… ({len(text):,} more characters)"
        room = most - sum(self._costs(note))
        if room <= 0:
            note, room = "…", most - 1
        end = 0
        for cost in self._costs(text[:most]):
            room -= cost
            if room < 0:
                break
            end += 1
        end = _boundary(text, end)
        if len(note) > 1:
            # It never has more digits than what was reserved.
            note = f"… ({len(text) - end:,} more characters)"
        return self.escape(text[:end].rstrip()) + self.escape(note)

    def _costs(self, text: str) -> list[int]:
        written = {found.start(): self.write(found[0]) for found in self.special.finditer(text)}
        return [
            self.cost(character, written.get(position, character))
            for position, character in enumerate(text)
        ]


def _boundary(text: str, end: int) -> int:
    """`end`, or a little before it: where no letter is parted from its accents, no emoji from what it joins."""
    for earlier in range(end, max(end - 32, 0), -1):
        following, before = text[earlier], text[earlier - 1]
        if not (_continues(following) or before in _JOINERS):
            return earlier
    return end


def _continues(character: str) -> bool:
    return (
        unicodedata.category(character)[0] == "M"
        or character in _JOINERS
        or ord(character) in _SKIN_TONES
    )
