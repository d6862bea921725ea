"""Scheduled events: create, replace and cancel them in the host's transaction."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from ..app_state import AppState, prepared
from ..catalog.registry import EventType
from ..columns import utc_now
from ..db.upsert import insert_or_replace
from ..errors import InvalidInput
from ..log import hide_data
from ..models import ScheduledEvent
from .host_transaction import connection_of
from .idempotency import MAX_KEY_LENGTH, is_key, key_digest
from .store import NewEvent

#: How far ahead an event can be scheduled.
FARTHEST: Final = timedelta(days=3653)
#: Times in the past by no more than this are due now: transactions take time, and clocks differ.
JUST_PAST: Final = timedelta(minutes=1)


def check_schedule(
    event_type: EventType,
    deliver_at: object,
    key: object,
    idempotency_key: object,
    transactional: bool | None,
) -> datetime:
    """Check the arguments of `emit` for a scheduled event; return its time in UTC.

    :raises InvalidInput: one is invalid.
    """
    if deliver_at is None:
        raise InvalidInput(
            "A key identifies a scheduled event: pass deliver_at, too. To record a repeated event only once, pass "
            "idempotency_key.",
            field="key",
        )
    moment = _check_moment(deliver_at)
    if key is not None:
        check_schedule_key(key)
    if idempotency_key is not None:
        raise InvalidInput(
            "A scheduled event takes no idempotency_key. Pass key: the event then replaces the one that was "
            "scheduled before.",
            field="idempotency_key",
        )
    if not (event_type.transactional if transactional is None else transactional):
        raise InvalidInput(
            f"{event_type.name} is recorded whether or not the transaction commits, and can only be sent now: leave "
            "deliver_at out, or pass transactional=True.",
            field="deliver_at",
        )
    return moment


def check_schedule_key(key: object) -> None:
    """Check the key of a scheduled event.

    :raises InvalidInput: it is invalid.
    """
    if not is_key(key):
        raise InvalidInput(
            f"The key must be a text of 1 to {MAX_KEY_LENGTH} printable characters, such as expiring:lic_1.",
            field="key",
        )


def save_scheduled(
    state: AppState, connection: sa.Connection, event: NewEvent
) -> tuple[str | None, bool]:
    """Store a scheduled event, which replaces the one with its key; return the same as `store`."""
    connection.execute(
        _statements(state).save,
        {
            "its_id": event.id,
            "its_type": event.type,
            "its_tenant": event.tenant,
            "its_data": event.data,
            "its_due": event.deliver_at,
            "its_time": event.occurred_at,
            "its_key": event.key,
            "its_digest": event.key and key_digest(event.tenant, event.key),
            "its_hops": event.hops,
            "its_trace": event.trace_context,
            "its_version": event.data_version,
        },
    )
    return event.id, True


def cancel_by_key(state: AppState, session: Session, key: str, tenant: str | None) -> bool:
    """Cancel the scheduled event with a key, in the transaction of a session of the host.

    :return: whether there was one.
    :raises InvalidInput: the key or tenant is invalid, or the transaction has ended.
    """
    check_schedule_key(key)
    connection = connection_of(session, state)
    try:
        result = connection.execute(
            _statements(state).cancel, {"its_digest": key_digest(tenant, key)}
        )
    except StatementError as error:
        hide_data(error)
        raise
    return result.rowcount > 0


def as_scheduled(state: AppState, event: NewEvent) -> ScheduledEvent:
    """Return a detached scheduled event for the host."""
    return state.models.ScheduledEvent(
        id=event.id,
        type=event.type,
        tenant=event.tenant,
        data=json.loads(event.data),
        deliver_at=event.deliver_at,
        occurred_at=event.occurred_at,
        created_at=datetime.now(UTC),
        key=event.key,
        key_digest=event.key and key_digest(event.tenant, event.key),
        hops=event.hops,
        trace_context=event.trace_context,
        data_version=event.data_version,
    )


def _check_moment(moment: object) -> datetime:
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidInput(
            "deliver_at must be a datetime with a time zone, such as datetime.now(timezone.utc) + timedelta(days=7).",
            field="deliver_at",
        )
    now = datetime.now(UTC)
    # Compared without conversion: at the ends of the calendar there is no such time in UTC.
    if moment < now - JUST_PAST:
        raise InvalidInput(
            "deliver_at is in the past: leave it out to send the event now.", field="deliver_at"
        )
    if moment > now + FARTHEST:
        raise InvalidInput(
            "deliver_at is more than ten years ahead: schedule the event closer to its time.",
            field="deliver_at",
        )
    return moment.astimezone(UTC)


class _Statements:
    def __init__(self, state: AppState) -> None:
        table = state.table("ScheduledEvent")
        values: dict[str, Any] = {
            "id": sa.bindparam("its_id"),
            "type": sa.bindparam("its_type"),
            "tenant": sa.bindparam("its_tenant"),
            # The text is signed, so it must not be serialised again.
            "data": sa.bindparam("its_data", type_=sa.Text()),
            "deliver_at": sa.bindparam("its_due"),
            "occurred_at": sa.bindparam("its_time"),
            "created_at": utc_now(),
            "key": sa.bindparam("its_key"),
            "key_digest": sa.bindparam("its_digest"),
            "hops": sa.bindparam("its_hops"),
            "trace_context": sa.bindparam("its_trace"),
            "data_version": sa.bindparam("its_version"),
        }
        insert = insert_or_replace(table, state.engine.dialect.name, ["key_digest"], list(values))
        self.save = insert.values(**values)
        self.cancel = sa.delete(table).where(table.c.key_digest == sa.bindparam("its_digest"))


_statements = prepared(_Statements)
