"""Follow sessions of the host, to write events and wake workers after their transactions.

Some events describe a refusal (a failed login) and happen when nothing is committed. They are buffered until the
host's root transaction has ended, with whatever outcome, and then written in a short separate transaction: a
second writer in the middle of the host's transaction would find SQLite locked. A separate session of the host may
still be open when the application's context ends. It is then unknown whether it ever ends, so the events are
written at once; on SQLite, as soon as the lock is free. A host may also join a session to a connection with its
own transaction, as test suites do. The end of such a session does not end the transaction: the events are then
written over that connection, and the wake-up waits until the connection returns to its pool. Long, since sessions,
connections and transactions refer to each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask import g
from sqlalchemy import event as sa_event
from sqlalchemy.exc import DBAPIError, UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import Pool

from ..app_state import AppState, is_current
from ..log import get_logger, safe_text
from ..sqlite import waiting_at_most
from ..unwritten import may_succeed_later
from .host_transaction import ends_transaction
from .store import NewEvent, store

logger = get_logger("flask_webhooks.outbox")

#: The key in the `info` of a session for pending events, and of a pooled connection for wake-ups.
_KEY = "flask_webhooks"


@dataclass(frozen=True, slots=True)
class Later:
    """An event to write after the host's transaction."""

    state: AppState
    event: NewEvent
    #: The connection that the host has given its session, if any.
    connection: sa.Connection | None

    @property
    def joined(self) -> bool:
        """Return whether the host's session is joined to a connection whose transaction continues."""
        return self.connection is not None and _goes_on(self.connection)

    @property
    def type(self) -> str:
        return self.event.type

    @property
    def size(self) -> int:
        return len(self.event.data)

    def write(self) -> tuple[str | None, bool]:
        """Write it in a separate transaction; return the same as `store`.

        :raises sqlalchemy.exc.SQLAlchemyError: the database refuses it.
        """
        try:
            return self._store()
        except DBAPIError as error:
            if not ends_transaction(error, self.state.own_engine):
                raise
        # The pooled connection was broken, as after a restart of the database, or there was a conflict.
        return self._store(again=True)

    def write_again(self) -> bool:
        return self._store(again=True)[0] is not None

    def wake(self) -> None:
        self.state.notifier.notify()

    def _store(self, *, again: bool = False) -> tuple[str | None, bool]:
        """Store the event and commit, with the same timeout for SQLite's locks as for Redis.

        :param again: an earlier attempt may have been committed although the connection broke.
        """
        state, event = self.state, self.state.table("Event").c
        with (
            state.own_engine.connect() as connection,
            # Twice: for the lock, and at the commit for readers.
            waiting_at_most(connection, state.settings.wake_timeout / 2),
            connection.begin(),
        ):
            if again and connection.scalar(sa.select(event.id).where(event.id == self.event.id)):
                return self.event.id, True
            return store(state, connection, self.event)


@dataclass(slots=True)
class Pending:
    """What to do after the root transaction of a session."""

    #: Applications with events in this transaction, and their connections.
    written: list[tuple[AppState, sa.Connection]] = field(default_factory=list)
    #: The types of these events.
    types: set[str] = field(default_factory=set)
    #: Events to write afterwards, with whatever outcome.
    later: list[Later] = field(default_factory=list)
    #: Set by commit and by rollback; if both are unset, the session was only closed.
    outcome: str | None = None


def wake_after_commit(
    state: AppState, session: Session, connection: sa.Connection, event_type: str
) -> None:
    """Wake the workers for an event once the root transaction of a session has been committed."""
    pending: Pending = session.info.setdefault(_KEY, Pending())
    pending.types.add(event_type)
    if (state, connection) not in pending.written:
        pending.written.append((state, connection))
    if given_connection(state, session) is not None:
        # Such a session may be discarded without an end, and the host commits the connection's transaction.
        _wake_at_checkin(state, connection)


def write_after_end(
    state: AppState, session: Session, event: NewEvent
) -> tuple[str | None, Session | None]:
    """Write an event after the session's transaction, with whatever outcome, or now if there is none.

    A separate session of the host may be left open at the end of the application's context, and be discarded later.

    :return: its id, or that of the first event with its idempotency key, as far as it is known by now; and the
        session whose transaction it waits for, if it does.
    """
    later = Later(state, event, given_connection(state, session))
    busy = session if session.in_transaction() else _in_the_way(state)
    if busy is None:
        event_id, written = write(later)
        if written:
            wake([(state, later.connection)])
        return event_id, None
    _keep_back(busy, later)
    if is_current(state):
        waiting: list[Session] = g.setdefault(_KEY, [])
        if not any(known is busy for known in waiting):
            waiting.append(busy)
    return event.id, busy


def write(later: Later) -> tuple[str | None, bool]:
    """Write a buffered event. Never raises, because the host can no longer handle it.

    :return: its id, or that of the first event with its idempotency key; and whether there is something in the
        database that workers have to be woken for.
    """
    connection, unwritten = later.connection, later.state.unwritten
    if connection is not None and _goes_on(connection):
        event_id = _write_over(connection, later)
        return event_id, event_id is not None
    reason = "others wait before it"
    if not unwritten.waiting:
        try:
            event_id, _ = later.write()
        except Exception as error:
            if not may_succeed_later(error):
                unwritten.lose(later.type, error)
                return None, False
            reason = safe_text(error)
        else:
            return event_id, event_id is not None
    kept = unwritten.keep(later, reason)
    unwritten.write_if_late()
    return later.event.id if kept else None, False


def _write_over(connection: sa.Connection, later: Later) -> str | None:
    """Write an event in the transaction on a connection of the host."""
    try:
        with savepoint(connection):
            return store(later.state, connection, later.event)[0]
    except Exception as error:
        if ends_transaction(error, later.state.own_engine):
            # The host's commit must fail, which would otherwise commit nothing.
            connection.invalidate()
        later.state.unwritten.lose(later.type, error)
        return None


def wake(written: Iterable[tuple[AppState, sa.Connection | None]]) -> None:
    """Wake the workers of each application once: now, or when the host returns its connection."""
    now: list[AppState] = []
    for state, connection in written:
        if connection is not None and _goes_on(connection):
            _wake_at_checkin(state, connection)
            continue
        if connection is not None and not connection.closed:
            waiting = connection.info.get(_KEY, [])
            waiting[:] = [known for known in waiting if known is not state]
        if state not in now:
            now.append(state)
    for state in now:
        state.notifier.notify()


def _wake_at_checkin(state: AppState, connection: sa.Connection) -> None:
    """Wake the workers once the host returns its connection."""
    waiting = connection.info.setdefault(_KEY, [])
    if state not in waiting:
        waiting.append(state)


def given_connection(state: AppState, session: Session) -> sa.Connection | None:
    """Return the connection to which the host has joined a session, if any."""
    try:
        bind = session.get_bind(mapper=sa.inspect(state.models.Event))
    except UnboundExecutionError:
        return None
    return bind if isinstance(bind, sa.Connection) else None


def _goes_on(connection: sa.Connection) -> bool:
    """Return whether the connection is in a transaction, which after its session's end belongs to the host."""
    return not connection.closed and connection.in_transaction()


def savepoint(connection: sa.Connection) -> AbstractContextManager[Any]:
    """Return a savepoint on PostgreSQL, where one failed statement aborts the whole transaction."""
    return connection.begin_nested() if connection.dialect.name == "postgresql" else nullcontext()


def _in_the_way(state: AppState) -> Session | None:
    """Return this context's session if a write now would wait for it, because SQLite has one writer."""
    if state.engine.dialect.name != "sqlite" or not is_current(state):
        return None
    if not state.db.session.registry.has():
        return None
    session: Session = state.db.session()
    return session if session.in_transaction() else None


def end_context(state: AppState) -> None:
    """Handle the end of the application's context, which also ends the session of Flask-SQLAlchemy."""
    state.unwritten.write_if_late()
    waiting: list[Session] = g.pop(_KEY, [])
    own = state.db.session() if waiting and state.db.session.registry.has() else None
    for session in waiting:
        pending: Pending | None = session.info.get(_KEY)
        if session is own or pending is None or not pending.later:
            continue
        ready, pending.later = pending.later, []
        # On SQLite it may be the only writer. Finding out would mean waiting for it.
        if state.engine.dialect.name == "sqlite":
            for later in [later for later in ready if not later.joined]:
                ready.remove(later)
                state.unwritten.keep(later, "a session that it was sent in is still open")
        wake([(later.state, later.connection) for later in ready if write(later)[1]])


def _keep_back(session: Session, later: Later) -> None:
    pending: Pending = session.info.setdefault(_KEY, Pending())
    pending.later.append(later)


def open_events(session: Session) -> list[str]:
    """Return the types of events that wait for the end of this session's transaction."""
    pending: Pending | None = session.info.get(_KEY)
    if pending is None:
        return []
    return sorted(pending.types | {later.type for later in pending.later})


@sa_event.listens_for(Session, "after_commit")
def _after_commit(session: Session) -> None:
    pending: Pending | None = session.info.get(_KEY)
    # Also called when a savepoint is released, which commits nothing.
    if pending is not None and not session.in_nested_transaction():
        pending.outcome = "commit"


@sa_event.listens_for(Session, "after_rollback")
def _after_rollback(session: Session) -> None:
    pending: Pending | None = session.info.get(_KEY)
    if pending is not None and not session.in_nested_transaction():
        pending.outcome = "rollback"


@sa_event.listens_for(Session, "after_transaction_end")
def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    pending: Pending | None = session.info.pop(_KEY, None)
    if pending is None:
        return
    ready: list[Later] = []
    for later in pending.later:
        busy = _in_the_way(later.state)
        if busy is None:
            ready.append(later)
        else:
            _keep_back(busy, later)
    woken: list[tuple[AppState, sa.Connection | None]] = []
    if pending.outcome == "commit":
        woken.extend(pending.written)
    elif pending.outcome is None:
        # On a connection of the host they may still be committed.
        woken.extend((state, used) for state, used in pending.written if _goes_on(used))
        if not woken and pending.types:
            logger.warning(
                "Webhook events were dropped: the session was closed with neither commit nor rollback (%s). Commit "
                "after sending the signal, or emit with transactional=False. For a session of your own, send with "
                "session=that_session.",
                ", ".join(sorted(pending.types)),
            )
    woken.extend((later.state, later.connection) for later in ready if write(later)[1])
    wake(woken)


@sa_event.listens_for(Pool, "checkin")
def _after_checkin(driver_connection: Any, record: Any) -> None:
    """Handle the return of a connection to which the host had joined a session."""
    for state in record.info.pop(_KEY, ()):
        state.notifier.notify()
