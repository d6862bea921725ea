"""Events and the deliveries that they are owed to, as rows, over whatever connection."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from . import ids
from .catalog import matches
from .columns import utc_now
from .models import DeliveryState, EndpointState, Event, Trigger
from .state import State


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked event that is not in the database yet."""

    id: str
    type: str
    tenant: str | None
    #: Compact JSON text.
    data: str
    occurred_at: datetime
    idempotency_key: str | None = None

    @property
    def idempotency_digest(self) -> str | None:
        if self.idempotency_key is None:
            return None
        scope = "" if self.tenant is None else f"={self.tenant}"
        return hashlib.sha256(f"{scope}\0{self.idempotency_key}".encode()).hexdigest()


def insert(state: State, connection: sa.Connection, draft: Draft) -> Event | None:
    """Write an event and the deliveries that it is owed to.

    :return: the event; the first one where its idempotency key repeats; ``None`` when nobody subscribes
        and unmatched events are not kept.
    """
    endpoint = state.table("Endpoint").c
    own: sa.ColumnElement[bool] = endpoint.tenant.is_(None)
    if draft.tenant is not None:
        own = sa.or_(own, endpoint.tenant == draft.tenant)
    rows = connection.execute(
        sa.select(endpoint.id, endpoint.tenant, endpoint.events, endpoint.state).where(
            own, endpoint.deleted_at.is_(None)
        )
    )
    targets = [row for row in rows if matches(row.events, draft.type)]
    if not targets and not state.settings.keep_unmatched:
        return None if draft.idempotency_key is None else _first_event(state, connection, draft)
    if not _insert_event(state, connection, draft):
        return _first_event(state, connection, draft)
    insert_deliveries(
        state, connection, draft, [(row.id, row.tenant, row.state) for row in targets]
    )
    return as_event(state, draft)


def insert_deliveries(
    state: State,
    connection: sa.Connection,
    draft: Draft,
    targets: list[tuple[str, str | None, str]],
    *,
    trigger: Trigger = Trigger.EVENT,
    actor: str | None = None,
) -> list[str]:
    """Write one delivery for each ``(endpoint id, tenant, endpoint state)``; returns their ids."""
    pending: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    for endpoint_id, tenant, endpoint_state in targets:
        runs = endpoint_state == EndpointState.ACTIVE or trigger == Trigger.TEST
        (pending if runs else held).append(
            {
                "id": ids.new_id("dlv"),
                "event_id": draft.id,
                "endpoint_id": endpoint_id,
                "tenant": tenant,
                "event_type": draft.type,
                "state": DeliveryState.PENDING if runs else DeliveryState.HELD,
                "trigger": trigger,
                "actor": actor,
            }
        )
    statement = sa.insert(state.table("Delivery"))
    if pending:
        connection.execute(statement.values(due_at=utc_now()), pending)
    if held:
        connection.execute(statement, held)
    return [row["id"] for row in pending + held]


def insert_event(state: State, connection: sa.Connection, draft: Draft) -> None:
    """Write an event without looking for subscribers."""
    _insert_event(state, connection, draft)


def _insert_event(state: State, connection: sa.Connection, draft: Draft) -> bool:
    table = state.table("Event")
    values = {
        "id": draft.id,
        "type": draft.type,
        "tenant": draft.tenant,
        # The text is what is signed, so it must not go through JSON once more.
        "data": sa.type_coerce(draft.data, sa.Text()),
        "occurred_at": draft.occurred_at,
        "idempotency_key": draft.idempotency_key,
        "idempotency_digest": draft.idempotency_digest,
    }
    if draft.idempotency_key is None:
        connection.execute(sa.insert(table).values(values))
        return True
    # An IntegrityError would abort the host's whole transaction on PostgreSQL.
    dialect = connection.dialect.name
    if dialect in {"mysql", "mariadb"}:
        ignoring = mysql.insert(table).values(values).prefix_with("IGNORE")
        # SQLAlchemy forgets the count of an INSERT unless it is asked for.
        result = connection.execute(ignoring, execution_options={"preserve_rowcount": True})
        return result.rowcount == 1
    insert_or_not = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert_or_not(table).values(values).on_conflict_do_nothing()
    return connection.execute(statement.returning(table.c.id)).first() is not None


def _first_event(state: State, connection: sa.Connection, draft: Draft) -> Event | None:
    """The event that was written with the same key, if it is still there."""
    table = state.table("Event")
    query = sa.select(table).where(table.c.idempotency_digest == draft.idempotency_digest)
    if connection.dialect.name in {"mysql", "mariadb"}:
        # Their snapshot may be older than the row that was in the way.
        query = query.with_for_update(read=True)
    row = connection.execute(query).first()
    return None if row is None else state.models.Event(**row._mapping)


def as_event(state: State, draft: Draft) -> Event:
    """The event as the host gets to see it; it belongs to no session."""
    return state.models.Event(
        id=draft.id,
        type=draft.type,
        tenant=draft.tenant,
        data=json.loads(draft.data),
        occurred_at=draft.occurred_at,
        created_at=datetime.now(UTC),
        idempotency_key=draft.idempotency_key,
        idempotency_digest=draft.idempotency_digest,
    )
