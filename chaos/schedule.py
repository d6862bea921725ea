"""When which fault strikes: as the seed says, or as an earlier run had it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Each kind of fault strikes so often, with so many requests in flight, or the run says little.
STRIKES, IN_FLIGHT = 5, 50


@dataclass(frozen=True)
class Strike:
    """One fault to come."""

    #: Seconds from the start.
    at: float
    fault: str
    #: Seconds that it lasts, where it lasts; and a number that chooses among workers.
    seconds: float
    choice: int


def schedule(
    seed: int, seconds: float, lanes: Mapping[str, Sequence[str]]
) -> dict[str, list[Strike]]:
    """Choose the faults of each lane, one after another in each, in every order.

    :param lanes: the names of faults that must not overlap, by lane.
    """
    planned = {}
    for lane, faults in lanes.items():
        choose = random.Random(f"{seed} {lane}")
        order: list[str] = []
        for _ in range(STRIKES):
            order += choose.sample(list(faults), len(faults))
        step = seconds / max(1, len(order))
        planned[lane] = [
            Strike(
                at=round(step * (number + choose.uniform(0.0, 0.7)), 3),
                fault=fault,
                seconds=round(choose.uniform(0.2, 0.8) * min(step, 3.0), 3),
                choice=choose.randrange(1000),
            )
            for number, fault in enumerate(order)
        ]
    return planned


def replayed(
    strikes: Iterable[Mapping[str, Any]], lanes: Mapping[str, Sequence[str]]
) -> dict[str, list[Strike]]:
    """Put the faults of an earlier run, of which some may have been left out, into their lanes."""
    planned: dict[str, list[Strike]] = {lane: [] for lane in lanes}
    for item in strikes:
        strike = Strike(**item)
        for lane, faults in lanes.items():
            if strike.fault in faults:
                planned[lane].append(strike)
    return planned
