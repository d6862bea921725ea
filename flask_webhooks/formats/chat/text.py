"""Text for chats: without invisible characters, escaped, and shortened to the limits of a service."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Characters of a text that are processed: more than any service shows.
SEEN = 2000
#: Accents on one letter; living scripts need fewer.
MAX_MARKS = 6
#: Joiners that are part of words (Persian, Indic scripts) and of emoji.
_JOINERS = "\u200c\u200d"
#: Blank letters, which names are made invisible with.
_FILLERS = "\u115f\u1160\u3164\uffa0"
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def clean_text(text: str) -> str:
    """Remove control characters, direction marks, invisible characters and halves of surrogate pairs; the result
    may be empty.

    At most two consecutive newlines are kept.
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
    """Do the same as `clean_text` in bounded time.

    Text beyond `SEEN` is replaced by placeholders of the same length.
    """
    if len(text) <= SEEN:
        return clean_text(text)
    return clean_text(text[:SEEN]) + "…" * (len(text) - SEEN)


def utf16_units(text: str) -> int:
    """Return the length of a text in JavaScript: an emoji counts twice."""
    return len(text) + sum(character > "\uffff" for character in text)


def fair_cap(sizes: Sequence[int], room: int) -> int:
    """Return the maximum length of each of several texts so that all fit: short ones leave room for long ones."""
    for position, size in enumerate(sorted(sizes)):
        share = room // (len(sizes) - position)
        if size > share:
            return share
        room -= size
    return max(sizes, default=0)


@dataclass(frozen=True)
class Markup:
    """The markup of a service, and how it counts characters.

    :param special: matches single characters that need escaping; it may look behind, not ahead.
    :param write: returns the escaped character.
    :param cost: returns the length of a character, given plain and escaped; at least 1.
    """

    special: re.Pattern[str]
    write: Callable[[str], str]
    cost: Callable[[str, str], int]

    def escape(self, text: str) -> str:
        return self.special.sub(lambda found: self.write(found[0]), text)

    def size(self, text: str, most: int) -> int:
        """Return the counted length of a text, up to `most` + 1."""
        return min(sum(self._costs(text[: most + 1])), most + 1)

    def cut(self, text: str, most: int) -> str:
        """Escape a text and shorten it to at most `most` units, with a note about the rest.

        Neither an escaped character nor a grapheme (letter and accents, joined emoji) is split.
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
            # It never has more digits than reserved.
            note = f"… ({len(text) - end:,} more characters)"
        return self.escape(text[:end].rstrip()) + self.escape(note)

    def _costs(self, text: str) -> list[int]:
        written = {found.start(): self.write(found[0]) for found in self.special.finditer(text)}
        return [
            self.cost(character, written.get(position, character))
            for position, character in enumerate(text)
        ]


def _boundary(text: str, end: int) -> int:
    """Return `end`, or a position shortly before it that does not split a grapheme."""
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
