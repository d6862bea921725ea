"""The geometry of charts, which templates draw as SVG. Coordinates are in a box of `STEP` by the number of steps,
and `HEIGHT`; the drawing is stretched to fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..queries import AttemptCounts, Series
from .display import count, milliseconds, utc_text
from .i18n import gettext as _

STEP = 10
HEIGHT = 100
_LABELS = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """One step: successes with failures on top."""

    x: float
    width: float
    succeeded_y: float
    succeeded_height: float
    failed_y: float
    failed_height: float
    #: The tooltip.
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The common part of charts: the box and the labels of its axes."""

    width: int
    height: int
    #: On the left, from top to bottom.
    scale: list[str]
    #: Below, from left to right.
    labels: list[str]
    #: A description for people who cannot see it.
    summary: str


@dataclass(frozen=True, slots=True)
class OutcomeChart(Chart):
    """Attempts over time."""

    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class TimeChart(Chart):
    """Response times over time: runs of points, ``x,y x,y``, interrupted where there were no attempts."""

    median: list[str]
    slow: list[str]


def outcomes(series: Series) -> OutcomeChart:
    """Attempts by outcome."""
    top = count_ceiling(max(bucket.attempts for bucket in series.buckets))
    bars = []
    for number, bucket in enumerate(series.buckets):
        if bucket.attempts:
            bars.append(_bar(number, bucket, HEIGHT / top))
    total = series.total
    return OutcomeChart(
        width=STEP * len(series.buckets),
        height=HEIGHT,
        scale=[count(top), count(top // 2), "0"],
        labels=_labels(series),
        summary=_(
            "Attempts over time: %(succeeded)s succeeded, %(failed)s failed.",
            succeeded=count(total.succeeded),
            failed=count(total.failed),
        ),
        bars=bars,
    )


def response_times(series: Series) -> TimeChart:
    """The median and the 95th percentile of the response time."""
    median = [bucket.percentile(0.5) for bucket in series.buckets]
    slow = [bucket.percentile(0.95) for bucket in series.buckets]
    finite = [value for value in slow if value is not None and math.isfinite(value)]
    top = ceiling(max(finite, default=10))
    if any(value == math.inf for value in slow):
        top = max(top, 10_000)
    return TimeChart(
        width=STEP * len(series.buckets),
        height=HEIGHT,
        scale=[milliseconds(top), milliseconds(top / 2), "0"],
        labels=_labels(series),
        summary=_(
            "Response time over time: half of the attempts took at most %(median)s, 95 %% at most %(slow)s.",
            median=_time(series.total.percentile(0.5)),
            slow=_time(series.total.percentile(0.95)),
        ),
        median=_runs(median, top),
        slow=_runs(slow, top),
    )


def spark(hours: Sequence[tuple[int, int]]) -> list[Bar]:
    """Return the bars of a sparkline; none without attempts."""
    top = max((succeeded + failed for succeeded, failed in hours), default=0)
    if not top:
        return []
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        _bar(number, AttemptCounts(start, succeeded, failed), HEIGHT / top, title="")
        for number, (succeeded, failed) in enumerate(hours)
        if succeeded or failed
    ]


def ceiling(value: float) -> float:
    """The next round number above, for an axis: 1, 2, 4, 6 or 8 with zeros, of which half is round too; at least 2."""
    if value <= 2:
        return 2
    power = 10.0 ** math.floor(math.log10(value))
    for step in (1, 2, 4, 6, 8):
        if value <= step * power:
            return step * power
    return 10 * power


def count_ceiling(most: int) -> int:
    """Return an even number of at least the value, because half of it is also a label, and there are no half
    attempts.
    """
    top = int(ceiling(most))
    if top == 5:
        return 4 if most <= 4 else 6
    return top


def split(timings: dict[str, float] | None) -> list[tuple[str, float, float, float]]:
    """Return the phases of an attempt: name, milliseconds, and start and length in percent."""
    parts = {phase: max(float(value), 0.0) for phase, value in (timings or {}).items()}
    whole = sum(parts.values())
    if not whole:
        return []
    found, start = [], 0.0
    for phase, value in parts.items():
        share = 100 * value / whole
        found.append((phase, value, round(start, 2), round(share, 2)))
        start += share
    return found


def _bar(number: int, bucket: AttemptCounts, scale: float, title: str | None = None) -> Bar:
    # Every part is visible, however small.
    failed = max(bucket.failed * scale, 2.0) if bucket.failed else 0.0
    succeeded = max(bucket.succeeded * scale, 2.0) if bucket.succeeded else 0.0
    succeeded = min(succeeded, HEIGHT - failed)
    if title is None:
        title = _(
            "%(time)s: %(succeeded)s succeeded, %(failed)s failed",
            time=utc_text(bucket.start),
            succeeded=count(bucket.succeeded),
            failed=count(bucket.failed),
        )
    return Bar(
        x=number * STEP + 1.5,
        width=STEP - 3,
        succeeded_y=round(HEIGHT - succeeded, 2),
        succeeded_height=round(succeeded, 2),
        failed_y=round(HEIGHT - succeeded - failed, 2),
        failed_height=round(failed, 2),
        title=title,
    )


def _runs(values: Sequence[float | None], top: float) -> list[str]:
    runs: list[list[tuple[float, float]]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            y = HEIGHT - HEIGHT * min(value, top) / top
            runs[-1].append((number * STEP + STEP / 2, round(y, 2)))
    drawn = []
    for run in runs:
        if len(run) == 1:
            # A single point has no length, so it is drawn as a short line.
            [(x, y)] = run
            run = [(x - 3, y), (x + 3, y)]
        if run:
            drawn.append(" ".join(f"{x:g},{y:g}" for x, y in run))
    return drawn


def _labels(series: Series) -> list[str]:
    pattern = "%H:%M" if series.period.hours == 1 else "%m-%d"
    last = len(series.buckets) - 1
    chosen = [round(last * number / (_LABELS - 1)) for number in range(_LABELS)]
    return [series.buckets[number].start.strftime(pattern) for number in chosen]


def _time(value: float | None) -> str:
    return _("unknown") if value is None else milliseconds(value)
