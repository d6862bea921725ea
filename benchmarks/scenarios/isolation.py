"""What endpoints that hang cost the others: a fifth of all, with 10,000 due rows each.

They hang in each phase of a request. They are not taken for failing here, so that they go on hanging and
take all the slots that they can get; with the default settings each would soon be down to one probe a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from ..bench import Bench, Scale
from ..filling import fill
from ..hanging import hanging_urls
from ..host import Host
from ..results import Account, Result, at_least, at_most, in_turns, percentile
from ..traffic import steady

#: Healthy endpoints; each has a name, so that a hanging name lookup could stand in its way.
HEALTHY = 20
#: Seconds for a request here: it hangs this long.
TIMEOUT = 3.0
#: Healthy events a second, for the latency.
RATE = 100.0


@dataclass(frozen=True)
class Size:
    rounds: int
    #: Events to each healthy endpoint, all due at once.
    events: int
    #: Seconds of traffic.
    seconds: float
    #: Due deliveries of each endpoint that hangs.
    due: int


SIZES: dict[Scale, Size] = {
    "full": Size(2, 300, 5, 10_000),
    "quick": Size(1, 150, 3, 10_000),
    "smoke": Size(1, 2, 0.2, 50),
}


@dataclass
class _Side:
    """The host with the hanging endpoints, or the one without."""

    host: Host
    healthy: list[str]
    latencies: list[float]
    account: Account

    def rate(self, size: Size) -> float:
        """Traffic first, then a backlog; returns the rate of the backlog. With a worker of its own."""
        host, deliveries = self.host, size.events * HEALTHY
        with host.workers():
            tenants = [_tenant(number) for number in range(HEALTHY)]
            self.latencies += steady(host, "ok", RATE, size.seconds, tenants, self.account)
            host.wait_until_settled(self.healthy)
            host.receiver.reset()
            host.emit(size.events, *tenants)
            return host.rate_of("ok", deliveries, self.account, endpoint_ids=self.healthy)


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    with ExitStack() as stack:
        sides = []
        for hanging in (True, False):
            host = stack.enter_context(
                bench.host(database, WEBHOOKS_TIMEOUT=TIMEOUT, WEBHOOKS_FAILING_AFTER=1_000_000)
            )
            healthy = _add_healthy(bench, host)
            if hanging:
                urls = stack.enter_context(hanging_urls(bench.receiver.url)).values()
                hung = [host.add_endpoint(url, "hung") for url in urls]
                fill(host, hung, size.due * len(hung), "hung", settled=False)
            sides.append(_Side(host, healthy, [], Account()))
        with_them, without = sides
        ours, theirs = in_turns(
            size.rounds, lambda: with_them.rate(size), lambda: without.rate(size)
        )
    account = with_them.account
    counts = account.lost, account.duplicates
    yield Result(
        "isolation: healthy throughput",
        database,
        ours,
        theirs,
        "deliveries/s",
        at_least(0.95),
        *counts,
    )
    for percent, goal in (50, None), (99, at_most(1.5)):
        yield Result(
            f"isolation: healthy p{percent}",
            database,
            percentile(with_them.latencies, percent),
            percentile(without.latencies, percent),
            "ms",
            goal,
            *counts,
        )


def _tenant(number: int) -> str:
    return f"app_{number}"


def _add_healthy(bench: Bench, host: Host) -> list[str]:
    port = bench.receiver.url.rpartition(":")[2]
    return [
        host.add_endpoint(f"http://shop-{number}.answers.test:{port}/ok/{number}", _tenant(number))
        for number in range(HEALTHY)
    ]
