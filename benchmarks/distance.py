"""A receiver far away: a proxy in a process of its own, ``python -m benchmarks.distance PORT MILLISECONDS``.

What goes through it takes half of a round trip each way, however much of it is under way. The kernel accepts a
connection at once, so what comes first waits for as long as a handshake of TCP would take at that distance.

A line on its standard input asks how many connections there were. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from types import TracebackType
from typing import Self, cast

from demo.processes import ROOT


class Distance:
    """The proxy as a child process.

    :param port: the receiver's, on this machine.
    :param round_trip: milliseconds.
    """

    def __init__(self, port: int, round_trip: float) -> None:
        self._command = [sys.executable, "-m", __name__, str(port), str(round_trip)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.port = self._answer()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def connections(self) -> int:
        """Connections so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


class _End(asyncio.Protocol):
    """One end of a connection; what comes in goes out at the other one."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self.other: _End | None = None
        #: Before this, nothing sets out.
        self._starts = 0.0
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
            return
        loop = asyncio.get_running_loop()
        sets_out = max(loop.time(), self._starts)
        loop.call_at(sets_out + self._delay, self.other.transport.write, data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(self._delay, self.other.transport.close)

    def join(self, other: _End, starts: float = 0.0) -> None:
        """Pass on from now on, also what has come already."""
        self.other, self._starts = other, starts
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)


class _Near(_End):
    """The end at the client, which makes the other one."""

    def __init__(self, server: int, delay: float) -> None:
        super().__init__(delay)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        global _connections
        _connections += 1
        super().connection_made(transport)
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        accepted = loop.time()
        _, far = await loop.create_connection(lambda: _End(self._delay), "127.0.0.1", self._server)
        far.join(self)
        self.join(far, accepted + 2 * self._delay)


_connections = 0


async def _main(server: int, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    delay = round_trip / 2000
    listener = await loop.create_server(lambda: _Near(server, delay), "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    ended = loop.create_future()

    def tell() -> None:
        if sys.stdin.readline():
            print(_connections, flush=True)
        else:
            ended.cancel()

    loop.add_reader(sys.stdin, tell)
    with contextlib.suppress(asyncio.CancelledError):
        await ended


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
