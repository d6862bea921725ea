"""The metrics: names, descriptions and sources of values."""

from __future__ import annotations

import json
from typing import Final

from ..access import system_access
from ..app_state import AppState
from ..db.counters import (
    ATTEMPTS,
    BEYOND,
    BOUNDS,
    BUCKET,
    DURATION,
    FIRST_REQUEST,
    LOST_WAKEUPS,
    SUM,
    Key,
)
from ..models import EndpointState
from ..queries import FAILING, MOST_COUNTED, Metrics, engine, read_metrics
from .library import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

PREFIX: Final = "flask_webhooks_"


class Families:
    """The families of one scrape."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self.up = _gauge("up", "1 if this part could be read, database or redis; else 0.", "part")
        self._attempts = CounterMetricFamily(
            PREFIX + "attempts",
            "Requests made, by how they ended.",
            labels=["format", "outcome"],
        )
        self._duration = HistogramMetricFamily(
            PREFIX + "attempt_duration_seconds",
            "How long requests took, including the response.",
            labels=["format"],
        )
        self._first_request = HistogramMetricFamily(
            PREFIX + "first_request_delay_seconds",
            "Time from the recording of an event to the start of the first request for it.",
            labels=[],
        )
        self._lost_wakeups = CounterMetricFamily(
            PREFIX + "lost_wakeups",
            "Sweeps that found overdue work that no worker had been woken for.",
        )
        self._backlog = _gauge(
            "backlog", f"Deliveries that are due now, counted up to {MOST_COUNTED:,}."
        )
        self._overdue = _gauge(
            "oldest_overdue_seconds", "How long the oldest delivery has been due; 0 if none is."
        )
        self._deliveries = _gauge(
            "deliveries",
            f"Deliveries by state, each counted up to {MOST_COUNTED:,}.",
            "state",
        )
        self._endpoints = _gauge("endpoints", "Endpoints by state.", "state")
        self._seen = _gauge(
            "last_heartbeat_timestamp_seconds",
            "The latest heartbeat of any worker, as Unix time.",
        )
        self._workers = _gauge("workers", "RQ workers that serve the queue.")
        self._jobs = _gauge(
            "jobs", "RQ jobs of the queue by state; a job is a delivery run.", "state"
        )
        self._recent = _gauge(
            "recent_attempts",
            "Attempts of the last 24 hours by result, those with the most failures.",
            *labels,
            "result",
        )

    def all(self) -> list[Metric]:
        families = [value for value in vars(self).values() if isinstance(value, Metric)]
        return [item for item in families if self._labels or item is not self._recent]

    def read_database(self, state: AppState) -> bool:
        """Add the values that are in the database."""
        read = read_metrics(system_access(state, "metrics"), self._labels)
        self._add_counters(read.totals)
        self._add_present(read)
        for item in read.recent:
            self._recent.add_metric([*item.labels, "succeeded"], item.succeeded)
            self._recent.add_metric([*item.labels, "failed"], item.failed)
        return True

    def read_redis(self, state: AppState) -> bool:
        """Add the values that are in Redis; return False if it does not respond."""
        report = engine(system_access(state, "metrics"))
        if not report.reachable:
            return False
        self._workers.add_metric([], report.workers)
        for name in ("waiting", "scheduled", "failed"):
            self._jobs.add_metric([name], getattr(report, name))
        return True

    def _add_counters(self, totals: dict[Key, float]) -> None:
        self._lost_wakeups.add_metric([], totals.get((LOST_WAKEUPS, "{}"), 0.0))
        buckets: dict[tuple[str, str], dict[str, float]] = {(FIRST_REQUEST, ""): {}}
        for (name, encoded), value in sorted(totals.items()):
            labels = json.loads(encoded)
            if name == ATTEMPTS:
                self._attempts.add_metric([labels["format"], labels["outcome"]], value)
            elif name in BOUNDS:
                histogram = buckets.setdefault((name, labels.get("format", "")), {})
                histogram[labels[BUCKET]] = value
        for (name, format), histogram in buckets.items():
            self._add_histogram(name, [format] if name == DURATION else [], histogram)

    def _add_histogram(self, name: str, labels: list[str], counts: dict[str, float]) -> None:
        family = self._duration if name == DURATION else self._first_request
        cumulative, upto = [], 0.0
        for bound in BOUNDS[name]:
            upto += counts.get(str(bound), 0.0)
            cumulative.append((str(bound / 1000), upto))
        cumulative.append(("+Inf", upto + counts.get(BEYOND, 0.0)))
        family.add_metric(labels, cumulative, counts.get(SUM, 0.0) / 1000)

    def _add_present(self, read: Metrics) -> None:
        report = read.health
        oldest = report.oldest_due_at
        late = 0.0 if oldest is None else (report.now - oldest).total_seconds()
        self._backlog.add_metric([], report.due)
        self._overdue.add_metric([], max(late, 0.0))
        for name in ("pending", "sending", "held"):
            self._deliveries.add_metric([name], getattr(report, name))
        for name in (*EndpointState, FAILING):
            self._endpoints.add_metric([str(name)], read.endpoints.get(name, 0))
        if report.last_seen_at is not None:
            self._seen.add_metric([], report.last_seen_at.timestamp())


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)
