"""What goes wrong with a request, as sentences of ours: what stands in `Attempt.error`.

It is stored in English, in which programs and logs read it. `recognised` finds the sentence again, with what
stands in it, so that pages can tell it in another language. What a receiver or the system says within it stays
as it was said.
"""

from __future__ import annotations

import re
from typing import Final

from .texts import Text, word

BLOCKED: Final = Text("The address is not allowed: %(reason)s.")
UNRESOLVED: Final = Text("The name %(host)s could not be resolved: %(why)s.")
UNRESOLVED_IN_TIME: Final = Text("The name %(host)s could not be resolved within %(seconds)s s.")
NO_CONNECTION_IN_TIME: Final = Text("No connection to %(address)s within %(seconds)s s.")
NO_CONNECTION_TO: Final = Text("No connection to %(address)s: %(why)s.")
NO_CONNECTION: Final = Text("No connection: %(why)s.")
CERTIFICATE: Final = Text("The certificate was not accepted: %(why)s.")
TLS: Final = Text("TLS failed: %(why)s.")
NO_ANSWER_IN_TIME: Final = Text("Connected, but there was no answer within %(seconds)s s.")
INCOMPLETE_IN_TIME: Final = Text("The answer's body was not complete within %(seconds)s s.")
NO_HTTP: Final = Text("The answer could not be read as HTTP: %(why)s.")
BROKEN_BODY: Final = Text("The connection broke in the middle of the answer's body.")
CLOSED: Final = Text("The connection was closed without an answer.")
BROKEN: Final = Text("The connection broke: %(why)s.")
IMPOSSIBLE: Final = Text("The request could not be made: check URL and headers.")
UNEXPECTED: Final = Text("Unexpected error.")
REDIRECTED: Final = Text("The receiver answered %(status)s; redirects are not followed.")
REFUSED: Final = Text("The receiver answered %(status)s.")
REFUSED_WITH: Final = Text("The receiver answered %(status)s: %(said)s")
NOT_TAKEN: Final = Text("The receiver answered %(status)s, but not that it has the event.")
NOT_TAKEN_WITH: Final = Text(
    "The receiver answered %(status)s, but not that it has the event: %(said)s"
)
STOPPED: Final = Text(
    "The worker was stopped while it waited for an answer. The request may have arrived."
)
LOST: Final = Text(
    "The worker stopped before it could record an answer. The request may have arrived."
)
#: Follows another sentence where there is one.
WITHOUT_BODIES: Final = Text(
    "The database could not hold the bodies of this attempt, so it is recorded without them."
)

#: All of them. Where two could be meant, the narrower one comes first.
SENTENCES: Final = (
    BLOCKED,
    UNRESOLVED,
    UNRESOLVED_IN_TIME,
    NO_CONNECTION_IN_TIME,
    NO_CONNECTION_TO,
    NO_CONNECTION,
    CERTIFICATE,
    TLS,
    NO_ANSWER_IN_TIME,
    INCOMPLETE_IN_TIME,
    NO_HTTP,
    BROKEN_BODY,
    CLOSED,
    BROKEN,
    IMPOSSIBLE,
    UNEXPECTED,
    REDIRECTED,
    REFUSED,
    REFUSED_WITH,
    NOT_TAKEN,
    NOT_TAKEN_WITH,
    STOPPED,
    LOST,
    WITHOUT_BODIES,
)

#: Values that are one word; the others may be anything.
_ONE_WORD: Final = frozenset({"host", "seconds", "address", "status"})


def told(sentence: Text, **values: object) -> Text:
    """One of the sentences, with its values in it."""
    return Text(sentence.template, **values)


def recognised(error: str) -> Text | None:
    """The sentence that was stored, and what stands in it; ``None`` where it is none of ours.

    It may be one of another version, or one that was too long and cut.
    """
    for sentence, pattern in _PATTERNS:
        found = pattern.fullmatch(error)
        if found is not None:
            values: dict[str, object] = found.groupdict()
            if "reason" in values:
                # A kind of address, which is a word of ours.
                values["reason"] = word(found["reason"])
            return told(sentence, **values)
    return None


def _pattern(sentence: Text) -> re.Pattern[str]:
    # Text and names of values, in turn.
    pieces = re.split(r"%\((\w+)\)s", sentence.template)
    found = re.escape(pieces[0])
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        anything = r"[^\s,;]+" if name in _ONE_WORD else ".+"
        found += f"(?P<{name}>{anything}){re.escape(text)}"
    return re.compile(found, re.DOTALL)


_PATTERNS: Final = [(sentence, _pattern(sentence)) for sentence in SENTENCES]
