"""Errors of requests: a stored code with parameters, and a sentence for people.

`Attempt.error_code` and `Attempt.error_params` hold an `AttemptError`. Sentences are created when an error is
shown: in English for programs and logs, in the user's language on pages. Quotes of a receiver or the system are
not translated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from .texts import Text, word

#: Characters of an error's English sentence.
MAX_LENGTH = 500

#: The sentence of each code.
SENTENCES: Final[dict[str, Text]] = {}

#: The stored parameter with the code of a second sentence.
_NOTE = "note"
#: Parameters whose values are translated separately.
_WORDS = frozenset({"reason"})
#: Not translated, because it has no words.
_TWO_SENTENCES = "%(error)s %(note)s"


@dataclass(frozen=True, slots=True)
class AttemptError:
    """The error of one request.

    :ivar code: a key of `SENTENCES`, or one of another version.
    :ivar params: the values in the sentence.
    :ivar note: the code of a second sentence.
    """

    code: str
    params: Mapping[str, str] = field(default_factory=dict, hash=False)
    note: str | None = None

    def __str__(self) -> str:
        return str(self.text)

    @property
    def text(self) -> Text:
        """The sentence in English, which pages translate."""
        first = _text(self.code, self.params)
        if self.note is None:
            return first
        return Text(_TWO_SENTENCES, error=first, note=_text(self.note, {}))

    def changed(self, change: Callable[[str], str]) -> AttemptError:
        """Change each parameter, and shorten the longest until the sentence fits.

        Secrets are masked before the cut, so that no part of one remains.
        """
        if not self.params:
            return self
        found = replace(self, params={name: change(text) for name, text in self.params.items()})
        return found._fitting()

    def with_note(self, note: AttemptError) -> AttemptError:
        """Add a second sentence, one without parameters."""
        return replace(self, note=note.code)._fitting()

    def _fitting(self) -> AttemptError:
        params = dict(self.params)
        while any(params.values()):
            excess = len(replace(self, params=params).text) - MAX_LENGTH
            if excess <= 0:
                break
            longest = max(params, key=lambda name: len(params[name]))
            length = len(params[longest])
            # Not completely, if another is nearly as long.
            params[longest] = params[longest][: max(length - excess, length // 2)]
        return replace(self, params=params)

    def stored_params(self) -> dict[str, str] | None:
        """Return the value of `Attempt.error_params`."""
        note = {} if self.note is None else {_NOTE: self.note}
        return {**self.params, **note} or None


def told(error: AttemptError, **params: object) -> AttemptError:
    """Return an error of this module with its parameters."""
    return AttemptError(error.code, {name: str(value) for name, value in params.items()})


def stored_error(
    code: str | None, params: Mapping[str, str] | None, sentence: str | None
) -> str | None:
    """Return the English error of an attempt's columns: a `Text` if it can be translated.

    :param sentence: the sentence that a version without codes stored.
    """
    if code is None:
        return sentence
    values = dict(params or {})
    note = values.pop(_NOTE, None)
    return AttemptError(code, values, note).text


def _text(code: str, params: Mapping[str, str]) -> Text:
    values = {name: word(text) if name in _WORDS else text for name, text in params.items()}
    try:
        return Text(SENTENCES[code].template, **values)
    except KeyError:
        # Written by a worker of another version.
        plain = ": ".join([code, *params.values()])
        return Text(plain)


def _error(code: str, sentence: Text) -> AttemptError:
    SENTENCES[code] = sentence
    return AttemptError(code)


BLOCKED: Final = _error("address_blocked", Text("The address is not allowed: %(reason)s."))
UNRESOLVED: Final = _error(
    "name_unresolved", Text("The name %(host)s could not be resolved: %(why)s.")
)
UNRESOLVED_IN_TIME: Final = _error(
    "name_timeout", Text("The name %(host)s could not be resolved within %(seconds)s s.")
)
NO_CONNECTION_IN_TIME: Final = _error(
    "connect_timeout", Text("No connection to %(address)s within %(seconds)s s.")
)
NO_CONNECTION_TO: Final = _error(
    "address_unreachable", Text("No connection to %(address)s: %(why)s.")
)
NO_CONNECTION_BY_PROXY: Final = _error(
    "unreachable_by_proxy",
    Text("No connection to %(address)s: our proxy responded with %(status)s."),
)
NO_CONNECTION: Final = _error("unreachable", Text("No connection: %(why)s."))
CERTIFICATE: Final = _error(
    "certificate_rejected", Text("The certificate was not accepted: %(why)s.")
)
TLS: Final = _error("tls_failed", Text("TLS failed: %(why)s."))
NO_ANSWER_IN_TIME: Final = _error(
    "answer_timeout", Text("Connected, but there was no response within %(seconds)s s.")
)
INCOMPLETE_IN_TIME: Final = _error(
    "body_timeout", Text("The response body was not complete within %(seconds)s s.")
)
NO_HTTP: Final = _error("not_http", Text("The response could not be read as HTTP: %(why)s."))
HEAD_TOO_LONG: Final = _error(
    "head_too_long",
    Text("The response headers are too long: reading ended at the header %(header)s."),
)
HEAD_TOO_LONG_AFTER: Final = _error(
    "head_too_long_after",
    Text("The response headers are too long: reading ended after the header %(header)s."),
)
FIRST_HEADER_TOO_LONG: Final = _error(
    "first_header_too_long",
    Text("The response headers are too long: reading ended at its first header."),
)
BROKEN_BODY: Final = _error(
    "body_broken", Text("The connection broke in the middle of the response body.")
)
CLOSED: Final = _error("closed", Text("The connection was closed without a response."))
BROKEN: Final = _error("broken", Text("The connection broke: %(why)s."))
IMPOSSIBLE: Final = _error(
    "request_impossible", Text("The request could not be made: check URL and headers.")
)
UNEXPECTED: Final = _error("unexpected", Text("Unexpected error."))
REDIRECTED: Final = _error(
    "redirected", Text("The receiver responded with %(status)s; redirects are not followed.")
)
REFUSED: Final = _error("refused", Text("The receiver responded with %(status)s."))
REFUSED_WITH: Final = _error(
    "refused_explained", Text("The receiver responded with %(status)s: %(said)s")
)
NOT_TAKEN: Final = _error(
    "not_taken",
    Text("The receiver responded with %(status)s, but did not confirm that it has the event."),
)
NOT_TAKEN_WITH: Final = _error(
    "not_taken_explained",
    Text(
        "The receiver responded with %(status)s, but did not confirm that it has the event: %(said)s"
    ),
)
NOT_ECHOED: Final = _error(
    "not_echoed",
    Text("The receiver responded with %(status)s, but did not echo the challenge."),
)
STOPPED: Final = _error(
    "worker_stopped",
    Text("The worker was stopped while it waited for a response. The request may have arrived."),
)
LOST: Final = _error(
    "worker_lost",
    Text("The worker stopped before it could record a response. The request may have arrived."),
)
#: May follow another sentence.
WITHOUT_BODIES: Final = _error(
    "without_bodies",
    Text("The database could not hold the bodies of this attempt, so it is recorded without them."),
)
