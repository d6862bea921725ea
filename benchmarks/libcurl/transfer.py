"""One handle of libcurl: its options, what it asks us, and what it tells."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import pycurl

from flask_webhooks.addresses import NetworkPolicy

from .exchange import Exchange, Request

#: Bytes of all heads of an answer together: interim responses, the head itself, and trailers. libcurl takes 5,000
#: lines at most, and 100 KB in a line.
MAX_HEAD_BYTES: Final = 256 * 1024
#: Interim responses (RFC 9110, 15.2) before an answer.
MAX_INTERIM_RESPONSES: Final = 16
#: Seconds without a request after which a kept connection is not used again.
KEEP_IDLE: Final = 90
#: What libcurl adds to a request. With ``Expect`` it would wait for a 100 before it sends a long body.
_UNWANTED_HEADERS: Final = ("accept", "content-type", "expect", "user-agent")


class Transfer:
    """A handle of libcurl with the request that it makes now; used for one after another."""

    def __init__(
        self, policy: NetworkPolicy, max_body: int, certificates: Sequence[tuple[int, str]]
    ) -> None:
        self._policy = policy
        self._max_body = max_body
        self.handle = pycurl.Curl()
        #: Sockets that libcurl has duplicates of, which it uses and closes.
        self._sockets: list[socket.socket] = []
        self._prepare(certificates)

    def _prepare(self, certificates: Sequence[tuple[int, str]]) -> None:
        """The options that every request has."""
        option = self.handle.setopt
        option(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        option(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        option(pycurl.NOSIGNAL, 1)
        option(pycurl.FOLLOWLOCATION, 0)
        # Neither the variables of the environment nor ~/.netrc.
        option(pycurl.PROXY, "")
        option(pycurl.NOPROXY, "*")
        option(pycurl.NETRC, pycurl.NETRC_IGNORED)
        # The path as it was written, with its dots.
        option(pycurl.PATH_AS_IS, 1)
        option(pycurl.HTTP_CONTENT_DECODING, 0)
        option(pycurl.POST, 1)
        option(pycurl.BUFFERSIZE, 16 * 1024)
        option(pycurl.MAXAGE_CONN, KEEP_IDLE)
        option(pycurl.TCP_NODELAY, 1)
        option(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        option(pycurl.PREREQFUNCTION, self._connection_chosen)
        option(pycurl.HEADERFUNCTION, self._take_head_line)
        option(pycurl.WRITEFUNCTION, self._take_body)
        for name, value in certificates:
            option(name, value)

    def begin(self, request: Request) -> Exchange:
        self.exchange = Exchange(request)
        #: The kept connection that libcurl chose led to an address that the name no longer has.
        self.moved = False
        self._head_bytes = self._interim = 0
        #: Lines of the head that is read now.
        self._head: list[bytes] = []
        self._complete = False
        self._body = bytearray()
        option = self.handle.setopt
        option(pycurl.URL, request.url)
        option(pycurl.HTTPHEADER, _header_lines(request.headers))
        option(pycurl.POSTFIELDS, request.body)
        option(pycurl.TIMEOUT_MS, max(round(request.timeout * 1000), 1))
        option(pycurl.FRESH_CONNECT, 0)
        option(pycurl.RESOLVE, _resolved(request))
        return self.exchange

    def again(self, seconds: float) -> None:
        """Make the same request on a new connection, `seconds` after it began."""
        exchange, self.moved = self.exchange, False
        self.handle.setopt(pycurl.FRESH_CONNECT, 1)
        left = exchange.request.timeout - seconds
        self.handle.setopt(pycurl.TIMEOUT_MS, max(round(left * 1000), 1))

    def end(self, error: int, text: str) -> Exchange:
        self._close_sockets()
        exchange, info = self.exchange, self.handle.getinfo
        exchange.body = bytes(self._body)
        if not self._complete and self._head:
            # The head broke off; what is there of it may say enough.
            self._read_head()
        if exchange.cut and error == pycurl.E_WRITE_ERROR:
            error, text = 0, ""
        exchange.error, exchange.error_text = error, text
        exchange.reused = exchange.connected and info(pycurl.NUM_CONNECTS) == 0
        total = info(pycurl.TOTAL_TIME_T)
        exchange.duration_ms = total / 1000
        exchange.timings = _timings(
            info(pycurl.CONNECT_TIME_T),
            info(pycurl.APPCONNECT_TIME_T),
            info(pycurl.STARTTRANSFER_TIME_T),
            total,
        )
        return exchange

    def _close_sockets(self) -> None:
        for opened in self._sockets:
            opened.close()
        self._sockets.clear()

    # -- what libcurl asks and tells -----------------------------------------------------------------
    # An exception in here would be printed and lost.

    def _open_socket(self, purpose: int, address: Any) -> Any:
        host, port = address.addr[:2]
        exchange = self.exchange
        reason = self._policy.refusal(host) or self._policy.port_refusal(port)
        if reason is not None:
            if exchange.address is None and exchange.refused is None:
                exchange.refused, exchange.refused_address = reason, host
            return pycurl.SOCKET_BAD
        exchange.refused = exchange.refused_address = None
        exchange.address = _with_port(host, port)
        try:
            opened = socket.socket(address.family, address.socktype, address.protocol)
        except OSError as error:
            exchange.own_error = error
            return pycurl.SOCKET_BAD
        self._sockets.append(opened)
        return opened

    def _connection_chosen(self, host: str, own_host: str, port: int, own_port: int) -> int:
        self._close_sockets()
        known = self.exchange.request.addresses
        if known and host not in known:
            self.moved = True
            return int(pycurl.PREREQFUNC_ABORT)
        self.exchange.connected = True
        self.exchange.address = _with_port(host, port)
        return int(pycurl.PREREQFUNC_OK)

    def _take_head_line(self, line: bytes) -> int | None:
        self._head_bytes += len(line)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.exchange.too_much = "head"
            return -1
        if self._complete:
            return None  # a trailer
        self._head.append(line)
        if line.strip():
            return None
        self._read_head()
        status = self.exchange.status
        if status is not None and status < 200 and status != 101:
            self._interim += 1
            self._head.clear()
            if self._interim > MAX_INTERIM_RESPONSES:
                self.exchange.too_much = "interim"
                return -1
        else:
            self._complete = True
        return None

    def _take_body(self, chunk: bytes) -> int | None:
        room = self._max_body - len(self._body)
        self._body += chunk[:room]
        if len(chunk) > room:
            self.exchange.cut = True
            return -1
        return None

    def _read_head(self) -> None:
        exchange = self.exchange
        exchange.status = _status(self._head[0])
        exchange.headers = [pair for pair in map(_header, self._head[1:]) if pair is not None]


def _resolved(request: Request) -> list[str]:
    """The addresses of the URL's host for libcurl, which then looks up nothing itself.

    :raises ValueError: the host is a name without addresses.
    """
    parts = urlsplit(request.url)
    if not request.addresses:
        ipaddress.ip_address(parts.hostname or "")
        return []
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    addresses = ",".join(f"[{item}]" if ":" in item else item for item in request.addresses)
    return [f"+{parts.hostname}:{port}:{addresses}"]


def _header_lines(headers: Sequence[tuple[str, str]]) -> list[bytes]:
    """The headers for libcurl, and none of those that it adds by itself.

    :raises ValueError: one holds a line break.
    """
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers]
    given = {name.lower() for name, _ in headers}
    lines += [f"{name}:" for name in _UNWANTED_HEADERS if name not in given]
    text = "\n".join(lines)
    if text.count("\n") != len(lines) - 1 or "\r" in text or "\0" in text:
        raise ValueError("a header with a line break")
    return text.encode().split(b"\n")


def _status(line: bytes) -> int | None:
    """The status of ``HTTP/1.1 200 OK``."""
    words = line.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


def _header(line: bytes) -> tuple[str, str] | None:
    name, colon, value = line.decode(errors="replace").partition(":")
    return (name.strip(), value.strip()) if colon else None


def _timings(connect: int, tls: int, first_byte: int, total: int) -> dict[str, float]:
    """Milliseconds of each part, from libcurl's microseconds since the start."""
    timings: dict[str, float] = {}
    if connect:
        timings["connect"] = connect / 1000
    if tls:
        timings["tls"] = (tls - connect) / 1000
    if first_byte:
        timings["wait"] = (first_byte - max(connect, tls)) / 1000
        timings["read"] = (total - first_byte) / 1000
    return timings


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
