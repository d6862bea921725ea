"""Custom headers of customers, and the product's name in the User-Agent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..errors import Faults, InvalidHeader

MAX_HEADERS = 20
MAX_NAME_LENGTH = 100
MAX_VALUE_LENGTH = 4096

#: RFC 9110, 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 9110, 5.5 without tabs and obs-text, which receivers read differently.
_VISIBLE = re.compile(r"[ -~]+")

#: The message's framing and the connection belong to the HTTP client (RFC 9110, RFC 9112).
_OWNED_BY_HTTP = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_IN_TOKEN = re.compile(r"[^0-9A-Za-z.!#$%&'*+^_`|~]+")
_OUR_PREFIXES = ("webhook-", "x-webhook-", "x-authforge-")


def check_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    """Check all custom headers of an endpoint; return stripped names and values.

    :raises InvalidHeader: one is invalid; `errors` has all errors.
    """
    pairs = list(headers.items() if isinstance(headers, Mapping) else _pairs(headers))
    if len(pairs) > MAX_HEADERS:
        raise InvalidHeader(
            "At most %(most)s headers are allowed; there are %(count)s.",
            most=MAX_HEADERS,
            count=len(pairs),
        )
    checked: dict[str, str] = {}
    seen: set[str] = set()
    faults = Faults()
    for given_name, given_value in pairs:
        with faults:
            name, value = check_header(given_name, given_value)
            if name.lower() in seen:
                raise InvalidHeader(
                    "The header %(name)s appears twice; header names are not case-sensitive.",
                    name=name,
                    header=given_name,
                )
            seen.add(name.lower())
            checked[name] = value
    faults.finish()
    return checked


def _pairs(headers: object) -> list[tuple[str, str]]:
    wanted = InvalidHeader('Give the headers as names and values, like {"X-Team": "billing"}.')
    if isinstance(headers, str) or not isinstance(headers, Iterable):
        raise wanted
    pairs = list(headers)
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise wanted
    return pairs


def check_header(name: str, value: str) -> tuple[str, str]:
    """Check one custom header; return stripped name and value.

    Messages never contain a value, which is often secret.

    :raises InvalidHeader: the message says what to write instead.
    """
    if not isinstance(name, str):
        raise InvalidHeader("The name of a header must be text.")
    given = name
    name = name.strip(" \t")
    _check_name(name, given)
    if not isinstance(value, str):
        raise InvalidHeader("The value of a header must be text.", header=given, part="value")
    value = value.strip(" \t")
    if not value:
        raise InvalidHeader(
            "Give the header %(name)s a value, or leave it out.",
            name=name,
            header=given,
            part="value",
        )
    if len(value) > MAX_VALUE_LENGTH:
        raise InvalidHeader(
            "Shorten the value of %(name)s to %(most)s characters.",
            name=name,
            most=MAX_VALUE_LENGTH,
            header=given,
            part="value",
        )
    if not _VISIBLE.fullmatch(value):
        raise InvalidHeader(
            "Write the value of %(name)s in one line of ASCII letters, digits and signs.",
            name=name,
            header=given,
            part="value",
        )
    return name, value


def _check_name(name: str, given: str) -> None:
    if not name:
        raise InvalidHeader("Give the header a name, like X-Team.", header=given)
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidHeader(
            "Shorten the name of the header to %(most)s characters.",
            most=MAX_NAME_LENGTH,
            header=given,
        )
    if not _TOKEN.fullmatch(name):
        raise InvalidHeader(
            "Write the name of the header as letters, digits and hyphens, without a colon or "
            "spaces, like X-Team.",
            header=given,
        )
    lower = name.lower()
    if lower == "user-agent":
        raise InvalidHeader(
            "Write this into the user agent field, not into a header User-Agent.", header=given
        )
    if lower == "content-type":
        raise InvalidHeader(
            "Leave out Content-Type: the endpoint's format decides it.", header=given
        )
    if lower in _OWNED_BY_HTTP or lower.startswith("proxy-"):
        raise InvalidHeader(
            "Leave out %(name)s: the connection sets it. Choose a name like X-Team.",
            name=name,
            header=given,
        )
    if lower.startswith(_OUR_PREFIXES):
        raise InvalidHeader(
            "Leave out %(name)s: headers of this name carry the webhook's own id and signature. "
            "Choose a name like X-Team.",
            name=name,
            header=given,
        )


def product_token(name: str) -> str:
    """Return a product's name as an RFC 9110 token, ``Acme-Licensing`` for ``Acme Licensing``; may be empty."""
    return _NOT_IN_TOKEN.sub("-", name).strip("-")
