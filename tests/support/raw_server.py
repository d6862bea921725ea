"""A server that answers each request with given bytes, well formed or not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType

#: What to answer to the nth request (from 1): pieces that are sent one after another, or seconds to wait between them.
Script = Callable[[int], Iterable[bytes | float]]


class RawServer:
    """Use it as a context manager.

    :param script: the same bytes for every request, or a function of the number of the request.
    :param close: close the connection after each answer.
    """

    def __init__(
        self,
        script: bytes | Script,
        *,
        close: bool = False,
        address: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._script: Script = script if callable(script) else lambda _: [script]
        self._close = close
        self._tls = tls
        self._server = socket.create_server((address, port), backlog=1000)
        self.address = address
        self.port: int = self._server.getsockname()[1]
        #: Heads of the requests that came, and the number of the connection that each came on.
        self.requests: list[str] = []
        self.came_on: list[int] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []

    def __enter__(self) -> RawServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def url(self, path: str = "/", host: str | None = None) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host or self.address}:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(
                target=self._serve, args=(connection, self.connections), daemon=True
            ).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
            self._open.append(connection)
        with contextlib.suppress(OSError, ValueError), connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb")
            while head := _head(stream.readline):
                # Without it, the client went away in the middle of the head.
                length = next(
                    (
                        int(line.split(":")[1])
                        for line in head.lower().splitlines()
                        if line.startswith("content-length:")
                    ),
                    0,
                )
                stream.read(length)
                with self._lock:
                    self.requests.append(head)
                    self.came_on.append(number)
                    count = len(self.requests)
                for piece in self._script(count):
                    if isinstance(piece, bytes):
                        connection.sendall(piece)
                    else:
                        time.sleep(piece)
                if self._close:
                    return


def _head(readline: Callable[[], bytes]) -> str:
    lines = b""
    while (line := readline()) not in (b"", b"\r\n"):
        lines += line
    return lines.decode("latin-1")
