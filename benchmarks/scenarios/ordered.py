"""Deliveries per second of one ordered endpoint, beside what one request after another allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ..bench import Bench, Scale
from ..results import Account, Result, at_least, in_turns


@dataclass(frozen=True)
class Size:
    #: The receiver's latency in milliseconds.
    latency: int
    rounds: int
    events: int


SIZES: dict[Scale, list[Size]] = {
    "full": [Size(50, 3, 200), Size(200, 2, 50)],
    "quick": [Size(50, 1, 100), Size(200, 1, 25)],
    "smoke": [Size(50, 1, 3)],
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    with bench.host(database) as host, host.workers():
        for size in SIZES[bench.scale]:
            tenant = f"latency_{size.latency}"
            url = f"{bench.receiver.url}/after/{size.latency}"
            host.add_endpoint(url, tenant, ordered=True)
            host.sample(tenant)
            account = Account()
            drain = partial(host.drain_rate, "after", size.events, size.events, account, tenant)
            [rate] = in_turns(size.rounds, drain)
            yield Result(
                f"ordered, receiver at {size.latency} ms: 1 ÷ latency",
                database,
                rate,
                1000 / size.latency,
                "deliveries/s",
                at_least(0.8),
                account.lost,
                account.duplicates,
            )
