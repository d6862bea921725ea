"""Short transactions, separate from the host's session.

SQLite needs special care. It allows one writer, and a host that begins every transaction with ``BEGIN IMMEDIATE``,
as recommended, is that writer as soon as it has loaded its current user: a second connection of the same request
would wait for itself. An in-memory database has only one connection with a shared transaction. Therefore, on
SQLite, while the host's session has an open transaction, reads use its connection; and before a write, that
transaction has to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin

from ..app_state import AppState, is_current
from ..columns import utc_now
from ..errors import WebhooksError
from ..sqlite import READ_ONLY
from .errors import told_as_messages
from .locks import take_write_lock
from .time_limit import time_limited

#: How long MySQL and MariaDB wait for a named lock, in seconds.
LOCK_WAIT = 10

_CHANGES_BEFORE = "flask_webhooks_changes_before"
_CONNECTIONS = "flask_webhooks_connections"


@contextmanager
def reading(state: AppState) -> Iterator[Session]:
    """Open a session for reading; its objects are detached when it ends.

    :raises WebhooksError: a statement took longer than ``WEBHOOKS_QUERY_TIMEOUT``.
    :raises DatabaseError: the database does not respond, or has no tables of ours.
    :raises InvalidInput: a text contains a character that the database cannot store.
    """
    seconds = state.settings.query_timeout
    host = _open_on_sqlite(state)
    if host is not None:
        with (
            told_as_messages(),
            time_limited(host.connection, seconds),
            Session(host.connection, autoflush=False) as session,
        ):
            yield session
        return
    with (
        told_as_messages(),
        state.own_engine.connect().execution_options(**{READ_ONLY: True}) as connection,
        time_limited(connection, seconds),
        Session(connection, autoflush=False) as session,
    ):
        yield session


def database_time(session: Session) -> datetime:
    """Return the time of the database's clock, which all workers use."""
    return session.execute(sa.select(utc_now())).scalar_one()


@contextmanager
def writing(
    state: AppState, *, owns_request: bool = False, alone: str | None = None
) -> Iterator[Session]:
    """Open a session for one transaction, which is committed at the end of the block.

    On SQLite it has the write lock from the start, so that later reads cannot change.

    :param owns_request: the request is for our own pages, so an open transaction of the host's session may be
        committed first (SQLite only).
    :param alone: the name of a lock, for which transactions in any process wait.
    :raises WebhooksError: SQLite is locked by the caller's own session.
    :raises DatabaseError: the database does not respond, or SQLite is locked by another session.
    :raises InvalidInput: a text contains a character that the database cannot store.
    """
    make_way(state, owns_request)
    with (
        told_as_messages(),
        _named_lock(state, alone),
        Session(state.own_engine, expire_on_commit=False) as session,
        session.begin(),
    ):
        connection = session.connection()
        take_write_lock(state, connection)
        if alone is not None and connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_number(alone))))
        yield session


@dataclass(frozen=True, slots=True)
class _Host:
    """The host's session of this context, with its connection to our database."""

    session: Session
    connection: sa.Connection

    @property
    def has_written(self) -> bool:
        return _changes(self.connection) != self.connection.info.get(_CHANGES_BEFORE)

    @property
    def has_work(self) -> bool:
        """Whether a commit would write changes."""
        session = self.session
        transaction = session.get_transaction()
        return (
            self.has_written
            or bool(session.new or session.dirty or session.deleted)
            or session.in_nested_transaction()
            # The host uses "with db.session.begin():", which ends it.
            or transaction is None
            or transaction.origin is not SessionTransactionOrigin.AUTOBEGIN
        )


def make_way(state: AppState, owns_request: bool = False) -> None:
    """End the host's transaction on SQLite, unless this would commit changes of the host."""
    host = _open_on_sqlite(state)
    if host is None:
        return
    if host.has_work and not owns_request:
        raise WebhooksError(
            "SQLite has one writer, and the session of this application holds changes that are not "
            "committed. Call db.session.commit() first: webhooks are changed in a transaction of their own."
        )
    host.session.commit()


def release_host_connection(state: AppState) -> None:
    """End the transaction of the host's session in a request of our API, which returns its connection."""
    if is_current(state) and state.db.session.registry.has():
        state.db.session.commit()


def _open_on_sqlite(state: AppState) -> _Host | None:
    """Return the host's session, if it has an open SQLite transaction in our database.

    Python's default driver settings open none for reads.
    """
    if state.engine.dialect.name != "sqlite" or not is_current(state):
        return None
    if not state.db.session.registry.has():
        return None
    session: Session = state.db.session()
    for connection in session.info.get(_CONNECTIONS, ()):
        if connection.engine.pool is state.engine.pool:
            driver = connection.connection.dbapi_connection
            return _Host(session, connection) if driver.in_transaction else None
    return None


@sa_event.listens_for(Session, "after_begin")
def _remember_connection(
    session: Session, transaction: SessionTransaction, connection: sa.Connection
) -> None:
    # `session.connection()` would open a connection.
    if connection.dialect.name == "sqlite":
        session.info.setdefault(_CONNECTIONS, []).append(connection)


@sa_event.listens_for(Session, "after_transaction_end")
def _forget_connection(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_CONNECTIONS, None)


@sa_event.listens_for(sa.Engine, "begin")
def _remember_changes(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.info[_CHANGES_BEFORE] = _changes(connection)


def _changes(connection: sa.Connection) -> int | None:
    """Return the total number of rows that this SQLite connection has changed, the only available indicator."""
    return getattr(connection.connection.dbapi_connection, "total_changes", None)


def _named_lock(state: AppState, name: str | None) -> AbstractContextManager[None]:
    if name is None or state.engine.dialect.name not in {"mysql", "mariadb"}:
        return nullcontext()
    return _mysql_lock(state.own_engine, f"flask_webhooks {_number(name):x}")


@contextmanager
def _mysql_lock(engine: sa.Engine, name: str) -> Iterator[None]:
    # On a separate connection, because it must outlive the commit that it protects.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(sa.select(sa.func.get_lock(name, LOCK_WAIT))):
            raise WebhooksError("Another request is changing the same object right now. Try again.")
        try:
            yield
        finally:
            connection.scalar(sa.select(sa.func.release_lock(name)))


def _number(name: str) -> int:
    """Return a signed 64-bit number for a name."""
    digest = hashlib.sha256(f"flask_webhooks\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
