"""What an emit costs a request of the host, beside one `Queue.enqueue` and beside a request with neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..bench import Bench, Scale
from ..host import Host
from ..requesting import HostRequests
from ..results import Goal, Result, at_most, in_turns
from ..workers import BenchmarkError


@dataclass(frozen=True)
class Size:
    #: Rounds by the number of endpoints that are subscribed; none is 0.
    rounds: dict[int, int]


SIZES: dict[Scale, Size] = {
    "full": Size({0: 300, 1: 300, 10: 300, 1000: 30}),
    "quick": Size({0: 100, 1: 100, 10: 100, 1000: 10}),
    "smoke": Size({0: 3, 1: 3, 10: 2}),
}

#: Of an emit beside an enqueue, by the number of endpoints that are subscribed.
GOALS: dict[int, Goal] = {1: at_most(2), 10: at_most(2), 1000: at_most(20)}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    said: dict[int, Counter[str]] = {}
    with bench.host(database) as host:
        requests = HostRequests(host)
        for endpoints, rounds in size.rounds.items():
            host.add_endpoints(f"{bench.receiver.url}/ok", endpoints, _tenant(endpoints))
            path = f"/emit/{_tenant(endpoints)}"
            requests.post(path)
            emit, enqueue, plain = in_turns(
                rounds,
                lambda path=path: requests.post(path),  # type: ignore[misc]
                lambda: requests.post("/enqueue"),
                lambda: requests.post("/plain"),
            )
            yield Result(
                f"emit, {endpoints:,} subscribed: an enqueue",
                database,
                (emit - plain) * 1000,
                (enqueue - plain) * 1000,
                "ms",
                GOALS.get(endpoints),
            )
            said[endpoints] = requests.statements(path) - requests.statements("/plain")
            _check_written(host, endpoints, rounds + 2)
    yield from _statements(database, said)


def _tenant(endpoints: int) -> str:
    return f"app_{endpoints}"


def _check_written(host: Host, endpoints: int, requests: int) -> None:
    """No figure without the rows: one delivery for each endpoint and request."""
    written = host.count_deliveries("pending", _tenant(endpoints))
    if written != endpoints * requests:
        raise BenchmarkError(f"{written} deliveries were written, not {endpoints * requests}")


def _statements(database: str, said: dict[int, Counter[str]]) -> Iterator[Result]:
    def line(name: str, words: list[Counter[str]], kinds: set[str] | None, theirs: int) -> Result:
        """The most of any, beside what is allowed."""
        ours = max(
            sum(count for word, count in said.items() if kinds is None or word in kinds)
            for said in words
        )
        goal: Goal = at_most(1)
        return Result(f"emit, {name}: allowed", database, ours, theirs, "statements", goal)

    some = [words for endpoints, words in said.items() if endpoints]
    yield line("statements", some, None, 3)
    yield line("SELECTs", some, {"SELECT", "WITH"}, 1)
    yield line("INSERTs", some, {"INSERT"}, 2)
    yield line("0 subscribed, statements", [said[0]], None, 1)
    yield line("0 subscribed, INSERTs", [said[0]], {"INSERT"}, 0)
