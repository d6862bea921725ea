"""Let requests go on while PostgreSQL works on a statement.

psycopg waits for the server in a function of the connection that takes a generator (psycopg's documentation,
"Connection.wait"). In its place, the client's own wait for the network includes the server's socket. The other
drivers wait by themselves: for SQLite that is short, since the work is done in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .http.client import Client

#: Seconds that one wait takes at most.
INTERVAL = 0.1


def wait_together(client: Client, driver: Any) -> Callable[[], None]:
    """Have a driver's connection wait together with a client; returns what undoes that."""
    if type(driver).__module__.partition(".")[0] != "psycopg" or not hasattr(driver, "pgconn"):
        return lambda: None

    def wait(generator: Any, interval: float = INTERVAL, timeout: float | None = None) -> Any:
        if timeout is not None:
            # Only psycopg's own wait keeps to one.
            return type(driver).wait(driver, generator, interval, timeout)
        descriptor = driver.pgconn.socket
        try:
            wanted = next(generator)
            while True:
                while not (ready := client.run(INTERVAL, descriptor, int(wanted))):
                    pass
                wanted = generator.send(ready)
        except StopIteration as end:
            return end.value

    driver.wait = wait

    def restore() -> None:
        driver.__dict__.pop("wait", None)

    return restore
