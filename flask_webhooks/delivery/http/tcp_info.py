"""What Linux tells of a TCP connection; of other systems nothing is known."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

#: The state of a connection in Linux's ``tcp_info``, and where that has ``tcpi_bytes_received``.
_SYN_SENT: Final = 2
_BYTES_RECEIVED: Final = struct.Struct("@128xQ")


def is_connecting(opened: socket.socket) -> bool:
    """Whether a connection is neither established nor refused yet."""
    if not hasattr(socket, "TCP_INFO"):  # not Linux
        return False
    return opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _SYN_SENT


def bytes_received(descriptor: int) -> int | None:
    """What a connection has received since it stands; ``None`` where the system does not say."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            known = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        return int(_BYTES_RECEIVED.unpack(known)[0])
    except (AttributeError, OSError, struct.error):  # not Linux, or closed meanwhile
        return None
