"""Connections through the operator's proxy, with ``CONNECT``, for libcurl and ``doctor``."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from typing import Any, Final

import pycurl

from ...log import without_stop
from ...security.egress import EgressProxy

#: Statuses with which a proxy reports that it could not reach the receiver.
TARGET_UNREACHABLE: Final = frozenset({502, 503, 504})
#: ``CURLOPT_SUPPRESS_CONNECT_HEADERS``, for which pycurl has no name: the proxy's headers are not part of the
#: response.
_SUPPRESS_CONNECT_HEADERS: Final = 265
#: Bytes of the headers of a proxy's response that are read.
_MAX_HEAD: Final = 16 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})\b")


class NoTunnel(Exception):
    """The proxy opened no connection; the message continues a sentence after "it".

    :ivar status: its status, 0 for none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def proxy_options(proxy: EgressProxy) -> list[tuple[int, Any]]:
    """Return the options with which libcurl only connects to the proxy."""
    options: list[tuple[int, Any]] = [
        (pycurl.PROXY, f"http://{proxy.location}"),
        # Empty, and not unset: otherwise the environment could exclude hosts from the proxy.
        (pycurl.NOPROXY, ""),
        (pycurl.HTTPPROXYTUNNEL, 1),
        (_SUPPRESS_CONNECT_HEADERS, 1),
        (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),
        (pycurl.PROXYHEADER, ["User-Agent:"]),
    ]
    if proxy.username is not None:
        options += [
            (pycurl.PROXYUSERNAME, proxy.username.encode()),
            (pycurl.PROXYPASSWORD, (proxy.password or "").encode()),
        ]
    return options


def tunnel_target(addresses: Sequence[str]) -> str:
    """Return the address for the proxy: an IPv4 address, which every proxy supports, if there is one."""
    unwrapped = [_unwrapped(address) for address in addresses]
    return next((address for address in unwrapped if ":" not in address), unwrapped[0])


def _unwrapped(address: str) -> str:
    found = ipaddress.ip_address(address)
    return str(getattr(found, "ipv4_mapped", None) or found)


def refusal_of_proxy(status: int, error: int, number: int, *, connected: bool) -> str:
    """Return what the proxy did instead of opening a connection, as the continuation of "it".

    :param status: its response to ``CONNECT``, 0 for none.
    :param error: the error number of libcurl.
    :param number: the error number of the system.
    :param connected: there was a connection to the proxy.
    """
    if status == 407:
        return "responded with 407: it requires another user name and password"
    if status:
        return f"responded with {status}"
    if error == pycurl.E_COULDNT_RESOLVE_PROXY:
        return "cannot be found: its name does not resolve"
    if connected:
        return "closed the connection, or its response was not HTTP"
    return f"cannot be reached: {without_stop(os.strerror(number)) if number else 'no response'}"


def open_tunnel(proxy: EgressProxy, address: str, port: int, timeout: float) -> socket.socket:
    """Open a blocking connection to an address through a proxy.

    :param timeout: seconds for each step.
    :raises NoTunnel: the proxy opened no connection.
    :raises TimeoutError: it did not connect to the address in time.
    """
    try:
        connection = socket.create_connection((proxy.host, proxy.port), timeout)
    except socket.gaierror:
        raise NoTunnel(
            refusal_of_proxy(0, pycurl.E_COULDNT_RESOLVE_PROXY, 0, connected=False)
        ) from None
    except OSError as error:
        raise NoTunnel(refusal_of_proxy(0, 0, error.errno or 0, connected=False)) from None
    try:
        status = _ask(connection, proxy, address, port)
    except TimeoutError:
        connection.close()
        raise
    except OSError:
        status = 0
    if 200 <= status < 300:
        return connection
    connection.close()
    raise NoTunnel(refusal_of_proxy(status, 0, 0, connected=True), status)


def _ask(connection: socket.socket, proxy: EgressProxy, address: str, port: int) -> int:
    """Send ``CONNECT``; return the status, 0 if the response has none."""
    target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.username is not None:
        credentials = f"{proxy.username}:{proxy.password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials).decode()}")
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD:
        data = connection.recv(1)  # after the headers, the receiver follows
        if not data:
            break
        head += data
    found = _STATUS.match(head)
    return int(found[1]) if found else 0
