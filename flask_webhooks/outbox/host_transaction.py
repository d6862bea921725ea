"""The transaction that the host gives us: can it carry an event, and has an error ended it?"""

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
#: They do so after a lock wait that took too long only where they are set to.
_MYSQL_LOCK_WAIT = 1205
#: SQLite may roll the transaction back: no memory, interrupted, I/O error, disk full.
_SQLITE_ENDS = {7, 9, 10, 13}


def check_engine(engine: sa.Engine, app_name: str) -> None:
    """Refuse an engine that is set to commit each statement.

    :raises ConfigurationError: it is; says what to set instead.
    """
    level = engine.get_execution_options().get("isolation_level")
    # SQLAlchemy has no public name for what `create_engine(isolation_level=…)` was given.
    level = level or getattr(engine.dialect, "_on_connect_isolation_level", None)
    if level == "AUTOCOMMIT":
        raise ConfigurationError(
            f"The database engine of {app_name!r} is set to AUTOCOMMIT, so events cannot be part of a "
            "transaction: they would stay when yours is rolled back. Remove the isolation level from "
            "SQLALCHEMY_ENGINE_OPTIONS or SQLALCHEMY_BINDS. Statements that need it can use "
            'db.engine.execution_options(isolation_level="AUTOCOMMIT").'
        )


def connection_of(session: Session, state: AppState) -> sa.Connection:
    """Return the connection of a session whose transaction an event is to be part of.

    :raises InvalidInput: that transaction is over; says what to do instead.
    :raises ConfigurationError: there are no transactions.
    """
    try:
        # A plain connection: a query through the session would flush the host's half-built objects.
        connection = session.connection(bind_arguments={"mapper": sa.inspect(state.models.Event)})
    except InvalidRequestError as error:
        # Those of the kinds below it say something else, such as that an error of the host's came before.
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
        # A host may begin its transactions by itself, as `sqlite.immediate` does.
        by_itself = driver.isolation_level is None or getattr(driver, "autocommit", None) is True
        return by_itself and not driver.in_transaction
    autocommit = getattr(driver, "autocommit", None)
    if not isinstance(autocommit, bool):
        # A method in PyMySQL and mysqlclient.
        ask = getattr(driver, "get_autocommit", None)
        autocommit = ask is not None and bool(ask())
    return autocommit


def ends_transaction(error: BaseException, engine: sa.Engine) -> bool:
    """Return whether an error has ended the transaction in which it arose, or lets it never be committed.

    Who then goes on as if nothing had happened commits an empty transaction, and believes that its rows are there.

    :param engine: of the database that raised it.
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
    # Psycopg 2 has another name for it.
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return str(code or "")


def _rolls_back_on_timeout(engine: sa.Engine) -> bool:
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(sa.text("SELECT @@innodb_rollback_on_timeout")))
    except sa.exc.SQLAlchemyError:
        return True
