"""What filters cost an emit: beside the same endpoints without, and one filter by itself."""

from __future__ import annotations

import json
import timeit
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask_webhooks.filters.matching import event_view, stored_matcher

from ..bench import Bench, Scale
from ..hostapp import event_data
from ..requesting import HostRequests
from ..results import Result, at_most, in_turns
from ..workers import BenchmarkError


@dataclass(frozen=True)
class Size:
    #: Endpoints with a filter of their own each, and rounds.
    endpoints: int
    rounds: int


SIZES: dict[Scale, Size] = {
    "full": Size(1000, 60),
    "quick": Size(1000, 15),
    "smoke": Size(10, 2),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    with bench.host(database) as host:
        requests = HostRequests(host)
        url = f"{bench.receiver.url}/ok"
        host.add_endpoints(url, size.endpoints, "plain")
        for number in range(size.endpoints):
            host.add_endpoint(f"{url}/{number}", "filtered", filter=_filter(number))
            host.add_endpoint(f"{url}/{number}", "unmet", filter=_filter(number, met=False))
        for tenant in ("plain", "filtered", "unmet"):
            requests.post(f"/emit/{tenant}")
        plain, filtered, unmet = in_turns(
            size.rounds,
            lambda: requests.post("/emit/plain"),
            lambda: requests.post("/emit/filtered"),
            lambda: requests.post("/emit/unmet"),
        )
        written = {name: host.count_deliveries("pending", name) for name in ("plain", "filtered")}
        written["unmet"] = host.count_deliveries("pending", "unmet")
        expected = size.endpoints * (size.rounds + 1)
        if written != {"plain": expected, "filtered": expected, "unmet": 0}:
            raise BenchmarkError(f"Filters let through {written}, not {expected:,} and none.")
    count = f"{size.endpoints:,}"
    milliseconds = 1000
    yield Result(
        f"emit, {count} with filters: without",
        database,
        filtered * milliseconds,
        plain * milliseconds,
        "ms",
        at_most(1.5),
    )
    yield Result(
        f"emit, {count} with filters that are not met: without",
        database,
        unmet * milliseconds,
        plain * milliseconds,
        "ms",
        at_most(1),
    )
    yield Result("one filter: allowed", database, _one_filter(), 20, "µs", at_most(1))


def _filter(number: int, *, met: bool = True) -> dict[str, Any]:
    """A filter that no other endpoint has."""
    start = "lic" if met else "other"
    return {
        "data": {
            "license_id": {"$startsWith": start, "$neq": f"lic_other_{number}"},
            "license_key": {"$exist": True},
        }
    }


def _one_filter() -> float:
    """Microseconds of one filter whose text was seen before."""
    text = json.dumps(_filter(1))
    view = event_view("license.created", event_data(1))
    assert stored_matcher(text)(view)
    calls = 20_000
    return (
        min(timeit.repeat(lambda: stored_matcher(text)(view), number=calls, repeat=5)) / calls * 1e6
    )
