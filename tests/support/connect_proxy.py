"""An HTTP proxy on loopback that opens connections by ``CONNECT``, as Squid does."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import threading
from typing import Self

from demo.services import HOST


class ConnectProxy:
    """Leads every connection to one server, wherever it is asked for; use it as a context manager.

    :param port: the server's.
    :param credentials: ``user:password`` without which it answers 407.
    :param answer: what it says in place of opening a connection; ``b""`` hangs up.
    :param silent: it takes connections, and answers nothing.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        credentials: str | None = None,
        answer: bytes | None = None,
        silent: bool = False,
    ) -> None:
        self._server = port
        self._credentials = credentials
        self._answer = answer
        self._silent = silent
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        #: Heads of the requests that came.
        self.requests: list[str] = []
        #: What went through, in plain text where the server's is.
        self.passed = b""
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for opened in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def url(self, credentials: str | None = None) -> str:
        return f"http://{credentials + '@' if credentials else ''}{HOST}:{self.port}"

    @property
    def targets(self) -> list[str]:
        """What it was asked for: ``203.0.113.5:443``."""
        return [head.split()[1] for head in self.requests]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # `__exit__` closes what is open here, and `select` refuses a closed socket with a ValueError.
        with contextlib.suppress(OSError, ValueError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(65536)
                if not data:
                    return
                head += data
            self.requests.append(head.decode())
            if self._silent:
                client.recv(1)  # until the client gives up
                return
            refusal = self._refusal(head)
            if refusal is not None:
                client.sendall(refusal)
                return
            with socket.create_connection((HOST, self._server)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: squid\r\n\r\n")
                self._pass_on(client, server)

    def _refusal(self, head: bytes) -> bytes | None:
        if self._answer is not None:
            return self._answer
        if self._credentials is None:
            return None
        expected = b"Basic " + base64.b64encode(self._credentials.encode())
        if b"\r\nProxy-Authorization: " + expected + b"\r\n" in head:
            return None
        return (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n"
            b'Proxy-Authenticate: Basic realm="egress"\r\nContent-Length: 0\r\n\r\n'
        )

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        ends = {client: server, server: client}
        while True:
            for source in select.select(ends, [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                if source is client:
                    self.passed += data
                ends[source].sendall(data)
