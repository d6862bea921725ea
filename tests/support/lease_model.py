"""A model of deliveries and leases: what a few workers, a host and people can do, and what the rows must then say.

`DeliveryMachine` runs each step on the real database and in the model, and compares all rows after it. The clock is
advanced by moving every time in the database back, which is the same for everything that reads them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.columns import UtcDateTime
from flask_webhooks.models import ON_DEMAND, Trigger
from tests.support.helpers import database_time
from tests.support.working import Flying

#: Settings of the host. Nothing depends on chance.
LEASE, CAP, INTERRUPTIONS, FAILING_AFTER = 60.0, 3, 3, 3
SCHEDULE = (10.0, 100.0, 1000.0)
DISABLE_AFTER, EVIDENCE = timedelta(days=1), timedelta(hours=1)
CONFIG: dict[str, Any] = {
    "SQLITE_IMMEDIATE": True,
    "WEBHOOKS_LEASE": LEASE,
    "WEBHOOKS_ENDPOINT_CONCURRENCY": CAP,
    "WEBHOOKS_MAX_INTERRUPTIONS": INTERRUPTIONS,
    "WEBHOOKS_FAILING_AFTER": FAILING_AFTER,
    "WEBHOOKS_RETRY_SCHEDULE": list(SCHEDULE),
    "WEBHOOKS_RETRY_JITTER": 0.0,
    "WEBHOOKS_DISABLE_AFTER": DISABLE_AFTER.total_seconds(),
    "WEBHOOKS_DISABLE_EVIDENCE": EVIDENCE.total_seconds(),
}
#: Endpoints by their temper, with what makes them so.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"events": ["license.*"]},
    "ordered": {"events": ["license.*"], "ordered": True},
    "coalescing": {
        "events": ["license.validated"],
        "coalesce": {"license.validated": {"by": "data.license_key", "seconds": 60}},
    },
    "limited": {"events": ["license.*"], "rate_limit": 2.0},
    # It also gets what is told of the others.
    "everything": {"events": None},
}
FINAL = ("succeeded", "failed", "cancelled")


@dataclass
class Owed:
    """A delivery as the model knows it."""

    id: str
    endpoint: str
    state: str = "pending"
    trigger: str = str(Trigger.EVENT)
    failures: int = 0
    interruptions: int = 0
    #: Of the claim that holds it.
    token: str | None = None
    #: The outcome of each attempt that has ended.
    outcomes: list[str] = field(default_factory=list)
    #: The claim of each attempt.
    claims: list[str] = field(default_factory=list)

    @property
    def on_demand(self) -> bool:
        return self.trigger in ON_DEMAND

    @property
    def waits(self) -> bool:
        return self.state in ("pending", "held")

    def ends(self, outcome: str, state: str) -> None:
        assert self.token is not None
        self.outcomes.append(outcome)
        self.claims.append(self.token)
        self.state, self.token = state, None


@dataclass
class Receiver:
    """An endpoint as the model knows it."""

    id: str
    kind: str
    state: str = "active"
    deleted: bool = False
    #: When it was paused, resumed, disabled or deleted: an event may have missed that.
    switched_at: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    last_failure: datetime | None = None

    @property
    def active(self) -> bool:
        return self.state == "active" and not self.deleted

    @property
    def failing(self) -> bool:
        return self.failures >= FAILING_AFTER

    @property
    def one_at_a_time(self) -> bool:
        return self.failing or self.kind == "ordered"

    def forget_failures(self) -> None:
        self.failures, self.failing_since = 0, None

    def fails(self, now: datetime) -> bool:
        """Count one failure; returns whether it is the one that disables."""
        self.failures += 1
        self.failing_since = self.failing_since or now
        lasts = now - self.failing_since
        ends = self.last_failure is not None and lasts >= max(EVIDENCE, DISABLE_AFTER)
        self.last_failure = now
        return ends

    def gets(self, event_type: str) -> bool:
        if self.deleted:
            return False
        return self.kind != "coalescing" or event_type == "license.validated"


@dataclass
class Flight:
    """A request that a worker has under way, or had when it was lost."""

    flying: Flying
    #: In the time of the model.
    lease_until: datetime
    lost: bool = False

    @property
    def delivery_id(self) -> str:
        return self.flying[0].delivery_id

    @property
    def token(self) -> str:
        return self.flying[0].token


@dataclass
class Rows:
    """All that the database has, at one time of it."""

    now: datetime
    deliveries: dict[str, Any]
    #: Number and outcome of attempts, by delivery.
    attempts: dict[str, list[tuple[int, str]]]
    endpoints: dict[str, Any]
    health: dict[str, Any]
    #: Coalesced deliveries that are not counted with another one yet, by endpoint.
    skipped: Counter[str]

    def in_flight(self) -> Counter[str]:
        return Counter(
            row.endpoint_id for row in self.deliveries.values() if row.state == "sending"
        )


def read_rows(app: Flask) -> Rows:
    state = state_of(app)
    now = database_time(app)
    with state.engine.connect() as connection:

        def rows(name: str, *columns: str) -> list[Any]:
            table = state.table(name)
            chosen: list[Any] = [table.c[column] for column in columns] or [table]
            return list(connection.execute(sa.select(*chosen)))

        attempts: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for row in rows("Attempt", "delivery_id", "number", "outcome"):
            attempts[row.delivery_id].append((row.number, row.outcome))
        skipped: Counter[str] = Counter()
        for row in rows("CoalescingKey", "endpoint_id", "skipped"):
            skipped[row.endpoint_id] += row.skipped
        endpoints = rows("Endpoint", "id", "state", "deleted_at", "state_since")
        return Rows(
            now,
            {row.id: row for row in rows("Delivery")},
            {key: sorted(value) for key, value in attempts.items()},
            {row.id: row for row in endpoints},
            {row.endpoint_id: row for row in rows("EndpointHealth")},
            skipped,
        )


def advance_clock(app: Flask, seconds: float) -> None:
    """Move every time in the database back: all that is read of them is then later by as much."""
    state = state_of(app)
    with _shifting(app, seconds) as (connection, shifted):
        for table in _tables(app):
            # Their hours are primary keys, and decide nothing.
            times = [] if table is state.table("Statistic") else _times(table)
            if times:
                connection.execute(sa.update(table).values({item: shifted(item) for item in times}))


def clear(app: Flask) -> None:
    """Remove every row."""
    with state_of(app).engine.begin() as connection:
        for table in reversed(_tables(app)):
            connection.execute(sa.delete(table))


def _tables(app: Flask) -> list[sa.Table]:
    metadata: sa.MetaData = state_of(app).models.metadata
    return [table for table in metadata.sorted_tables if table.name.startswith("webhooks_")]


def _times(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.c if isinstance(column.type, UtcDateTime)]


@contextmanager
def _shifting(app: Flask, seconds: float) -> Iterator[tuple[sa.Connection, Any]]:
    """A transaction, and how its database says that a time is earlier by so much."""
    with state_of(app).engine.begin() as connection:
        match connection.dialect.name:
            case "sqlite":
                raw: Any = connection.connection.dbapi_connection
                raw.create_function("earlier", 2, _earlier)
                yield connection, lambda item: sa.func.earlier(item, seconds, type_=sa.String())
            case "postgresql":
                yield connection, lambda item: item - sa.cast(f"{seconds} s", sa.Interval())
            case _:
                yield (
                    connection,
                    lambda item: sa.func.timestampadd(sa.text("SECOND"), -seconds, item),
                )


def _earlier(moment: str | None, seconds: float) -> str | None:
    if moment is None:
        return None
    shifted = datetime.fromisoformat(moment) - timedelta(seconds=seconds)
    return shifted.isoformat(" ", "microseconds")
