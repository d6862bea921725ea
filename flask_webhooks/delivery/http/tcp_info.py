"""Data of Linux about TCP connections; not available on other systems."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

#: The state in Linux's ``tcp_info``, and the offset of ``tcpi_bytes_received``.
_SYN_SENT: Final = 2
_BYTES_RECEIVED: Final = struct.Struct("@128xQ")


def is_connecting(opened: socket.socket) -> bool:
    """Return whether a connection is neither established nor refused yet."""
    if not hasattr(socket, "TCP_INFO"):  # not Linux
        return False
    return opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _SYN_SENT


def bytes_received(descriptor: int) -> int | None:
    """Return the bytes that a connection has received; ``None`` if the system does not tell."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            known = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        return int(_BYTES_RECEIVED.unpack(known)[0])
    except (AttributeError, OSError, struct.error):  # not Linux, or closed meanwhile
        return None
