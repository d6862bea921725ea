"""What it costs to count for metrics, and how long a scrape takes beside a long history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest

from flask_webhooks.metrics import Collector

from ..bench import Bench, Scale
from ..filling import fill
from ..host import Host
from ..hostapp import webhooks
from ..results import Account, Result, at_least, at_most, in_turns

ENDPOINTS = 20
TENANT = "app_1"
#: Milliseconds that a scrape may take.
SCRAPE = 50.0


@dataclass(frozen=True)
class Size:
    rounds: int
    #: In a drain, to each endpoint.
    events: int
    history: int
    scrapes: int


SIZES: dict[Scale, Size] = {
    "full": Size(5, 1000, 1_000_000, 30),
    "quick": Size(3, 250, 100_000, 10),
    "smoke": Size(1, 3, 400, 2),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    with ExitStack() as stack:
        counted, plain = (stack.enter_context(bench.host(database)) for _ in range(2))
        endpoint_ids, _ = (
            host.add_endpoints(f"{bench.receiver.url}/ok", ENDPOINTS, TENANT)
            for host in (counted, plain)
        )
        # Workers deliver without it, and count nothing.
        plain.models.table("Metric").drop(plain.engine)
        yield _counting(database, size, counted, plain)
        fill(counted, endpoint_ids, size.history, TENANT, settled=True)
        yield _scrape(database, size, counted)


def _counting(database: str, size: Size, counted: Host, plain: Host) -> Result:
    account = Account()

    def drain(host: Host) -> float:
        with host.workers():
            return host.drain_rate("ok", size.events, size.events * ENDPOINTS, account, TENANT)

    ours, theirs = in_turns(size.rounds, lambda: drain(counted), lambda: drain(plain))
    goal = at_least(0.99)
    lost, duplicates = account.lost, account.duplicates
    return Result(
        "metrics: counted", database, ours, theirs, "deliveries/s", goal, lost, duplicates
    )


def _scrape(database: str, size: Size, host: Host) -> Result:
    registry = CollectorRegistry()
    registry.register(Collector(webhooks, host.app))

    def scrape() -> float:
        began = time.monotonic()
        generate_latest(registry)
        return (time.monotonic() - began) * 1000

    scrape()
    [ours] = in_turns(size.scrapes, scrape)
    return Result("metrics: scrape", database, ours, SCRAPE, "ms", at_most(1.0))
