"""The operator's proxy for requests."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

#: A name or an IPv4 address.
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """An HTTP proxy that opens connections with ``CONNECT``."""

    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> EgressProxy:
        """Parse ``http://user:password@proxy:3128``.

        :raises ValueError: it is invalid; the message does not contain the URL, which may contain a password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("its host or port cannot be read") from None
        if parts.scheme != "http":
            raise ValueError("only HTTP proxies are supported, so it must begin with http://")
        if not _is_host(host):
            raise ValueError("the host is missing or invalid")
        if not port:
            raise ValueError("the port is missing")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("nothing may follow the port")
        username = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        told = (username or "") + (password or "")
        if not told.isprintable() or ":" in (username or ""):
            raise ValueError(
                "the user name holds a colon, or it or the password a control character"
            )
        return cls(host, port, username, password)

    @property
    def location(self) -> str:
        """``proxy:3128``, for display."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST.fullmatch(host) is not None
    try:
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False
