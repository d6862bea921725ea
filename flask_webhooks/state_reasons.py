"""Reasons why a worker disabled an endpoint: a stored code with parameters, and a sentence for people.

The sentence is stored as well, for versions without codes. They only change the sentence, so a code only counts if
it results in the stored sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .attempt_errors import AttemptError, stored_error
from .texts import Text

#: Characters of the stored sentence.
MAX_LENGTH = 500

FAILED_FOR_DAYS: Final = "failed_for_days"
GONE: Final = "gone"
REFUSED_FOR_GOOD: Final = "refused_for_good"

#: The parameter with the error code of the last request; the others belong to that error.
_ERROR = "error"
#: Not translated, because it has no words.
_TWO_SENTENCES = "%(reason)s %(error)s"


def refused_for_good(error: AttemptError) -> dict[str, str]:
    """Return the parameters of `REFUSED_FOR_GOOD`.

    :param error: the error of the last request.
    """
    return {**(error.stored_params() or {}), _ERROR: error.code}


def state_reason_text(code: str, params: Mapping[str, Any] | None) -> str:
    """Return the stored English sentence; a `Text` that pages translate."""
    values = dict(params or {})
    match code:
        case "failed_for_days":
            text = Text("It failed for more than %(days)s days.", days=values.get("days", ""))
        case "gone":
            text = Text("The receiver responded with 410 Gone.")
        case "refused_for_good":
            text = Text("The receiver refuses permanently.")
            error = stored_error(values.pop(_ERROR, None), values, None)
            if error is not None:
                text = Text(_TWO_SENTENCES, reason=text, error=error)
        case _:
            # A worker of another version wrote it.
            text = Text(code)
    return text


def stored_reason(code: str | None, params: Mapping[str, Any] | None, sentence: str) -> str:
    """Return why an endpoint is not active: a `Text` if the code is known, else the sentence.

    :param sentence: the stored sentence: a worker's in English, or a person's text.
    """
    if code is None:
        return sentence
    text = state_reason_text(code, params)
    return text if text[:MAX_LENGTH] == sentence else sentence
