"""A request and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, as it goes out."""

    url: str = field(repr=False)
    #: ``Name: value``, with ``Host`` and ``Content-Length`` among them.
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    #: Seconds for everything: the lookup of the name, the connection, the request and the answer.
    timeout: float
    #: The name to look up; ``None`` where the URL holds an address.
    name: str | None = None
    #: Statuses that are believed only on a new connection to where the name leads now.
    confirm: frozenset[int] = frozenset()
    #: ``certificate`` and ``key`` in PEM, by which the receiver knows us.
    client_certificate: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(slots=True)
class Exchange:
    """One request and what came back."""

    request: Request
    #: When it began and until when it may take, by `time.monotonic`.
    began: float = 0.0
    deadline: float = float("inf")
    #: The status of the answer, once its head began.
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list, repr=False)
    body: bytes = field(default=b"", repr=False)
    #: The body was longer than is kept.
    cut: bool = False
    #: libcurl's number for what went wrong (``pycurl.E_…``), 0 for nothing, and its words for it.
    error: int = 0
    error_text: str = ""
    #: The system's number for what went wrong with the connection, 0 for nothing.
    errno: int = 0
    #: The deadline passed.
    timed_out: bool = False
    #: The lookup of the name failed.
    lookup_error: OSError | None = None
    #: After a failed lookup, or one that took too long: the lookup was not made for want of threads.
    no_lookup_thread: bool = False
    #: After a failed lookup, or one that took too long: no name at all can be resolved.
    no_names: bool = False
    #: OpenSSL's number for what is wrong with the certificate, 0 for nothing.
    verify_result: int = 0
    #: ``ip:port`` at the other end, ``[ip]:port`` for IPv6, or of the last address that was tried.
    address: str | None = None
    #: The first address that had not answered yet when the next one was tried.
    hanging_address: str | None = None
    #: Why the policy refused, where it refused every address, and the first of those.
    refused: str | None = None
    refused_address: str | None = None
    #: The connection, with its TLS, stood.
    connected: bool = False
    #: Why our proxy opened no connection, where that is our trouble or its own.
    proxy_trouble: str | None = None
    #: The proxy's status where it could not reach the receiver.
    proxy_status: int | None = None
    #: Why this machine could not open a socket.
    own_error: OSError | None = None
    #: What the receiver sent too much of: ``head``, ``interim``, or ``framing`` of the body.
    too_much: str | None = None
    #: Where something went wrong, the name of the last header that came; after too long a head, of the one in which
    #: it became so.
    last_header: str | None = None
    #: The connection was one of an earlier request.
    reused: bool = False
    #: The name was looked up for this request, and not some seconds before.
    looked_up: bool = False
    duration_ms: float = 0.0
    #: Milliseconds for ``dns``, ``connect``, ``tls``, ``wait`` and ``read``.
    timings: dict[str, float] = field(default_factory=dict)
