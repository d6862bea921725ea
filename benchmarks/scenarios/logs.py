"""What it costs that workers log: at INFO, and each attempt at DEBUG, both into a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ..bench import Bench, Scale
from ..host import Host
from ..results import Account, Result, at_most, in_turns

ENDPOINTS = 20
TENANT = "app_1"


@dataclass(frozen=True)
class Size:
    rounds: int
    #: In a drain, to each endpoint.
    events: int


SIZES: dict[Scale, Size] = {"full": Size(5, 1000), "quick": Size(3, 500), "smoke": Size(1, 3)}
#: Of the processor time without a log, which bounds the throughput of a worker: 2 % and 15 % of that.
GOALS = {"INFO": at_most(1.02), "DEBUG": at_most(1.17)}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()
    deliveries = size.events * ENDPOINTS

    def drain(host: Host) -> float:
        """Microseconds of the worker's processor for a delivery, which others on the machine change less."""
        return host.drain_processor("ok", size.events, deliveries, account, TENANT)[0]

    with TemporaryDirectory() as folder:
        configs = [
            {"LOG_LEVEL": level, "LOG_FILE": str(Path(folder) / f"{level}.log")}
            for level in ("CRITICAL", *GOALS)
        ]
        with bench.hosts(database, configs, ENDPOINTS, TENANT) as hosts:
            silent, *others = in_turns(size.rounds, *(partial(drain, host) for host in hosts))
    for (level, goal), used in zip(GOALS.items(), others, strict=True):
        yield Result(
            f"logs: processor for a delivery, {level}",
            database,
            used,
            silent,
            "µs",
            goal,
            account.lost,
            account.duplicates,
        )
