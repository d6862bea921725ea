"""The preparation of a drain, done by a worker before it forks.

A fork inherits compiled SQL, loaded modules, warm caches and specialised bytecode. Without this, each drain would
spend most of the time until its first request on them.
"""

from __future__ import annotations

import dataclasses
import gc
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

from ..app_state import AppState
from ..db.clock import DatabaseClock
from ..db.locks import read_only
from ..formats import OutgoingEvent, Target
from ..formats.standard import Standard
from ..models import Trigger
from ..security.addresses import LOOPBACK, NetworkPolicy
from .claim.claim import Claimer
from .drain import Drain
from .http.client import Client
from .in_flight import InFlight
from .outcome import Claimed

#: Repetitions after which Python has specialised its bytecode.
TIMES = 10

#: Timeout in seconds of the request of the machine to itself.
LIMIT = 2.0

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


def warm_up(state: AppState) -> None:
    """Execute claim and send without deliveries; writes nothing, and only sends to this machine.

    :raises sqlalchemy.exc.DBAPIError: the database does not respond, or has no tables.
    """
    _warm_up_sending(state)
    with state.own_engine.connect() as connection:
        for _ in range(TIMES):
            with read_only(connection):
                now = DatabaseClock().read(connection)
            Claimer(state).warm_up(connection, now)
    Drain(state).discard()


def freeze() -> None:
    """Exclude shared objects from the garbage collection of forks, which would copy them."""
    gc.collect()
    gc.freeze()


def _warm_up_sending(state: AppState) -> None:
    # Loads the system's resolver.
    socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    try:
        server = socket.create_server(("127.0.0.1", 0))
    except OSError:
        # No loopback interface: the first request of each drain takes longer.
        return
    with server:
        server.settimeout(LIMIT)
        thread = threading.Thread(target=_answer, args=(server,), daemon=True)
        thread.start()
        alone = dataclasses.replace(state, policy=NetworkPolicy(LOOPBACK))
        client = Client(alone.policy, state.settings.max_response_bytes)
        try:
            _send(alone, client, f"http://127.0.0.1:{server.getsockname()[1]}/")
        finally:
            client.close()
        thread.join(LIMIT)


def _answer(server: socket.socket) -> None:
    for _ in range(TIMES):
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(LIMIT)
                while b"{}" not in connection.recv(4096):
                    pass
                connection.sendall(_ANSWER)
        except OSError:
            return


def _send(state: AppState, client: Client, url: str) -> None:
    style = Standard()
    secret = state.vault.decrypt(state.vault.encrypt(style.generate_secret()))
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
    in_flight = InFlight(state, client, DatabaseClock())
    until = time.monotonic() + LIMIT
    for _ in range(TIMES):
        in_flight.launch(claimed, target)
        while len(in_flight) and time.monotonic() < until:
            client.run(LIMIT)
            in_flight.advance()
