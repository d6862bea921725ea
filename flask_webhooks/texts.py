"""Translatable messages: English texts with their templates and values."""

from __future__ import annotations

import reprlib
from typing import Final

#: Maximum numbers of members and characters of a quoted value.
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


class Text(str):
    """An English text that remembers its template, by which a translation is found, and its values.

    The first argument is written as a literal, so that it is found for translation:
    ``Text("Shorten it to %(most)s characters.", most=200)``. A text without values may contain a bare ``%``.

    :ivar template: the text with placeholders.
    :ivar values: the values by name; nested `Text` values are translated, too.
    """

    template: str
    values: dict[str, object]

    def __new__(cls, template: str, /, **values: object) -> Text:
        text = super().__new__(cls, template % values if values else template)
        text.template = template
        text.values = values
        return text


class OperatorText(Text):
    """A part of a message for operators, such as names of settings.

    The log, commands and the host's code show it. Pages and the API omit it for customers, so the rest of the text
    has to be complete: ``" Or raise WEBHOOKS_MAX_ENDPOINTS."``.
    """


def for_customer(text: Text) -> Text:
    """Return a text without its parts for operators."""
    values: dict[str, object] = {}
    for name, value in text.values.items():
        match value:
            case OperatorText():
                values[name] = ""
            case Text():
                values[name] = for_customer(value)
            case _:
                values[name] = value
    return Text(text.template, **values)


def word(value: str) -> Text:
    """Return a translatable value of one of our enumerations for a message, ``paused``."""
    return Text(str(value))


def quoted(value: object) -> str:
    """Return the `repr` of a given value for a message, shortened if it is long or deep."""
    return _SHORT.repr(value)
