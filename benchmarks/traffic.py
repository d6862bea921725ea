"""Events that come one by one, and how long each takes to its receiver."""

from __future__ import annotations

import threading
import time

from .host import Host
from .results import Account
from .workers import LIMIT, BenchmarkError

#: Threads that emit, so that one commit that waits does not hold up the others.
THREADS = 4


def steady(
    host: Host, kind: str, rate: float, seconds: float, tenants: list[str], account: Account
) -> list[float]:
    """Emit at a steady rate; returns the milliseconds from each commit to the first byte at the receiver.

    Each event goes to one tenant, in turns; each tenant has one endpoint that is healthy.

    :raises BenchmarkError: this machine cannot emit so many.
    """
    total = round(rate * seconds)
    numbers = iter(range(total))
    lock = threading.Lock()
    committed: dict[str, float] = {}
    failures: list[BaseException] = []
    host.receiver.reset()
    began = time.monotonic()

    def emit() -> None:
        try:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                time.sleep(max(began + number / rate - time.monotonic(), 0))
                event_id, at = host.emit_one(tenants[number % len(tenants)])
                committed[event_id] = at
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=emit, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise BenchmarkError(f"Could not emit: {failures[0]!r}") from failures[0]
    took = time.monotonic() - began
    if took > 2 * seconds + 5:
        raise BenchmarkError(f"Emitting {total} events took {took:.1f} s instead of {seconds:g}.")
    seen = host.receiver.wait(kind, total, LIMIT)
    account.add(total, seen.distinct, seen.requests)
    arrivals = host.receiver.arrivals(kind)
    # What is lost is in the account; its latency is as long as we waited.
    return [(arrivals.get(key, at + LIMIT) - at) * 1000 for key, at in committed.items()]
