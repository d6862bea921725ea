"""Statistics by hour: attempts by outcome, and response times. Fast at any size of the history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..access import Access, find_endpoint
from ..app_state import AllTenants
from ..errors import InvalidInput
from ..models import BUCKET_COLUMNS, BUCKETS, Endpoint


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time that charts show, in steps of whole hours."""

    name: str
    steps: int
    hours: int

    def starts(self, now: datetime) -> list[datetime]:
        """When each step begins, oldest first; the last one has not ended yet."""
        step = timedelta(hours=self.hours)
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        last = epoch + (now - epoch) // step * step
        return [last - step * back for back in range(self.steps - 1, -1, -1)]


PERIODS = {
    period.name: period
    for period in (Period("24h", 24, 1), Period("7d", 28, 6), Period("30d", 30, 24))
}


@dataclass(frozen=True, slots=True)
class AttemptCounts:
    """Attempts of one step of a chart, or of several."""

    start: datetime
    succeeded: int = 0
    failed: int = 0
    #: The sum of all response times in milliseconds.
    duration_ms: float = 0.0
    #: Attempts by response time, as `models.BUCKETS` and one more for slower ones.
    counts: tuple[int, ...] = (0,) * len(BUCKET_COLUMNS)

    @property
    def attempts(self) -> int:
        return self.succeeded + self.failed

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1; ``None`` without attempts."""
        return self.succeeded / self.attempts if self.attempts else None

    @property
    def mean_ms(self) -> float | None:
        """The average response time."""
        return self.duration_ms / self.attempts if self.attempts else None

    def percentile(self, share: float) -> float | None:
        """Return the response time in milliseconds that this share of the attempts did not exceed."""
        return percentile(self.counts, share)


@dataclass(frozen=True, slots=True)
class Series:
    """The steps of a chart, oldest first, and all of them together."""

    period: Period
    buckets: list[AttemptCounts]
    total: AttemptCounts


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Return a percentile of counts by bucket, interpolated linearly.

    :param counts: as in `Bucket.counts`.
    :param share: 0.95 for the 95th.
    :return: milliseconds; infinite where it lies beyond the last bound; ``None`` without counts.
    """
    wanted = sum(counts) * share
    if not wanted:
        return None
    before = 0
    for number, (count, bound) in enumerate(zip(counts, BUCKETS, strict=False)):
        if count and before + count >= wanted:
            lower = BUCKETS[number - 1] if number else 0
            return lower + (bound - lower) * (wanted - before) / count
        before += count
    return math.inf


def statistics(
    access: Access,
    endpoint_id: str | None = None,
    period: str = "24h",
    *,
    now: datetime | None = None,
) -> Series:
    """Return attempts over time, of everything in scope or of one endpoint. One statement, two with an endpoint.

    :param period: of `PERIODS`.
    :raises InvalidInput: there is no such period.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    endpoint = None if endpoint_id is None else find_endpoint(access, endpoint_id, deleted=True)
    access.require("view", endpoint)
    if period not in PERIODS:
        raise InvalidInput(
            "Choose one of these periods: %(choices)s.", choices=", ".join(PERIODS), field="period"
        )
    chosen = PERIODS[period]
    starts = chosen.starts(now or datetime.now(UTC))
    models = access.state.models
    table = models.Statistic
    columns = [
        getattr(table, name) for name in ("succeeded", "failed", "duration_ms", *BUCKET_COLUMNS)
    ]
    query = (
        sa.select(table.hour, *(sa.func.sum(column) for column in columns))
        .where(table.hour >= starts[0])
        .group_by(table.hour)
    )
    if endpoint_id is not None:
        query = query.where(table.endpoint_id == endpoint_id)
    else:
        query = query.where(*_of_scope(access))
    with access.read() as session:
        hours = [_bucket(*row) for row in session.execute(query)]
    return series(chosen, starts, hours)


@dataclass(frozen=True, slots=True)
class Failing:
    """An endpoint with failures, and how many attempts it had."""

    endpoint: Endpoint
    succeeded: int
    failed: int


def most_failures(access: Access, *, limit: int = 5, now: datetime | None = None) -> list[Failing]:
    """The endpoints in scope with the most failed attempts of the last 24 hours. One statement.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    models = access.state.models
    table, endpoint = models.Statistic, models.Endpoint
    failed = sa.func.sum(table.failed)
    sums = (
        sa.select(
            table.endpoint_id,
            sa.func.sum(table.succeeded).label("succeeded"),
            failed.label("failed"),
        )
        .where(table.hour > (now or datetime.now(UTC)) - timedelta(hours=24))
        .where(*_of_scope(access))
        .group_by(table.endpoint_id)
        .having(failed > 0)
        .subquery()
    )
    query = (
        sa.select(endpoint, sums.c.succeeded, sums.c.failed)
        .join(sums, sums.c.endpoint_id == endpoint.id)
        .where(access.scope(endpoint.tenant), endpoint.deleted_at.is_(None))
        .order_by(sums.c.failed.desc(), endpoint.id.desc())
        .limit(limit)
    )
    with access.read() as session:
        rows = session.execute(query).all()
    return [Failing(endpoint, int(ok), int(bad)) for endpoint, ok, bad in rows]


def _of_scope(access: Access) -> list[sa.ColumnElement[bool]]:
    """The condition for rows of a tenant's endpoints; none for operators."""
    if isinstance(access.tenant, AllTenants):
        return []
    models = access.state.models
    mine = sa.select(models.Endpoint.id).where(access.scope(models.Endpoint.tenant))
    return [models.Statistic.endpoint_id.in_(mine)]


def series(period: Period, starts: Sequence[datetime], hours: Iterable[AttemptCounts]) -> Series:
    """Put hours into the steps of a period. Pure."""
    steps: dict[datetime, list[AttemptCounts]] = {start: [] for start in starts}
    length = timedelta(hours=period.hours)
    for hour in hours:
        start = starts[0] + (hour.start - starts[0]) // length * length
        if start in steps:
            steps[start].append(hour)
    buckets = [_together(start, within) for start, within in steps.items()]
    return Series(period, buckets, _together(starts[0], buckets))


def _bucket(
    hour: datetime, succeeded: Any, failed: Any, duration_ms: Any, *counts: Any
) -> AttemptCounts:
    # Sums are Decimal on some databases.
    return AttemptCounts(
        hour, int(succeeded), int(failed), float(duration_ms), tuple(int(count) for count in counts)
    )


def _together(start: datetime, buckets: Sequence[AttemptCounts]) -> AttemptCounts:
    if not buckets:
        return AttemptCounts(start)
    return AttemptCounts(
        start,
        sum(bucket.succeeded for bucket in buckets),
        sum(bucket.failed for bucket in buckets),
        sum(bucket.duration_ms for bucket in buckets),
        tuple(map(sum, zip(*(bucket.counts for bucket in buckets), strict=True))),
    )
