"""Let the faults of a run strike: one after another, into traffic that has come back from the last one."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .faults import LANES, World
from .schedule import IN_FLIGHT, Strike

#: Seconds that a strike waits for enough requests in flight, and that lie between two strikes.
PATIENCE, GAP = 15.0, 0.25


@dataclass(frozen=True)
class Struck:
    """A fault that has struck."""

    strike: Strike
    began: float
    ended: float
    #: Requests in flight at the receivers at its begin.
    in_flight: int
    lane: str

    @property
    def fault(self) -> str:
        return self.strike.fault

    @property
    def counts(self) -> bool:
        return self.in_flight >= IN_FLIGHT


class Striking:
    """The strikes of one run.

    :param start: when it begins.
    :param until: up to then a strike that came when too little was in flight is done again. Later there is none.
    """

    def __init__(self, world: World, start: float, until: float) -> None:
        self._world = world
        self._start = start
        self._until = until
        self._struck: list[Struck] = []
        #: The lanes in which a fault lasts.
        self._lasting: dict[str, threading.Thread] = {}

    def run(self, planned: Mapping[str, Sequence[Strike]]) -> list[Struck]:
        """Let all of them strike, in the order of their times; those of one lane never overlap."""
        waiting = sorted(
            ((lane, strike) for lane, strikes in planned.items() for strike in strikes),
            key=lambda item: item[1].at,
        )
        while waiting and not self._world.over.is_set() and time.monotonic() < self._until:
            free = (item for item in waiting if not self._lasts(item[0]))
            lane, strike = item = next(free, waiting[0])
            if self._lasts(lane) or time.monotonic() < self._start + strike.at:
                self._world.over.wait(0.05)
                continue
            waiting.remove(item)
            if not self._strike(lane, strike):
                waiting.append(item)
        for thread in self._lasting.values():
            thread.join()
        return sorted(self._struck, key=lambda one: one.began)

    def _lasts(self, lane: str) -> bool:
        return lane in self._lasting and self._lasting[lane].is_alive()

    def _strike(self, lane: str, strike: Strike) -> bool:
        """Let one fault strike once enough is in flight; returns whether it was. It may go on after this."""
        world = self._world
        patience = time.monotonic() + PATIENCE
        while world.board["in_flight"] < IN_FLIGHT and time.monotonic() < patience:
            time.sleep(0.02)
        began = time.monotonic()
        # As it came, so that it can be repeated.
        actual = dataclasses.replace(strike, at=round(began - self._start, 3))
        one = Struck(actual, began, began, int(world.board["in_flight"]), lane)
        self._lasting[lane] = threading.Thread(target=self._last, args=(one,))
        self._lasting[lane].start()
        # It hits what is in flight now. What comes next waits until that has shown.
        world.over.wait(GAP)
        return one.counts

    def _last(self, one: Struck) -> None:
        try:
            LANES[one.lane][one.fault](self._world, one.strike)
        except Exception as error:
            self._world.complaints.append(f"{one.fault} could not be done: {error!r}")
        self._struck.append(dataclasses.replace(one, ended=time.monotonic()))
