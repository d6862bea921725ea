"""Store an event and its deliveries over any connection.

Long, since it has the statements for each kind of database.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState, prepared
from ..catalog.registry import matches
from ..columns import utc_now
from ..db.upsert import insert_missing
from ..filters.matching import event_view, stored_matcher
from ..models import DeliveryState, EndpointState, Event, Trigger

#: The separator in a list that is one parameter. Ids and tenants do not contain it.
_SEPARATOR = chr(31)

#: The id, the tenant and the state of an endpoint that gets an event.
Subscriber = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A checked event that is not in the database yet."""

    id: str
    type: str
    tenant: str | None
    #: Compact JSON text.
    data: str = field(repr=False)
    occurred_at: datetime
    idempotency_key: str | None = field(default=None, repr=False)
    #: The digest of the key and the tenant.
    idempotency_digest: str | None = field(default=None, repr=False)
    #: The number of consecutive webhooks that have led to it.
    hops: int = 0
    #: The ``traceparent`` of the current span.
    trace_context: str | None = None
    #: The version of its data.
    data_version: str | None = None
    #: Exclude the tenant's endpoints, which would continue a loop.
    whole_server_only: bool = False
    #: When to record it; ``None`` for now. If set, its id is that of a scheduled event.
    deliver_at: datetime | None = None
    #: The host's name for a scheduled event.
    key: str | None = field(default=None, repr=False)


def store(state: AppState, connection: sa.Connection, event: NewEvent) -> tuple[str | None, bool]:
    """Write an event and a delivery for each endpoint that subscribes to it.

    :return: its id, or that of the first event with its idempotency key, or ``None`` if no endpoint subscribes and
    unmatched events are not kept; and whether it was written.
    """
    targets = subscribers(state, connection, event)
    if (targets or state.settings.keep_unmatched) and insert_event(
        state, connection, event, targets
    ):
        return event.id, True
    if event.idempotency_digest is None:
        return None, False
    return find_by_key(connection, state, event.idempotency_digest), False


def subscribers(state: AppState, connection: sa.Connection, event: NewEvent) -> list[Subscriber]:
    """Return the endpoints that get an event."""
    tenant = None if event.whole_server_only else event.tenant
    rows = connection.execute(_statements(state).subscriptions, {"tenant": tenant})
    lets_through = FilterCheck(event.type, event.data)
    return [
        (endpoint_id, owner, endpoint_state)
        for endpoint_id, owner, endpoint_state, events, filter in rows
        if covers(events, event.type) and (filter is None or lets_through(filter))
    ]


class FilterCheck:
    """Checks which filters match an event. Its data is parsed for the first one."""

    __slots__ = ("_data", "_type", "_view")

    def __init__(self, event_type: str, data: str) -> None:
        self._type, self._data = event_type, data
        self._view: dict[str, Any] | None = None

    def __call__(self, filter: str) -> bool:
        """Return whether a stored filter matches."""
        if self._view is None:
            self._view = event_view(self._type, json.loads(self._data))
        return stored_matcher(filter)(self._view)


def list_subscriptions(
    state: AppState, connection: sa.Connection, tenants: Collection[str | None]
) -> Sequence[Any]:
    """Read id, tenant, state, subscription and filter of the endpoints of some tenants and of the whole server."""
    endpoint = state.table("Endpoint").c
    return connection.execute(_subscriptions(endpoint, endpoint.tenant.in_(tenants))).all()


@functools.lru_cache(maxsize=4096)
def covers(events: str | None, event_type: str) -> bool:
    """Return whether a stored subscription covers an event type.

    Cached, because many endpoints have the same ones.
    """
    return matches(None if events is None else json.loads(events), event_type)


def insert_event(
    state: AppState, connection: sa.Connection, event: NewEvent, targets: Sequence[Subscriber]
) -> bool:
    """Write an event and its deliveries.

    :return: ``False`` if there is an event with the same idempotency key; nothing is written in this case.
    """
    statements, dialect = _statements(state), connection.dialect.name
    values = {
        "its_id": event.id,
        "its_type": event.type,
        "its_tenant": event.tenant,
        "its_data": event.data,
        "its_time": event.occurred_at,
        "its_hops": event.hops,
        "its_trace": event.trace_context,
        "its_version": event.data_version,
        "its_key": event.idempotency_key,
        "its_digest": event.idempotency_digest,
    }
    if dialect == "postgresql":
        values |= _columns(targets)
        return connection.execute(statements.event_and_deliveries, values).first() is not None
    written = connection.execute(statements.event, values).rowcount
    if event.idempotency_digest is not None:
        if dialect != "sqlite":
            # SQLAlchemy makes the drivers of MySQL count found rows.
            written = find_by_key(connection, state, event.idempotency_digest) == event.id
        if not written:
            return False
    try:
        insert_deliveries(state, connection, event.id, event.type, targets)
    except Exception:
        # Leave no event without its deliveries: the host may still commit, and a repeated key would find it. Not
        # with a savepoint: with the default driver settings of SQLite, the first one starts the transaction
        # itself.
        _remove(state, connection, event.id)
        raise
    return True


def insert_deliveries(
    state: AppState,
    connection: sa.Connection,
    event_id: str,
    event_type: str,
    targets: Sequence[Subscriber],
    trigger: Trigger = Trigger.EVENT,
    actor: str | None = None,
) -> list[str]:
    """Write one delivery of a stored event for each target; return their ids."""
    if not targets:
        return []
    statements = _statements(state)
    made = ids.new_ids("dlv", len(targets))
    pending: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    for delivery_id, (endpoint_id, tenant, endpoint_state) in zip(made, targets, strict=True):
        runs = endpoint_state == EndpointState.ACTIVE or trigger == Trigger.TEST
        (pending if runs else held).append(
            {
                "id": delivery_id,
                "event_id": event_id,
                "endpoint_id": endpoint_id,
                "tenant": tenant,
                "event_type": event_type,
                "state": DeliveryState.PENDING if runs else DeliveryState.HELD,
                "trigger": trigger,
                "actor": actor,
            }
        )
    for statement, rows in ((statements.pending, pending), (statements.held, held)):
        if rows:
            # A list, even with one item, is slower in SQLAlchemy and the driver.
            connection.execute(statement, rows[0] if len(rows) == 1 else rows)
    return made


def find_by_key(connection: sa.Connection, state: AppState, digest: str) -> str | None:
    """Return the id of the event with an idempotency key, if it still exists."""
    event = state.table("Event").c
    query = sa.select(event.id).where(event.idempotency_digest == digest)
    if connection.dialect.name in {"mysql", "mariadb"}:
        # The snapshot may be older than the conflicting row.
        query = query.with_for_update(read=True)
    found: str | None = connection.scalar(query)
    return found


def load_event(state: AppState, connection: sa.Connection, event_id: str) -> Event | None:
    """Return a detached event from the database."""
    table = state.table("Event")
    row = connection.execute(sa.select(table).where(table.c.id == event_id)).first()
    return None if row is None else state.models.Event(**row._mapping)


def as_event(state: AppState, event: NewEvent) -> Event:
    """Return a detached event for the host."""
    return state.models.Event(
        id=event.id,
        type=event.type,
        tenant=event.tenant,
        data=json.loads(event.data),
        occurred_at=event.occurred_at,
        created_at=datetime.now(UTC),
        hops=event.hops,
        trace_context=event.trace_context,
        data_version=event.data_version,
        idempotency_key=event.idempotency_key,
        idempotency_digest=event.idempotency_digest,
    )


def _columns(targets: Sequence[Subscriber]) -> dict[str, str]:
    """Return the parameters of deliveries for targets: one text per column."""
    made = ids.new_ids("dlv", len(targets)) if targets else []
    return {
        "own_ids": _SEPARATOR.join(made),
        "endpoints": _SEPARATOR.join([endpoint_id for endpoint_id, _, _ in targets]),
        # Tenants are never empty, so an empty text represents NULL.
        "tenants": _SEPARATOR.join([tenant or "" for _, tenant, _ in targets]),
        "states": _SEPARATOR.join(
            [
                DeliveryState.PENDING if state == EndpointState.ACTIVE else DeliveryState.HELD
                for _, _, state in targets
            ]
        ),
    }


def _remove(state: AppState, connection: sa.Connection, event_id: str) -> None:
    event, delivery = state.table("Event").c, state.table("Delivery").c
    for column in (delivery.event_id, event.id):
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            connection.execute(sa.delete(column.table).where(column == event_id))


class _Statements:
    """The statements for events."""

    def __init__(self, state: AppState) -> None:
        endpoint, delivery = state.table("Endpoint").c, state.table("Delivery")
        # Without IN, which takes 0.3 ms longer.
        self.subscriptions = _subscriptions(endpoint, endpoint.tenant == sa.bindparam("tenant"))
        self.pending = sa.insert(delivery).values(due_at=utc_now())
        self.held = sa.insert(delivery)
        table = state.table("Event")
        dialect = state.engine.dialect.name
        self.event = insert_missing(table, dialect, ["idempotency_digest"]).values(
            id=sa.bindparam("its_id"),
            type=sa.bindparam("its_type"),
            tenant=sa.bindparam("its_tenant"),
            # The text is signed, so it must not be serialised again.
            data=sa.bindparam("its_data", type_=sa.Text()),
            occurred_at=sa.bindparam("its_time"),
            created_at=utc_now(),
            hops=sa.bindparam("its_hops"),
            trace_context=sa.bindparam("its_trace"),
            data_version=sa.bindparam("its_version"),
            idempotency_key=sa.bindparam("its_key"),
            idempotency_digest=sa.bindparam("its_digest"),
        )
        if dialect == "postgresql":
            self.event_and_deliveries = _both(self.event.returning(table.c.id), delivery)


_statements = prepared(_Statements)


def _subscriptions(endpoint: Any, of_tenant: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return the query for id, tenant, state, subscription and filter of endpoints that get an event of a tenant."""
    return sa.select(
        endpoint.id,
        endpoint.tenant,
        endpoint.state,
        sa.type_coerce(endpoint.events, sa.Text()),
        sa.type_coerce(endpoint.filter, sa.Text()),
    ).where(
        # Not the obvious form: without statistics, PostgreSQL would read all endpoints by that index.
        sa.func.coalesce(endpoint.deleted_at.is_(None), sa.false()),
        sa.or_(endpoint.tenant.is_(None), of_tenant),
    )


def _both(event: Any, delivery: sa.Table) -> sa.Select[Any]:
    """Return the statement that writes an event and all of its deliveries; it returns the id of the event.

    :param event: the INSERT of the event, which returns its id.
    """
    recorded = event.cte("recorded")
    separator, null = sa.literal_column("chr(31)", sa.Text), sa.literal_column("''", sa.Text)
    # Texts: psycopg writes arrays item by item.
    lists = [
        sa.func.string_to_array(sa.bindparam(name, type_=sa.Text()), separator, null)
        for name in ("own_ids", "endpoints", "tenants", "states")
    ]
    columns = ("id", "endpoint_id", "tenant", "state")
    owed = sa.func.unnest(*lists).table_valued(*columns, name="owed").render_derived()
    values = {
        **_defaults(delivery),
        "id": owed.c.id,
        "event_id": recorded.c.id,
        "endpoint_id": owed.c.endpoint_id,
        "tenant": owed.c.tenant,
        "event_type": sa.bindparam("its_type", type_=delivery.c.event_type.type),
        "state": owed.c.state,
        "due_at": sa.case((owed.c.state == str(DeliveryState.PENDING), utc_now())),
        "created_at": utc_now(),
    }
    rows = sa.select(*values.values()).select_from(recorded.join(owed, sa.true()))
    written = sa.insert(delivery).from_select(list(values), rows, include_defaults=False)
    return sa.select(recorded.c.id).add_cte(written.cte("written"))


def _defaults(table: sa.Table) -> dict[str, Any]:
    """Return the values that columns have by themselves; SQLAlchemy forgets them beside a SELECT."""
    defaults = {column.name: column.default for column in table.columns}
    return {
        name: sa.literal(default.arg, table.c[name].type)
        for name, default in defaults.items()
        if isinstance(default, sa.ColumnDefault) and default.is_scalar
    }
