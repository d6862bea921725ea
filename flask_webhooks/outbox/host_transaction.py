"""The host's transaction: whether it can contain an event, and whether an error has ended it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InvalidRequestError, StatementError
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..errors import ConfigurationError, InvalidInput

#: MySQL and MariaDB roll the whole transaction back: deadlock, lock table full, record changed since the
#: snapshot (MariaDB), connection killed (MariaDB).
_MYSQL_ENDS = {1213, 1206, 1020, 1927}
#: After a lock wait timeout they do so only if configured.
_MYSQL_LOCK_WAIT = 1205
#: SQLite may roll the transaction back: no memory, interrupted, I/O error, disk full.
_SQLITE_ENDS = {7, 9, 10, 13}


def check_engine(engine: sa.Engine, app_name: str) -> None:
    """Check that an engine does not commit each statement.

    :raises ConfigurationError: it does; the message says what to set instead.
    """
    level = engine.get_execution_options().get("isolation_level")
    # SQLAlchemy has no public name for the argument of `create_engine(isolation_level=…)`.
    level = level or getattr(engine.dialect, "_on_connect_isolation_level", None)
    if level == "AUTOCOMMIT":
        raise ConfigurationError(
            f"The database engine of {app_name!r} is set to AUTOCOMMIT, so events cannot be part of a "
            "transaction: they would stay when yours is rolled back. Remove the isolation level from "
            "SQLALCHEMY_ENGINE_OPTIONS or SQLALCHEMY_BINDS. Statements that need it can use "
            'db.engine.execution_options(isolation_level="AUTOCOMMIT").'
        )


def connection_of(session: Session, state: AppState) -> sa.Connection:
    """Return the connection of a session for an event.

    :raises InvalidInput: its transaction has ended; the message says what to do instead.
    :raises ConfigurationError: there are no transactions.
    """
    try:
        # A plain connection, because a query through the session would flush the host's incomplete objects.
        connection = session.connection(bind_arguments={"mapper": sa.inspect(state.models.Event)})
    except InvalidRequestError as error:
        # Subclasses have other meanings, such as an earlier error of the host.
        if type(error) is not InvalidRequestError:
            raise
        raise InvalidInput(
            "The transaction is already committed, or about to be, so no event can be part of it: send the event "
            "before the commit, not from after_commit or models_committed. If that is not possible, call emit() with "
            "transactional=False: the event is then written after the commit."
        ) from error
    if _commits_each_statement(connection):
        raise ConfigurationError(
            "The database connection of this session commits each statement separately (AUTOCOMMIT), so an event "
            "cannot be part of a transaction. Send the event in a session whose engine has transactions, or call "
            "emit() with transactional=False."
        )
    return connection


def _commits_each_statement(connection: sa.Connection) -> bool:
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return True
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        # A host may start its transactions itself, as `sqlite.immediate` does.
        by_itself = driver.isolation_level is None or getattr(driver, "autocommit", None) is True
        return by_itself and not driver.in_transaction
    autocommit = getattr(driver, "autocommit", None)
    if not isinstance(autocommit, bool):
        # A method in PyMySQL and mysqlclient.
        ask = getattr(driver, "get_autocommit", None)
        autocommit = ask is not None and bool(ask())
    return autocommit


def ends_transaction(error: BaseException, engine: sa.Engine) -> bool:
    """Return whether an error has ended its transaction, or prevents its commit.

    A caller that ignores this would commit an empty transaction without noticing.

    :param engine: the engine of the database that raised it.
    """
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    original: Any = error.orig
    match engine.dialect.name:
        case "postgresql":
            # Deadlocks and serialization failures.
            return _sqlstate(error).startswith("40")
        case "mysql" | "mariadb":
            number = original.args[0] if original.args else None
            if number == _MYSQL_LOCK_WAIT:
                return _rolls_back_on_timeout(engine)
            return number in _MYSQL_ENDS
        case "sqlite":
            return getattr(original, "sqlite_errorcode", 0) & 0xFF in _SQLITE_ENDS
    return False


def is_conflict(error: StatementError) -> bool:
    """Return whether PostgreSQL could not serialize a transaction with others."""
    return _sqlstate(error) == "40001"


def _sqlstate(error: StatementError) -> str:
    # Psycopg 2 names it differently.
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return str(code or "")


def _rolls_back_on_timeout(engine: sa.Engine) -> bool:
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(sa.text("SELECT @@innodb_rollback_on_timeout")))
    except sa.exc.SQLAlchemyError:
        return True
