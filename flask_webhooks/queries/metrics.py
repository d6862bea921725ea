"""Read the metrics in the database. Fast at any size of the history."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from ..access import Access
from ..db.counters import Key, add_up, counters
from ..models import EndpointState
from .system import HealthReport, health

#: The most rows of `Metrics.recent`.
MOST_LABELLED = 100
#: The label of failing active endpoints among the states.
FAILING = "failing"
#: Labels that rows of `Metrics.recent` can have.
METRIC_LABELS = ("endpoint", "tenant")


@dataclass(frozen=True, slots=True)
class Recent:
    """Attempts of the last 24 hours, of an endpoint or a tenant."""

    #: The values of the requested labels; the tenant of the whole server is empty.
    labels: tuple[str, ...]
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics in the database."""

    health: HealthReport
    #: Counters by name and encoded labels; see `counters`.
    totals: dict[Key, float]
    #: Endpoints by state, with `FAILING` separate from active ones.
    endpoints: dict[str, int]
    #: Most failures first, at most `MOST_LABELLED`.
    recent: list[Recent] = field(default_factory=list)


def read_metrics(access: Access, labels: Collection[str] = ()) -> Metrics:
    """Read all metrics in the database.

    :param labels: a subset of `METRIC_LABELS`, by which attempts of the last 24 hours are grouped.
    :raises Forbidden: not allowed to ``view``.
    """
    report = health(access)
    table = access.state.models.Metric
    with access.read() as session:
        totals: dict[Key, float] = {}
        if counters(access.state).exist(session.connection()):
            rows = session.execute(sa.select(table.name, table.labels, table.value)).all()
            totals = add_up((name, encoded, value) for name, encoded, value in rows)
        endpoints = {state: int(count) for state, count in session.execute(_endpoints(access))}
        recent: list[Recent] = []
        if labels:
            recent = [
                Recent(tuple(value or "" for value in values), int(succeeded), int(failed))
                for *values, succeeded, failed in session.execute(_recent(access, labels, report))
            ]
    return Metrics(report, totals, endpoints, recent)


def _endpoints(access: Access) -> sa.Select[Any]:
    models = access.state.models
    endpoint, its_health = models.Endpoint, models.EndpointHealth
    fails = sa.and_(endpoint.state == EndpointState.ACTIVE, its_health.probe_interval.is_not(None))
    state = sa.case((fails, FAILING), else_=endpoint.state).label("state")
    return (
        sa.select(state, sa.func.count())
        .join(its_health, its_health.endpoint_id == endpoint.id)
        .where(endpoint.deleted_at.is_(None), access.scope(endpoint.tenant))
        .group_by(state)
    )


def _recent(access: Access, labels: Collection[str], report: HealthReport) -> sa.Select[Any]:
    models = access.state.models
    table, endpoint = models.Statistic, models.Endpoint
    columns = {"endpoint": endpoint.id, "tenant": endpoint.tenant}
    chosen: list[Any] = [columns[label] for label in labels]
    succeeded, failed = sa.func.sum(table.succeeded), sa.func.sum(table.failed)
    return (
        sa.select(*chosen, succeeded, failed)
        .join(endpoint, endpoint.id == table.endpoint_id)
        .where(
            table.hour > report.now - timedelta(hours=24),
            endpoint.deleted_at.is_(None),
            access.scope(endpoint.tenant),
        )
        .group_by(*chosen)
        .order_by(failed.desc(), succeeded.desc(), *chosen)
        .limit(MOST_LABELLED)
    )
