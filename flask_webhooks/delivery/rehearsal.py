"""Everything that a drain does before its first request, done by a worker before it forks.

A fork begins with what its parent has: compiled SQL, loaded modules, warm caches, bytecode that Python has
adapted to what it is used for. Without this, each drain would spend most of the time until its first request
on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import socket
from datetime import UTC, datetime, timedelta

from ..addresses import LOOPBACK, NetworkPolicy
from ..db.clock import DatabaseClock
from ..db.locks import reading
from ..formats import OutgoingEvent, Target
from ..formats.standard import Standard
from ..models import Trigger
from ..state import State
from .claim import Claimer
from .drain import Drain, loop_factory
from .outcome import Claimed
from .send import Sender

#: How often, so that Python has adapted its bytecode.
TIMES = 10

#: Seconds for which a machine is given the time to reach itself.
LIMIT = 2.0

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


def rehearse(state: State) -> None:
    """Go through claim and send with nothing to deliver; writes nothing, and sends to nobody but itself.

    :raises sqlalchemy.exc.DBAPIError: the database does not answer, or has no tables.
    """
    # A machine may have no loopback; then the first request of each drain takes longer.
    with asyncio.Runner(loop_factory=loop_factory()) as runner, contextlib.suppress(OSError):
        runner.run(_rehearse_sending(state))
    with state.own_engine.connect() as connection:
        for _ in range(TIMES):
            with reading(connection):
                now = DatabaseClock().read(connection)
            Claimer(state).rehearse(connection, now)
    Drain(state)


def freeze() -> None:
    """Keep the garbage collectors of forks off what they share with us, or they would copy all of it."""
    gc.collect()
    gc.freeze()


async def _rehearse_sending(state: State) -> None:
    # Loads the system's resolver.
    socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    async with server, asyncio.timeout(LIMIT):
        port = server.sockets[0].getsockname()[1]
        alone = dataclasses.replace(state, policy=NetworkPolicy(LOOPBACK))
        for _ in range(TIMES):
            await _send(alone, f"http://127.0.0.1:{port}/")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"{}")
    writer.write(_ANSWER)
    await writer.drain()
    writer.close()


async def _send(state: State, url: str) -> None:
    style = Standard()
    secret = state.vault.open(state.vault.seal(style.generate_secret()))
    target = Target("ep", None, url, url, style.name, (secret,), {}, None, 1)
    now = datetime.now(UTC)
    event = OutgoingEvent("evt", "license.created", None, now, "{}")
    claimed = Claimed(
        delivery_id="dlv",
        endpoint_id=target.id,
        event=event,
        number=1,
        trigger=Trigger.EVENT,
        actor=None,
        failure_count=0,
        token="",
        lease_until=now + timedelta(seconds=60),
    )
    async with Sender(state) as sender:
        await sender.send(claimed, target)
