"""A receiver on loopback that does what the path of the request asks for, good or bad.

Good: ``/ok``, ``/status/503``, ``/slow/0.3`` (seconds), ``/flaky/2`` (fails the first two requests of each
event), ``/says/<percent-encoded text>`` (as its body), ``/retry-after/3`` or ``/retry-after/<percent-encoded
value>/503`` (once, then fine), ``/wait`` (until `Receiver.open_gate`), ``/cookie``, ``/http10`` and
``/until-close`` (bodies that end with the connection), ``/interim`` (1xx answers first).

Bad: ``/redirect``, ``/never``, ``/drip``, ``/close``, ``/half``, ``/garbage``, ``/big`` (50 MB), ``/bomb``
(gzip), ``/endless-headers``, ``/large-header`` (1 MB), ``/large-headers`` (30 KB in all), ``/binary`` (NUL
and invalid UTF-8), ``/both-lengths``, ``/switch`` (101); and those that do not read the body: ``/early``
(answers 401 and closes), ``/early-reset`` (breaks the connection), ``/early-stuck`` (does nothing more).

Anything may follow in further path segments, to tell endpoints apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import cast
from urllib.parse import unquote

MEGABYTE = 1024 * 1024
BOMB = gzip.compress(bytes(10 * MEGABYTE))
#: More than an HTTP client must put up with, and few enough for a test.
ENDLESS = 100_000


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    path: str
    #: Names in lower case.
    headers: dict[str, str]
    body: bytes
    at: float
    #: Names and values as they were written, in their order.
    raw_headers: list[tuple[str, str]] = field(default_factory=list)
    #: Which connection it came on: 1, 2, 3 …
    connection: int = 0

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")


@dataclass
class Receiver:
    """Runs in a thread of its own; use it as a context manager."""

    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    #: Requests that are being answered now, and the most at once, by path.
    in_flight: Counter[str] = field(default_factory=Counter)
    most_in_flight: Counter[str] = field(default_factory=Counter)
    #: Requests that were answered to the end, by path.
    answered: Counter[str] = field(default_factory=Counter)
    #: Connections that were accepted, and those that are open now.
    connections: int = 0
    open_connections: int = 0
    #: Close each connection after this many requests, without saying so.
    requests_per_connection: int | None = None
    #: Close a connection that has carried this many requests when the next one comes, unread, as if it had
    #: been idle for too long.
    stale_after: int | None = None

    def __enter__(self) -> Receiver:
        self._seen: Counter[str] = Counter()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="receiver", daemon=True)
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(5)

    def url(self, path: str = "/ok", host: str = "127.0.0.1") -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{host}:{self.port}{path}"

    def ids(self) -> Counter[str]:
        """How often each event came."""
        return Counter(request.id for request in self.requests)

    def wait_for(self, count: int, seconds: float = 60.0) -> None:
        """Wait for a number of requests in all."""
        deadline = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < deadline, (
                f"{len(self.requests)} of {count} requests within {seconds:g} s"
            )
            time.sleep(0.005)

    def open_gate(self) -> None:
        """Answer all who ask for ``/wait``, from now on at once."""
        self._loop.call_soon_threadsafe(self._gate.set)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._done = asyncio.Event()
        self._gate = asyncio.Event()
        server = await asyncio.start_server(
            self._connection, "127.0.0.1", 0, ssl=self.tls, backlog=1000
        )
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        # Accept no more, and let those begin that were accepted a moment ago: a server that is closed leaves their
        # sockets open.
        self._loop.remove_reader(server.sockets[0].fileno())
        await _steps()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Sockets are closed a step after their transports.
        await _steps()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        connection = self.connections
        served = 0
        try:
            while request := await self._read(reader, connection, served):
                self.requests.append(request)
                self.in_flight[request.path] += 1
                self.most_in_flight[request.path] = max(
                    self.most_in_flight[request.path], self.in_flight[request.path]
                )
                try:
                    keep = await self._answer(request, writer)
                    self.answered[request.path] += 1
                finally:
                    self.in_flight[request.path] -= 1
                served += 1
                if not keep or served == self.requests_per_connection:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            with contextlib.suppress(Exception):
                writer.close()

    async def _read(
        self, reader: asyncio.StreamReader, connection: int, served: int
    ) -> Request | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        if served == self.stale_after:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        raw = [(name, value) for line in lines if line for name, value in [line.split(": ", 1)]]
        headers = {name.lower(): value for name, value in raw}
        path = first.split(" ")[1]
        length = 0 if path.startswith("/early") else int(headers.get("content-length", 0))
        body = await reader.readexactly(length)
        return Request(path, headers, body, time.time(), raw, connection)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer; returns whether the connection stays open."""
        _, action, *rest = request.path.split("/")
        argument = rest[0] if rest else ""
        if action in _SPECIAL:
            return await _SPECIAL[action](writer)
        match action:
            case "status":
                return await _respond(writer, int(argument))
            case "says":
                return await _respond(writer, 200, body=unquote(argument).encode())
            case "slow":
                await asyncio.sleep(float(argument))
                return await _respond(writer, 200)
            case "wait":
                await self._gate.wait()
                return await _respond(writer, 200)
            case "flaky":
                self._seen[request.path + request.id] += 1
                failed = self._seen[request.path + request.id] <= int(argument)
                return await _respond(writer, 500 if failed else 200)
            case "retry-after":
                self._seen[request.path] += 1
                if self._seen[request.path] > 1:
                    return await _respond(writer, 200)
                status = int(rest[1]) if len(rest) > 1 else 429
                return await _respond(writer, status, f"Retry-After: {unquote(argument)}\r\n")
            case "redirect":
                return await _respond(writer, 302, f"Location: {self.url('/ok')}\r\n")
            case "cookie":
                return await _respond(writer, 200, "Set-Cookie: session=hostile; Path=/\r\n")
            case _:
                return await _respond(writer, 200)


async def _respond(
    writer: asyncio.StreamWriter, status: int, headers: str = "", body: bytes | None = None
) -> bool:
    if body is None:
        body = b'{"ok":true}' if status < 300 else b'{"error":"no"}'
    if status in (204, 304):
        body = b""
    writer.write(
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    return True


async def _big(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (50 * MEGABYTE))
    for _ in range(800):
        writer.write(b"x" * 65536)
        await writer.drain()
    return True


async def _drip(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.1)
    return True


async def _never(writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(60)
    return False


async def _close(writer: asyncio.StreamWriter) -> bool:
    return False


async def _endless_headers(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(ENDLESS):
        writer.write(b"X-Header-%d: value\r\n" % number)
        await writer.drain()
    return False


async def _interim(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    return await _respond(writer, 200)


async def _early(writer: asyncio.StreamWriter) -> bool:
    await _respond(writer, 401)
    return False


async def _steps() -> None:
    """Let the loop call what it is about to call."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _early_reset(writer: asyncio.StreamWriter) -> bool:
    # Without it, a connection whose bytes have all been read is closed and not reset.
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()
    return False


async def _early_stuck(writer: asyncio.StreamWriter) -> bool:
    cast(asyncio.Transport, writer.transport).pause_reading()
    return await _never(writer)


def _written(answer: bytes, keep: bool = False) -> Callable[..., Coroutine[object, object, bool]]:
    async def write(writer: asyncio.StreamWriter) -> bool:
        writer.write(answer)
        await writer.drain()
        return keep

    return write


def _body(body: bytes, *headers: bytes) -> bytes:
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


_SPECIAL: dict[str, Callable[[asyncio.StreamWriter], Coroutine[object, object, bool]]] = {
    "big": _big,
    "drip": _drip,
    "never": _never,
    "close": _close,
    "early": _early,
    "early-reset": _early_reset,
    "early-stuck": _early_stuck,
    "interim": _interim,
    "endless-headers": _endless_headers,
    "half": _written(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"),
    "garbage": _written(b"\x16\x03\x01\0 this is not HTTP\r\n\r\n"),
    "http10": _written(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
    "until-close": _written(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"),
    "large-header": _written(_body(b"", b"X-Large: " + b"x" * MEGABYTE)),
    "large-headers": _written(_body(b"{}", *(b"X-Large: " + b"x" * 3000 for _ in range(10))), True),
    "bomb": _written(_body(BOMB, b"Content-Encoding: gzip"), True),
    "binary": _written(_body(b'{"nul":"\0","bad":"\xff\xfe"}', b"X-Name: J\xfcrgen"), True),
    "both-lengths": _written(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    "switch": _written(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    ),
}
