"""The network policy at the socket: no connection is opened to an address that it refuses.

A URL that was fine when it was saved can lead anywhere when it is used: names resolve to something
else (DNS rebinding), resolvers read odd literals. So the decision falls where nothing can come in
between any more, on the concrete address that the next system call will connect to.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.helpers import is_ip_address

from .addresses import NetworkPolicy, literal_address
from .answer_bounds import BoundedHandler

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

__all__ = [
    "AddressRefused",
    "Exchange",
    "GuardedConnector",
    "NetworkPolicy",
    "current_exchange",
]

#: aiohttp works off n addresses in n² / 2 steps; a hostile DNS server can answer with thousands.
MAX_ADDRESSES = 16
#: Seconds for which an answer of the resolver is used.
LOOKUP_AGE = 10
#: Seconds for which a connection to a name is used, however busy it is: the name may have moved since.
CONNECTION_AGE = 40.0


class AddressRefused(OSError):
    """The network policy forbids connections to this address."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(errno.EACCES, f"{address} is refused: {reason}")
        self.address = address
        self.reason = reason

    def __reduce__(self) -> tuple[type[AddressRefused], tuple[str, str]]:
        return type(self), (self.address, self.reason)


@dataclass(slots=True)
class Exchange:
    """What happened to the connection of one request; aiohttp tells neither in its exceptions.

    Put a fresh one into :data:`current_exchange` before each request and read it afterwards. Times
    are in milliseconds.
    """

    #: ``ip:port`` at the other end of the connection that was used, ``[ip]:port`` for IPv6.
    peer: str | None = None
    #: Whether that was a kept-alive connection of an earlier request.
    reused: bool = False
    #: Why the policy refused; set only if it refused every address that was tried.
    refused: str | None = None
    #: The address that it refused first.
    refused_address: str | None = None
    #: The last address that was fine and tried, also if it did not answer.
    tried_address: str | None = None
    #: The first address that was tried and neither failed nor answered before the next one was tried.
    hanging_address: str | None = None
    #: The DNS lookup, unless the answer was cached or fetched by another request.
    dns_ms: float | None = None
    #: Waiting for a slot, DNS, TCP and TLS, also if that failed; ``None`` for a reused connection.
    connect_ms: float | None = None
    #: The connection that is used.
    transport: asyncio.Transport | None = field(default=None, repr=False, compare=False)
    #: What reads from it.
    handler: BoundedHandler | None = field(default=None, repr=False, compare=False)
    _socket: socket.socket | None = field(default=None, repr=False, compare=False)

    @property
    def status(self) -> int | None:
        """The status that the answer begins with, if it came so far."""
        return None if self.handler is None else self.handler.status

    def restart(self) -> None:
        """Forget everything: aiohttp connects anew."""
        self.transport = self.handler = self._socket = self.hanging_address = None
        self.peer = self.refused = self.refused_address = self.tried_address = None
        self.dns_ms = self.connect_ms = None
        self.reused = False

    def refuse(self, address: str, reason: str) -> None:
        """Note a refusal."""
        if self.tried_address is None and self.refused is None:
            self.refused, self.refused_address = reason, address

    def abort(self) -> None:
        """Break the connection off. aiohttp closes it only once a peer has read all that was written."""
        if self.transport is not None:
            self.transport.abort()

    def accept(self, address: str, opened: socket.socket) -> None:
        """Note an address that may be connected to, and the socket for it."""
        pending = self._socket is not None and self._socket.fileno() >= 0
        if self.hanging_address is None or not pending:
            self.hanging_address = self.tried_address if pending else address
        self.tried_address, self._socket = address, opened
        self.refused = self.refused_address = None


#: The record of the request that the current task makes. Tasks that aiohttp starts inherit it.
current_exchange: ContextVar[Exchange | None] = ContextVar("flask_webhooks_exchange", default=None)


class GuardedConnector(aiohttp.TCPConnector):
    """A connector that opens sockets only to addresses that `policy` allows.

    Takes what :class:`aiohttp.TCPConnector` takes except for `socket_factory` and `ttl_dns_cache`. Refusals reach
    the caller as :class:`aiohttp.ClientConnectorError`; the reason stands in the :class:`Exchange`.

    :param max_body: bytes of an answer's body that are wanted.
    """

    def __init__(
        self,
        *,
        policy: NetworkPolicy,
        resolver: AbstractResolver | None = None,
        max_body: int = 1024 * 1024,
        **kwargs: Any,
    ) -> None:
        self._policy = policy
        super().__init__(
            resolver=_BoundedResolver(resolver or aiohttp.ThreadedResolver(), policy),
            socket_factory=functools.partial(_vetted_socket, policy),
            ttl_dns_cache=LOOKUP_AGE,
            **kwargs,
        )
        self._factory = functools.partial(  # type: ignore[assignment]
            BoundedHandler, self._loop, max_body
        )

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A pooled or a new connection, noted in the current :class:`Exchange`."""
        if req.proxy is not None:
            # It would connect in our place, to an address that nobody has vetted.
            raise AddressRefused(str(req.proxy.host), "proxies are not used")
        exchange = current_exchange.get()
        if exchange is None:
            return await super().connect(req, traces, timeout)
        started = time.perf_counter()
        try:
            connection = await self._usable(req, traces, timeout, exchange)
        except aiohttp.InvalidURL:
            self._explain_odd_literal(req.url.raw_host or "", exchange)
            raise
        except BaseException:
            exchange.connect_ms = _milliseconds_since(started)
            raise
        exchange.transport = connection.transport
        exchange.peer = _peer(connection)
        exchange.reused = exchange.tried_address is None
        if not exchange.reused:
            exchange.connect_ms = _milliseconds_since(started)
        return connection

    async def _usable(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,
        exchange: Exchange,
    ) -> Connection:
        """A new connection, or an earlier one that is silent and not too old."""
        moves = not is_ip_address(req.url.raw_host)
        while True:
            exchange.restart()
            connection = await super().connect(req, traces, timeout)
            handler = connection.protocol
            if not isinstance(handler, BoundedHandler):
                return connection
            exchange.handler = handler
            if exchange.tried_address is not None:
                return connection
            old = moves and time.monotonic() - handler.opened_at > CONNECTION_AGE
            if not old and handler.quiet:
                return connection
            connection.close()

    def _explain_odd_literal(self, host: str, exchange: Exchange) -> None:
        """aiohttp itself refuses ``127.1`` and the like, without a word on what they mean."""
        try:
            address = literal_address(host)
        except ValueError:
            return
        reason = address and self._policy.refusal(address)
        if reason:
            exchange.refuse(str(address), reason)


class _BoundedResolver(AbstractResolver):
    """Passes on a usable number of addresses, and times the lookup."""

    def __init__(self, resolver: AbstractResolver, policy: NetworkPolicy) -> None:
        self._resolver = resolver
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        started = time.perf_counter()
        try:
            answer = await self._resolver.resolve(host, port, family)
        finally:
            if (exchange := current_exchange.get()) is not None:
                exchange.dns_ms = _milliseconds_since(started)
        if not answer:  # aiohttp would fail with an error that looks like ours
            raise OSError(errno.EADDRNOTAVAIL, "the name has no address")
        # Refused ones beside others would take their places, and their share of the blame.
        allowed = [item for item in answer if self._policy.refusal(item["host"]) is None]
        return (allowed or answer)[:MAX_ADDRESSES]

    async def close(self) -> None:
        await self._resolver.close()


def _vetted_socket(policy: NetworkPolicy, info: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, destination = info
    address = str(destination[0])
    reason = policy.refusal(address) or policy.port_refusal(int(destination[1]))
    exchange = current_exchange.get()
    if reason is not None:
        if exchange is not None:
            exchange.refuse(address, reason)
        raise AddressRefused(address, reason)
    opened = socket.socket(family, kind, protocol)
    if exchange is not None:
        exchange.accept(address, opened)
    return opened


def _peer(connection: Connection) -> str | None:
    name = connection.transport and connection.transport.get_extra_info("peername")
    if not name:
        return None
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
