"""What attempts mean for their deliveries and endpoints. Pure: rows are read before and written after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...models import ON_DEMAND, DeliveryState, Trigger
from ..outcome import Outcome, Reason, Sent
from . import health as health_rules
from .health import Change, Health, Hold, Policy


@dataclass(slots=True)
class Judgement:
    """What a batch of attempts comes to."""

    #: Each attempt, and the state that it leaves its delivery in.
    attempts: list[tuple[Sent, DeliveryState, Reason | None]]
    #: Endpoint id, what changed, and the health to tell with it.
    changes: list[tuple[str, Change, Health]]
    #: The new health of every endpoint.
    health: dict[str, Health]


def judge(
    sent: Sequence[Sent],
    health: Mapping[str, Health],
    *,
    policy: Policy,
    retries: int,
    now: datetime,
) -> Judgement:
    """Judge attempts in the order in which they ended.

    :param health: of their endpoints, as it stands in the database.
    :param retries: delays in the retry schedule.
    """
    result = Judgement([], [], dict(health))
    for item in sent:
        state, reason = delivery_state(item, retries)
        result.attempts.append((item, state, reason))
        if not _concerns_endpoint(item):
            continue
        endpoint_id = item.claimed.endpoint_id
        before = result.health.get(endpoint_id, Health())
        changes: list[Change] = []
        if item.outcome == Outcome.SUCCEEDED:
            after, changes = health_rules.after_success(before, now)
        elif item.status == 429 or item.refusal.moved_to is not None:
            after = health_rules.after_neither(before, now)
        else:
            after, changes = health_rules.after_failure(before, now, policy)
            if reason == Reason.GONE and Change.DISABLED not in changes:
                changes.append(Change.DISABLED)
        if item.retry_after:
            until = now + timedelta(seconds=item.retry_after)
            after = health_rules.hold(after, until, Hold.RETRY_AFTER)
        if item.duration_ms is not None:
            after = health_rules.paced(after, item.duration_ms)
        result.health[endpoint_id] = after
        for change in changes:
            # A recovery is told with the incident that it ends.
            told = before if change == Change.RECOVERED else after
            result.changes.append((endpoint_id, change, told))
    return result


def delivery_state(item: Sent, retries: int) -> tuple[DeliveryState, Reason | None]:
    """The state that an attempt leaves its delivery in, and why if that is the end of it."""
    if item.outcome == Outcome.SUCCEEDED:
        return DeliveryState.SUCCEEDED, None
    if item.outcome == Outcome.INTERRUPTED:
        return DeliveryState.PENDING, None
    if item.status == 410 or item.refusal.permanent:
        return DeliveryState.FAILED, Reason.GONE
    if item.outcome == Outcome.BLOCKED:
        return DeliveryState.FAILED, Reason.BLOCKED
    if item.claimed.trigger == Trigger.TEST or item.claimed.failure_count + 1 > retries:
        return DeliveryState.FAILED, Reason.EXHAUSTED
    return DeliveryState.PENDING, None


def next_trigger(trigger: str, *, interrupted: bool) -> str:
    """Why the next attempt of a pending delivery is made.

    What a person asked for was not made yet if it was interrupted.
    """
    return trigger if interrupted and trigger in ON_DEMAND else Trigger.RETRY


def _concerns_endpoint(item: Sent) -> bool:
    if item.outcome == Outcome.INTERRUPTED:
        return False
    # Somebody who debugs a receiver by test events must not get the endpoint disabled.
    return item.outcome == Outcome.SUCCEEDED or item.claimed.trigger != Trigger.TEST
