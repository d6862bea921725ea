"""A receiver that costs as little as it can, in a process of its own: ``python -m benchmarks.receiver``.

It answers every POST with 200 and counts ``webhook-id`` headers; ``GET /count`` returns and resets the
counts as JSON: ``{"requests": …, "distinct": …}``, where one id sent to two paths is two deliveries.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import ClassVar, cast

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, pipelining allowed; no more than the benchmark needs."""

    counts: ClassVar[Counter[bytes]] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            total = end + 4 + int(_header(head, b"content-length") or 0)
            if len(self._buffer) < total:
                return
            self._buffer = self._buffer[total:]
            if head.startswith(b"get"):
                self._report()
            else:
                path = head.split(b" ", 2)[1]
                self.counts[path + b" " + _header(head, b"webhook-id")] += 1
                self._transport.write(_OK)

    def _report(self) -> None:
        body = json.dumps({"requests": self.counts.total(), "distinct": len(self.counts)}).encode()
        self.counts.clear()
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


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main())
    else:
        uvloop.run(_main())
