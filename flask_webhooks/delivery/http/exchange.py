"""A request and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """A POST request."""

    url: str = field(repr=False)
    #: ``Name: value``, including ``Host`` and ``Content-Length``.
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    #: Timeout of everything in seconds: the lookup, the connection, the request and the response.
    timeout: float
    #: The name to resolve; ``None`` if the URL contains an address.
    name: str | None = None
    #: Statuses that are only accepted on a new connection to the current address of the name.
    confirm: frozenset[int] = frozenset()
    #: ``certificate`` and ``key`` of the client in PEM.
    client_certificate: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(slots=True)
class Exchange:
    """One request and its response."""

    request: Request
    #: When it began, and its deadline, by `time.monotonic`.
    began: float = 0.0
    deadline: float = float("inf")
    #: The status of the response, once its headers have begun.
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list, repr=False)
    body: bytes = field(default=b"", repr=False)
    #: The body was longer than is kept.
    cut: bool = False
    #: The error number of libcurl (``pycurl.E_…``), 0 for none, and its message.
    error: int = 0
    error_text: str = ""
    #: The system's error number of the connection, 0 for none.
    errno: int = 0
    #: The deadline passed.
    timed_out: bool = False
    #: The lookup of the name failed.
    lookup_error: OSError | None = None
    #: After a failed or slow lookup: it was not made because of a lack of threads.
    no_lookup_thread: bool = False
    #: After a failed or slow lookup: no name at all can be resolved.
    no_names: bool = False
    #: OpenSSL's error number of the certificate, 0 for none.
    verify_result: int = 0
    #: ``ip:port`` of the remote end, ``[ip]:port`` for IPv6, or of the last address that was tried.
    address: str | None = None
    #: The first address that had not responded yet when the next one was tried.
    hanging_address: str | None = None
    #: The reason of the policy, if it refused all addresses, and the first of these.
    refused: str | None = None
    refused_address: str | None = None
    #: The connection, including TLS, was established.
    connected: bool = False
    #: Why the proxy opened no connection, if the cause is here or in the proxy.
    proxy_trouble: str | None = None
    #: The status of the proxy if it could not reach the receiver.
    proxy_status: int | None = None
    #: Why this machine could not open a socket.
    own_error: OSError | None = None
    #: The part of the response that was too long: ``head``, ``interim``, or ``framing`` of the body.
    too_much: str | None = None
    #: After an error, the name of the last received header; if the headers are too long, of the one that exceeded
    #: the limit.
    last_header: str | None = None
    #: The connection was reused.
    reused: bool = False
    #: The name was resolved for this request, and not taken from the cache.
    looked_up: bool = False
    duration_ms: float = 0.0
    #: Milliseconds for ``dns``, ``connect``, ``tls``, ``wait`` and ``read``.
    timings: dict[str, float] = field(default_factory=dict)
