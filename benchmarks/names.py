"""Names under ``.test``, for a machine that has no name server that hangs on request.

`install` puts them before the operating system's lookup, in the worker's process only: a name that ends in
``.answers.test`` is this machine, and one that ends in ``.hangs.test`` gets no answer for as long as a usual
resolver is patient.
"""

from __future__ import annotations

import socket
import time
from typing import Any

#: Seconds of the usual ``resolv.conf``: two tries of five seconds.
PATIENCE = 10.0

_lookup = socket.getaddrinfo


def _getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name.endswith(".answers.test"):
        return _lookup("127.0.0.1", *arguments, **options)
    if name.endswith(".hangs.test"):
        time.sleep(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _lookup(host, *arguments, **options)


def install() -> None:
    """Look these names up from now on."""
    socket.getaddrinfo = _getaddrinfo
