"""What it costs that deliveries are numbered: beside a worker whose claims do not number them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from .. import numbering_modes
from ..bench import Bench, Scale
from ..host import Host
from ..results import Account, Result, at_least, in_turns

ENDPOINTS = 20
#: Three percent of the throughput.
GOAL = at_least(0.97)


@dataclass(frozen=True)
class Size:
    rounds: int
    #: To each endpoint.
    events: int


SIZES: dict[Scale, Size] = {"full": Size(7, 1000), "quick": Size(3, 500), "smoke": Size(1, 3)}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()
    deliveries = size.events * ENDPOINTS

    def drain(host: Host) -> float:
        with host.workers():
            return host.drain_rate("ok", size.events, deliveries, account)

    configs = [{"NUMBERING": mode} for mode in numbering_modes.MODES]
    with bench.hosts(database, configs, ENDPOINTS) as hosts:
        ours, theirs = in_turns(size.rounds, *(partial(drain, host) for host in hosts))
    yield Result(
        "numbering: deliveries numbered, not numbered",
        database,
        ours,
        theirs,
        "deliveries/s",
        GOAL,
        account.lost,
        account.duplicates,
    )
