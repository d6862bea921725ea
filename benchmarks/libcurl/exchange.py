"""A request and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, as it goes out."""

    url: str
    #: ``Name: value``, with ``Host`` and ``Content-Length`` among them.
    headers: Sequence[tuple[str, str]]
    body: bytes = field(repr=False)
    #: Seconds for everything from the start to the last byte of the answer.
    timeout: float
    #: The addresses that the host's name has, in the order in which they are to be tried; empty where
    #: the URL has an address itself.
    addresses: Sequence[str] = ()


@dataclass(slots=True)
class Exchange:
    """One request and what came back."""

    request: Request
    #: The status of the answer, once its head began.
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = field(default=b"", repr=False)
    #: The body was longer than is kept.
    cut: bool = False
    #: libcurl's number for what went wrong (``pycurl.E_…``), 0 for nothing, and its words for it.
    error: int = 0
    error_text: str = ""
    #: ``ip:port`` at the other end, ``[ip]:port`` for IPv6, or of the last address that was tried.
    address: str | None = None
    #: Why the policy refused, where it refused every address, and the first of those.
    refused: str | None = None
    refused_address: str | None = None
    connected: bool = False
    #: Why this machine could not open a socket.
    own_error: OSError | None = None
    #: What the receiver sent too much of: ``head`` or ``interim``.
    too_much: str | None = None
    #: The connection was one of an earlier request.
    reused: bool = False
    duration_ms: float = 0.0
    #: Milliseconds for ``connect``, ``tls``, ``wait`` and ``read``.
    timings: dict[str, float] = field(default_factory=dict)
