"""Endpoints that hang: one for each phase of a request."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def hanging_urls(receiver: str) -> Iterator[dict[str, str]]:
    """URLs that hang, by the phase in which they do.

    :param receiver: the URL of `benchmarks.receiver`, which sees to headers and body.
    """
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(_listening(0))
        _fill(full, stack)
        # The system accepts connections, but nothing reads from them.
        silent = stack.enter_context(_listening(4096))
        port = receiver.rpartition(":")[2]
        yield {
            "dns": f"http://shop.hangs.test:{port}/ok/dns",
            "connect": f"http://127.0.0.1:{full.getsockname()[1]}/",
            "tls": f"https://127.0.0.1:{silent.getsockname()[1]}/",
            "headers": f"{receiver}/never/headers",
            "body": f"{receiver}/drip/body",
        }


def _listening(backlog: int) -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(backlog)
    return listener


def _fill(listener: socket.socket, stack: contextlib.ExitStack) -> None:
    """Connect until the system drops further attempts, which then wait for ever."""
    for _ in range(64):
        client = stack.enter_context(socket.socket())
        client.settimeout(0.2)
        try:
            client.connect(listener.getsockname())
        except TimeoutError:
            return
    raise RuntimeError("This system accepts connections beyond the backlog; nothing hangs here.")
