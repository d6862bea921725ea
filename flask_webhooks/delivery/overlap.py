"""Continue requests while PostgreSQL executes a statement. psycopg waits for the server in a function of the
connection that takes a generator (psycopg's documentation, "Connection.wait").

It is replaced by the client's wait for the network, which then includes the server's socket. Other drivers block:
for SQLite this is short, because the work is done in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .http.client import Client

#: Seconds that one wait takes at most.
INTERVAL = 0.1


def wait_together(client: Client, driver: Any) -> Callable[[], None]:
    """Make a driver's connection wait together with a client; return a function that undoes this."""
    if type(driver).__module__.partition(".")[0] != "psycopg" or not hasattr(driver, "pgconn"):
        return lambda: None

    def wait(generator: Any, interval: float = INTERVAL, timeout: float | None = None) -> Any:
        if timeout is not None:
            # Only psycopg's own wait has an interval.
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
