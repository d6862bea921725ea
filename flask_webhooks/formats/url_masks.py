"""Masking of the parts of a URL that may be secret."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from .chat.members import MASK

#: Minimum length of a random-looking part that may be secret.
LONG = 16
#: Parameters of a query whose value is always secret.
_SECRET_NAMES = frozenset(
    {
        *("access_token", "api_key", "apikey", "auth", "code", "key", "password"),
        *("pwd", "secret", "sig", "signature", "token"),
    }
)
#: A word or several in camel case, an abbreviation or a number; each may end with the number of a version.
_WORD = re.compile(
    r"(?:[A-Z]?[a-z]{0,14}(?:[A-Z][a-z]{2,14})*|[A-Z]{1,12})\d{0,4}|\d{1,19}", re.ASCII
)


def looks_secret(part: str) -> bool:
    """Return whether a part of a URL is long and looks random, like tokens and UUIDs."""
    plain = re.sub(r"[^\x00-\x7f]", "a", unquote(part))
    if len(plain) < LONG:
        return False
    return not all(_WORD.fullmatch(piece) for piece in re.split(r"[^A-Za-z0-9]+", plain))


def mask_secrets(url: str) -> str:
    """Mask long random segments and values of a URL, and values of parameters that are named like secrets."""
    parts = urlsplit(url)
    path = "/".join(MASK if looks_secret(segment) else segment for segment in parts.path.split("/"))
    query = "&".join(_masked(pair) for pair in parts.query.split("&"))
    return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{query}" if query else "")


def _masked(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if looks_secret(name):
        return MASK
    secret = looks_secret(value) or (value and unquote(name).lower() in _SECRET_NAMES)
    return f"{name}={MASK}" if equals and secret else pair
