"""From commit to the first byte at the receiver, beside the start of an RQ job that does nothing.

The job runs on a plain worker, which waits for one and has imported everything before it forks.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import rq

from ..bench import Bench, Scale
from ..host import Host
from ..noop import STARTS, noop
from ..peer import QUEUE
from ..results import Account, Result, at_most, percentile
from ..traffic import steady
from ..workers import LIMIT, Workers, wait_for

#: Seconds without an event before each: every tenth time the second.
PAUSE, LONG_PAUSE = 0.5, 10.0
#: Seconds after which a worker that says it is idle waits for a job.
SETTLING = 0.05
TENANTS = [f"app_{number}" for number in range(10)]


@dataclass(frozen=True)
class Size:
    #: Single events, and no-op jobs.
    single: int
    #: Seconds of steady traffic by events a second.
    steady: dict[int, float]


SIZES: dict[Scale, Size] = {
    "full": Size(60, {20: 10, 200: 6}),
    "quick": Size(20, {20: 3, 200: 2}),
    "smoke": Size(2, {20: 0.2}),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()
    with bench.host(database) as host, host.workers(), host.peer_worker() as peer:
        _add_endpoints(bench, host)
        host.sample(TENANTS[0])
        events, jobs = [], []
        for number in range(size.single):
            jobs.append(_job(peer))
            time.sleep(LONG_PAUSE if number % 10 == 9 else PAUSE)
            events.append(_event(host, account))
    yield from _compare("latency, idle", database, events, jobs, account, (0.5, 1.5))
    with bench.host(database) as host, host.workers():
        _add_endpoints(bench, host)
        host.sample(TENANTS[0])
        for rate, seconds in size.steady.items():
            account = Account()
            events = steady(host, "ok", rate, seconds, TENANTS, account)
            name = f"latency, {rate} events/s"
            yield from _compare(name, database, events, jobs, account, (0.5, 1))


def _add_endpoints(bench: Bench, host: Host) -> None:
    for number, tenant in enumerate(TENANTS):
        host.add_endpoint(f"{bench.receiver.url}/ok/{number}", tenant)


def _event(host: Host, account: Account) -> float:
    host.receiver.reset()
    event_id, at = host.emit_one(TENANTS[0])
    seen = host.receiver.wait("ok", 1, LIMIT)
    host.wait_until_settled()
    account.add(1, seen.distinct, seen.requests)
    return (host.receiver.arrivals("ok").get(event_id, at + LIMIT) - at) * 1000


def _job(workers: Workers) -> float:
    """Milliseconds from before `Queue.enqueue` to the first instruction of the job."""
    _wait_until_idle(workers)
    workers.redis.delete(STARTS)
    queue = rq.Queue(QUEUE, connection=workers.redis)
    at = time.monotonic()
    queue.enqueue(noop, result_ttl=0)
    wait_for(lambda: workers.redis.llen(STARTS) == 1, LIMIT, "a job to start")
    return (float(workers.redis.lindex(STARTS, 0) or 0) - at) * 1000


def _wait_until_idle(workers: Workers) -> None:
    workers.wait_until_idle()
    time.sleep(SETTLING)


def _compare(
    name: str,
    database: str,
    ours: list[float],
    theirs: list[float],
    account: Account,
    goals: tuple[float, float],
) -> Iterator[Result]:
    figures = [
        ("p50", statistics.median(ours), statistics.median(theirs)),
        ("p99", percentile(ours, 99), percentile(theirs, 99)),
    ]
    for (label, our_figure, their_figure), goal in zip(figures, goals, strict=True):
        yield Result(
            f"{name}: {label}",
            database,
            our_figure,
            their_figure,
            "ms",
            at_most(goal),
            account.lost,
            account.duplicates,
        )
