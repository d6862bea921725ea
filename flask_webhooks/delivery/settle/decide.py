"""Decide the consequences of attempts for deliveries and endpoints. Pure: rows are read before and written after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...config import Settings
from ...models import ON_DEMAND, DeliveryState, Trigger
from ..outcome import AttemptRecord, Decision, Outcome, Reason
from . import health as health_rules
from .health import Change, Health, HealthPolicy, Hold
from .retry import PAUSE, next_attempt


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of the settings."""

    health: HealthPolicy
    #: Seconds between attempts.
    retry_schedule: Sequence[float]
    #: The maximum share by which a delay is randomly changed.
    retry_jitter: float
    #: The longest pause that a receiver can request, in seconds.
    max_retry_after: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Policy:
        return cls(
            health=HealthPolicy(
                failing_after=settings.failing_after,
                probe_interval=settings.probe_interval,
                max_probe_interval=settings.max_probe_interval,
                disable_after=settings.disable_after,
                disable_evidence=settings.disable_evidence,
            ),
            retry_schedule=settings.retry_schedule,
            retry_jitter=settings.retry_jitter,
            max_retry_after=settings.max_retry_after,
        )


@dataclass(slots=True)
class Settlement:
    """The consequences of a batch of attempts."""

    decisions: list[Decision]
    #: Endpoint id, change, and the health to announce.
    changes: list[tuple[str, Change, Health]]
    #: The new health of every endpoint.
    health: dict[str, Health]


def decide(
    attempts: Sequence[AttemptRecord],
    health: Mapping[str, Health],
    policy: Policy,
    now: datetime,
    chance: Callable[[], float],
) -> Settlement:
    """Decide about attempts in the order in which they ended.

    :param health: of their endpoints, in the database.
    :param now: the database's time.
    :param chance: returns random numbers from 0 to 1, for the jitter of retries.
    """
    result = Settlement([], [], dict(health))
    for attempt in attempts:
        decision = _decide_one(attempt, policy, now, chance)
        result.decisions.append(decision)
        if not _concerns_endpoint(attempt):
            continue
        endpoint_id = attempt.endpoint_id
        before = result.health.get(endpoint_id, Health())
        changes: list[Change] = []
        if attempt.outcome == Outcome.SUCCEEDED:
            after, changes = health_rules.after_success(before, now)
        elif attempt.status == 429 or attempt.refusal.moved_to is not None:
            after = health_rules.after_neither(before, now)
        else:
            after, changes = health_rules.after_failure(before, now, policy.health)
            if decision.reason == Reason.GONE and Change.DISABLED not in changes:
                changes.append(Change.DISABLED)
        if decision.pause:
            until = now + timedelta(seconds=decision.pause)
            after = health_rules.hold(after, until, Hold.RETRY_AFTER)
        if attempt.duration_ms is not None:
            after = health_rules.paced(after, attempt.duration_ms)
        result.health[endpoint_id] = after
        for change in changes:
            # A recovery is announced with the incident that it ends.
            told = before if change == Change.RECOVERED else after
            result.changes.append((endpoint_id, change, told))
    return result


def _decide_one(
    attempt: AttemptRecord, policy: Policy, now: datetime, chance: Callable[[], float]
) -> Decision:
    pause = attempt.retry_after
    if attempt.outcome == Outcome.SUCCEEDED:
        return Decision(attempt, DeliveryState.SUCCEEDED, pause=pause)
    if attempt.status == 429 and not pause:
        # It has no usable time.
        pause = min(PAUSE, policy.max_retry_after)
    state, reason = delivery_state(attempt, len(policy.retry_schedule))
    due_at: datetime | None = None
    if state == DeliveryState.PENDING:
        due_at = now
        if attempt.outcome != Outcome.INTERRUPTED:
            due_at = next_attempt(
                policy.retry_schedule,
                failures_after(attempt),
                now,
                jitter=policy.retry_jitter,
                chance=chance(),
                retry_after=pause,
            )
    return Decision(attempt, state, reason, due_at, pause)


def delivery_state(attempt: AttemptRecord, retries: int) -> tuple[DeliveryState, Reason | None]:
    """Return the state of a delivery after an attempt, and the reason if it is final.

    :param retries: delays in the retry schedule.
    """
    if attempt.outcome == Outcome.SUCCEEDED:
        return DeliveryState.SUCCEEDED, None
    if attempt.outcome == Outcome.INTERRUPTED:
        return DeliveryState.PENDING, None
    if attempt.status == 410 or attempt.refusal.permanent:
        return DeliveryState.FAILED, Reason.GONE
    if attempt.outcome == Outcome.BLOCKED:
        return DeliveryState.FAILED, Reason.BLOCKED
    if attempt.claimed.trigger == Trigger.TEST or failures_after(attempt) > retries:
        return DeliveryState.FAILED, Reason.EXHAUSTED
    return DeliveryState.PENDING, None


def failures_after(attempt: AttemptRecord) -> int:
    """Return the failures of a delivery after an unsuccessful attempt.

    A request that the worker aborted does not count.
    """
    return attempt.claimed.failure_count + (attempt.outcome != Outcome.INTERRUPTED)


def transition(decision: Decision, now: datetime) -> dict[str, Any]:
    """Return the parameters of an update of a delivery that did not succeed."""
    claimed = decision.attempt.claimed
    pending = decision.state == DeliveryState.PENDING
    trigger = claimed.trigger
    if pending:
        interrupted = decision.attempt.outcome == Outcome.INTERRUPTED
        trigger = next_trigger(trigger, interrupted=interrupted)
    return {
        "b_id": claimed.delivery_id,
        "b_state": decision.state,
        "b_reason": decision.reason,
        "b_due": decision.due_at,
        "b_completed": None if pending else now,
        "b_trigger": trigger,
    }


def next_trigger(trigger: str, *, interrupted: bool) -> str:
    """Return the trigger of the next attempt of a pending delivery.

    An interrupted manual request is still a manual one.
    """
    return trigger if interrupted and trigger in ON_DEMAND else Trigger.RETRY


def _concerns_endpoint(attempt: AttemptRecord) -> bool:
    if attempt.outcome == Outcome.INTERRUPTED:
        return False
    # Test events must not disable the endpoint.
    return attempt.outcome == Outcome.SUCCEEDED or attempt.claimed.trigger != Trigger.TEST
