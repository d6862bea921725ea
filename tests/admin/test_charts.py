"""Statistics put into steps, percentiles read off buckets, and the geometry of charts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_webhooks.admin import charts
from flask_webhooks.models import BUCKETS
from flask_webhooks.queries import PERIODS, AttemptCounts, Series
from flask_webhooks.queries.statistics import percentile, series

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def counts(**wanted: int) -> tuple[int, ...]:
    """Counts by bucket, ``ms_100=3``; ``more=1``."""
    found = tuple(wanted.pop(f"ms_{bound}", 0) for bound in BUCKETS)
    return (*found, wanted.pop("more", 0))


def of(*hours: AttemptCounts, period: str = "24h") -> Series:
    chosen = PERIODS[period]
    return series(chosen, chosen.starts(NOW), hours)


def test_periods_end_with_the_step_that_runs() -> None:
    assert PERIODS["24h"].starts(NOW)[-1] == NOW.replace(minute=0)
    assert PERIODS["7d"].starts(NOW)[-1] == NOW.replace(minute=0)
    assert PERIODS["30d"].starts(NOW)[-1] == NOW.replace(hour=0, minute=0)
    for period in PERIODS.values():
        starts = period.starts(NOW)
        assert len(starts) == period.steps
        assert {b - a for a, b in itertools.pairwise(starts)} == {timedelta(hours=period.hours)}


def test_hours_are_put_into_their_steps() -> None:
    noon = NOW.replace(minute=0)
    one = AttemptCounts(noon, 3, 1, 400.0, counts(ms_100=4))
    two = AttemptCounts(noon - timedelta(hours=1), 1, 0, 100.0, counts(ms_250=1))
    old = AttemptCounts(noon - timedelta(days=40), 9, 9)
    day = of(one, two, old)
    assert [bucket.attempts for bucket in day.buckets[-3:]] == [0, 1, 4]
    assert (day.total.succeeded, day.total.failed, day.total.mean_ms) == (4, 1, 100.0)
    assert day.total.success_rate == 0.8
    week = of(one, two, old, period="7d")
    assert [bucket.attempts for bucket in week.buckets[-2:]] == [1, 4]
    month = of(one, two, old, period="30d")
    assert month.buckets[-1].counts == counts(ms_100=4, ms_250=1)


def test_percentiles() -> None:
    assert percentile(counts(), 0.5) is None
    assert percentile(counts(ms_10=10), 0.5) == 5
    assert percentile(counts(ms_10=50, ms_50=50), 0.5) == 10
    assert percentile(counts(ms_10=50, ms_50=50), 0.75) == 37.5
    assert percentile(counts(ms_100=99, more=1), 0.95) < 100  # type: ignore[operator]
    assert percentile(counts(ms_100=1, more=99), 0.95) == math.inf


@given(st.lists(st.integers(0, 1000), min_size=11, max_size=11), st.floats(0.01, 1))
def test_percentiles_never_fall(found: list[int], share: float) -> None:
    low, high = percentile(found, share / 2), percentile(found, share)
    assert (low is None) == (high is None) == (sum(found) == 0)
    if low is not None and high is not None:
        assert 0 <= low <= high


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 2), (2, 2), (3, 4), (11, 20), (60, 60), (61, 80), (990, 1000)]
)
def test_the_scale_ends_with_a_round_number(value: float, expected: float) -> None:
    assert charts.ceiling(value) == expected


@pytest.fixture(autouse=True)
def context() -> Iterator[None]:
    """Texts are translated for an application."""
    with Flask(__name__).app_context():
        yield


def test_bars_stay_in_their_box() -> None:
    noon = NOW.replace(minute=0)
    chart = charts.outcomes(
        of(AttemptCounts(noon, 0, 1), AttemptCounts(noon - timedelta(hours=2), 5000, 1))
    )
    assert len(chart.bars) == 2
    for bar in chart.bars:
        assert 0 <= bar.x < bar.x + bar.width <= chart.width
        assert bar.failed_y >= 0
        assert bar.failed_y + bar.failed_height + bar.succeeded_height == pytest.approx(100)
        # One failure among thousands is still seen.
        assert bar.failed_height >= 2
    assert chart.scale == ["6,000", "3,000", "0"]
    assert chart.labels[-1] == "12:00"
    assert "5,000 succeeded, 2 failed" in chart.summary
    assert chart.bars[0].title.endswith(": 5,000 succeeded, 1 failed")
    assert [(bar.succeeded_height, bar.failed_height) for bar in chart.bars[1:]] == [(0, 2)]


@pytest.mark.parametrize("most", [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 50, 999, 1001, 123_456])
def test_the_scale_of_attempts_has_no_fractions(most: int) -> None:
    chart = charts.outcomes(of(AttemptCounts(NOW.replace(minute=0), most, 0)))
    top, middle, zero = (int(text.replace(",", "")) for text in chart.scale)
    assert (middle * 2, zero) == (top, 0)
    assert most <= top <= max(2.5 * most, 2)
    if most:
        # Drawn to the scale that is written beside it.
        [bar] = chart.bars
        assert bar.succeeded_height == pytest.approx(max(100 * most / top, 2), abs=0.01)


def test_lines_break_where_nothing_was_sent() -> None:
    noon = NOW.replace(minute=0)
    chart = charts.response_times(
        of(
            AttemptCounts(noon, 1, 0, 5, counts(ms_10=1)),
            AttemptCounts(noon - timedelta(hours=1), 1, 0, 5, counts(ms_10=1)),
            AttemptCounts(noon - timedelta(hours=5), 0, 1, 20000, counts(more=1)),
        )
    )
    assert [len(run.split()) for run in chart.slow] == [2, 2]
    # What is slower than we tell apart lies at the upper edge.
    assert chart.slow[0].split()[0].endswith(",0")
    assert chart.scale[0] == "10.00 s"


def test_charts_of_nothing() -> None:
    assert charts.outcomes(of()).bars == []
    assert charts.response_times(of()).median == []
    assert charts.spark(()) == []
    assert charts.split(None) == []


def test_the_parts_of_an_attempt_fill_the_bar() -> None:
    parts = charts.split({"connect": 10.0, "wait": 25.0, "read": 5.0, "odd": -1.0})
    assert [(phase, start, share) for phase, _, start, share in parts] == [
        ("connect", 0, 25),
        ("wait", 25, 62.5),
        ("read", 87.5, 12.5),
        ("odd", 100, 0),
    ]
