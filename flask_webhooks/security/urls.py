"""Validation of URLs of endpoints, with helpful messages.

It does not resolve names, so it is a convenience and not the protection, which is in `delivery.http.transfer`, at
the socket.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv6Address
from urllib.parse import quote, unquote

from yarl import URL

from ..errors import BlockedAddress, InvalidURL
from ..texts import OperatorText, Text, word
from .addresses import LOOPBACK, Address, NetworkPolicy, literal_address

#: Names that public DNS does not have: RFC 6762, ICANN resolution 2024.07.29.06, RFC 8375.
_PRIVATE_NAMES = (".local", ".internal", ".home.arpa")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!\d+(?:[/?#]|$))(//)?")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?P<port>:.*)?")
#: An ampersand in a query as HTML has it, by name or by number.
_HTML_AMPERSAND = re.compile(r"\?.*&(?:amp|#38|#x26);", re.IGNORECASE)
#: Characters that RFC 3986 does not allow in a path or a query, except brackets, which many queries contain.
_NOT_IN_URL = re.compile(r'%(?![0-9A-Fa-f]{2})|[^!-~]|["<>^`{|}]')


def check_url(
    url: str, *, policy: NetworkPolicy, require_https: bool, max_length: int = 2048
) -> str:
    """Check the URL of an endpoint, and return its normal form.

    Scheme and host become lower case, the host ASCII, an address its usual form; the default port and a final dot
    of the host are removed, an empty path becomes ``/``. Path and query are kept, except that invalid characters
    are percent-encoded. The result means the same to ``yarl.URL(url)`` and ``yarl.URL(url, encoded=True)``; only
    the latter leaves the path alone.

    :raises InvalidURL: the message says what to write instead.
    :raises BlockedAddress: the host is an address or a name that `policy` refuses.
    """
    if not isinstance(url, str):
        raise InvalidURL("The URL must be text.")
    url = url.strip()
    if not url:
        raise InvalidURL("Write the URL that receives the webhooks, like https://example.com/hook.")
    _check_length(url, max_length)
    _check_characters(url)
    scheme, rest = _split_scheme(url, require_https)
    end = re.search(r"[/?#]", rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    host, port = _split_authority(authority)
    if _HTML_AMPERSAND.search(tail):
        raise InvalidURL("Write & instead of &amp; in the URL: it was copied from HTML.")
    if "#" in tail:
        raise InvalidURL(
            "Leave out the # and what follows: it is never sent. "
            "Write %23 if it belongs to the path or the query."
        )
    host = _check_host(host, policy)
    usual_port = {"http": 80, "https": 443}[scheme]
    _check_port(port or usual_port, policy)
    colon_port = f":{port}" if port and port != usual_port else ""
    slash = "" if tail.startswith("/") else "/"
    tail = _NOT_IN_URL.sub(lambda found: quote(found[0], safe=""), tail)
    normal = f"{scheme}://{host}{colon_port}{slash}{tail}"
    _check_length(normal, max_length)
    _check_same_to_others(normal, scheme, host, port or usual_port)
    return normal


def _check_length(url: str, max_length: int) -> None:
    if len(url) > max_length:
        raise InvalidURL(
            "The URL is too long: at most %(most)s characters are kept.", most=max_length
        )


def _check_characters(url: str) -> None:
    for character in url:
        if character == "\\":
            raise InvalidURL("Write / instead of \\ in the URL.")
        category = unicodedata.category(character)
        if category[0] == "Z" or character in "\t\n\v\f\r":
            raise InvalidURL("Remove the space from the URL, or write %20 for it.")
        if category in ("Cc", "Cf", "Cs"):
            raise InvalidURL(
                "Remove the invisible character U+%(code)s from the URL.",
                code=f"{ord(character):04X}",
            )


def _split_scheme(url: str, require_https: bool) -> tuple[str, str]:
    wanted = "https://" if require_https else "https:// or http://"
    found = _SCHEME.match(url)
    if found is None:
        raise InvalidURL(
            "Begin the URL with %(wanted)s, like https://example.com/hook.", wanted=wanted
        )
    scheme = found[1].lower()
    if scheme not in ("http", "https"):
        raise InvalidURL(
            "Begin the URL with %(wanted)s, not with %(scheme)s:.", wanted=wanted, scheme=scheme
        )
    if not found[2]:
        raise InvalidURL("Write %(scheme)s:// with two slashes.", scheme=scheme)
    if scheme == "http" and require_https:
        raise InvalidURL("Begin the URL with https://. Webhooks are not sent unencrypted.")
    return scheme, url[found.end() :]


def _split_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise InvalidURL(
            "Leave user name and password out of the URL. "
            "Add a header instead, like Authorization: Basic ..."
        )
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or (not parts["host"] and parts["port"]):
        raise InvalidURL(
            "Write host and port like example.com:8443; put an IPv6 address in brackets."
        )
    if not parts["host"]:
        raise InvalidURL("Write the host after the two slashes, like https://example.com/hook.")
    if parts["port"] is None:
        return parts["host"], None
    port = parts["port"][1:]
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise InvalidURL("Write a port from 1 to 65535 after the colon, or leave out the colon.")
    return parts["host"], int(port)


def _check_host(typed: str, policy: NetworkPolicy) -> str:
    host = unquote(typed)
    try:
        # yarl maps international names (and full-width digits) to what is sent.
        ascii_host = host if host.startswith("[") else URL.build(scheme="https", host=host).raw_host
        address = literal_address(ascii_host or "")
    except ValueError:
        raise InvalidURL("The host is neither a name nor an address. Check its spelling.") from None
    if address is not None:
        return _check_address(address, policy)
    if host != typed:
        raise InvalidURL("Write the host name itself, without % signs.")
    name = (ascii_host or "").removesuffix(".").lower()
    if len(name) > 253 or not _HOST_NAME.fullmatch(name):
        raise InvalidURL(
            "Write the host as letters, digits, hyphens and dots, like hooks.example.com."
        )
    _check_name(name, policy)
    return name


def _check_port(port: int, policy: NetworkPolicy) -> None:
    reason = policy.port_refusal(port)
    if reason is not None:
        raise BlockedAddress(
            "Webhooks cannot be sent to port %(port)s (%(why)s). Use port 443 or one from 1024 upwards, or have the "
            "operator allow it.%(hint)s",
            hint=OperatorText(" Add it to WEBHOOKS_ALLOWED_PORTS for that."),
            port=port,
            why=word(reason),
            reason=reason,
        )


def _check_address(address: Address, policy: NetworkPolicy) -> str:
    if isinstance(address, IPv6Address):
        address = (address.scope_id is None and address.ipv4_mapped) or address
    reason = policy.refusal(address)
    if reason is not None:
        raise _blocked(str(address), reason, address=str(address))
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise InvalidURL("Leave the zone (%...) out of the IPv6 address.")
        return f"[{address.compressed}]"
    return str(address)


def _check_name(name: str, policy: NetworkPolicy) -> None:
    allowed = policy.allowed_networks
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3: always loopback
        if not any(
            isinstance(network, type(own)) and network.overlaps(own)
            for network in allowed
            for own in LOOPBACK
        ):
            raise _blocked(name, Text("the server itself"))
    elif not allowed and name.endswith(_PRIVATE_NAMES):
        raise _blocked(name, Text("name inside a private network"))
    elif not allowed and "." not in name:
        raise InvalidURL("Write the full name of the host, like %(name)s.example.com.", name=name)


def _blocked(host: str, reason: str, address: str = "") -> BlockedAddress:
    return BlockedAddress(
        "Webhooks cannot be sent to %(host)s (%(why)s). Use a host on the public internet, or "
        "have the operator allow its network.%(hint)s",
        hint=OperatorText(" Add it to WEBHOOKS_ALLOWED_NETWORKS for that."),
        host=host,
        why=word(reason),
        address=address,
        reason=reason,
    )


def _check_same_to_others(url: str, scheme: str, host: str, port: int) -> None:
    """Check that another parser reads the same values from the URL, because parsers differ."""
    try:
        seen = [URL(url), URL(url, encoded=True)]
        parts = {(each.scheme, each.user, each.host_subcomponent, each.port) for each in seen}
        readable = all(each.host for each in seen)  # fails for some malformed xn-- labels
    except ValueError:
        parts, readable = set(), False
    if parts != {(scheme, None, host, port)} or not readable:
        raise InvalidURL("The host is ambiguous. Check its spelling.")
