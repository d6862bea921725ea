"""A middlebox between a client and a server on loopback: it delays, and it forgets connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Self

from demo.services import HOST


class Middlebox:
    """Passes bytes on, both ways; use it as a context manager.

    :param port: the server's.
    :param delay: seconds that each piece takes on its way.
    """

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._server = port
        self._delay = delay
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        #: Connections before this one are forgotten: what is sent over them vanishes, and nothing says so.
        self._forgotten = 0
        #: How many connections there were.
        self.connections = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def forget(self) -> None:
        """Forget the connections that there are, as routers do with idle ones."""
        self._forgotten = self.connections

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection((HOST, self._server))
                except ConnectionRefusedError:
                    client.close()
                    continue
                self._sockets += [client, server]
                number, self.connections = self.connections, self.connections + 1
                for ends in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pass_on, args=(number, *ends), daemon=True
                    ).start()

    def _pass_on(self, number: int, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self._delay)
                if number >= self._forgotten:
                    target.sendall(data)
            if number >= self._forgotten:
                target.shutdown(socket.SHUT_WR)
