"""What the demo counts, in the sender's database and at the receiver."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from flask_webhooks.models import Models

_OPEN_STATES = ("pending", "sending")
# A proxy that the environment names must not be asked for 127.0.0.1.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get_json(url: str) -> Any:
    """Get JSON.

    :raises OSError: there is no response, or its status is not 200.
    """
    with _opener.open(url, timeout=5) as response:
        return json.load(response)


def post_json(url: str, body: Mapping[str, Any]) -> None:
    """Post JSON.

    :raises OSError: there is no response, or it is an error.
    """
    headers = {"Content-Type": "application/json"}
    _opener.open(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=5).close()


@dataclass(frozen=True, slots=True)
class Tally:
    """Where the deliveries stand."""

    events: int
    deliveries: int
    succeeded: int
    #: Waiting for an attempt, or in one.
    open: int
    #: Attempts but the first ones.
    retries: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a demo; written as its last line."""

    events: int
    deliveries: int
    succeeded: int
    verified: int
    lost: int
    duplicates: int
    p50_ms: float | None
    p95_ms: float | None

    def as_json(self) -> str:
        return json.dumps(asdict(self))


class Scoreboard:
    """Counts for the endpoints of the demo; those that somebody adds while it runs are left out."""

    def __init__(
        self, database: sa.URL, models: Models, hooks: Mapping[str, str], receiver: str
    ) -> None:
        """
        :param hooks: names of the receiver's hooks by endpoint id.
        :param receiver: base URL of the receiver.
        """
        # An engine of its own, without `BEGIN IMMEDIATE`: counting takes no lock from those who write.
        self._engine = sa.create_engine(database)
        self._hooks = dict(hooks)
        self._receiver = receiver
        self._event = models.table("Event").c
        self._delivery = models.table("Delivery").c
        self._attempt = models.table("Attempt").c

    def close(self) -> None:
        self._engine.dispose()

    def tally(self) -> Tally:
        """What the database says now."""
        state, attempts = self._delivery.state, self._delivery.attempt_count
        again = sa.case((attempts > 1, attempts - 1), else_=0)
        grouped = sa.select(state, sa.func.count(), sa.func.sum(again)).group_by(state)
        with self._engine.connect() as connection:
            events = connection.execute(sa.select(sa.func.count(self._event.id))).scalar_one()
            rows = connection.execute(grouped.where(self._ours())).all()
        counts = {row[0]: row[1] for row in rows}
        return Tally(
            events=events,
            deliveries=sum(counts.values()),
            succeeded=counts.get("succeeded", 0),
            open=sum(counts.get(name, 0) for name in _OPEN_STATES),
            retries=sum(int(row[2]) for row in rows),
        )

    def receiver_statistics(self) -> dict[str, Any]:
        statistics: dict[str, Any] = get_json(f"{self._receiver}/stats")
        return statistics

    def summary(self, expected: Counter[str]) -> Summary:
        """Compare what was sent with what arrived.

        Lost are deliveries that the receiver never verified, and events that the traffic caused but
        that are not in the database. The latency of a delivery runs from the time at which the
        database took its event's row in, just before the commit that made it count, to the
        receiver's first sight of it (one machine, one clock). It is taken only where the first
        attempt got an answer, also one of those that are failures on purpose: then it was that
        attempt which arrived first, and no retry is measured.
        """
        arrived = self._arrivals()
        with self._engine.connect() as connection:
            owed = connection.execute(
                sa.select(
                    self._event.id,
                    self._event.created_at,
                    self._delivery.endpoint_id,
                    self._attempt.status.label("first_status"),
                )
                .join_from(
                    self._event.id.table,
                    self._delivery.id.table,
                    self._delivery.event_id == self._event.id,
                )
                .outerjoin(
                    self._attempt.number.table,
                    (self._attempt.delivery_id == self._delivery.id) & (self._attempt.number == 1),
                )
                .where(self._ours(), self._delivery.state != "cancelled")
            ).all()
            by_type = sa.select(self._event.type, sa.func.count()).group_by(self._event.type)
            recorded: Counter[str] = Counter(
                {row[0]: row[1] for row in connection.execute(by_type)}
            )
        lost = (expected - recorded).total()
        latencies = []
        for row in owed:
            received = arrived.get((self._hooks[row.endpoint_id], row.id))
            if received is None or received["verified_at"] is None:
                lost += 1
            if received is not None and row.first_status is not None:
                latencies.append(received["arrived_at"] - row.created_at.timestamp())
        latencies.sort()
        tally = self.tally()
        return Summary(
            events=tally.events,
            deliveries=tally.deliveries,
            succeeded=tally.succeeded,
            verified=sum(event["verified_at"] is not None for event in arrived.values()),
            lost=lost,
            duplicates=self.receiver_statistics()["duplicates"],
            p50_ms=_percentile(latencies, 50),
            p95_ms=_percentile(latencies, 95),
        )

    def _ours(self) -> sa.ColumnElement[bool]:
        return self._delivery.endpoint_id.in_(self._hooks)

    def _arrivals(self) -> dict[tuple[str, str], dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        after = 0
        while True:
            page = get_json(f"{self._receiver}/events?after={after}")
            if not page["events"]:
                return found
            found |= {(event["hook"], event["id"]): event for event in page["events"]}
            after = page["next"]


def _percentile(ordered: list[float], percent: int) -> float | None:
    """Nearest rank, from seconds to milliseconds."""
    if not ordered:
        return None
    return round(ordered[-(-len(ordered) * percent // 100) - 1] * 1000, 1)
