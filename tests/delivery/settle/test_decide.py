"""What attempts mean for their deliveries and endpoints, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flask_webhooks.config import Settings
from flask_webhooks.delivery.outcome import AttemptRecord, Claimed, Outcome, Reason
from flask_webhooks.delivery.settle.decide import Policy, Settlement, decide
from flask_webhooks.delivery.settle.health import Change, Health, Hold
from flask_webhooks.delivery.settle.retry import PAUSE
from flask_webhooks.formats import OutgoingEvent, Refusal, Target
from flask_webhooks.models import DeliveryState, Trigger

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
POLICY = Policy.from_settings(Settings())
RETRIES = len(POLICY.retry_schedule)


def made(outcome: Outcome = Outcome.REFUSED, endpoint_id: str = "ep_1", **values: Any) -> Any:
    """An attempt that ended now."""
    claimed = Claimed(
        delivery_id=values.pop("delivery_id", "dlv_1"),
        endpoint_id=endpoint_id,
        event=OutgoingEvent("evt_1", "license.created", None, NOW, "{}"),
        number=1,
        trigger=values.pop("trigger", Trigger.EVENT),
        actor=None,
        failure_count=values.pop("failure_count", 0),
        token="token",
        lease_until=NOW,
    )
    target = Target(endpoint_id, None, "", "", "standard", (), {}, None, 1)
    status = {Outcome.SUCCEEDED: 200, Outcome.REFUSED: 500}.get(outcome)
    values = {"duration_ms": 12.5, "status": status, **values}
    return AttemptRecord(claimed, target, outcome, NOW, **values)


def decided(*attempts: AttemptRecord, chance: float = 0.5, **health: Health) -> Settlement:
    return decide(attempts, health, POLICY, NOW, lambda: chance)


def test_success_ends_a_delivery_and_is_noted() -> None:
    found = decided(made(Outcome.SUCCEEDED), ep_1=Health(consecutive_failures=2))
    [decision] = found.decisions
    assert (decision.state, decision.reason, decision.due_at) == ("succeeded", None, None)
    assert found.health["ep_1"].consecutive_failures == 0


def test_failure_is_tried_again_at_the_time_of_the_schedule() -> None:
    [decision] = decided(made(failure_count=2)).decisions
    assert decision.state == DeliveryState.PENDING
    assert decision.due_at == NOW + timedelta(seconds=POLICY.retry_schedule[2])


def test_schedule_that_is_used_up_ends_a_delivery() -> None:
    [decision] = decided(made(failure_count=RETRIES)).decisions
    assert (decision.state, decision.reason) == (DeliveryState.FAILED, Reason.EXHAUSTED)
    assert decision.due_at is None


def test_answer_410_ends_the_delivery_and_disables_the_endpoint() -> None:
    found = decided(made(status=410))
    assert [item.reason for item in found.decisions] == [Reason.GONE]
    assert [(endpoint_id, change) for endpoint_id, change, _ in found.changes] == [
        ("ep_1", Change.DISABLED)
    ]


def test_429_without_a_time_pauses_and_is_no_failure_of_the_endpoint() -> None:
    found = decided(made(status=429))
    [decision] = found.decisions
    pause = min(PAUSE, POLICY.max_retry_after)
    health = found.health["ep_1"]
    assert decision.pause == pause
    assert decision.due_at is not None
    assert decision.due_at >= NOW + timedelta(seconds=pause)
    assert (health.consecutive_failures, health.hold_reason) == (0, Hold.RETRY_AFTER)
    assert health.hold_until == NOW + timedelta(seconds=pause)


def test_chat_that_moved_is_no_failure_of_the_endpoint() -> None:
    found = decided(made(status=400, refusal=Refusal(moved_to=-100)))
    assert found.health["ep_1"].consecutive_failures == 0


OUTCOMES = st.sampled_from(list(Outcome))
ATTEMPTS = st.lists(
    st.builds(
        made,
        OUTCOMES,
        st.sampled_from(["ep_1", "ep_2"]),
        failure_count=st.integers(0, RETRIES + 1),
        trigger=st.sampled_from(list(Trigger)),
        retry_after=st.none() | st.floats(0.1, 86_400),
    ),
    max_size=8,
)


@given(ATTEMPTS, st.floats(0, 1))
def test_every_attempt_gets_its_decision(attempts: list[AttemptRecord], chance: float) -> None:
    found = decided(*attempts, chance=chance)
    assert [decision.attempt for decision in found.decisions] == attempts
    for decision in found.decisions:
        pending = decision.state == DeliveryState.PENDING
        assert pending == (decision.due_at is not None)
        assert (decision.reason is None) == (decision.state != DeliveryState.FAILED)
        if pending and decision.attempt.outcome != Outcome.INTERRUPTED:
            assert decision.due_at is not None
            assert decision.due_at >= NOW + timedelta(seconds=decision.pause or 0.0)


@given(ATTEMPTS)
def test_tests_and_interruptions_harm_no_endpoint(attempts: list[AttemptRecord]) -> None:
    harmless = [
        item
        for item in attempts
        if item.outcome == Outcome.INTERRUPTED
        or (item.claimed.trigger == Trigger.TEST and item.outcome != Outcome.SUCCEEDED)
    ]
    before = {"ep_1": Health(consecutive_failures=3), "ep_2": Health()}
    found = decide(harmless, before, POLICY, NOW, lambda: 0.5)
    assert found.health == before
    assert found.changes == []


@given(ATTEMPTS)
def test_endpoints_do_not_share_their_health(attempts: list[AttemptRecord]) -> None:
    both = decided(*attempts, ep_1=Health(), ep_2=Health())
    alone = decided(
        *(item for item in attempts if item.endpoint_id == "ep_1"), ep_1=Health(), ep_2=Health()
    )
    assert both.health["ep_1"] == alone.health["ep_1"]
