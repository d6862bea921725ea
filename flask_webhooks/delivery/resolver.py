"""Name lookups in threads of their own: a resolver that hangs for one customer's name stops no other."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

logger = logging.getLogger("flask_webhooks.delivery")

#: Names looked up at the same time. A lookup that hangs keeps its thread, so there must be many.
THREADS = 64
#: Looked up when another name got no answer: whoever can resolve anything can answer for this one,
#: if only that it does not exist here.
CONTROL_NAME = "a.root-servers.net."
#: Seconds that the control lookup may take.
CONTROL_TIMEOUT = 2.0
#: Seconds for which an answer for any name proves that names can be resolved.
PROOF = 5.0


class ThreadResolver(AbstractResolver):
    """`getaddrinfo` in a pool that nothing else uses; the event loop's own pool has a handful of threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "flask-webhooks-dns")
        self._answered_at = float("-inf")
        self._control: asyncio.Task[bool] | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            infos = await asyncio.get_running_loop().run_in_executor(
                self._pool, _lookup, host, port, family
            )
        except socket.gaierror as error:
            if not is_temporary(error):
                self._answered_at = time.monotonic()
            raise
        self._answered_at = time.monotonic()
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in infos
        ]

    async def works(self) -> bool:
        """Whether names can be looked up at all just now. Ask after a lookup that got no answer.

        It tells a customer's broken name servers from a resolver of ours that is down. Takes up to
        `CONTROL_TIMEOUT`.
        """
        if time.monotonic() - self._answered_at < PROOF:
            return True
        if self._control is None or self._control.done():
            self._control = asyncio.create_task(self._ask_for_control_name())
        return await asyncio.shield(self._control)

    async def _ask_for_control_name(self) -> bool:
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT):
                await self.resolve(CONTROL_NAME)
        except socket.gaierror as error:
            works = not is_temporary(error)
        except OSError:  # TimeoutError is one
            works = False
        else:
            works = True
        if not works:
            logger.warning("No name can be resolved; deliveries to names wait")
        return works

    async def close(self) -> None:
        if self._control is not None:
            self._control.cancel()
        # A name that still resolves must not hold up the end of the job.
        self._pool.shutdown(wait=False, cancel_futures=True)


def is_temporary(error: socket.gaierror) -> bool:
    """Whether the lookup got no answer, as opposed to the answer that there is no such name."""
    return error.errno == socket.EAI_AGAIN


def _lookup(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
    return socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
