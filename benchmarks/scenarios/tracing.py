"""What it costs that OpenTelemetry could trace, where it is not installed: beside a package without our calls to it.

The other one's calls are replaced by what does nothing, so the difference is all that remains of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from .. import tracing_modes
from ..bench import Bench, Scale
from ..host import Host
from ..results import Account, Result, at_most, in_turns

ENDPOINTS = 20
TENANT = "app_1"
#: Of the processor time, which others on the machine change less; two runs of the same differ by as much.
GOAL = at_most(1.02)


@dataclass(frozen=True)
class Size:
    rounds: int
    #: In a drain, to each endpoint.
    events: int
    #: In one transaction, to one endpoint.
    emits: int


SIZES: dict[Scale, Size] = {
    "full": Size(7, 1000, 500),
    "quick": Size(3, 500, 200),
    "smoke": Size(1, 3, 3),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()
    deliveries = size.events * ENDPOINTS

    def drain(host: Host) -> float:
        """Microseconds of the worker's processor for a delivery."""
        return host.drain_processor("ok", size.events, deliveries, account, TENANT)[0]

    def emit(host: Host, mode: str) -> float:
        """Microseconds of the host's processor for an event."""
        with tracing_modes.tracing(mode):
            before = time.process_time()
            host.emit(size.emits, "app_emit")
            return (time.process_time() - before) / size.emits * 1_000_000

    configs = [{"TRACING": mode} for mode in tracing_modes.MODES]
    with bench.hosts(database, configs, ENDPOINTS, TENANT) as hosts:
        used = in_turns(size.rounds, *(partial(drain, host) for host in hosts))
    with bench.host(database) as host:
        host.add_endpoints(f"{bench.receiver.url}/ok", 1, "app_emit")
        emitted = in_turns(
            size.rounds * 3, *(partial(emit, host, mode) for mode in tracing_modes.MODES)
        )
    for name, (ours, theirs) in (("an event", emitted), ("a delivery", used)):
        yield Result(
            f"tracing: processor for {name}, not installed",
            database,
            ours,
            theirs,
            "µs",
            GOAL,
            account.lost,
            account.duplicates,
        )
