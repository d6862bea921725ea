"""Deliveries per second of one worker, beside the bare loop and beside one RQ job per delivery.

Also with a receiver that takes its time: then the number of requests in flight is the limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ..bare import bare_rate, libcurl_rate
from ..bench import Bench, Scale
from ..host import Host
from ..peering import peer_rate
from ..results import Account, Result, at_least, at_most, in_turns
from ..workers import Workers

#: Enough that their caps in flight together exceed the worker's.
ENDPOINTS = 20

_BARE_GOAL = {"sqlite": at_least(0.8), "postgresql": at_least(0.65)}
_JOB_GOAL = at_least(200)
_PROCESSOR_GOAL = at_most(1.1)
#: With a receiver that takes so many milliseconds.
_LIBCURL_GOAL = {50: at_least(0.8)}
_POSSIBLE_GOAL = {200: at_least(0.9)}


@dataclass(frozen=True)
class Size:
    #: The receiver's latency in milliseconds; 0 is as fast as it can.
    latency: int
    rounds: int
    #: To each of the endpoints.
    events: int
    #: Jobs of the peer in a round.
    jobs: int


SIZES: dict[Scale, list[Size]] = {
    "full": [Size(0, 3, 1000, 40), Size(50, 2, 500, 20), Size(200, 2, 300, 10)],
    "quick": [Size(0, 1, 250, 20), Size(50, 1, 150, 10), Size(200, 1, 75, 10)],
    "smoke": [Size(0, 1, 3, 2), Size(50, 1, 2, 2)],
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    with (
        bench.host(database) as host,
        host.workers() as workers,
        host.peer_worker() as peer,
    ):
        for size in SIZES[bench.scale]:
            yield from _measure(bench, host, workers, peer, database, size)


def _measure(
    bench: Bench, host: Host, workers: Workers, peer: Workers, database: str, size: Size
) -> Iterator[Result]:
    latency = size.latency
    tenant = f"latency_{latency}"
    path = f"/after/{latency}" if latency else "/ok"
    kind = path.split("/")[1]
    host.add_endpoints(bench.receiver.url + path, ENDPOINTS, tenant)
    sample = host.sample(tenant)
    deliveries = size.events * ENDPOINTS
    account = Account()
    used = {"ours": 0.0, "bare": 0.0}

    def drain() -> float:
        before = workers.processor_seconds()
        rate = host.drain_rate(kind, size.events, deliveries, account, tenant)
        used["ours"] += workers.processor_seconds() - before
        return rate

    def bare_loop() -> float:
        before = time.process_time()
        rate = bare_rate(bench.receiver, sample, path, deliveries, ENDPOINTS, host.concurrency)
        used["bare"] += time.process_time() - before
        return rate

    ours, bare, libcurl, jobs = in_turns(
        size.rounds,
        drain,
        bare_loop,
        lambda: libcurl_rate(bench.receiver, sample, path, deliveries, ENDPOINTS, host.concurrency),
        lambda: peer_rate(bench.receiver, host, peer, sample, path, size.jobs),
    )
    name = f"throughput, receiver at {latency} ms" if latency else "throughput"
    result = partial(
        Result,
        database=database,
        ours=ours,
        unit="deliveries/s",
        lost=account.lost,
        duplicates=account.duplicates,
    )
    if latency:
        possible = host.concurrency / (latency / 1000)
        yield result(
            f"{name}: concurrency ÷ latency", theirs=possible, goal=_POSSIBLE_GOAL.get(latency)
        )
    yield result(f"{name}: bare loop", theirs=bare, goal=None if latency else _BARE_GOAL[database])
    yield result(f"{name}: bare loop of libcurl", theirs=libcurl, goal=_LIBCURL_GOAL.get(latency))
    yield result(f"{name}: a job each", theirs=jobs, goal=None if latency else _JOB_GOAL)
    if not latency:
        made = size.rounds * deliveries / 1_000_000
        yield Result(
            "throughput: processor for a delivery, for a bare request",
            database,
            used["ours"] / made,
            used["bare"] / made,
            "µs",
            _PROCESSOR_GOAL,
        )
