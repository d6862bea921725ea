"""The peak memory of a worker's processes with many deliveries due, beside that with few."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bench import Bench, Scale
from ..filling import fill
from ..results import Account, Result, at_most, in_turns
from ..workers import BenchmarkError, descendants

ENDPOINTS = 20


@dataclass(frozen=True)
class Size:
    many: int
    few: int
    #: Seconds after which the worker is stopped, whatever is left of the many.
    seconds: float


SIZES: dict[Scale, Size] = {
    "full": Size(200_000, 1_000, 15),
    "quick": Size(200_000, 1_000, 5),
    "smoke": Size(200, 100, 5),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()
    many, few = in_turns(
        1,
        lambda: _peak(bench, database, size.many, size.seconds, account),
        lambda: _peak(bench, database, size.few, size.seconds, account),
    )
    yield Result(
        "memory: many due, few due",
        database,
        many,
        few,
        "MiB",
        at_most(1.3),
        account.lost,
        account.duplicates,
    )


def _peak(bench: Bench, database: str, due: int, seconds: float, account: Account) -> float:
    """MiB of the largest process below the worker: its work-horse."""
    with bench.host(database) as host:
        endpoint_ids = host.add_endpoints(f"{bench.receiver.url}/ok", ENDPOINTS)
        fill(host, endpoint_ids, due, "app_1", settled=False)
        bench.receiver.reset()
        # It finds them by itself, in its first look for lost work.
        with host.workers() as workers, _PeakWatch(workers.pids) as watch:
            bench.receiver.wait("ok", due, seconds)
            if bench.receiver.seen("ok").distinct >= due:
                host.wait_until_settled()
        # Those that the stopped worker gave back are still due, and not lost.
        settled = host.count_deliveries("succeeded")
        seen = bench.receiver.seen("ok")
        account.add(settled, seen.distinct, seen.requests)
    return watch.peak


class _PeakWatch:
    """Reads the high-water mark of all descendants of some processes, as long as they live."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._kibibytes = 0

    @property
    def peak(self) -> float:
        if not self._kibibytes:
            raise BenchmarkError("No work-horse was seen in /proc: this needs Linux.")
        return self._kibibytes / 1024

    def __enter__(self) -> _PeakWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            for pid in self._pids:
                for child in descendants(pid):
                    self._kibibytes = max(self._kibibytes, _high_water(child))


def _high_water(pid: int) -> int:
    try:
        found = re.search(
            r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
        )
    except OSError:
        return 0
    return int(found[1]) if found else 0
