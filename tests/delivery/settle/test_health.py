"""What a run of failures means for an endpoint: every rule of the policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flask_webhooks.config import DAY, HOUR, MINUTE
from flask_webhooks.delivery.settle.health import (
    Change,
    Health,
    HealthPolicy,
    Hold,
    after_failure,
    after_success,
    hold,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = HealthPolicy(
    failing_after=5,
    probe_interval=MINUTE,
    max_probe_interval=HOUR,
    disable_after=5 * DAY,
    disable_evidence=12 * HOUR,
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fail(*times: float, health: Health | None = None) -> tuple[Health, list[tuple[float, Change]]]:
    """Fail at these seconds after the start; returns the health, and when what changed."""
    health = health or Health()
    seen: list[tuple[float, Change]] = []
    for seconds in times:
        health, changes = after_failure(health, at(seconds), POLICY)
        seen += [(seconds, change) for change in changes]
    return health, seen


def probe(until: float, health: Health) -> tuple[Health, list[tuple[float, Change]]]:
    """Fail once whenever the pause is over, for so many seconds."""
    seen: list[tuple[float, Change]] = []
    while health.hold_until is not None and health.hold_until <= at(until):
        seconds = (health.hold_until - START).total_seconds()
        health, changes = fail(seconds, health=health)
        seen += changes
    return health, seen


# -- failing --------------------------------------------------------------------------------------------


def test_a_few_failures_are_only_counted() -> None:
    health, changes = fail(0, 1, 2, 3)
    assert changes == []
    assert (health.consecutive_failures, health.failing) == (4, False)
    assert (health.failing_since, health.last_failure_at) == (at(0), at(3))
    assert health.hold_until is None


def test_the_fifth_failure_in_a_row_begins_an_incident() -> None:
    health, changes = fail(0, 1, 2, 3, 4)
    assert changes == [(4, Change.FAILING)]
    assert health.failing
    assert (health.hold_until, health.hold_reason) == (at(4 + MINUTE), Hold.FAILING)


def test_a_success_in_between_begins_the_count_anew() -> None:
    health, _ = fail(0, 1, 2, 3)
    health, changes = after_success(health, at(4))
    assert changes == []
    assert (health.consecutive_failures, health.failing_since) == (0, None)
    health, seen = fail(5, 6, 7, 8, health=health)
    assert seen == []
    assert health.failing_since == at(5)


def test_requests_that_were_in_flight_do_not_stretch_the_pause() -> None:
    health, changes = fail(0, 1, 2, 3, 4, 5, 6, 7)
    assert changes == [(4, Change.FAILING)]
    assert (health.probe_interval, health.hold_until) == (MINUTE, at(4 + MINUTE))
    assert health.consecutive_failures == 8


def test_each_failed_probe_doubles_the_pause_up_to_an_hour() -> None:
    health, _ = fail(0, 0, 0, 0, 0)
    pauses = []
    for _ in range(9):
        assert health.hold_until is not None
        now = health.hold_until
        health, changes = after_failure(health, now, POLICY)
        assert changes == []
        assert health.hold_until is not None
        pauses.append((health.hold_until - now).total_seconds() / MINUTE)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_the_first_success_ends_the_incident() -> None:
    health, _ = fail(0, 0, 0, 0, 0, 60)
    health, changes = after_success(health, at(120))
    assert changes == [Change.RECOVERED]
    assert health == Health(last_failure_at=at(60), last_success_at=at(120))


def test_a_new_incident_begins_with_the_shortest_pause() -> None:
    health, _ = fail(0, 0, 0, 0, 0)
    health, _ = probe(DAY, health)
    assert health.probe_interval == HOUR
    health, _ = after_success(health, at(DAY))
    health, changes = fail(*[2 * DAY] * 5, health=health)
    assert changes == [(2 * DAY, Change.FAILING)]
    assert health.hold_until == at(2 * DAY + MINUTE)


# -- warnings, and the end ---------------------------------------------------------------------------------


def test_an_incident_warns_twice_and_then_disables() -> None:
    health, _ = fail(0, 0, 0, 0, 0)
    health, changes = probe(5.5 * DAY, health)
    days = [(round(seconds / DAY, 1), change) for seconds, change in changes]
    assert days[:3] == [(2.5, Change.WARNED), (4.5, Change.WARNED), (5.0, Change.DISABLED)]
    assert health.warned == 90


def test_a_success_forgets_the_warnings() -> None:
    health, _ = fail(0, 0, 0, 0, 0)
    health, changes = probe(3 * DAY, health)
    assert [change for _, change in changes] == [Change.WARNED]
    health, _ = after_success(health, at(3 * DAY))
    assert health.warned == 0
    health, changes = fail(*[3 * DAY] * 5, health=health)
    health, more = probe(6 * DAY, health)
    assert [change for _, change in changes + more] == [Change.FAILING, Change.WARNED]


def test_late_failures_give_one_warning_and_not_both() -> None:
    health, changes = fail(0, 4.6 * DAY, 4.7 * DAY)
    assert changes == [(4.6 * DAY, Change.WARNED)]
    assert health.warned == 90


def test_two_failures_far_enough_apart_are_evidence_enough() -> None:
    _, changes = fail(0, 5 * DAY)
    assert changes == [(5 * DAY, Change.DISABLED)]


def test_one_failure_alone_disables_nothing() -> None:
    health = Health(last_failure_at=at(-30 * DAY), last_success_at=at(-20 * DAY))
    _, changes = fail(0, health=health)
    assert changes == []


def test_failures_close_together_are_no_evidence() -> None:
    quick = HealthPolicy(5, MINUTE, HOUR, disable_after=HOUR, disable_evidence=12 * HOUR)
    health, _ = after_failure(Health(), at(0), quick)
    health, changes = after_failure(health, at(2 * HOUR), quick)
    assert changes == [Change.WARNED]
    health, changes = after_failure(health, at(12 * HOUR), quick)
    assert changes == [Change.DISABLED]


@pytest.mark.parametrize(("days", "disabled"), [(4.99, False), (5.0, True)])
def test_the_end_comes_after_five_days_and_not_before(days: float, disabled: bool) -> None:
    _, changes = fail(0, days * DAY)
    assert (Change.DISABLED in [change for _, change in changes]) is disabled


# -- pauses --------------------------------------------------------------------------------------------


def test_of_two_pauses_the_longer_one_stands() -> None:
    health = hold(Health(), at(100), Hold.RETRY_AFTER)
    assert hold(health, at(50), Hold.NO_DNS) == health
    later = hold(health, at(150), Hold.NO_DNS)
    assert (later.hold_until, later.hold_reason) == (at(150), Hold.NO_DNS)


def test_an_incident_does_not_shorten_what_the_receiver_asked_for() -> None:
    health = hold(Health(), at(HOUR), Hold.RETRY_AFTER)
    health, changes = fail(0, 1, 2, 3, 4, health=health)
    assert [change for _, change in changes] == [Change.FAILING]
    assert (health.hold_until, health.hold_reason) == (at(HOUR), Hold.RETRY_AFTER)


def test_a_success_keeps_only_the_pause_that_the_receiver_asked_for() -> None:
    asked = hold(Health(), at(HOUR), Hold.RETRY_AFTER)
    assert after_success(asked, at(1))[0].hold_until == at(HOUR)
    for reason in set(Hold) - {Hold.RETRY_AFTER}:
        ours = hold(Health(), at(HOUR), reason)
        assert after_success(ours, at(1))[0].hold_until is None
