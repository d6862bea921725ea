"""When a delivery is tried again: the schedule, its jitter, and ``Retry-After``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_webhooks.config import DAY, HOUR, MINUTE, Settings
from flask_webhooks.delivery.settle.retry import next_attempt
from flask_webhooks.formats.retry_after import parse_retry_after

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
#: Standard Webhooks 1.0, "Deliverability and reliability".
SCHEDULE = Settings().retry_schedule


def delay(failures: int, chance: float = 0.5, **options: float | None) -> float | None:
    """Seconds until the next attempt."""
    moment = next_attempt(SCHEDULE, failures, NOW, jitter=0.2, chance=chance, **options)
    return None if moment is None else (moment - NOW).total_seconds()


def test_schedule_is_that_of_standard_webhooks() -> None:
    planned = [5, 5 * MINUTE, 30 * MINUTE, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24))]
    assert [delay(failures) for failures in range(1, 10)] == planned


def test_nothing_comes_after_the_end_of_the_schedule() -> None:
    assert delay(9) == DAY
    assert delay(10) is None
    assert delay(10, retry_after=60.0) is None
    assert next_attempt((), 1, NOW, jitter=0.2, chance=0.5) is None


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 4.0), (0.25, 4.5), (0.5, 5.0), (1.0, 6.0)])
def test_jitter_spreads_each_delay_to_both_sides(chance: float, seconds: float) -> None:
    assert delay(1, chance) == pytest.approx(seconds)


@given(st.integers(1, 9), st.floats(0, 1))
def test_jitter_stays_within_its_share(failures: int, chance: float) -> None:
    planned = SCHEDULE[failures - 1]
    found = delay(failures, chance)
    assert found is not None
    assert planned * 0.8 - 0.001 <= found <= planned * 1.2 + 0.001


def test_receiver_can_ask_for_a_later_attempt_but_not_for_a_sooner_one() -> None:
    assert delay(1, retry_after=90.0) == 90.0
    assert delay(2, retry_after=90.0) == 5 * MINUTE
    assert delay(1, retry_after=0.0) == 5.0
    assert delay(1, retry_after=None) == 5.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("86401", DAY),
        ("9" * 400, DAY),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120.0),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), DAY),
        # RFC 9110, 5.6.7: the two obsolete forms of a date, and one without a zone.
        ("Saturday, 31-Jan-26 12:02:00 GMT", 120.0),
        ("Sat Jan 31 12:02:00 2026", 120.0),
        ("Sat, 31 Jan 2026 12:02:00", 120.0),
        ("Sat, 31 Jan 2026 13:02:00 +0100", 120.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW, DAY) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "٣",
        "1 2",
        "31 Jan",
        "Sat, 99 Jan 2026 12:00:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 +99999999999999999999",
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    ],
)
def test_retry_after_that_makes_no_sense_is_ignored(value: str | None) -> None:
    assert parse_retry_after(value, NOW, DAY) is None


@given(st.text() | st.text("0123456789:, GMTJanSatFriDec+-", max_size=60))
def test_any_text_is_safe(value: str) -> None:
    found = parse_retry_after(value, NOW, DAY)
    assert found is None or 0 <= found <= DAY
