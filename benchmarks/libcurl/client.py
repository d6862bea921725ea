"""An HTTP client on libcurl: many requests at once, from one thread, without a task for each.

The caller starts requests and calls `Client.perform` in a loop, which waits for the network and returns the
exchanges that have ended. Whatever a receiver sends is bounded in size and in time, every address is vetted
before its socket exists, and a connection is kept only as long as its name leads to it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from typing import Any, Final

import pycurl

from flask_webhooks.addresses import NetworkPolicy

from .certificates import certificate_options
from .exchange import Exchange, Request
from .transfer import Transfer

#: Connections that are kept at the same time.
KEEP_CONNECTIONS: Final = 1000


class Client:
    """Requests in flight and the connections that they leave behind. For one thread.

    :param policy: says which addresses may be connected to.
    :param max_body: bytes of a body that are kept; a longer one is cut and its connection closed.
    :raises NoCertificates: see there.
    """

    def __init__(self, policy: NetworkPolicy, max_body: int) -> None:
        self._policy = policy
        self._max_body = max_body
        self._certificates = certificate_options()
        self._running: dict[Any, Transfer] = {}
        self._idle: list[Transfer] = []
        self._selector = selectors.DefaultSelector()
        self._due: float | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, KEEP_CONNECTIONS)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)

    def __len__(self) -> int:
        """How many requests are in flight."""
        return len(self._running)

    def start(self, request: Request) -> Exchange:
        """Begin a request; `perform` returns its exchange when it has ended."""
        transfer = (
            self._idle.pop()
            if self._idle
            else Transfer(self._policy, self._max_body, self._certificates)
        )
        exchange = transfer.begin(request)
        self._running[transfer.handle] = transfer
        self._multi.add_handle(transfer.handle)
        return exchange

    def perform(self, timeout: float) -> list[Exchange]:
        """Wait up to `timeout` seconds for the network or for `wake`; returns the exchanges that have ended."""
        if self._due is not None:
            timeout = min(timeout, self._due - time.monotonic())
        for key, events in self._selector.select(max(timeout, 0.0)):
            if key.fd == self._wake_reader:
                _drain(self._wake_reader)
                continue
            # libcurl may have closed it since, on account of another socket.
            self._multi.socket_action(key.fd, _as_actions(events))
        if self._due is not None and self._due <= time.monotonic():
            self._due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._ended()

    def wake(self) -> None:
        """Let `perform` return. From any thread, or from a signal handler."""
        with contextlib.suppress(BlockingIOError):  # it is awake
            os.write(self._wake_writer, b"\0")

    def abort(self) -> list[Exchange]:
        """Break off every request; returns their exchanges as they stand."""
        aborted = []
        for transfer in list(self._running.values()):
            self._multi.remove_handle(transfer.handle)
            del self._running[transfer.handle]
            aborted.append(transfer.end(pycurl.E_ABORTED_BY_CALLBACK, "aborted"))
            transfer.handle.close()
        return aborted

    def close(self) -> None:
        """Close every connection."""
        self.abort()
        for transfer in self._idle:
            transfer.handle.close()
        self._multi.close()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _ended(self) -> list[Exchange]:
        ended: list[Exchange] = []
        while True:
            left, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                self._end(handle, 0, "", ended)
            for handle, error, text in failed:
                self._end(handle, error, text, ended)
            if not left:
                return ended

    def _end(self, handle: Any, error: int, text: str, ended: list[Exchange]) -> None:
        transfer = self._running.pop(handle)
        self._multi.remove_handle(handle)
        if transfer.moved:
            # The kept connection led to an address that the name no longer has. It is closed by now.
            self._running[handle] = transfer
            transfer.again(handle.getinfo(pycurl.TOTAL_TIME_T) / 1e6)
            self._multi.add_handle(handle)
            return
        ended.append(transfer.end(error, text))
        self._idle.append(transfer)

    def _watch(self, event: int, fd: int, multi: Any, data: Any) -> None:
        known = fd in self._selector.get_map()
        if event == pycurl.POLL_REMOVE:
            if known:
                self._selector.unregister(fd)
            return
        wanted = 0
        if event in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            wanted |= selectors.EVENT_READ
        if event in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            wanted |= selectors.EVENT_WRITE
        if known:
            self._selector.modify(fd, wanted)
        else:
            self._selector.register(fd, wanted)

    def _set_timer(self, milliseconds: int) -> None:
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000


def _as_actions(events: int) -> int:
    actions = 0
    if events & selectors.EVENT_READ:
        actions |= pycurl.CSELECT_IN
    if events & selectors.EVENT_WRITE:
        actions |= pycurl.CSELECT_OUT
    return actions


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass
