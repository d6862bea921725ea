"""What the database says at the end of a run, and what the receivers say."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .endpoints import EndpointSpec

#: An event at an endpoint: the endpoint's number and the event's id.
Key = tuple[int, str]


@dataclass(frozen=True)
class DeliveryRow:
    """A delivery."""

    id: str
    state: str
    due: bool
    leased: bool
    reason: str | None = None
    #: Its number at its endpoint; ``None``: no worker has claimed it, or only one of before there were numbers.
    sequence: int | None = None


@dataclass(frozen=True)
class AttemptRow:
    """An attempt: its outcome, and the digest of the body that is recorded as sent."""

    outcome: str
    body: str | None


@dataclass
class Stored:
    """The rows."""

    #: Serial numbers of the driver's, by the ids of events.
    events: dict[str, str] = field(default_factory=dict)
    deliveries: dict[Key, DeliveryRow] = field(default_factory=dict)
    attempts: dict[Key, list[AttemptRow]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Receipt:
    """A request that a receiver has received as a whole."""

    at: float
    status: int | None
    signed: bool
    #: Seconds between the time that was signed and the receiver's.
    off: float | None
    serial: str
    digest: str
    body: str
    #: `webhook-sequence`, where there was one.
    sequence: int | None = None


@dataclass
class Received:
    """What the receivers say."""

    receipts: dict[Key, list[Receipt]] = field(default_factory=lambda: defaultdict(list))
    #: For how long an endpoint had more requests in flight than it may, at most.
    over_cap: dict[int, float] = field(default_factory=dict)


def read_receipts(path: Path) -> Received:
    """Read what the receivers have written."""
    received = Received()
    with path.open() as lines:
        for line in lines:
            found: dict[str, Any] = json.loads(line)
            number = found.pop("endpoint")
            if "over_cap" in found:
                most = received.over_cap.get(number, 0.0)
                received.over_cap[number] = max(most, found["over_cap"])
            elif "event" in found:
                received.receipts[number, found.pop("event")].append(Receipt(**found))
    for receipts in received.receipts.values():
        receipts.sort(key=lambda receipt: receipt.at)
    return received


def read_rows(engine: sa.Engine, models: Any, numbers: dict[str, int]) -> Stored:
    """Read the rows of the run's own events.

    :param numbers: the numbers of endpoints by their ids.
    """
    stored = Stored()
    event, delivery, attempt = models.Event, models.Delivery, models.Attempt
    keys: dict[str, Key] = {}
    with engine.connect() as connection:
        for row in _all(connection, sa.select(event.id, event.data)):
            serial = row.data.get("serial")
            if serial is not None:
                stored.events[row.id] = serial
        query = sa.select(
            delivery.id,
            delivery.event_id,
            delivery.endpoint_id,
            delivery.state,
            delivery.due_at,
            delivery.lease_until,
            delivery.reason,
            delivery.sequence,
        )
        for row in _all(connection, query):
            key = keys[row.id] = (numbers[row.endpoint_id], row.event_id)
            stored.deliveries[key] = DeliveryRow(
                row.id,
                row.state,
                row.due_at is not None,
                row.lease_until is not None,
                row.reason,
                row.sequence,
            )
        query = sa.select(attempt.delivery_id, attempt.outcome, attempt.request_body)
        for row in _all(connection, query.order_by(attempt.delivery_id, attempt.number)):
            body = row.request_body
            digest = None if body is None else hashlib.sha256(body.encode()).hexdigest()[:24]
            stored.attempts[keys[row.delivery_id]].append(AttemptRow(row.outcome, digest))
    return stored


def _all(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[sa.Row[Any]]:
    streamed = connection.execution_options(yield_per=5000)
    yield from streamed.execute(query)


def create_endpoints(
    webhooks: Any, specs: list[EndpointSpec], ports: dict[str, int]
) -> dict[str, int]:
    """Create the endpoints of a run; returns their numbers by their ids."""
    numbers = {}
    for spec in specs:
        made = webhooks.create_endpoint(
            spec.url(ports),
            spec.types,
            tenant=spec.tenant,
            secret=spec.secret,
            ordered=spec.kind.ordered,
            rate_limit=spec.kind.rate_limit,
        )
        numbers[made.endpoint.id] = spec.number
    return numbers
