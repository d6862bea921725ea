"""Mask known secrets in foreign text, such as responses of receivers and error messages.

A receiver may repeat secrets of a request in the body or headers of its response, possibly encoded. Attempts are
shown to people who may not see the secrets of an endpoint.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from urllib.parse import quote, quote_plus, unquote

from .signing import PRIVATE_KEY_PREFIX, SECRET_PREFIX

MASK = "••••"
#: Minimum lengths of a value for masking as a separate word, and anywhere.
MIN_WORD = 4
MIN_ANYWHERE = 8
#: Minimum length of a part of a header's value or of a URL that counts as a separate secret.
MIN_PIECE = 12
#: Headers without secret values, which receivers may repeat.
_PUBLIC_HEADERS = frozenset({"accept", "accept-language", "cache-control", "pragma"})


class Redactor:
    """Masks the secrets of one endpoint, plain and in common encodings."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= MIN_WORD}
        # Longest first, because a secret may be a part of another.
        self._forms = sorted((form.lower() for form in forms), key=lambda form: (-len(form), form))

    def __repr__(self) -> str:
        return "<Redactor>"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Lazy: few receivers repeat a secret, and this is expensive.
        return re.compile("|".join(map(_pattern, self._forms)), re.IGNORECASE)

    def found_in(self, text: str) -> bool:
        """Return whether a text may contain a secret; a fast check, which nearly always returns False."""
        lowered = text.lower()
        return any(form in lowered for form in self._forms)

    def text(self, text: str, *, cut: bool = False) -> str:
        """Mask each secret in a text.

        :param cut: the text was cut, so a secret may begin at its end.
        """
        if self.found_in(text):
            text = self._pattern.sub(MASK, text)
        return self._without_beginning(text) if cut else text

    def body(self, body: bytes) -> bytes:
        """Mask each secret in a body of any bytes."""
        text = body.decode(errors="surrogateescape")
        return self.text(text).encode(errors="surrogateescape") if self.found_in(text) else body

    def pairs(self, pairs: list[list[str]]) -> list[list[str]]:
        """Mask each secret in the values of headers."""
        if not self.found_in("\n".join(value for _, value in pairs)):
            return pairs
        return [[name, self.text(value)] for name, value in pairs]

    def _without_beginning(self, text: str) -> str:
        lowered = text.lower()
        longest = 0
        for form in self._forms:
            for length in range(min(len(form) - 1, len(text)), max(longest, MIN_WORD - 1), -1):
                if lowered.endswith(form[:length]):
                    longest = length
                    break
        return text[:-longest] + MASK if longest else text


def secrets_of(
    secrets: Iterable[str], headers: Mapping[str, str], url: str, url_shown: str
) -> Iterator[str]:
    """Return the secret values of an endpoint.

    :param secrets: its signing secrets.
    :param headers: its custom headers.
    :param url_shown: the masked URL.
    """
    for secret in secrets:
        yield secret
        for prefix in (SECRET_PREFIX, PRIVATE_KEY_PREFIX):
            if secret.startswith(prefix):
                yield secret.removeprefix(prefix)
    for name, value in headers.items():
        if name.lower() not in _PUBLIC_HEADERS:
            yield value
            yield from _credentials(value)
    if url != url_shown:
        yield url
        # The token of Telegram is a part of a path segment.
        for separators in ("[/?&=#]", "[/?&=#:]"):
            for piece in _pieces(url, separators):
                if piece not in url_shown:
                    yield piece
                    yield unquote(piece)


def _credentials(value: str) -> Iterator[str]:
    """Yield the token of ``Bearer …``, user and password of ``Basic …``, and the values of ``key="…"``."""
    yield from _pieces(value, r'[\s,;="]')
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest, validate=True).decode()
        except ValueError:
            return
        yield pair
        yield pair.partition(":")[2]


def _pieces(text: str, separators: str) -> Iterator[str]:
    for piece in re.split(separators, text):
        if len(piece) >= MIN_PIECE:
            yield piece


def _forms(secret: str) -> Iterator[str]:
    """Return a secret in plain, URL, JSON, HTML and base 64 form."""
    yield secret
    for safe in ("", "/"):
        yield quote(secret, safe=safe)
        yield quote_plus(secret, safe=safe)
    yield html.escape(secret)
    for ascii_only in (True, False):
        written = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield written
        yield written.replace("/", "\\/")
        for character in "<>&'":
            written = written.replace(character, f"\\u{ord(character):04x}")
        yield written
    if len(secret) >= MIN_ANYWHERE:
        yield from _base64_forms(secret.encode(errors="replace"))


def _base64_forms(secret: bytes) -> Iterator[str]:
    """Return the base 64 characters of a secret at each possible offset."""
    for before in range(3):
        end = (before + len(secret)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + secret).decode()[-(-before * 8 // 6) : end]


def _pattern(form: str) -> str:
    pattern = re.escape(form)
    # A short value is often an ordinary word, and is not masked within others.
    return pattern if len(form) >= MIN_ANYWHERE else rf"(?<![^\W_]){pattern}(?![^\W_])"
