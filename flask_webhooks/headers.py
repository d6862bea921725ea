"""The customers' own headers, sent with each webhook, and the product's name in ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import InvalidHeader

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


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Check all custom headers of an endpoint; names and values come back without outer spaces.

    :raises InvalidHeader: the message says what to write instead.
    """
    if not isinstance(headers, Mapping):
        raise InvalidHeader('Give the headers as names and values, like {"X-Team": "billing"}.')
    if len(headers) > MAX_HEADERS:
        raise InvalidHeader(f"Give at most {MAX_HEADERS} headers; these are {len(headers)}.")
    checked: dict[str, str] = {}
    seen: set[str] = set()
    for given_name, given_value in headers.items():
        name, value = check_header(given_name, given_value)
        if name.lower() in seen:
            raise InvalidHeader(f"The header {name} is there twice: case makes no difference.")
        seen.add(name.lower())
        checked[name] = value
    return checked


def check_header(name: str, value: str) -> tuple[str, str]:
    """Check one custom header; name and value come back without outer spaces.

    No message repeats a value: they often are secrets.

    :raises InvalidHeader: the message says what to write instead.
    """
    if not isinstance(name, str):
        raise InvalidHeader("The name of a header must be text.")
    if not isinstance(value, str):
        raise InvalidHeader("The value of a header must be text.")
    name, value = name.strip(" \t"), value.strip(" \t")
    _check_name(name)
    if not value:
        raise InvalidHeader(f"Give the header {name} a value, or leave it out.")
    if len(value) > MAX_VALUE_LENGTH:
        raise InvalidHeader(f"Shorten the value of {name} to {MAX_VALUE_LENGTH} characters.")
    if not _VISIBLE.fullmatch(value):
        raise InvalidHeader(
            f"Write the value of {name} in one line of ASCII letters, digits and signs."
        )
    return name, value


def _check_name(name: str) -> None:
    if not name:
        raise InvalidHeader("Give the header a name, like X-Team.")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidHeader(f"Shorten the name of the header to {MAX_NAME_LENGTH} characters.")
    if not _TOKEN.fullmatch(name):
        raise InvalidHeader(
            "Write the name of the header as letters, digits and hyphens, without a colon or "
            "spaces, like X-Team."
        )
    lower = name.lower()
    if lower == "user-agent":
        raise InvalidHeader("Write this into the user agent field, not into a header User-Agent.")
    if lower == "content-type":
        raise InvalidHeader("Leave out Content-Type: the endpoint's format decides it.")
    if lower in _OWNED_BY_HTTP or lower.startswith("proxy-"):
        raise InvalidHeader(f"Leave out {name}: the connection sets it. Choose a name like X-Team.")
    if lower.startswith(_OUR_PREFIXES):
        raise InvalidHeader(
            f"Leave out {name}: headers of this name carry the webhook's own id and signature. "
            "Choose a name like X-Team."
        )


def product_token(name: str) -> str:
    """``Acme-Licensing`` of ``Acme Licensing``: a product's name as an RFC 9110 token; may be empty."""
    return _NOT_IN_TOKEN.sub("-", name).strip("-")
