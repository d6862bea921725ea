"""The transaction that the host gives us: can it carry an event?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from .errors import ConfigurationError


def check_engine(engine: sa.Engine, app_name: str) -> None:
    """Refuse an engine that is set to commit each statement.

    :raises ConfigurationError: it is; says what to set instead.
    """
    level = engine.get_execution_options().get("isolation_level")
    # SQLAlchemy has no public name for what `create_engine(isolation_level=…)` was given.
    level = level or getattr(engine.dialect, "_on_connect_isolation_level", None)
    if level == "AUTOCOMMIT":
        raise ConfigurationError(
            f"The database engine of {app_name!r} is set to AUTOCOMMIT, so there is no transaction for events to "
            "ride in: they would stay when yours is rolled back. Take the isolation level out of "
            "SQLALCHEMY_ENGINE_OPTIONS or SQLALCHEMY_BINDS. Statements that need it can use "
            'db.engine.execution_options(isolation_level="AUTOCOMMIT").'
        )


def check_connection(connection: sa.Connection) -> None:
    """Refuse a connection that commits each statement, by whatever that was set.

    :raises ConfigurationError: it does; says what to do instead.
    """
    if _commits_each_statement(connection):
        raise ConfigurationError(
            "The database connection of this session commits each statement by itself (AUTOCOMMIT), so there is "
            "no transaction for an event to ride in. Send the event in a session whose engine has transactions, "
            "or call emit() with transactional=False."
        )


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
