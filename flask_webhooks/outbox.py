"""Events into the database, in the host's own transaction, and a wake-up once that has committed.

Some events describe a refusal (a failed login) and happen just when nothing is committed. Those are kept
back until the host's root transaction has ended, however it ended, and then written in a short one of ours:
a second writer in the middle of the host's transaction would find SQLite locked.

A host may also join a session to a connection whose transaction is its own, as test suites do. The end of
such a session ends nothing: what was kept back is then written over that connection, and the wake-up waits
until the connection goes back to its pool.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app, has_app_context
from sqlalchemy import event as sa_event
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from sqlalchemy.pool import Pool

from . import ids
from .catalog import matches
from .columns import utc_now
from .encoding import encode_data
from .errors import ConfigurationError, InvalidInput
from .logs import log_failure
from .models import DeliveryState, EndpointState, Event, Trigger
from .state import AllTenants, State, unwrap

logger = logging.getLogger("flask_webhooks.outbox")

#: Under this, a session keeps what it owes us, and a pooled connection whom to wake.
_KEY = "flask_webhooks"


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


def emit(
    state: State,
    event_type: str,
    data: Any,
    *,
    tenant: Any = None,
    idempotency_key: str | None = None,
    occurred_at: datetime | None = None,
    transactional: bool | None = None,
    session: Session | scoped_session[Any] | None = None,
    shielded: bool = False,
) -> Event | None:
    """Record an event for everyone who subscribes to it. See `Webhooks.emit`.

    :param shielded: a failing statement of ours leaves the host's transaction usable.
    """
    known = state.catalog[event_type]
    if known.operational or not known.subscribable:
        raise InvalidInput(
            f"{event_type!r} is sent by Flask-Webhooks itself; emit another event type.",
            field="event_type",
        )
    draft = Draft(
        id=ids.new_id("evt"),
        type=event_type,
        tenant=_check_tenant(tenant),
        data=encode_data(data, state.settings.max_data_bytes),
        occurred_at=_check_time(occurred_at),
        idempotency_key=_check_key(idempotency_key),
    )
    own = _session(state, session)
    if transactional if transactional is not None else known.transactional:
        return _emit_now(state, draft, own, shielded)
    return _emit_later(state, draft, own)


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
    return _as_event(state, draft)


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


def _as_event(state: State, draft: Draft) -> Event:
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


# -- the host's transaction ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Later:
    """An event to write once the host's transaction is over."""

    state: State
    draft: Draft
    #: The one that the host gave its session, if it did.
    connection: sa.Connection | None

    def write(self) -> Event | None:
        if self.connection is None or not _goes_on(self.connection):
            with self.state.engine.begin() as connection:
                return insert(self.state, connection, self.draft)
        with _savepoint(self.connection, wanted=True):
            return insert(self.state, self.connection, self.draft)


@dataclass(slots=True)
class _Pending:
    """What a session owes us once its root transaction ends."""

    #: Applications with events in this transaction, and the connections that those went over.
    written: list[tuple[State, sa.Connection]] = field(default_factory=list)
    #: The types of those events.
    types: set[str] = field(default_factory=set)
    #: Events to write afterwards, whatever the outcome.
    later: list[_Later] = field(default_factory=list)
    #: Set by commit and by rollback; neither means that the session was just closed.
    outcome: str | None = None

    def add(self, state: State, connection: sa.Connection, event_type: str) -> None:
        self.types.add(event_type)
        if not any(known is state and used is connection for known, used in self.written):
            self.written.append((state, connection))


def _emit_now(state: State, draft: Draft, session: Session, shielded: bool) -> Event | None:
    # A plain connection: a query through the session would flush the host's half-built objects.
    connection = session.connection(bind_arguments={"mapper": sa.inspect(state.models.Event)})
    with _savepoint(connection, wanted=shielded):
        event = insert(state, connection, draft)
    if event is not None:
        _pending(session).add(state, connection, draft.type)
    return event


def _emit_later(state: State, draft: Draft, session: Session) -> Event | None:
    later = _Later(state, draft, _given_connection(state, session))
    busy = session if session.in_transaction() else _in_the_way(state)
    if busy is not None:
        _pending(busy).later.append(later)
        return _as_event(state, draft)
    event = _write(later)
    if event is not None:
        _wake([(state, later.connection)])
    return event


def _write(later: _Later) -> Event | None:
    """Write an event that was kept back. Never raises: the host is past the point of hearing it."""
    try:
        return later.write()
    except Exception as error:
        log_failure(
            logger, "The event %s could not be recorded and is lost", later.draft.type, error=error
        )
        return None


def _wake(written: Sequence[tuple[State, sa.Connection | None]]) -> None:
    """Wake the workers of each application once: now, or when the host is done with its connection."""
    now = []
    for state, connection in written:
        if connection is None or not _goes_on(connection):
            now.append(state)
        else:
            waiting = connection.info.setdefault(_KEY, [])
            waiting[:] = _distinct([*waiting, state])
    for state in _distinct(now):
        state.alarm.wake()


def _given_connection(state: State, session: Session) -> sa.Connection | None:
    try:
        bind = session.get_bind(mapper=sa.inspect(state.models.Event))
    except UnboundExecutionError:
        return None
    return bind if isinstance(bind, sa.Connection) else None


def _goes_on(connection: sa.Connection) -> bool:
    """Whether the connection is in a transaction, which after its session's end is the host's own."""
    return not connection.closed and connection.in_transaction()


def _savepoint(connection: sa.Connection, *, wanted: bool) -> AbstractContextManager[Any]:
    """Only on PostgreSQL does one failed statement spoil the whole transaction."""
    if wanted and connection.dialect.name == "postgresql":
        return connection.begin_nested()
    return nullcontext()


def _session(state: State, given: Session | scoped_session[Any] | None) -> Session:
    if given is None:
        if not _is_current(state):
            raise ConfigurationError(
                f"The database session of {state.app.name!r} is there within its application context only: "
                "send this within 'with app.app_context():', or pass a session to emit()."
            )
        given = state.db.session
    session: Session = given() if isinstance(given, scoped_session) else given
    return session


def _in_the_way(state: State) -> Session | None:
    """This context's own session, if to write now would be to wait for it: SQLite has one writer."""
    if state.engine.dialect.name != "sqlite" or not _is_current(state):
        return None
    if not state.db.session.registry.has():
        return None
    session: Session = state.db.session()
    return session if session.in_transaction() else None


def _is_current(state: State) -> bool:
    return has_app_context() and unwrap(current_app) is state.app


def _distinct(states: Iterable[State]) -> list[State]:
    return list({id(state): state for state in states}.values())


def _pending(session: Session) -> _Pending:
    pending: _Pending = session.info.setdefault(_KEY, _Pending())
    return pending


@sa_event.listens_for(Session, "after_commit")
def _after_commit(session: Session) -> None:
    # This also fires when a savepoint is released, which commits nothing.
    if not session.in_nested_transaction() and _KEY in session.info:
        _pending(session).outcome = "commit"


@sa_event.listens_for(Session, "after_rollback")
def _after_rollback(session: Session) -> None:
    if not session.in_nested_transaction() and _KEY in session.info:
        _pending(session).outcome = "rollback"


@sa_event.listens_for(Session, "after_transaction_end")
def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    pending: _Pending | None = session.info.pop(_KEY, None)
    if pending is None:
        return
    ready: list[_Later] = []
    for later in pending.later:
        busy = _in_the_way(later.state)
        (ready if busy is None else _pending(busy).later).append(later)
    woken: list[tuple[State, sa.Connection | None]] = []
    if pending.outcome == "commit":
        woken.extend(pending.written)
    elif pending.outcome is None:
        # On a connection of the host's own they may still be committed.
        woken.extend((state, used) for state, used in pending.written if _goes_on(used))
        if not woken:
            _warn_of_dropped(pending.types)
    woken.extend((later.state, later.connection) for later in ready if _write(later) is not None)
    _wake(woken)


def _warn_of_dropped(types: set[str]) -> None:
    if types:
        logger.warning(
            "Webhook events were dropped: the session was closed with neither commit nor rollback (%s). "
            "Commit after sending the signal, or emit with transactional=False.",
            ", ".join(sorted(types)),
        )


@sa_event.listens_for(Pool, "checkin")
def _after_checkin(driver_connection: Any, record: Any) -> None:
    """The host is done with a connection that it had joined a session to."""
    for state in record.info.pop(_KEY, ()):
        state.alarm.wake()


# -- checks -------------------------------------------------------------------------------------------


def _check_tenant(tenant: Any) -> str | None:
    if tenant is None:
        return None
    if isinstance(tenant, AllTenants):
        raise InvalidInput(
            "An event belongs to one tenant, or to none: pass its id, or tenant=None.",
            field="tenant",
        )
    text = str(tenant)
    if not 0 < len(text) <= 255 or not text.isprintable():
        raise InvalidInput(
            "The tenant must be an id of 1 to 255 printable characters.", field="tenant"
        )
    return text


def _check_key(key: str | None) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= 255 or not key.isprintable():
        raise InvalidInput(
            "The idempotency key must be a text of 1 to 255 printable characters.",
            field="idempotency_key",
        )
    return key


def _check_time(moment: datetime | None) -> datetime:
    if moment is None:
        return datetime.now(UTC)
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidInput(
            "occurred_at must be an aware datetime, such as datetime.now(timezone.utc).",
            field="occurred_at",
        )
    return moment.astimezone(UTC)
