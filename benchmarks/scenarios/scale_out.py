"""Two workers beside one, where the receiver's latency is the limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..bench import Bench, Scale
from ..host import Host
from ..results import Account, Result, at_least, in_turns

#: Enough that their caps in flight together exceed that of two workers.
ENDPOINTS = 64
LATENCY = 200


@dataclass(frozen=True)
class Size:
    rounds: int
    #: To each endpoint.
    events: int


SIZES: dict[Scale, Size] = {"full": Size(2, 125), "quick": Size(1, 60), "smoke": Size(1, 2)}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()
    with bench.host(database) as host:
        host.add_endpoints(f"{bench.receiver.url}/after/{LATENCY}", ENDPOINTS)
        two, one = in_turns(
            size.rounds,
            lambda: _rate(host, 2, size, account),
            lambda: _rate(host, 1, size, account),
        )
    yield Result(
        "scale-out: 2 workers, 1 worker",
        database,
        two,
        one,
        "deliveries/s",
        at_least(1.8),
        account.lost,
        account.duplicates,
    )


def _rate(host: Host, workers: int, size: Size, account: Account) -> float:
    with host.workers(workers):
        return host.drain_rate("after", size.events, size.events * ENDPOINTS, account)
