"""The changes of one batch of a task, within a transaction that holds the locks of the endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..columns import utc_now
from ..models import DeliveryState, EndpointState, TaskKind, Trigger
from ..outbox.store import FilterCheck
from .selection import TAKEN_FROM, not_erased, unsent

#: The reasons of deliveries that a person cancelled, or discarded when they were held.
CANCELLED = "cancelled"
DISCARDED = "discarded"

#: A delivery that restarts its retry schedule and keeps its count of attempts.
REOPENED: dict[str, Any] = {
    "state": DeliveryState.PENDING,
    "reason": None,
    "due_at": utc_now(),
    # Rows that were deferred are not in the index that claims use.
    "noticed": None,
    "failure_count": 0,
    "interruption_count": 0,
    "completed_at": None,
}


def change_deliveries(
    state: AppState,
    connection: sa.Connection,
    kind: TaskKind,
    delivery_ids: Sequence[str],
    endpoints: Mapping[str, str],
    actor: str,
) -> int:
    """Apply a task to deliveries whose state still allows it; return their number.

    :param endpoints: the states of the existing endpoints by id; their health rows are locked.
    """
    match kind:
        case TaskKind.CANCEL:
            return _end(state, connection, kind, delivery_ids, endpoints, CANCELLED)
        case TaskKind.DISCARD:
            return _end(state, connection, kind, delivery_ids, endpoints, DISCARDED)
        case TaskKind.RELEASE:
            return _release(state, connection, delivery_ids, endpoints)
        case _:
            return _reopen(state, connection, kind, delivery_ids, endpoints, actor)


def create_deliveries(
    state: AppState,
    connection: sa.Connection,
    event_ids: Sequence[str],
    endpoint: Any,
    actor: str,
) -> int:
    """Create deliveries of events that an endpoint never got, if its filter matches; return their number.

    :param endpoint: its row with its filter as text; its health row is locked, and no other worker replays to it.
    """
    event, table = state.table("Event").c, state.table("Delivery")
    data = sa.type_coerce(event.data if endpoint.filter is not None else sa.null(), sa.Text())
    found = connection.execute(
        sa.select(event.id, event.type, data.label("data"))
        .where(
            event.id.in_(event_ids),
            event.erased_at.is_(None),
            unsent(state, event.id, endpoint.id),
        )
        .order_by(event.id)
        # Otherwise retention might remove the old event before its delivery exists.
        .with_for_update(read=True)
    ).all()
    rows = [
        row
        for row in found
        if endpoint.filter is None or FilterCheck(row.type, row.data)(endpoint.filter)
    ]
    if not rows:
        return 0
    active = endpoint.state == EndpointState.ACTIVE
    values = [
        {
            "id": ids.new_id("dlv"),
            "event_id": row.id,
            "endpoint_id": endpoint.id,
            "tenant": endpoint.tenant,
            "event_type": row.type,
            "state": DeliveryState.PENDING if active else DeliveryState.HELD,
            "trigger": Trigger.REPLAY,
            "actor": actor,
        }
        for row in rows
    ]
    statement = sa.insert(table)
    connection.execute(statement.values(due_at=utc_now()) if active else statement, values)
    return len(values)


def _reopen(
    state: AppState,
    connection: sa.Connection,
    kind: TaskKind,
    delivery_ids: Sequence[str],
    endpoints: Mapping[str, str],
    actor: str,
) -> int:
    table = state.table("Delivery")
    # A test remains a test: it must neither be retried nor count against the endpoint.
    test = table.c.trigger == Trigger.TEST
    common = {
        **REOPENED,
        "actor": actor,
        "trigger": sa.case((test, str(Trigger.TEST)), else_=str(Trigger.REPLAY)),
    }
    held = {
        **common,
        "state": sa.case((test, str(DeliveryState.PENDING)), else_=str(DeliveryState.HELD)),
        "due_at": sa.case((test, utc_now()), else_=sa.null()),
    }
    changed = 0
    for active, values in ((True, common), (False, held)):
        chosen = [
            endpoint_id
            for endpoint_id, endpoint_state in endpoints.items()
            if (endpoint_state == EndpointState.ACTIVE) is active
        ]
        if chosen:
            there = not_erased(state, table.c.event_id)
            changed += _update(state, connection, kind, delivery_ids, chosen, values, there)
    return changed


def _release(
    state: AppState,
    connection: sa.Connection,
    delivery_ids: Sequence[str],
    endpoints: Mapping[str, str],
) -> int:
    active = [key for key, value in endpoints.items() if value == EndpointState.ACTIVE]
    values = {"state": DeliveryState.PENDING, "due_at": utc_now(), "reason": None}
    return _update(state, connection, TaskKind.RELEASE, delivery_ids, active, values)


def _end(
    state: AppState,
    connection: sa.Connection,
    kind: TaskKind,
    delivery_ids: Sequence[str],
    endpoints: Mapping[str, str],
    reason: str,
) -> int:
    values = {
        "state": DeliveryState.CANCELLED,
        "reason": reason,
        "due_at": None,
        "completed_at": utc_now(),
    }
    return _update(state, connection, kind, delivery_ids, list(endpoints), values)


def _update(
    state: AppState,
    connection: sa.Connection,
    kind: TaskKind,
    delivery_ids: Sequence[str],
    endpoint_ids: Sequence[str],
    values: dict[str, Any],
    *more: sa.ColumnElement[bool],
) -> int:
    table = state.table("Delivery")
    return connection.execute(
        sa.update(table)
        .where(
            table.c.id.in_(delivery_ids),
            table.c.endpoint_id.in_(endpoint_ids),
            table.c.state.in_([str(item) for item in sorted(TAKEN_FROM[kind])]),
            *more,
        )
        .values(values)
    ).rowcount
