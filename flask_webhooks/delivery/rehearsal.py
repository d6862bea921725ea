"""Everything that a drain does before its first request, done once by a worker before it forks.

A fork begins with what its parent has: compiled SQL, loaded modules, warm caches. Without this, each drain
would spend most of the time until its first request on them.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from datetime import UTC, datetime

from ..formats import OutgoingEvent, Target
from ..formats.standard import Standard
from ..state import State
from .claim import Claimer
from .clock import DatabaseClock
from .drain import loop_factory
from .locks import reading
from .send import Sender


def rehearse(state: State) -> None:
    """Go through claim and send with nothing to deliver; writes nothing, sends nothing.

    :raises sqlalchemy.exc.DBAPIError: the database does not answer, or has no tables.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_rehearse_sending(state))
    with state.engine.connect() as connection:
        with reading(connection):
            now = DatabaseClock().read(connection)
        Claimer(state).rehearse(connection, now)


def freeze() -> None:
    """Keep the garbage collectors of forks off what they share with us, or they would copy all of it."""
    gc.collect()
    gc.freeze()


async def _rehearse_sending(state: State) -> None:
    # Loads the system's resolver.
    socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    style = Standard()
    secret = state.vault.open(state.vault.seal(style.generate_secret()))
    url = "https://localhost/"
    target = Target("ep", None, url, url, style.name, (secret,), {}, None, 1)
    now = datetime.now(UTC)
    style.render(OutgoingEvent("evt", "license.created", None, now, "{}"), target, now)
    async with Sender(state):
        pass
