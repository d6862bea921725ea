"""What a backlog of 200,000 deliveries for a dead endpoint costs the live traffic of the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from ..bench import Bench, Scale
from ..filling import fill
from ..host import Host
from ..results import Account, Result, at_most, in_turns, percentile
from ..traffic import steady
from ..workers import LIMIT, wait_for

TENANTS = [f"app_{number}" for number in range(20)]
#: Healthy events a second.
RATE = 100.0
#: Seconds between two probes of the dead endpoint, so that there are some in a short run.
PROBE_INTERVAL = 2.0
#: Failures in a row after which it is probed: the default.
FAILING_AFTER = 5


@dataclass(frozen=True)
class Size:
    rounds: int
    seconds: float
    backlog: int


SIZES: dict[Scale, Size] = {
    "full": Size(2, 5, 200_000),
    "quick": Size(1, 4, 200_000),
    "smoke": Size(1, 0.3, 500),
}


@dataclass
class _Side:
    """The host with the dead endpoint, or the one without."""

    host: Host
    dead: str | None
    latencies: list[float]
    account: Account
    attempts: int = 0
    probes: int = 0

    def traffic(self, size: Size) -> float:
        """A round with a worker of its own; returns its p99."""
        host = self.host
        with host.workers():
            if self.dead is not None:
                wait_for(self._is_failing, LIMIT, "the dead endpoint to be failing")
            began = time.monotonic()
            before = self._attempts()
            latencies = steady(host, "ok", RATE, size.seconds, TENANTS, self.account)
            took = time.monotonic() - began
            self.attempts += self._attempts() - before
            # The one that is due when we begin to look, too.
            self.probes += int(took / PROBE_INTERVAL) + 1
        self.latencies += latencies
        return percentile(latencies, 99)

    def _is_failing(self) -> bool:
        assert self.dead is not None
        return self.host.consecutive_failures(self.dead) >= FAILING_AFTER

    def _attempts(self) -> int:
        return 0 if self.dead is None else self.host.count_attempts(self.dead)


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    with ExitStack() as stack:
        sides = []
        for dead in (True, False):
            host = stack.enter_context(
                bench.host(
                    database,
                    WEBHOOKS_FAILING_AFTER=FAILING_AFTER,
                    WEBHOOKS_PROBE_INTERVAL=PROBE_INTERVAL,
                    WEBHOOKS_MAX_PROBE_INTERVAL=PROBE_INTERVAL,
                )
            )
            for number, tenant in enumerate(TENANTS):
                host.add_endpoint(f"{bench.receiver.url}/ok/{number}", tenant)
            endpoint_id = None
            if dead:
                endpoint_id = host.add_endpoint(f"{bench.receiver.url}/status/503/dead", "dead")
                fill(host, [endpoint_id], size.backlog, "dead", settled=False)
            sides.append(_Side(host, endpoint_id, [], Account()))
        with_it, without = sides
        in_turns(size.rounds, lambda: with_it.traffic(size), lambda: without.traffic(size))
    counts = with_it.account.lost, with_it.account.duplicates
    for percent, goal in (50, None), (99, at_most(1.5)):
        yield Result(
            f"backlog: healthy p{percent}",
            database,
            percentile(with_it.latencies, percent),
            percentile(without.latencies, percent),
            "ms",
            goal,
            *counts,
        )
    yield Result(
        "backlog: attempts by its probes",
        database,
        with_it.attempts,
        with_it.probes,
        "attempts",
        at_most(1),
        *counts,
    )
