"""The receivers, in a process of their own: ``python -m chaos.receivers FOLDER SEED``.

The path of a request names its endpoint. Each request that came whole has a line in ``receipts``: endpoint,
``webhook-id``, times, the answer, whether the signature fits, digests of body and data. The process ends when its
standard input does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast

import trustme

from .board import Board
from .endpoints import SLOW, endpoints
from .hostapp import ENDPOINT_CONCURRENCY
from .journal import digest_of

HUGE = 3 * 1024 * 1024
#: For so many seconds a receiver is down, and then up for as many.
DOWN = 3.0
#: A SETTINGS frame and a GOAWAY, as a server says that has never heard of HTTP/1.
HTTP2 = bytes.fromhex("000000040000000000000008070000000000000000000000000d")


class Receivers:
    """What all connections share."""

    def __init__(self, folder: Path, seed: int, receipts: TextIO) -> None:
        self.board = Board(folder / "board")
        self.specs = {spec.number: spec for spec in endpoints(seed)}
        self.keys = {
            number: base64.b64decode(spec.secret.removeprefix("whsec_"))
            for number, spec in self.specs.items()
        }
        self._receipts = receipts
        #: Tries of each event at each endpoint, and requests in flight.
        self.tries: Counter[tuple[int, str]] = Counter()
        self.in_flight: Counter[int] = Counter()
        self._all = 0
        self._over_since: dict[int, float] = {}

    def began(self, number: int) -> None:
        self.in_flight[number] += 1
        self._all += 1
        self.board["in_flight"] = self._all
        if self.in_flight[number] > ENDPOINT_CONCURRENCY:
            self._over_since.setdefault(number, time.monotonic())

    def ended(self, number: int) -> None:
        self.in_flight[number] -= 1
        self._all -= 1
        self.board["in_flight"] = self._all
        if self.in_flight[number] <= ENDPOINT_CONCURRENCY and number in self._over_since:
            seconds = time.monotonic() - self._over_since.pop(number)
            self.write({"endpoint": number, "over_cap": seconds})

    def write(self, line: dict[str, Any]) -> None:
        self._receipts.write(json.dumps(line) + "\n")

    def receive(self, number: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """Verify a request, and note that it came; the answer is written later."""
        event_id = headers.get("webhook-id", "")
        self.tries[number, event_id] += 1
        self.board["requests"] += 1
        signed = f"{event_id}.{headers.get('webhook-timestamp', '')}.".encode() + body
        wanted = base64.b64encode(hmac.digest(self.keys[number], signed, "sha256")).decode()
        stamp = headers.get("webhook-timestamp", "")
        sequence = headers.get("webhook-sequence", "")
        try:
            data = json.loads(body)["data"]
            serial, digest = data["serial"], digest_of(data)
        except (ValueError, KeyError, TypeError):
            serial, digest = "", ""
        return {
            "endpoint": number,
            "event": event_id,
            "at": time.monotonic(),
            "status": None,
            "signed": f"v1,{wanted}" in headers.get("webhook-signature", "").split(),
            "off": abs(time.time() - int(stamp)) if stamp.isdecimal() else None,
            "serial": serial,
            "digest": digest,
            "body": hashlib.sha256(body).hexdigest()[:24],
            "sequence": int(sequence) if sequence.isdecimal() else None,
        }


class Connection(asyncio.Protocol):
    """HTTP/1.1 as the library speaks it: a body with Content-Length, one request after another."""

    def __init__(self, receivers: Receivers) -> None:
        self._shared = receivers
        self._buffer = b""
        self._endpoint: int | None = None
        self._receipt: dict[str, Any] = {}
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._over()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._over()  # a client that sends the next one is done with the last one
        self._buffer = rest[length:]
        _, number, kind = first.split(" ")[1].split("/")
        self._endpoint = int(number)
        self._shared.began(self._endpoint)
        self._receipt = self._shared.receive(self._endpoint, headers, rest[:length])
        action: Callable[[], None] | None = getattr(self, "_" + kind.replace("-", "_"), None)
        (action or self._ok)()

    def _over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._endpoint is not None:
            self._shared.ended(self._endpoint)
            self._shared.write(self._receipt)
            self._endpoint = None

    @property
    def _tries(self) -> int:
        return self._shared.tries[self._receipt["endpoint"], self._receipt["event"]]

    def _one_in(self, count: int) -> bool:
        """One event in so many, always the same."""
        return sum(str(self._receipt["event"]).encode()) % count == 0

    def _answer(
        self, status: int, headers: str = "", body: bytes = b"{}", over: bool = True
    ) -> None:
        self._receipt["status"] = status
        self._transport.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body
        )
        if over:
            self._over()

    def _ok(self) -> None:
        self._answer(200)

    def _slow(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SLOW, self._ok)

    def _flaky(self) -> None:
        self._answer(500 if self._one_in(5) and self._tries <= 2 else 200)

    _ordered_flaky = _flaky

    def _down_for_a_while(self) -> None:
        down = time.monotonic() // DOWN % 2 and not self._shared.board["calm"]
        self._answer(500 if down else 200)

    def _too_many(self) -> None:
        if self._one_in(8) and self._tries == 1:
            self._answer(429, "Retry-After: 1\r\n")
        else:
            self._ok()

    def _huge(self) -> None:
        self._answer(200, body=b"x" * HUGE)

    def _wrong_length(self) -> None:
        self._receipt["status"] = 200
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
        self._transport.close()

    def _hangs_in_body(self) -> None:
        self._receipt["status"] = 200
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    def _drips(self) -> None:
        self._hangs_in_body()
        self._drip()

    def _drip(self) -> None:
        self._transport.write(b".")
        self._timer = asyncio.get_running_loop().call_later(0.2, self._drip)

    def _hangs_after_request(self) -> None:
        pass

    def _hangs_in_head(self) -> None:
        # The status is there, and it is all that counts.
        self._receipt["status"] = 200
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-")

    def _resets_after_request(self) -> None:
        reset(self._transport)

    def _garbage(self) -> None:
        self._transport.write(b"\x16\x03\x01\0 this is not HTTP\r\n\r\n")
        self._transport.close()

    def _always_500(self) -> None:
        self._answer(500)

    def _gone(self) -> None:
        self._answer(410)


class Resets(asyncio.Protocol):
    """Breaks each connection off."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reset(cast(asyncio.Transport, transport))


class Deaf(asyncio.Protocol):
    """Accepts connections, and reads nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).pause_reading()


class Http2(asyncio.Protocol):
    """Speaks HTTP/2 only."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(HTTP2)
        self._transport.close()


def reset(transport: asyncio.Transport) -> None:
    """Break a connection off with RST."""
    peer = transport.get_extra_info("socket")
    if peer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _untrusted() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def _main(folder: Path, seed: int) -> None:
    loop = asyncio.get_running_loop()
    with (folder / "receipts").open("w") as receipts:
        shared = Receivers(folder, seed, receipts)
        servers: dict[str, tuple[Callable[[], asyncio.Protocol], ssl.SSLContext | None]] = {
            "plain": (lambda: Connection(shared), None),
            "tls": (lambda: Connection(shared), _untrusted()),
            "resets": (Resets, None),
            "deaf": (Deaf, None),
            "http2": (Http2, None),
        }
        running = []
        ports = {}
        for name, (protocol, tls) in servers.items():
            server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=4096, ssl=tls)
            running.append(server)
            ports[name] = server.sockets[0].getsockname()[1]
        print(json.dumps(ports), flush=True)
        ended = loop.create_future()
        loop.add_reader(sys.stdin, ended.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await ended
        for number in [number for number, count in shared.in_flight.items() if count]:
            shared.write({"endpoint": number, "in_flight_at_end": shared.in_flight[number]})


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
