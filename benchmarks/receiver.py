"""A receiver that costs as little as it can, in a process of its own: ``python -m benchmarks.receiver``.

What it does with a POST, the first part of the path says:

- ``/ok/…`` answers 200 at once, ``/after/50/…`` after 50 ms, ``/status/503/…`` with that status;
- ``/never/…`` does not answer; ``/drip/…`` answers with a body that does not end.

It counts by that first part: a delivery is a path with a ``webhook-id``. With GET the benchmark asks for

- ``/wait/ok/1000/30``: the counts of ``ok`` once there are 1000 deliveries, or 30 s have passed;
- ``/arrivals/ok``: when the first byte of each ``webhook-id`` came, by the machine's monotonic clock;
- ``/deliveries/ok``: the same of each ``webhook-id`` at each path;
- ``/reset``.

With the file of a certificate and its key it speaks TLS at a second port. It ends when its standard input does, and so
with whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from dataclasses import dataclass, field
from typing import cast

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#: Seconds between two bytes of a body that drips.
_DRIP = 0.2


@dataclass
class _Waiter:
    connection: _Connection
    count: int


@dataclass
class _Kind:
    """What came to one kind of path."""

    requests: int = 0
    #: First arrival by path and ``webhook-id``.
    deliveries: dict[bytes, float] = field(default_factory=dict)
    last: float = 0.0
    waiters: list[_Waiter] = field(default_factory=list)

    def report(self) -> dict[str, float | None]:
        return {
            "requests": self.requests,
            "distinct": len(self.deliveries),
            "first": next(iter(self.deliveries.values()), None),
            "last": self.last,
        }


_kinds: dict[bytes, _Kind] = {}


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, pipelining allowed; no more than the benchmark needs."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""
        self._began = 0.0

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            self._began = time.monotonic()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            total = end + 4 + int(_header(head, b"content-length") or 0)
            if len(self._buffer) < total:
                return
            self._buffer = self._buffer[total:]
            method, path, _ = head.split(b" ", 2)
            if method == b"get":
                self._control(path.decode().split("/")[1:])
            else:
                self._count(path, _header(head, b"webhook-id"))

    def _count(self, path: bytes, webhook_id: bytes) -> None:
        name, _, rest = path[1:].partition(b"/")
        kind = _kinds.get(name)
        if kind is None:
            kind = _kinds[name] = _Kind()
        kind.requests += 1
        kind.last = self._began
        kind.deliveries.setdefault(path + b" " + webhook_id, self._began)
        self._answer(name, rest)
        if kind.waiters:
            for waiter in kind.waiters[:]:
                if len(kind.deliveries) >= waiter.count:
                    kind.waiters.remove(waiter)
                    waiter.connection.reply(kind.report())

    def _answer(self, name: bytes, rest: bytes) -> None:
        if name == b"ok":
            self._transport.write(_OK)
        elif name == b"after":
            delay = int(rest.partition(b"/")[0]) / 1000
            asyncio.get_running_loop().call_later(delay, self._transport.write, _OK)
        elif name == b"status":
            status = int(rest.partition(b"/")[0])
            self._transport.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
        elif name == b"drip":
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            self._drip()

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b".")
            asyncio.get_running_loop().call_later(_DRIP, self._drip)

    def _control(self, path: list[str]) -> None:
        if path[0] == "reset":
            _kinds.clear()
            self.reply({})
            return
        kind = _kinds.setdefault(path[1].encode(), _Kind())
        if path[0] == "deliveries":
            self.reply({key.decode(): at for key, at in kind.deliveries.items()})
        elif path[0] == "arrivals":
            arrivals: dict[str, float] = {}
            for key, at in kind.deliveries.items():
                arrivals.setdefault(key.rpartition(b" ")[2].decode(), at)
            self.reply(arrivals)
        elif len(kind.deliveries) >= int(path[2]):
            self.reply(kind.report())
        else:
            waiter = _Waiter(self, int(path[2]))
            kind.waiters.append(waiter)
            asyncio.get_running_loop().call_later(float(path[3]), self._give_up, kind, waiter)

    def _give_up(self, kind: _Kind, waiter: _Waiter) -> None:
        if waiter in kind.waiters:
            kind.waiters.remove(waiter)
            self.reply(kind.report())

    def reply(self, content: object) -> None:
        body = json.dumps(content).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


def _header(head: bytes, name: bytes) -> bytes:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None].strip()


async def _main(certificate: str | None = None) -> None:
    loop = asyncio.get_running_loop()
    contexts: list[ssl.SSLContext | None] = [None]
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        contexts.append(context)
    for tls in contexts:
        server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=4096, ssl=tls)
        print(server.sockets[0].getsockname()[1], flush=True)
    ended = loop.create_future()
    loop.add_reader(sys.stdin, ended.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await ended


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            import uvloop
        except ImportError:
            asyncio.run(_main(*sys.argv[1:]))
        else:
            uvloop.run(_main(*sys.argv[1:]))
