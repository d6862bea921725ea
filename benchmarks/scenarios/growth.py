"""Whether a long history makes anything slower: 2,000,000 settled deliveries with their attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from ..bench import Bench, Scale
from ..filling import fill
from ..host import Host
from ..requesting import HostRequests
from ..results import Account, Result, at_least, at_most, in_turns

ENDPOINTS = 20
TENANT = "app_1"


@dataclass(frozen=True)
class Size:
    rounds: int
    history: int
    #: What "empty" tables hold: enough that every list shows a page of rows on both sides.
    few: int
    #: Events in a drain, to each endpoint.
    events: int
    #: Single emits, and views of each page.
    repeats: int


SIZES: dict[Scale, Size] = {
    "full": Size(2, 2_000_000, 5_000, 300, 30),
    "quick": Size(1, 200_000, 5_000, 100, 20),
    "smoke": Size(1, 400, 200, 2, 1),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    with ExitStack() as stack:
        hosts = []
        for history in (size.history, size.few):
            host = stack.enter_context(bench.host(database))
            endpoint_ids = host.add_endpoints(f"{bench.receiver.url}/ok", ENDPOINTS, TENANT)
            fill(host, endpoint_ids, history, TENANT, settled=True)
            hosts.append((host, endpoint_ids))
        (large, _), (small, _) = hosts
        yield from _drains(database, size, large, small)
        yield from _emits(database, size, large, small)
        yield from _pages(database, size, *hosts)


def _drains(database: str, size: Size, large: Host, small: Host) -> Iterator[Result]:
    account = Account()

    def drain(host: Host) -> float:
        with host.workers():
            return host.drain_rate("ok", size.events, size.events * ENDPOINTS, account, TENANT)

    ours, theirs = in_turns(size.rounds, lambda: drain(large), lambda: drain(small))
    yield Result(
        "growth: drain",
        database,
        ours,
        theirs,
        "deliveries/s",
        at_least(0.9),
        account.lost,
        account.duplicates,
    )


def _emits(database: str, size: Size, large: Host, small: Host) -> Iterator[Result]:
    requests = [HostRequests(large), HostRequests(small)]
    ours, theirs = in_turns(
        size.repeats,
        lambda: 1 / requests[0].post(f"/emit/{TENANT}"),
        lambda: 1 / requests[1].post(f"/emit/{TENANT}"),
    )
    goal = at_least(0.9)
    yield Result("growth: emit", database, ours, theirs, "requests/s", goal)


def _pages(
    database: str, size: Size, large: tuple[Host, list[str]], small: tuple[Host, list[str]]
) -> Iterator[Result]:
    requests = [HostRequests(large[0]), HostRequests(small[0])]
    for name, ours_path, theirs_path in zip(
        _paths(large[0], "…"), _paths(*_first(large)), _paths(*_first(small)), strict=True
    ):
        if not all(
            one.exists(path) for one, path in zip(requests, (ours_path, theirs_path), strict=True)
        ):
            continue
        ours, theirs = in_turns(
            size.repeats,
            lambda path=ours_path: requests[0].get(path) * 1000,  # type: ignore[misc]
            lambda path=theirs_path: requests[1].get(path) * 1000,  # type: ignore[misc]
        )
        yield Result(f"growth: {name}", database, ours, theirs, "ms", at_most(1.5))


def _first(side: tuple[Host, list[str]]) -> tuple[Host, str]:
    return side[0], side[1][0]


def _paths(host: Host, endpoint_id: str) -> list[str]:
    """The admin's pages that need no more than an endpoint's id, and the filters of its largest list."""
    rules = sorted(
        str(rule)
        for rule in host.app.url_map.iter_rules()
        if rule.endpoint.startswith("flask_webhooks.")
        and "GET" in (rule.methods or ())
        and "POST" not in (rule.methods or ())
        and rule.arguments <= {"endpoint_id"}
    )
    paths = [rule.replace("<endpoint_id>", endpoint_id) for rule in rules]
    deliveries = next(path for path in paths if path.endswith("/deliveries"))
    queries = [
        "state=failed",
        "state=succeeded",
        "type=license.created",
        f"webhook={endpoint_id}",
        f"webhook={endpoint_id}&state=failed",
    ]
    return paths + [f"{deliveries}?{query}" for query in queries]
