"""Following the host's sessions: what a transaction of theirs makes due, once it has ended.

Some events describe a refusal (a failed login) and happen just when nothing is committed. Those are kept
back until the host's root transaction has ended, however it ended, and then written in a short one of ours:
a second writer in the middle of the host's transaction would find SQLite locked.

A session of the host's own may still be open when the application's context ends. Then nobody knows whether it
ever ends, and what was kept back is written at once; on SQLite, as soon as the lock is free.

A host may also join a session to a connection whose transaction is its own, as test suites do. The end of
such a session ends nothing: what was kept back is then written over that connection, and the wake-up waits
until the connection goes back to its pool.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask import current_app, g, has_app_context
from sqlalchemy import event as sa_event
from sqlalchemy.exc import DBAPIError, UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import Pool

from .host_transaction import ends_transaction
from .logs import safe_text
from .models import Event
from .records import Draft, as_event, insert
from .sqlite import waiting_at_most
from .state import State, unwrap
from .unwritten import may_pass

logger = logging.getLogger("flask_webhooks.outbox")

#: Under this, a session keeps what it owes us, and a pooled connection whom to wake.
_KEY = "flask_webhooks"


@dataclass(frozen=True, slots=True)
class Later:
    """An event to write once the host's transaction is over."""

    state: State
    draft: Draft
    #: The one that the host gave its session, if it did.
    connection: sa.Connection | None

    @property
    def joined(self) -> bool:
        """Return whether the host's session is joined to a connection whose transaction goes on."""
        return self.connection is not None and _goes_on(self.connection)

    @property
    def type(self) -> str:
        return self.draft.type

    @property
    def size(self) -> int:
        return len(self.draft.data)

    def write(self) -> Event | None:
        """Write it in a transaction of our own.

        :raises sqlalchemy.exc.SQLAlchemyError: the database does not take it.
        """
        try:
            return self._insert()
        except DBAPIError as error:
            if not ends_transaction(error, self.state.own_engine):
                raise
        # The connection was dead, as those in a pool are after a restart of the database, or there was a conflict.
        return self._insert(again=True)

    def write_again(self) -> bool:
        return self._insert(again=True) is not None

    def wake(self) -> None:
        self.state.alarm.wake()

    def _insert(self, *, again: bool = False) -> Event | None:
        """Insert the event and commit, and wait for SQLite's locks only as long as for Redis.

        :param again: an earlier try may have been committed although the connection broke.
        """
        state, event = self.state, self.state.table("Event").c
        with (
            state.own_engine.connect() as connection,
            # Twice: for the lock, and at the commit for those who read.
            waiting_at_most(connection, state.settings.wake_timeout / 2),
            connection.begin(),
        ):
            if again and connection.scalar(sa.select(event.id).where(event.id == self.draft.id)):
                return as_event(state, self.draft)
            return insert(state, connection, self.draft)


@dataclass(slots=True)
class Pending:
    """What a session owes us once its root transaction ends."""

    #: Applications with events in this transaction, and the connections that those went over.
    written: list[tuple[State, sa.Connection]] = field(default_factory=list)
    #: The types of those events.
    types: set[str] = field(default_factory=set)
    #: Events to write afterwards, whatever the outcome.
    later: list[Later] = field(default_factory=list)
    #: Set by commit and by rollback; neither means that the session was just closed.
    outcome: str | None = None

    def add(self, state: State, connection: sa.Connection, event_type: str) -> None:
        self.types.add(event_type)
        if not any(known is state and used is connection for known, used in self.written):
            self.written.append((state, connection))


def write(later: Later) -> tuple[Event | None, bool]:
    """Write an event that was kept back. Never raises: the host is past the point of hearing it.

    :return: the event, and whether it is in the database, so that workers have to be woken.
    """
    connection, unwritten = later.connection, later.state.unwritten
    if connection is not None and _goes_on(connection):
        event = _write_over(connection, later)
        return event, event is not None
    reason = "others wait before it"
    if not unwritten.waiting:
        try:
            event = later.write()
        except Exception as error:
            if not may_pass(error):
                unwritten.lose(later.type, error)
                return None, False
            reason = safe_text(error)
        else:
            return event, event is not None
    kept = unwritten.keep(later, reason)
    unwritten.write_if_late()
    return as_event(later.state, later.draft) if kept else None, False


def _write_over(connection: sa.Connection, later: Later) -> Event | None:
    """Write an event in the transaction that the host has on a connection of its own."""
    try:
        with savepoint(connection, wanted=True):
            return insert(later.state, connection, later.draft)
    except Exception as error:
        if ends_transaction(error, later.state.own_engine):
            # The host hears it at its commit, which would else commit nothing.
            connection.invalidate()
        later.state.unwritten.lose(later.type, error)
        return None


def wake(written: Sequence[tuple[State, sa.Connection | None]]) -> None:
    """Wake the workers of each application once: now, or when the host is done with its connection."""
    now = []
    for state, connection in written:
        if connection is None or not _goes_on(connection):
            if connection is not None and not connection.closed:
                waiting = connection.info.get(_KEY, [])
                waiting[:] = [known for known in waiting if known is not state]
            now.append(state)
        else:
            wake_at_checkin(state, connection)
    for state in _distinct(now):
        state.alarm.wake()


def wake_at_checkin(state: State, connection: sa.Connection) -> None:
    """Wake the workers once the host is done with a connection of its own."""
    waiting = connection.info.setdefault(_KEY, [])
    waiting[:] = _distinct([*waiting, state])


def given_connection(state: State, session: Session) -> sa.Connection | None:
    """The connection of the host's own that it has joined a session to, if it has."""
    try:
        bind = session.get_bind(mapper=sa.inspect(state.models.Event))
    except UnboundExecutionError:
        return None
    return bind if isinstance(bind, sa.Connection) else None


def _goes_on(connection: sa.Connection) -> bool:
    """Whether the connection is in a transaction, which after its session's end is the host's own."""
    return not connection.closed and connection.in_transaction()


def savepoint(connection: sa.Connection, *, wanted: bool) -> AbstractContextManager[Any]:
    """Only on PostgreSQL does one failed statement spoil the whole transaction."""
    if wanted and connection.dialect.name == "postgresql":
        return connection.begin_nested()
    return nullcontext()


def in_the_way(state: State) -> Session | None:
    """This context's own session, if to write now would be to wait for it: SQLite has one writer."""
    if state.engine.dialect.name != "sqlite" or not is_current(state):
        return None
    if not state.db.session.registry.has():
        return None
    session: Session = state.db.session()
    return session if session.in_transaction() else None


def is_current(state: State) -> bool:
    """Whether we are in the application's context."""
    return has_app_context() and unwrap(current_app) is state.app


def _distinct(states: Iterable[State]) -> list[State]:
    return list({id(state): state for state in states}.values())


def keep_back(state: State, session: Session, later: Later) -> None:
    """Write an event once the root transaction of a session has ended, or the application's context has.

    A session of the host's own may be left open by then, and only be thrown away.
    """
    pending_of(session).later.append(later)
    if is_current(state):
        waiting: list[Session] = g.setdefault(_KEY, [])
        if not any(known is session for known in waiting):
            waiting.append(session)


def end_context(state: State) -> None:
    """The application's context ends, and with it the session of Flask-SQLAlchemy, here or in a moment."""
    state.unwritten.write_if_late()
    waiting: list[Session] = g.pop(_KEY, [])
    own = state.db.session() if waiting and state.db.session.registry.has() else None
    for session in waiting:
        pending: Pending | None = session.info.get(_KEY)
        if session is own or pending is None or not pending.later:
            continue
        ready, pending.later = pending.later, []
        # Of SQLite it may be the one writer. To find out would be to wait for it.
        if state.engine.dialect.name == "sqlite":
            for later in [later for later in ready if not later.joined]:
                ready.remove(later)
                state.unwritten.keep(later, "a session that it was sent in is still open")
        wake([(later.state, later.connection) for later in ready if write(later)[1]])


def pending_of(session: Session) -> Pending:
    """What this session owes us so far."""
    pending: Pending = session.info.setdefault(_KEY, Pending())
    return pending


def open_events(session: Session) -> list[str]:
    """Return the types of events that wait for the end of this session's transaction."""
    pending: Pending | None = session.info.get(_KEY)
    if pending is None:
        return []
    return sorted(pending.types | {later.type for later in pending.later})


@sa_event.listens_for(Session, "after_commit")
def _after_commit(session: Session) -> None:
    # This also fires when a savepoint is released, which commits nothing.
    if not session.in_nested_transaction() and _KEY in session.info:
        pending_of(session).outcome = "commit"


@sa_event.listens_for(Session, "after_rollback")
def _after_rollback(session: Session) -> None:
    if not session.in_nested_transaction() and _KEY in session.info:
        pending_of(session).outcome = "rollback"


@sa_event.listens_for(Session, "after_transaction_end")
def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    pending: Pending | None = session.info.pop(_KEY, None)
    if pending is None:
        return
    ready: list[Later] = []
    for later in pending.later:
        busy = in_the_way(later.state)
        (ready if busy is None else pending_of(busy).later).append(later)
    woken: list[tuple[State, sa.Connection | None]] = []
    if pending.outcome == "commit":
        woken.extend(pending.written)
    elif pending.outcome is None:
        # On a connection of the host's own they may still be committed.
        woken.extend((state, used) for state, used in pending.written if _goes_on(used))
        if not woken:
            _warn_of_dropped(pending.types)
    woken.extend((later.state, later.connection) for later in ready if write(later)[1])
    wake(woken)


def _warn_of_dropped(types: set[str]) -> None:
    if types:
        logger.warning(
            "Webhook events were dropped: the session was closed with neither commit nor rollback (%s). "
            "Commit after sending the signal, or emit with transactional=False. What happens in a session of your "
            "own is sent with session=that_session.",
            ", ".join(sorted(types)),
        )


@sa_event.listens_for(Pool, "checkin")
def _after_checkin(driver_connection: Any, record: Any) -> None:
    """The host is done with a connection that it had joined a session to."""
    for state in record.info.pop(_KEY, ()):
        state.alarm.wake()
