"""Following the host's sessions: what a transaction of theirs makes due, once it has ended.

Some events describe a refusal (a failed login) and happen just when nothing is committed. Those are kept
back until the host's root transaction has ended, however it ended, and then written in a short one of ours:
a second writer in the middle of the host's transaction would find SQLite locked.

A session of the host's own may still be open when the application's context ends. Then nobody knows whether it
ever ends, and what was kept back is written at once.

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
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import Pool

from .logs import log_without_locals
from .models import Event
from .records import Draft, insert
from .state import State, unwrap

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

    def write(self) -> Event | None:
        if self.connection is None or not _goes_on(self.connection):
            with self.state.own_engine.begin() as connection:
                return insert(self.state, connection, self.draft)
        with savepoint(self.connection, wanted=True):
            return insert(self.state, self.connection, self.draft)


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


def write(later: Later) -> Event | None:
    """Write an event that was kept back. Never raises: the host is past the point of hearing it."""
    try:
        return later.write()
    except Exception as error:
        log_without_locals(
            logger, "The event %s could not be recorded and is lost", later.draft.type, error=error
        )
        return None


def wake(written: Sequence[tuple[State, sa.Connection | None]]) -> None:
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
    waiting: list[Session] = g.pop(_KEY, [])
    own = state.db.session() if waiting and state.db.session.registry.has() else None
    for session in waiting:
        pending: Pending | None = session.info.get(_KEY)
        if session is own or pending is None or not pending.later:
            continue
        if state.engine.dialect.name == "sqlite":
            types = sorted({later.draft.type for later in pending.later})
            logger.warning(
                "Webhook events wait for a session that is still open (%s), since SQLite has one writer. Close "
                "each session of your own: with Session(...) as session.",
                ", ".join(types),
            )
            continue
        ready, pending.later = pending.later, []
        wake([(later.state, later.connection) for later in ready if write(later) is not None])


def pending_of(session: Session) -> Pending:
    """What this session owes us so far."""
    pending: Pending = session.info.setdefault(_KEY, Pending())
    return pending


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
    woken.extend((later.state, later.connection) for later in ready if write(later) is not None)
    wake(woken)


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
