"""Recover expired leases, and deliveries that missed a pause or a resume.

Every drain does this when it starts and every few seconds. Both functions read first, and lock only the rows that
need a change.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..app_state import AppState
from ..attempt_errors import LOST
from ..columns import utc_now
from ..db.locks import in_state, lock_endpoints, read_only, take_write_lock
from ..formats import OutgoingEvent, Target
from ..models import ON_DEMAND, DeliveryState, EndpointState
from .announce import Announcer
from .holding import cancel_waiting, divert, hold_pending
from .outcome import AttemptRecord, Claimed, Decision, Outcome, Reason, Settled
from .settle.attempts import attempt_rows
from .settle.decide import transition
from .settle.metrics import count_in_metrics

#: How long after a pause, resume or deletion to look for deliveries that missed it, because their transaction
#: began before it and ended after it.
RACE = timedelta(days=1)


def recover_expired(
    state: AppState,
    connection: sa.Connection,
    now: datetime,
    limit: int = 500,
    chance: Callable[[], float] = random.random,
    tell: Callable[[Settled], None] | None = None,
) -> int:
    """Reopen deliveries whose worker was lost, and record the interrupted attempts; return their number.

    A delivery that is interrupted repeatedly probably kills workers, and fails.

    :param now: the database's time.
    :param tell: receives the results; by default the signals are sent at once.
    """
    table = state.table("Delivery")
    expired = sa.and_(in_state(table, DeliveryState.SENDING), table.c.lease_until < now)
    with read_only(connection):
        found = connection.execute(
            sa.select(table.c.id, table.c.endpoint_id).where(expired).limit(limit)
        ).all()
    if not found:
        return 0
    settled = Settled()
    announcer = Announcer(state)
    with connection.begin():
        take_write_lock(state, connection)
        lock_endpoints(state, connection, {row.endpoint_id for row in found})
        rows = connection.execute(
            sa.select(table)
            .where(expired, table.c.id.in_([row.id for row in found]))
            .order_by(table.c.id)
        ).all()
        targets = _targets(connection, state, rows)
        settled.decisions = [
            _decide(state, row, targets[row.endpoint_id], now, chance) for row in rows
        ]
        attempts = [decision.attempt for decision in settled.decisions]
        attempt_rows(state).insert(connection, attempts)
        _reopen(state, connection, settled.decisions, now)
        divert(state, connection, {row.endpoint_id for row in rows})
        settled.emitted = announcer.record(connection, settled, now)
        count_in_metrics(state, connection, attempts)
    (tell or announcer.tell)(settled)
    return len(found)


def _targets(
    connection: sa.Connection, state: AppState, rows: Sequence[sa.Row[Any]]
) -> dict[str, Target]:
    """Return the endpoints with the values of an attempt's row, without decrypting anything."""
    endpoint = state.table("Endpoint").c
    found = connection.execute(
        sa.select(endpoint.id, endpoint.tenant, endpoint.url_shown, endpoint.format).where(
            endpoint.id.in_({row.endpoint_id for row in rows})
        )
    )
    return {
        row.id: Target(
            id=row.id,
            tenant=row.tenant,
            url="",
            url_shown=row.url_shown,
            format=row.format,
            secrets=(),
            headers={},
            user_agent=None,
            version=0,
        )
        for row in found
    }


def _decide(
    state: AppState, row: sa.Row[Any], target: Target, now: datetime, chance: Callable[[], float]
) -> Decision:
    """Return the interrupted attempt of a delivery, and its consequences."""
    event = OutgoingEvent(
        id=row.event_id,
        type=row.event_type,
        tenant=target.tenant,
        occurred_at=row.last_attempt_at,
        data_json="",
    )
    attempt = AttemptRecord(
        claimed=Claimed(
            delivery_id=row.id,
            endpoint_id=row.endpoint_id,
            event=event,
            number=row.attempt_count,
            trigger=row.trigger,
            actor=row.actor,
            failure_count=row.failure_count,
            token=row.lease_token,
            lease_until=row.lease_until,
        ),
        target=target,
        outcome=Outcome.INTERRUPTED,
        started_at=row.last_attempt_at,
        duration_ms=None,
        error=LOST,
    )
    if row.interruption_count + 1 >= state.settings.max_interruptions:
        return Decision(attempt, DeliveryState.FAILED, Reason.INTERRUPTED)
    # A delivery that kills its worker also interrupts others in flight. Different delays separate them from it.
    scatter = chance() * row.interruption_count * state.settings.lease
    return Decision(attempt, DeliveryState.PENDING, due_at=now + timedelta(seconds=scatter))


def _reopen(
    state: AppState, connection: sa.Connection, decisions: Sequence[Decision], now: datetime
) -> None:
    if not decisions:
        return
    table = state.table("Delivery")
    connection.execute(
        sa.update(table)
        .where(table.c.id == sa.bindparam("b_id"))
        .values(
            state=sa.bindparam("b_state"),
            reason=sa.bindparam("b_reason"),
            due_at=sa.bindparam("b_due"),
            completed_at=sa.bindparam("b_completed"),
            trigger=sa.bindparam("b_trigger"),
            interruption_count=table.c.interruption_count + 1,
            lease_token=None,
            lease_until=None,
        ),
        [transition(decision, now) for decision in decisions],
    )


def release_stragglers(state: AppState, connection: sa.Connection, now: datetime) -> None:
    """Repair deliveries that raced a pause or a resume.

    Such a delivery is pending although the endpoint is paused, or held although it is active.

    :param now: the database's time.
    """
    with read_only(connection):
        found = _stragglers(state, connection, now)
        deleted = _deleted_with_waiting(state, connection, now)
    if deleted:
        with connection.begin():
            take_write_lock(state, connection)
            lock_endpoints(state, connection, deleted)
            cancel_waiting(state, connection, deleted)
    if not found:
        return
    table = state.table("Delivery")
    with connection.begin():
        take_write_lock(state, connection)
        lock_endpoints(state, connection, found)
        endpoint = state.table("Endpoint").c
        rows = connection.execute(
            sa.select(endpoint.id, endpoint.state).where(
                endpoint.id.in_(found), endpoint.deleted_at.is_(None)
            )
        ).all()
        stopped = [row.id for row in rows if row.state != EndpointState.ACTIVE]
        active = [row.id for row in rows if row.state == EndpointState.ACTIVE]
        if stopped:
            hold_pending(state, connection, stopped)
        if active:
            connection.execute(
                sa.update(table)
                .where(table.c.endpoint_id.in_(active), _missed_resume(table))
                .values(state=DeliveryState.PENDING, due_at=utc_now())
            )


def _stragglers(state: AppState, connection: sa.Connection, now: datetime) -> set[str]:
    """Return endpoints that were paused or resumed recently, and have a delivery that missed it."""
    endpoint, table = state.table("Endpoint").c, state.table("Delivery")

    def has(missed: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        return sa.exists().where(table.c.endpoint_id == endpoint.id, missed)

    active = endpoint.state == EndpointState.ACTIVE
    rows = connection.execute(
        sa.select(endpoint.id).where(
            endpoint.state_since >= now - RACE,
            endpoint.deleted_at.is_(None),
            sa.or_(
                sa.and_(active, has(_missed_resume(table))),
                sa.and_(~active, has(_missed_pause(table))),
            ),
        )
    )
    return {row.id for row in rows}


def _deleted_with_waiting(state: AppState, connection: sa.Connection, now: datetime) -> set[str]:
    """Return endpoints that were deleted recently while a transaction of the host created deliveries for them."""
    endpoint, delivery = state.table("Endpoint").c, state.table("Delivery")
    waiting = sa.or_(
        in_state(delivery, DeliveryState.PENDING), in_state(delivery, DeliveryState.HELD)
    )
    rows = connection.execute(
        sa.select(endpoint.id).where(
            endpoint.deleted_at >= now - RACE,
            sa.exists().where(delivery.c.endpoint_id == endpoint.id, waiting),
        )
    )
    return {row.id for row in rows}


def _missed_pause(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(in_state(table, DeliveryState.PENDING), table.c.trigger.not_in(ON_DEMAND))


def _missed_resume(table: sa.Table) -> sa.ColumnElement[bool]:
    # Deliveries that a user kept held when the endpoint was resumed have a reason.
    return sa.and_(in_state(table, DeliveryState.HELD), table.c.reason.is_(None))
