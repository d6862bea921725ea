"""What 200,000 events that are scheduled for a time ahead cost what is delivered now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from flask_webhooks.app_state import state_of
from flask_webhooks.db.clock import DatabaseClock
from flask_webhooks.db.locks import read_only
from flask_webhooks.delivery.claim.claim import Claimer
from flask_webhooks.delivery.claim.plan import Capacity

from ..bench import Bench, Scale
from ..filling import fill, schedule
from ..host import Host
from ..results import Account, Result, at_least, at_most, in_turns

ENDPOINTS = 20
TENANT, BACKLOG = "app_1", "app_2"
#: Deliveries that one claim takes.
CLAIMED = 40
#: And at most so many more, of what is left to endpoints with nothing in flight.
RESERVED = 20


@dataclass(frozen=True)
class Size:
    rounds: int
    scheduled: int
    #: Events in a drain, to each endpoint.
    events: int
    claims: int


SIZES: dict[Scale, Size] = {
    "full": Size(5, 200_000, 300, 40),
    "quick": Size(3, 200_000, 100, 20),
    "smoke": Size(1, 300, 2, 2),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()

    def drain(host: Host) -> float:
        with host.workers():
            return host.drain_rate("ok", size.events, size.events * ENDPOINTS, account, TENANT)

    with bench.hosts(database, [{}, {}], ENDPOINTS, TENANT) as hosts:
        schedule(hosts[0], size.scheduled, TENANT)
        ours, theirs = in_turns(size.rounds, *(partial(drain, host) for host in hosts))
        yield Result(
            "scheduled: drain beside them",
            database,
            ours,
            theirs,
            "deliveries/s",
            at_least(0.9),
            account.lost,
            account.duplicates,
        )
        for host in hosts:
            endpoint_ids = host.add_endpoints(f"{bench.receiver.url}/ok", ENDPOINTS, BACKLOG)
            due = 2 * size.rounds * size.claims * (CLAIMED + RESERVED)
            fill(host, endpoint_ids, due, BACKLOG, settled=False)
        ours, theirs = in_turns(size.rounds, *(partial(_claim, host, size) for host in hosts))
        yield Result("scheduled: a claim beside them", database, ours, theirs, "ms", at_most(1.1))


def _claim(host: Host, size: Size) -> float:
    """Milliseconds for a claim."""
    state = state_of(host.app)
    claimer = Claimer(state)
    with state.own_engine.connect() as connection:
        with read_only(connection):
            now = DatabaseClock().read(connection)
        spent = 0.0
        for _ in range(size.claims):
            began = time.perf_counter()
            claim = claimer.claim(connection, now, Capacity(CLAIMED + claimer.reserve))
            spent += time.perf_counter() - began
            _finish(host, connection, [item.delivery_id for item, _ in claim.claimed])
        return spent / size.claims * 1000


def _finish(host: Host, connection: sa.Connection, delivery_ids: list[str]) -> None:
    table = host.models.table("Delivery")
    with connection.begin():
        connection.execute(
            sa.update(table)
            .where(table.c.id.in_(delivery_ids))
            .values(state="succeeded", lease_token=None, lease_until=None)
        )
