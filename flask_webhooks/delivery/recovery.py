"""Put right what nobody else will: leases that ran out, and deliveries that missed a pause or a resume.

Every drain does this when it starts and every few seconds. Both look first, and lock only what needs it.
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
from ..db.locks import in_state, lock_endpoints, reading, take_write_lock
from ..models import ON_DEMAND, DeliveryState, EndpointState
from .announce import Announcer
from .holding import cancel_waiting, divert, hold_pending
from .outcome import Ended, Outcome, Reason, Settled
from .settle.attempts import insert_lost_attempts
from .settle.decide import next_trigger
from .settle.metrics import count_lost

#: How long after a pause, resume or deletion events are looked for that missed it: those whose transaction had
#: begun before and ended after.
RACE = timedelta(days=1)


def recover_expired(
    state: AppState,
    connection: sa.Connection,
    now: datetime,
    limit: int = 500,
    chance: Callable[[], float] = random.random,
    tell: Callable[[Settled], None] | None = None,
) -> int:
    """Reopen deliveries whose worker went silent, and record their lost attempts; returns how many.

    A delivery that is interrupted again and again probably kills the workers, and fails.

    :param now: the database's time.
    :param tell: what to do with what came of it; by default the signals are sent at once.
    """
    table = state.table("Delivery")
    expired = sa.and_(in_state(table, DeliveryState.SENDING), table.c.lease_until < now)
    with reading(connection):
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
        endpoints = _endpoints(connection, state, rows)
        insert_lost_attempts(
            state,
            connection,
            rows,
            {endpoint_id: row.url_shown for endpoint_id, row in endpoints.items()},
            LOST,
        )
        most = state.settings.max_interruptions
        settled.lost = [
            _ended(
                row, endpoints[row.endpoint_id].tenant, failed=row.interruption_count + 1 >= most
            )
            for row in rows
        ]
        _reopen(state, connection, rows, settled.lost, now, chance)
        divert(state, connection, {row.endpoint_id for row in rows})
        settled.emitted = announcer.record(connection, settled, now)
        formats = {endpoint_id: row.format for endpoint_id, row in endpoints.items()}
        count_lost(state, connection, settled.lost, formats)
    (tell or announcer.tell)(settled)
    return len(found)


def _endpoints(
    connection: sa.Connection, state: AppState, rows: Sequence[sa.Row[Any]]
) -> dict[str, Any]:
    endpoint = state.table("Endpoint").c
    found = connection.execute(
        sa.select(endpoint.id, endpoint.tenant, endpoint.url_shown, endpoint.format).where(
            endpoint.id.in_({row.endpoint_id for row in rows})
        )
    )
    return {row.id: row for row in found}


def _ended(row: sa.Row[Any], tenant: str | None, *, failed: bool) -> Ended:
    return Ended(
        endpoint_id=row.endpoint_id,
        tenant=tenant,
        delivery_id=row.id,
        event_id=row.event_id,
        event_type=row.event_type,
        number=row.attempt_count,
        trigger=row.trigger,
        outcome=Outcome.INTERRUPTED,
        status=None,
        error=str(LOST),
        duration_ms=None,
        state=DeliveryState.FAILED if failed else DeliveryState.PENDING,
        reason=Reason.INTERRUPTED if failed else None,
    )


def _reopen(
    state: AppState,
    connection: sa.Connection,
    rows: Sequence[sa.Row[Any]],
    lost: Sequence[Ended],
    now: datetime,
    chance: Callable[[], float],
) -> None:
    values = []
    for row, item in zip(rows, lost, strict=True):
        pending = item.state == DeliveryState.PENDING
        # One that kills its worker takes down those that were in flight beside it. Scattered, they
        # do not share its fate each time.
        scatter = chance() * row.interruption_count * state.settings.lease
        values.append(
            {
                "b_id": row.id,
                "b_state": item.state,
                "b_reason": item.reason,
                "b_due": now + timedelta(seconds=scatter) if pending else None,
                "b_completed": None if pending else now,
                "b_trigger": next_trigger(row.trigger, interrupted=True)
                if pending
                else row.trigger,
            }
        )
    table = state.table("Delivery")
    if values:
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
            values,
        )


def release_stragglers(state: AppState, connection: sa.Connection, now: datetime) -> None:
    """Mend what fell between: an event that saw an endpoint just before it was paused or resumed.

    Its delivery is pending though the endpoint is paused, or held though it is active.

    :param now: the database's time.
    """
    with reading(connection):
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
    """Endpoints that were paused or resumed lately, and have a delivery that missed it."""
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
    """Endpoints that were deleted lately, while a transaction of the host's still wrote to them."""
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
    # What a person wanted to stay held when the endpoint was resumed has a reason.
    return sa.and_(in_state(table, DeliveryState.HELD), table.c.reason.is_(None))
