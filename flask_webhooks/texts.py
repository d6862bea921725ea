"""Messages that can be told in another language: English, with what they were made of."""

from __future__ import annotations

import reprlib
from typing import Final

#: Members and characters of a given value, as far as a message repeats it.
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


class Text(str):
    """An English text that remembers its template, by which a translation is found, and its values.

    The first argument is written as a literal, so that it is found for translation:
    ``Text("Shorten it to %(most)s characters.", most=200)``. A text without values may hold a bare ``%``.

    :ivar template: the text before its values were put in.
    :ivar values: what stands in it, by name; those that are `Text` themselves are translated, too.
    """

    template: str
    values: dict[str, object]

    def __new__(cls, template: str, /, **values: object) -> Text:
        text = super().__new__(cls, template % values if values else template)
        text.template = template
        text.values = values
        return text


class OperatorText(Text):
    """A part of a message for those who run the application: names of settings, and where they stand.

    It stands in the text itself, which the log, commands and the host's code show. Pages and the API leave it out
    for customers, so the text has to be whole without it: ``" Or raise WEBHOOKS_MAX_ENDPOINTS."``.
    """


def for_customer(text: Text) -> Text:
    """Return a text without what is for operators only."""
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
    """A value of one of our enumerations within a message, ``paused``; those are found for translation, too."""
    return Text(str(value))


def quoted(value: object) -> str:
    """A value as it was given, as Python writes it, for a message; what is long or deep is cut."""
    return _SHORT.repr(value)
