"""One handle of libcurl: options, callbacks and results. Long, since all of it belongs to one handle."""

from __future__ import annotations

import functools
import itertools
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

import pycurl

from ...log import get_logger, log_without_locals
from ...security.addresses import NetworkPolicy
from ...security.egress import EgressProxy
from .exchange import Exchange, Request
from .head import MAX_HEAD_BYTES, Head, header_lines
from .tcp_info import bytes_received, is_connecting
from .tunnel import TARGET_UNREACHABLE, proxy_options, refusal_of_proxy, tunnel_target

P = ParamSpec("P")
T = TypeVar("T")

logger = get_logger("flask_webhooks.delivery")

#: Maximum bytes on the wire per byte of the body: each byte may be in a separate chunk and TLS record.
WIRE_BYTES: Final = 32
#: Addresses of a name that are tried; a hostile DNS server can return thousands.
MAX_ADDRESSES: Final = 16
#: Idle seconds after which a kept connection is not reused.
KEEP_IDLE: Final = 90
#: Headers that libcurl adds. With ``Expect`` it would wait for a 100 before it sends a long body.
_UNWANTED_HEADERS: Final = ("accept", "content-type", "expect", "user-agent")


class Transfer:
    """A handle of libcurl with its current request; it is reused."""

    exchange: Exchange

    def __init__(
        self,
        policy: NetworkPolicy,
        max_body: int,
        certificates: Sequence[tuple[int, str]],
        proxy: EgressProxy | None = None,
    ) -> None:
        self._policy = policy
        self._proxy = proxy
        self._max_body = max_body
        self.handle = pycurl.Curl()
        self._head = Head()
        #: Sockets of which libcurl has duplicates, which it uses and closes.
        self._sockets: list[socket.socket] = []
        self._shows_certificate = False
        self._prepare(certificates)

    def _prepare(self, certificates: Sequence[tuple[int, str]]) -> None:
        """Set the options of all requests."""
        option = self.handle.setopt
        option(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        option(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        option(pycurl.NOSIGNAL, 1)
        option(pycurl.FOLLOWLOCATION, 0)
        # Ignore environment variables and ~/.netrc.
        option(pycurl.PROXY, "")
        option(pycurl.NOPROXY, "*")
        option(pycurl.NETRC, pycurl.NETRC_IGNORED)
        # Keep the path unchanged, including dots.
        option(pycurl.PATH_AS_IS, 1)
        option(pycurl.HTTP_CONTENT_DECODING, 0)
        option(pycurl.POST, 1)
        option(pycurl.BUFFERSIZE, 16 * 1024)
        option(pycurl.MAXAGE_CONN, KEEP_IDLE)
        option(pycurl.TCP_NODELAY, 1)
        option(pycurl.OPENSOCKETFUNCTION, callback(self._open_socket, pycurl.SOCKET_BAD))
        option(pycurl.PREREQFUNCTION, callback(self._connection_chosen, pycurl.PREREQFUNC_ABORT))
        option(pycurl.HEADERFUNCTION, callback(self._head.take, -1))
        option(pycurl.WRITEFUNCTION, callback(self._take_body, -1))
        if not certificates:
            # Otherwise libcurl would use the paths of its build machine.
            certificates = [(pycurl.CAINFO, os.devnull)]
        for name, value in certificates:
            option(name, value)
        if self._proxy is not None:
            for number, setting in proxy_options(self._proxy):
                option(number, setting)

    def prepare(self, request: Request) -> Exchange:
        """Set a request, and reset everything of the previous one.

        :raises ValueError: the URL is invalid, or a header contains a line break.
        """
        if not request.url.isascii() or "\0" in request.url:
            raise ValueError("a URL with characters that have to be quoted")
        #: The port of the URL.
        self._port = _port(request.url)
        self._header_lines = header_lines(request.headers, _UNWANTED_HEADERS)
        self.exchange = Exchange(request)
        #: It uses a new connection.
        self.fresh = False
        #: It confirms a response: cached addresses are not sufficient.
        self.confirming = False
        return self.exchange

    def start_over(self) -> None:
        """Discard the response, to repeat the request on a new connection."""
        before = self.exchange
        before.status, before.headers, before.body = None, [], b""
        before.cut = before.reused = before.connected = before.looked_up = False
        before.error, before.error_text = 0, ""
        before.too_much = before.last_header = None
        before.address = before.hanging_address = None
        before.proxy_trouble = before.proxy_status = None
        before.timings.clear()
        self.fresh = True

    def begin(self, addresses: Sequence[str]) -> bool:
        """Set up the handle; return ``False`` if all addresses are refused.

        :param addresses: the addresses of the URL's name in the order to try; empty if the URL contains an
            address.
        """
        request = self.exchange.request
        if self._proxy is not None and not addresses:
            # The proxy opens the connection, so the address is checked here.
            addresses = (urlsplit(request.url).hostname or "",)
        self._addresses = self._allowed(addresses)
        if addresses and not self._addresses:
            self.exchange.refused = self._refusal(addresses[0])
            self.exchange.refused_address = addresses[0]
            self.exchange.error = pycurl.E_COULDNT_CONNECT
            return False
        #: libcurl chose a kept connection to an address that the name no longer has.
        self.moved = self._moved_before = False
        self._head.reset()
        #: What the connection had received at the first check after the headers.
        self._received_at_first: int | None = None
        self._body = bytearray()
        option = self.handle.setopt
        option(pycurl.URL, request.url)
        option(pycurl.HTTPHEADER, self._header_lines)
        option(pycurl.POSTFIELDS, request.body)
        option(pycurl.FRESH_CONNECT, int(self.fresh))
        self._show_certificate(request)
        # The client enforces the deadline. libcurl divides this among the addresses of a name.
        option(pycurl.CONNECTTIMEOUT_MS, max(round(request.timeout * 1000), 1))
        if self._proxy is not None:
            chosen = tunnel_target(self._addresses)
            self.exchange.address = _with_port(chosen, self._port)
            option(pycurl.CONNECT_TO, [f"::{self.exchange.address}"])
            return True
        option(pycurl.RESOLVE, _resolved(request.name, self._port, self._addresses))
        return True

    def _show_certificate(self, request: Request) -> None:
        """Set the client certificate of this request, or remove that of the previous one."""
        certificate = request.client_certificate
        if certificate is None and not self._shows_certificate:
            return
        self._shows_certificate = certificate is not None
        if certificate is None:
            self.handle.unsetopt(pycurl.SSLCERT_BLOB)
            self.handle.unsetopt(pycurl.SSLKEY_BLOB)
        else:
            self.handle.setopt(pycurl.SSLCERT_BLOB, certificate["certificate"].encode())
            self.handle.setopt(pycurl.SSLKEY_BLOB, certificate["key"].encode())
        # A resumed session would use the certificate of its first handshake.
        self.handle.setopt(pycurl.SSL_SESSIONID_CACHE, int(certificate is None))

    def _allowed(self, addresses: Sequence[str]) -> Sequence[str]:
        """Return a limited number of allowed addresses: refused ones would displace others."""
        allowed = (item for item in addresses if self._refusal(item) is None)
        return tuple(itertools.islice(allowed, MAX_ADDRESSES))

    def _refusal(self, address: str) -> str | None:
        if "%" in address:
            return "address with a zone"  # libcurl treats an empty list as a name
        refusal = self._policy.refusal(address)
        if refusal is None and self._proxy is not None:
            return self._policy.port_refusal(self._port)
        return refusal

    def again(self) -> None:
        """Repeat the request on a new connection."""
        self._close_sockets()
        self._moved_before |= self.moved
        self.moved = False
        self.handle.setopt(pycurl.FRESH_CONNECT, 1)

    def receives_too_much(self) -> bool:
        """Return whether more was received after the headers than a body may take on the wire. libcurl silently
        skips extensions of chunks, which may be endless.

        This queries the system, so it is only called occasionally; libcurl before 8.22 does not provide the socket.
        """
        if not self._head.complete:
            return False
        received = bytes_received(self.handle.getinfo(pycurl.ACTIVESOCKET))
        if received is None:
            return False
        if self._received_at_first is None:
            self._received_at_first = received
        most = MAX_HEAD_BYTES + WIRE_BYTES * self._max_body
        return received - self._received_at_first > most

    def end(self, error: int, text: str) -> Exchange:
        """Read the result from the handle."""
        exchange, head, info = self.exchange, self._head, self.handle.getinfo
        head.break_off()
        exchange.status, exchange.headers = head.status, head.headers
        exchange.too_much = head.too_much
        exchange.body = bytes(self._body)
        if exchange.cut and error == pycurl.E_WRITE_ERROR:
            error, text = 0, ""
        exchange.timed_out |= error == pycurl.E_OPERATION_TIMEDOUT
        exchange.error, exchange.error_text = error, text
        if error and self._proxy is not None:
            self._read_tunnel(error)
        elif error:
            self._name_address()
        self._close_sockets()
        if error:
            exchange.last_header = head.last_header
            exchange.errno = info(pycurl.OS_ERRNO)
            exchange.verify_result = info(pycurl.SSL_VERIFYRESULT)
        exchange.reused = exchange.connected and info(pycurl.NUM_CONNECTS) == 0
        exchange.timings |= _timings(
            info(pycurl.CONNECT_TIME_T),
            info(pycurl.APPCONNECT_TIME_T),
            info(pycurl.STARTTRANSFER_TIME_T),
            info(pycurl.TOTAL_TIME_T),
        )
        return exchange

    def _name_address(self) -> None:
        """Record to which of several addresses a connection was established whose TLS failed or did not complete."""
        host = self.handle.getinfo(pycurl.PRIMARY_IP)
        if host and not self.exchange.connected:
            self.exchange.address = _with_port(host, self.handle.getinfo(pycurl.PRIMARY_PORT))
            self.exchange.hanging_address = None

    def _read_tunnel(self, error: int) -> None:
        """Record why the proxy opened no connection."""
        exchange, info = self.exchange, self.handle.getinfo
        status = info(pycurl.HTTP_CONNECTCODE)
        if exchange.connected or 200 <= status < 300:
            return
        if status in TARGET_UNREACHABLE:
            exchange.proxy_status = status
            return
        connected = bool(info(pycurl.CONNECT_TIME_T))
        out_of_time = error in (pycurl.E_OPERATION_TIMEDOUT, pycurl.E_ABORTED_BY_CALLBACK)
        if out_of_time and self._sockets:
            # libcurl only provides the time of a connection after it has given up by itself.
            connected |= not is_connecting(self._sockets[-1])
        # A slow proxy has not reached the receiver.
        if status or not (connected and out_of_time):
            exchange.proxy_trouble = refusal_of_proxy(
                status, error, info(pycurl.OS_ERRNO), connected=connected
            )

    def _close_sockets(self) -> None:
        for opened in self._sockets:
            opened.close()
        self._sockets.clear()

    # -- what libcurl asks and tells -----------------------------------------------------------------
    # An exception in here would be printed and lost.

    def _open_socket(self, purpose: int, address: Any) -> Any:
        host, port = address.addr[:2]
        exchange = self.exchange
        if self._proxy is not None:
            return self._open_to_proxy(address)
        reason = self._policy.refusal(host) or self._policy.port_refusal(port)
        if reason is not None:
            if exchange.address is None and exchange.refused is None:
                exchange.refused, exchange.refused_address = reason, host
            return pycurl.SOCKET_BAD
        exchange.refused = exchange.refused_address = None
        if exchange.hanging_address is None and self._sockets and is_connecting(self._sockets[-1]):
            exchange.hanging_address = exchange.address
        exchange.address = _with_port(host, port)
        try:
            opened = open_socket(address)
        except OSError as error:
            exchange.own_error = error
            return pycurl.SOCKET_BAD
        self._sockets.append(opened)
        return opened

    def _open_to_proxy(self, address: Any) -> Any:
        """Open a socket to the operator's proxy, whatever its address: libcurl opens no other in this mode."""
        try:
            opened = open_socket(address)
        except OSError as error:
            self.exchange.own_error = error
            return pycurl.SOCKET_BAD
        self._sockets.append(opened)
        return opened

    def _connection_chosen(self, host: str, own_host: str, port: int, own_port: int) -> int:
        self._close_sockets()
        if self._proxy is not None:
            self.exchange.connected = True
            return int(pycurl.PREREQFUNC_OK)
        known = self._addresses
        if known and host not in known:
            # A new connection to another address means that libcurl parsed the name as an address.
            self.moved = not self._moved_before
            return int(pycurl.PREREQFUNC_ABORT)
        self.exchange.connected = True
        self.exchange.address = _with_port(host, port)
        return int(pycurl.PREREQFUNC_OK)

    def _take_body(self, chunk: bytes) -> int | None:
        room = self._max_body - len(self._body)
        self._body += chunk[:room]
        if len(chunk) > room:
            self.exchange.cut = True
            return -1
        return None


def callback(function: Callable[P, T], failed: T) -> Callable[P, T]:
    """Have a function that libcurl calls log its errors: pycurl would report them with all variables.

    :param failed: returned then, which ends the request.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            log_without_locals(logger, "A request was broken off by an error of ours", error=error)
            return failed

    return call


def open_socket(address: Any) -> socket.socket:
    """Open a socket for an address of libcurl, after checking it."""
    return socket.socket(address.family, address.socktype, address.protocol)


@functools.lru_cache(maxsize=4096)
def _port(url: str) -> int:
    """Return the port of a URL.

    :raises ValueError: it has none.
    """
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if port is None:
        raise ValueError("a URL that is neither http nor https")
    return port


def _resolved(name: str | None, port: int, addresses: Sequence[str]) -> list[str]:
    """Return the addresses of the URL's host for libcurl, which then does not resolve it."""
    if name is None:
        return []
    joined = ",".join(f"[{item}]" if ":" in item else item for item in addresses)
    return [f"+{name}:{port}:{joined}"]


def _timings(connect: int, tls: int, first_byte: int, total: int) -> dict[str, float]:
    """Return the milliseconds of each phase, from libcurl's microseconds since the start."""
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
