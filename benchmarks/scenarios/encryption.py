"""What it costs to encrypt the bodies of attempts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

from ..bench import Bench, Scale
from ..host import Host
from ..results import Account, Result, at_least, at_most, in_turns

ENDPOINTS = 20
TENANT = "app_1"
#: Of the throughput without, and of the worker's processor, which others on the machine change less.
THROUGHPUT, PROCESSOR = at_least(0.9), at_most(1.1)


@dataclass(frozen=True)
class Size:
    rounds: int
    #: In a drain, to each endpoint.
    events: int


SIZES: dict[Scale, Size] = {"full": Size(7, 1000), "quick": Size(3, 500), "smoke": Size(1, 3)}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()
    deliveries = size.events * ENDPOINTS

    used: dict[Host, list[float]] = {}

    def drain(host: Host) -> float:
        processor, rate = host.drain_processor("ok", size.events, deliveries, account, TENANT)
        used.setdefault(host, []).append(processor)
        return rate

    configs = [{"WEBHOOKS_ENCRYPT_BODIES": encrypts} for encrypts in (False, True)]
    with bench.hosts(database, configs, ENDPOINTS, TENANT) as hosts:
        plain, encrypted = in_turns(size.rounds, *(partial(drain, host) for host in hosts))
        less, more = (median(used[host]) for host in hosts)
    for name, ours, theirs, unit, goal in (
        ("deliveries", encrypted, plain, "/s", THROUGHPUT),
        ("processor for a delivery", more, less, "µs", PROCESSOR),
    ):
        scenario = f"encryption: {name}, bodies encrypted"
        counts = (account.lost, account.duplicates)
        yield Result(scenario, database, ours, theirs, unit, goal, *counts)
