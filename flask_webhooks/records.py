"""Events and the deliveries that they are owed to, as rows, over whatever connection."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from . import ids
from .catalog import matches
from .columns import utc_now
from .models import DeliveryState, EndpointState, Event, Trigger
from .state import State, prepared


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked event that is not in the database yet."""

    id: str
    type: str
    tenant: str | None
    #: Compact JSON text.
    data: str = field(repr=False)
    occurred_at: datetime
    idempotency_key: str | None = field(default=None, repr=False)
    #: Webhooks in a row that have led to it.
    hops: int = 0
    #: Leave out the tenant's endpoints, which would go on with a loop.
    whole_server_only: bool = False

    @property
    def idempotency_digest(self) -> str | None:
        if self.idempotency_key is None:
            return None
        scope = "" if self.tenant is None else f"={self.tenant}"
        return hashlib.sha256(f"{scope}\0{self.idempotency_key}".encode()).hexdigest()


#: The text is what is signed, so it must not go through JSON once more.
_DATA_TEXT = sa.bindparam("data_text", type_=sa.Text())


class _Statements:
    """What every event needs."""

    def __init__(self, state: State) -> None:
        endpoint, delivery = state.table("Endpoint").c, state.table("Delivery")
        listed = sa.select(
            endpoint.id,
            endpoint.tenant,
            endpoint.state,
            sa.type_coerce(endpoint.events, sa.Text()),
        ).where(endpoint.deleted_at.is_(None))
        of_all = endpoint.tenant.is_(None)
        self.endpoints_of_all = listed.where(of_all)
        self.endpoints = listed.where(sa.or_(of_all, endpoint.tenant == sa.bindparam("tenant")))
        self.event = sa.insert(state.table("Event")).values(data=_DATA_TEXT)
        self.pending = sa.insert(delivery).values(due_at=utc_now())
        self.held = sa.insert(delivery)

        def given(**names: str) -> dict[str, sa.BindParameter[Any]]:
            return {column: sa.bindparam(name) for column, name in names.items()}

        event = given(id="its_id", type="its_type", tenant="its_tenant", occurred_at="its_time")
        event |= given(hops="its_hops")
        row = given(id="own_id", event_id="its_id", endpoint_id="to", tenant="to_tenant")
        row |= given(event_type="its_type", trigger="why")
        recorded = sa.insert(state.table("Event")).values(data=_DATA_TEXT, **event).cte("recorded")
        self.event_and_delivery = (
            sa.insert(delivery)
            .values({**_defaults(delivery), **row, "due_at": utc_now()})
            .add_cte(recorded)
        )


_statements = prepared(_Statements)


def _defaults(table: sa.Table) -> dict[str, Any]:
    """The values that columns have by themselves; SQLAlchemy forgets them beside a CTE."""
    defaults = {column.name: column.default for column in table.columns}
    return {
        name: default.arg
        for name, default in defaults.items()
        if isinstance(default, sa.ColumnDefault) and default.is_scalar
    }


@functools.lru_cache(maxsize=4096)
def _covers(events: str | None, event_type: str) -> bool:
    """Whether a subscription, as it is stored, covers an event type. Endpoints have much the same ones."""
    return matches(None if events is None else json.loads(events), event_type)


def subscribers(
    state: State, connection: sa.Connection, draft: Draft
) -> list[tuple[str, str | None, str]]:
    """Return the endpoints that an event is owed to: ``(id, tenant, state)`` of each."""
    statements = _statements(state)
    if draft.tenant is None or draft.whole_server_only:
        rows = connection.execute(statements.endpoints_of_all)
    else:
        rows = connection.execute(statements.endpoints, {"tenant": draft.tenant})
    return [
        (endpoint_id, tenant, endpoint_state)
        for endpoint_id, tenant, endpoint_state, events in rows
        if _covers(events, draft.type)
    ]


def insert(state: State, connection: sa.Connection, draft: Draft) -> Event | None:
    """Write an event and the deliveries that it is owed to.

    :return: the event; the first one where its idempotency key repeats; ``None`` when nobody subscribes
        and unmatched events are not kept.
    """
    targets = subscribers(state, connection, draft)
    if not targets and not state.settings.keep_unmatched:
        return None if draft.idempotency_key is None else _first_event(state, connection, draft)
    if _fits_one_statement(connection, draft, targets):
        _insert_event_and_delivery(state, connection, draft, *targets[0])
    elif _insert_event(state, connection, draft):
        with _whole(state, connection, draft):
            insert_deliveries(state, connection, draft, targets)
    else:
        return _first_event(state, connection, draft)
    return as_event(state, draft)


@contextlib.contextmanager
def _whole(state: State, connection: sa.Connection, draft: Draft) -> Iterator[None]:
    """Where deliveries cannot be written, leave no event without them: the host may commit all the same, and
    a repeat of its key would find it.

    PostgreSQL leaves nothing anyway. Not by a savepoint: SQLite, left to its driver, takes the first one for
    the transaction itself.
    """
    try:
        yield
    except Exception:
        if connection.dialect.name != "postgresql":
            event, delivery = state.table("Event").c, state.table("Delivery").c
            for column in (delivery.event_id, event.id):
                with contextlib.suppress(sa.exc.SQLAlchemyError):
                    connection.execute(sa.delete(column.table).where(column == draft.id))
        raise


def _fits_one_statement(
    connection: sa.Connection, draft: Draft, targets: list[tuple[str, str | None, str]]
) -> bool:
    """Whether both rows can be written at once: a round trip less, in the most usual case."""
    return (
        connection.dialect.name == "postgresql"
        and draft.idempotency_key is None
        and [endpoint_state for _, _, endpoint_state in targets] == [EndpointState.ACTIVE]
    )


def _insert_event_and_delivery(
    state: State,
    connection: sa.Connection,
    draft: Draft,
    endpoint_id: str,
    tenant: str | None,
    _: str,
) -> None:
    connection.execute(
        _statements(state).event_and_delivery,
        {
            "its_id": draft.id,
            "its_type": draft.type,
            "its_tenant": draft.tenant,
            "its_time": draft.occurred_at,
            "its_hops": draft.hops,
            "data_text": draft.data,
            "own_id": ids.new_id("dlv"),
            "to": endpoint_id,
            "to_tenant": tenant,
            "why": Trigger.EVENT,
        },
    )


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
    statements = _statements(state)
    for statement, rows in ((statements.pending, pending), (statements.held, held)):
        if rows:
            # A list, even of one, goes a longer way through SQLAlchemy and the driver.
            connection.execute(statement, rows[0] if len(rows) == 1 else rows)
    return [row["id"] for row in pending + held]


def insert_event(state: State, connection: sa.Connection, draft: Draft) -> None:
    """Write an event without looking for subscribers."""
    _insert_event(state, connection, draft)


def _insert_event(state: State, connection: sa.Connection, draft: Draft) -> bool:
    values = {
        "id": draft.id,
        "type": draft.type,
        "tenant": draft.tenant,
        "data_text": draft.data,
        "occurred_at": draft.occurred_at,
        "hops": draft.hops,
        "idempotency_key": draft.idempotency_key,
        "idempotency_digest": draft.idempotency_digest,
    }
    if draft.idempotency_key is None:
        connection.execute(_statements(state).event, values)
        return True
    table = state.table("Event")
    # An IntegrityError would abort the host's whole transaction on PostgreSQL.
    dialect = connection.dialect.name
    if dialect in {"mysql", "mariadb"}:
        # INSERT IGNORE would also ignore what makes a row another one: a text that is cut or does not fit.
        keeping = mysql.insert(table).values(data=_DATA_TEXT)
        connection.execute(keeping.on_duplicate_key_update(id=table.c.id), values)
        # The number of rows does not tell: SQLAlchemy has its drivers count those that were found.
        first = _first_event(state, connection, draft)
        return first is not None and first.id == draft.id
    insert_or_not = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert_or_not(table).values(data=_DATA_TEXT).on_conflict_do_nothing()
    return connection.execute(statement.returning(table.c.id), values).first() is not None


def _first_event(state: State, connection: sa.Connection, draft: Draft) -> Event | None:
    """The event that was written with the same key, if it is still there."""
    table = state.table("Event")
    query = sa.select(table).where(table.c.idempotency_digest == draft.idempotency_digest)
    if connection.dialect.name in {"mysql", "mariadb"}:
        # Their snapshot may be older than the row that was in the way.
        query = query.with_for_update(read=True)
    row = connection.execute(query).first()
    return None if row is None else state.models.Event(**row._mapping)


def repeated_event(state: State, draft: Draft) -> Event | None:
    """Return the event that another transaction has committed with the same key, if one has."""
    if draft.idempotency_key is None:
        return None
    with state.own_engine.connect() as connection:
        return _first_event(state, connection, draft)


def as_event(state: State, draft: Draft) -> Event:
    """The event as the host gets to see it; it belongs to no session."""
    return state.models.Event(
        id=draft.id,
        type=draft.type,
        tenant=draft.tenant,
        data=json.loads(draft.data),
        occurred_at=draft.occurred_at,
        created_at=datetime.now(UTC),
        hops=draft.hops,
        idempotency_key=draft.idempotency_key,
        idempotency_digest=draft.idempotency_digest,
    )
