"""Many events to many endpoints each, from the first emit to the last row, beside the bare loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..bare import bare_rate
from ..bench import Bench, Scale
from ..host import Host
from ..results import Account, Result, at_least, in_turns

GOAL = at_least(0.65)
PATH = "/ok"


@dataclass(frozen=True)
class Size:
    rounds: int
    events: int
    endpoints: int


SIZES: dict[Scale, Size] = {
    "full": Size(1, 1000, 100),
    "quick": Size(1, 100, 100),
    "smoke": Size(1, 3, 10),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    deliveries = size.events * size.endpoints
    account = Account()
    with bench.host(database) as host, host.workers():
        host.add_endpoints(bench.receiver.url + PATH, size.endpoints)
        sample = host.sample()
        ours, theirs = in_turns(
            size.rounds,
            lambda: _rate(host, size, account),
            lambda: bare_rate(
                bench.receiver, sample, PATH, deliveries, size.endpoints, host.concurrency
            ),
        )
    yield Result(
        "fan-out: bare loop",
        database,
        ours,
        theirs,
        "deliveries/s",
        GOAL,
        account.lost,
        account.duplicates,
    )


def _rate(host: Host, size: Size, account: Account) -> float:
    """Each event in a transaction of its own, while the worker delivers."""
    host.receiver.reset()
    began = time.monotonic()
    for _ in range(size.events):
        host.emit()
    return host.rate_of("ok", size.events * size.endpoints, account, since=began)
