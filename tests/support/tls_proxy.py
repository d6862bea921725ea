"""TLS in front of a server on loopback that speaks none, as stunnel does: the Redis of a wheel is built without."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import trustme

from demo.services import HOST


class TlsProxy:
    """Decrypts what comes, and passes it on; use it as a context manager.

    :param port: the server's.
    :param context: with the certificate that is shown to clients.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._server = port
        self._context = context
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Pass bytes on both ways, in one thread: two must not use one TLS connection at the same time."""
        # A client that does not trust the certificate hangs up.
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection((HOST, self._server)) as server,
            self._context.wrap_socket(client, server_side=True) as encrypted,
        ):
            ends = {encrypted: server, server: encrypted}
            while True:
                ready = [encrypted] if encrypted.pending() else select.select(ends, [], [])[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    ends[source].sendall(data)


@contextlib.contextmanager
def own_authority(port: int, folder: Path) -> Iterator[tuple[TlsProxy, Path]]:
    """A proxy whose certificate is of an authority of its own, and the file with that one's certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    with TlsProxy(port, context) as proxy:
        yield proxy, ca
