"""An HTTP client on libcurl: many concurrent requests from one thread, without a task for each.

The caller starts requests, calls `Client.run` in a loop, which waits for the network, and takes the exchanges that
have ended. Everything that a receiver sends is limited in size and time, every address is checked before its
socket exists, and a connection is kept only as long as its name resolves to it. Long, since one loop handles
names, connections and time.
"""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import time
from typing import Any, Final

import pycurl

from ...security.addresses import NetworkPolicy
from ...security.egress import EgressProxy
from .certificates import certificate_options
from .exchange import Exchange, Request
from .machine import SPARE_DESCRIPTORS
from .resolver import Lookup, NoCapacity, Resolver
from .transfer import Transfer

#: The maximum number of connections of libcurl, in use or kept; fewer if fewer file descriptors are allowed.
KEEP_CONNECTIONS: Final = 1000
#: Pauses between two calls of `run` from this length on, in seconds, do not count for receivers: deadlines are
#: extended.
STALL: Final = 0.5
#: Seconds between checks of the received amount.
LOOK: Final = 0.25


class Client:
    """Requests in flight and kept connections, for one thread.

    :param policy: decides which addresses are allowed.
    :param max_body: bytes of a body that are kept; a longer one is cut, and its connection closed.
    :param proxy: opens all connections instead of this machine.
    """

    def __init__(
        self, policy: NetworkPolicy, max_body: int, proxy: EgressProxy | None = None
    ) -> None:
        self._policy = policy
        self._proxy = proxy
        self._max_body = max_body
        self._certificates = certificate_options()
        self.resolver = Resolver(self.wake)
        #: Transfers by libcurl's handles.
        self._running: dict[Any, Transfer] = {}
        self._idle: list[Transfer] = []
        self._resolving: dict[Lookup, list[Transfer]] = {}
        #: Exchanges with a failed lookup, until it is known whether any name can be resolved.
        self._unexplained: list[Exchange] = []
        self._ended: list[Exchange] = []
        #: Exchanges of which nothing was sent yet: their time begins with the next `run`.
        self._new: list[Exchange] = []
        #: No deadline is earlier than this.
        self._check_at = float("inf")
        self._ran_at = self._looked_at = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._curl_due = float("inf")
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, _connections())
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        # Sockets rather than a pipe: writing to a closed one raises, whereas the number of a pipe may be reused.
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)

    def __len__(self) -> int:
        """Return the number of requests in flight."""
        return (
            len(self._running)
            + sum(map(len, self._resolving.values()))
            + len(self._unexplained)
            + len(self._ended)
        )

    def start(self, request: Request) -> Exchange:
        """Start a request; `take_ended` returns its exchange when it has ended.

        :raises ValueError: the URL or a header cannot be sent as it is.
        """
        transfer = (
            self._idle.pop()
            if self._idle
            else Transfer(self._policy, self._max_body, self._certificates, self._proxy)
        )
        try:
            exchange = transfer.prepare(request)
        except Exception:
            self._idle.append(transfer)
            raise
        exchange.began = time.monotonic()
        self._new.append(exchange)
        self._resolve(transfer)
        return exchange

    def run(self, timeout: float, also: int | None = None, events: int = 0) -> int:
        """Wait up to `timeout` seconds for the network, for `wake`, or for one more file descriptor.

        Returns early if anything has happened.

        :param also: the descriptor, and the `selectors` events to wait for.
        :return: the events for which it is ready.
        """
        now = time.monotonic()
        if now - self._ran_at > STALL:
            self._postpone_deadlines(now - self._ran_at)
        self._begin_time(now)
        if self._ended and also is None:
            timeout = 0.0
        due = min(self._curl_due, self._check_at, self.resolver.due)
        if also is not None:
            self._selector.register(also, events)
        try:
            ready = self._selector.select(max(min(timeout, due - now), 0.0))
        finally:
            if also is not None:
                self._selector.unregister(also)
        found = 0
        for key, happened in ready:
            if key.fd == also:
                found = happened
            elif key.fileobj is self._wake_reader:
                _drain(self._wake_reader)
            else:
                # libcurl may have closed it meanwhile because of another socket.
                self._multi.socket_action(key.fd, _as_actions(happened))
        now = self._ran_at = time.monotonic()
        if self._curl_due <= now:
            self._curl_due = float("inf")
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()
        self._take_lookups()
        if self._check_at <= now:
            self._end_overdue(now)
        if now - self._looked_at > LOOK:
            self._looked_at = now
            self._end_endless()
        if self._unexplained:
            self._explain()
        return found

    def take_ended(self) -> list[Exchange]:
        """Return the exchanges that have ended since the last call, in that order."""
        ended, self._ended = self._ended, []
        return ended

    def wake(self) -> None:
        """Make `run` return. May be called from any thread or signal handler."""
        with contextlib.suppress(OSError):  # already awake, or closed
            self._wake_writer.send(b"\0")

    def abort(self) -> list[Exchange]:
        """Abort all requests; return their exchanges in their current state."""
        aborted = []
        for transfer in [*self._running.values(), *self._waiting_for_lookups()]:
            aborted.append(self._break_off(transfer))
        self._resolving.clear()
        aborted += self._unexplained
        self._unexplained = []
        return aborted

    def close(self) -> None:
        """Close every connection."""
        self.abort()
        for transfer in self._idle:
            transfer.handle.close()
        self._multi.close()
        self._selector.close()
        self.resolver.close()
        self._wake_reader.close()
        self._wake_writer.close()

    # -- names ---------------------------------------------------------------------------------------

    def _resolve(self, transfer: Transfer, *, anew: bool = False) -> None:
        """Resolve the name, and continue when there are addresses.

        :param anew: do not use a cached result.
        """
        name = transfer.exchange.request.name
        if name is None:
            self._begin(transfer, ())
            return
        known = None if anew else self.resolver.known(name)
        if known is not None:
            self._begin(transfer, known)
            return
        self._resolving.setdefault(self.resolver.lookup(name), []).append(transfer)
        self._take_lookups()

    def _take_lookups(self) -> None:
        for lookup in self.resolver.take_ended():
            for transfer in self._resolving.pop(lookup, ()):
                exchange = transfer.exchange
                exchange.timings["dns"] = (time.monotonic() - exchange.began) * 1000
                if lookup.error is None and not (lookup.stands_in and transfer.confirming):
                    exchange.looked_up = not lookup.stands_in
                    self._begin(transfer, lookup.addresses)
                else:
                    exchange.lookup_error = lookup.error or NoCapacity()
                    self._finish(transfer)
                    self._unexplained.append(exchange)

    def _explain(self) -> None:
        """End exchanges with a failed lookup, once the cause is known."""
        left = []
        for exchange in self._unexplained:
            assert exchange.request.name is not None
            unknown = exchange.lookup_error is not None and not self.resolver.is_unanswered(
                exchange.lookup_error
            )
            works = self.resolver.works(found=unknown)
            if works is None:
                left.append(exchange)
                continue
            exchange.no_names = not works
            if not unknown:
                exchange.no_lookup_thread = works and self.resolver.refused(exchange.request.name)
            self._ended.append(exchange)
        self._unexplained = left

    def _waiting_for_lookups(self) -> list[Transfer]:
        return [transfer for transfers in self._resolving.values() for transfer in transfers]

    # -- transfers -----------------------------------------------------------------------------------

    def _begin(self, transfer: Transfer, addresses: tuple[str, ...]) -> None:
        if not transfer.begin(addresses):
            self._finish(transfer)
            self._ended.append(transfer.exchange)
            return
        self._running[transfer.handle] = transfer
        self._multi.add_handle(transfer.handle)

    def _collect(self) -> None:
        while True:
            left, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                self._end(handle, 0, "")
            for handle, error, text in failed:
                self._end(handle, error, text)
            if not left:
                return

    def _end(self, handle: Any, error: int, text: str) -> None:
        transfer = self._running.pop(handle)
        self._multi.remove_handle(handle)
        postponed = (
            error == pycurl.E_OPERATION_TIMEDOUT
            and not transfer.exchange.connected
            and transfer.exchange.deadline - time.monotonic() > STALL / 2
        )
        if transfer.moved or postponed:
            # The kept connection led to an address that the name no longer has, and was closed. Or libcurl gave up
            # connecting.
            transfer.again()
            self._running[handle] = transfer
            self._multi.add_handle(handle)
            return
        exchange = transfer.end(error, text)
        # Data on a kept connection may be the late end of an earlier response, and libcurl only repeats a request
        # if nothing at all was received.
        stale = exchange.reused and exchange.error and exchange.status is None
        doubtful = exchange.status in exchange.request.confirm and (
            exchange.reused or not (exchange.looked_up or exchange.request.name is None)
        )
        if (stale or doubtful) and not transfer.fresh:
            transfer.start_over()
            transfer.confirming = doubtful
            self._resolve(transfer, anew=True)
            return
        self._finish(transfer)
        self._ended.append(exchange)

    def _finish(self, transfer: Transfer) -> None:
        exchange = transfer.exchange
        exchange.duration_ms = round((time.monotonic() - exchange.began) * 1000, 3)
        self._idle.append(transfer)

    def _break_off(self, transfer: Transfer) -> Exchange:
        if self._running.pop(transfer.handle, None) is not None:
            self._multi.remove_handle(transfer.handle)
            exchange = transfer.end(pycurl.E_ABORTED_BY_CALLBACK, "aborted")
        else:
            exchange = transfer.exchange
        self._finish(transfer)
        return exchange

    # -- time ----------------------------------------------------------------------------------------

    def _end_overdue(self, now: float) -> None:
        for transfer in list(self._running.values()):
            if transfer.exchange.deadline <= now:
                exchange = self._break_off(transfer)
                exchange.timed_out = True
                self._ended.append(exchange)
        for lookup, transfers in list(self._resolving.items()):
            for transfer in [item for item in transfers if item.exchange.deadline <= now]:
                transfers.remove(transfer)
                exchange = self._break_off(transfer)
                exchange.timed_out = True
                self._unexplained.append(exchange)
            if not transfers:
                del self._resolving[lookup]
        self._check_at = self._first_deadline()

    def _end_endless(self) -> None:
        for transfer in list(self._running.values()):
            if transfer.receives_too_much():
                exchange = self._break_off(transfer)
                exchange.too_much = "framing"
                self._ended.append(exchange)

    def _begin_time(self, now: float) -> None:
        for exchange in self._new:
            exchange.began = now
            exchange.deadline = now + exchange.request.timeout
            self._check_at = min(self._check_at, exchange.deadline)
        self._new.clear()

    def _postpone_deadlines(self, seconds: float) -> None:
        for exchange in self._under_way():
            exchange.deadline += seconds
        self._check_at = self._first_deadline()

    def _first_deadline(self) -> float:
        return min((item.deadline for item in self._under_way()), default=float("inf"))

    def _under_way(self) -> list[Exchange]:
        transfers = [*self._running.values(), *self._waiting_for_lookups()]
        return [transfer.exchange for transfer in transfers]

    # -- what libcurl waits for ----------------------------------------------------------------------

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
        self._curl_due = (
            float("inf") if milliseconds < 0 else time.monotonic() + milliseconds / 1000
        )


def _connections() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return KEEP_CONNECTIONS
    return min(KEEP_CONNECTIONS, max(limit - SPARE_DESCRIPTORS, 1))


def _as_actions(events: int) -> int:
    actions = 0
    if events & selectors.EVENT_READ:
        actions |= pycurl.CSELECT_IN
    if events & selectors.EVENT_WRITE:
        actions |= pycurl.CSELECT_OUT
    return actions


def _drain(reader: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while reader.recv(4096):
            pass
