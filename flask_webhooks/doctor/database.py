"""The database: connection, tables, indexes and permissions; clocks and encryption keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import DBAPIError

from .. import queries, sqlite
from ..access import Access
from ..app_state import AppState
from ..columns import utc_now
from ..db.narrow import unicode_trouble
from ..log import safe_text, without_stop
from .findings import Area, Finding

_AREA = Area("database")
_CLOCK = Area("clock")
_KEYS = Area("keys")
_MIGRATE = "Run your migrations (flask db migrate, flask db upgrade), or: flask webhooks init-db"
#: Seconds by which clocks may differ, and from which receivers may refuse signatures.
_APART, _FAR_APART = 5.0, 60.0
#: The maximum number of endpoints in a finding.
_NAMED = 5


def answers(state: AppState) -> Finding | None:
    """Return a finding if the database cannot be used at all, else ``None``."""
    try:
        with state.own_engine.connect() as connection:
            connection.execute(sa.select(1))
    except DBAPIError as error:
        return _AREA.problem(
            f"The database cannot be used: {without_stop(safe_text(error))}.",
            "No event can be recorded, and nothing is delivered.",
            "Check that it is running and that SQLALCHEMY_DATABASE_URI is correct.",
        )
    return None


def examine_database(state: AppState) -> Iterator[Finding]:
    """Check tables, columns and indexes, permissions and the encoding."""
    inspector = sa.inspect(state.own_engine)
    tables = state.models.tables()
    there = [table for table in tables if inspector.has_table(table.name, table.schema)]
    missing = [table.name for table in tables if table not in there]
    yield _AREA.ok(f"{state.engine.dialect.name} responds.")
    if missing:
        yield _AREA.problem(
            f"Tables are missing: {', '.join(missing)}.",
            "Events cannot be recorded, or nothing is delivered.",
            _MIGRATE,
        )
    columns = [name for table in there for name in _missing_columns(inspector, table)]
    if columns:
        yield _AREA.problem(
            f"Columns are missing: {', '.join(columns)}.",
            "The tables are those of an older version.",
            "Run your migrations: flask db migrate, flask db upgrade. The page “Create and migrate the tables” names "
            "them all.",
        )
    indexes = [name for table in there for name in _missing_indexes(inspector, table)]
    if indexes:
        yield _AREA.problem(
            f"Indexes are missing: {', '.join(indexes)}.",
            "Statements read whole tables, and rows that must be unique may be duplicated.",
            "Run your migrations: flask db migrate, flask db upgrade.",
        )
    if not missing and not columns and not indexes:
        yield _AREA.ok(f"All {len(tables)} tables exist, with their columns and indexes.")
    yield from _writes(state, there)
    with state.own_engine.connect() as connection:
        trouble = unicode_trouble(state, connection)
    if trouble is not None:
        yield _AREA.warning(
            "Not every character can be stored.",
            "Events with such characters are refused.",
            str(trouble),
        )
    if state.engine.dialect.name == "sqlite":
        yield from _of_sqlite(state)


def _missing_columns(inspector: Inspector, table: sa.Table) -> list[str]:
    there = {column["name"] for column in inspector.get_columns(table.name, table.schema)}
    return [f"{table.name}.{column.name}" for column in table.columns if column.name not in there]


def _missing_indexes(inspector: Inspector, table: sa.Table) -> list[str]:
    indexes = inspector.get_indexes(table.name, table.schema)
    constraints = inspector.get_unique_constraints(table.name, table.schema)
    names = {index["name"] for index in indexes} | {item["name"] for item in constraints}
    # A migration may have named them differently.
    covered = {tuple(index["column_names"]) for index in indexes if not _is_partial(index)}
    unique = {tuple(index["column_names"]) for index in indexes if index["unique"]}
    unique |= {tuple(item["column_names"]) for item in constraints}
    missing = []
    for index in table.indexes:
        partial = any(index.dialect_options[name]["where"] is not None for name in _PARTIAL)
        wanted = tuple(column.name for column in index.columns)
        if index.name not in names and (partial or wanted not in covered):
            missing.append(str(index.name))
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            wanted = tuple(column.name for column in constraint.columns)
            if constraint.name not in names and wanted not in unique:
                missing.append(str(constraint.name))
    return sorted(missing)


#: The dialects with partial indexes.
_PARTIAL = ("postgresql", "sqlite")


def _is_partial(index: object) -> bool:
    options = index.get("dialect_options", {}) if isinstance(index, dict) else {}
    return any(options.get(f"{name}_where") is not None for name in _PARTIAL)


def _writes(state: AppState, tables: list[sa.Table]) -> Iterator[Finding]:
    """Check the permissions with a DELETE that matches nothing, in a transaction that is rolled back."""
    try:
        with state.own_engine.connect() as connection, connection.begin() as transaction:
            for table in tables:
                connection.execute(sa.delete(table).where(sa.false()))
            transaction.rollback()
    except DBAPIError as error:
        yield _AREA.problem(
            f"The database does not accept writes: {without_stop(safe_text(error))}.",
            "No event can be recorded, and nothing is delivered.",
            "Grant SELECT, INSERT, UPDATE and DELETE on our tables, and name the primary, not a replica.",
        )
    else:
        yield _AREA.ok("It accepts writes.")


def _of_sqlite(state: AppState) -> Iterator[Finding]:
    with state.own_engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    immediate = sa_event.contains(state.engine, "begin", sqlite._begin)
    if mode == "wal" and immediate:
        yield _AREA.ok("SQLite is in WAL mode, and transactions begin with BEGIN IMMEDIATE.")
        return
    yield _AREA.warning(
        f"SQLite runs with the defaults of Python's driver (journal mode {mode}).",
        "While a worker runs, transactions of the host fail with “database is locked”, and an event of a released "
        "savepoint may stay after a rollback.",
        "Call flask_webhooks.sqlite.immediate(db.engine) where the application is created. The page “Use SQLite” has "
        "an example.",
    )


def examine_clocks(access: Access, redis_time: datetime | None) -> Iterator[Finding]:
    """Compare the clocks of this machine, the database, Redis and workers."""
    with access.read() as session:
        at_database = session.execute(sa.select(utc_now())).scalar_one()
    here = datetime.now(UTC)
    others = {"this machine": here}
    if redis_time is not None:
        others["Redis"] = redis_time
    apart = {name: (moment - at_database).total_seconds() for name, moment in others.items()}
    for beat in queries.health(access).heartbeats:
        if beat.clock_skew is not None:
            apart[f"the worker {beat.name} on {beat.host}"] = beat.clock_skew
    found = False
    for name, seconds in apart.items():
        if abs(seconds) < _APART:
            continue
        found = True
        ahead = "ahead of" if seconds > 0 else "behind"
        make = _CLOCK.problem if abs(seconds) >= _FAR_APART else _CLOCK.warning
        yield make(
            f"The clock of {name} is {abs(seconds):.0f} s {ahead} that of the database.",
            "One of the two is wrong. Requests are signed with the time of the database, and receivers refuse "
            "requests that are too old or too new.",
            "Run NTP (chrony, systemd-timesyncd) on both machines.",
        )
    if not found:
        yield _CLOCK.ok(f"{len(apart) + 1} clocks agree.")


def examine_keys(access: Access) -> Iterator[Finding]:
    """Check which encryption keys are needed."""
    state = access.state
    use = queries.key_use(access)
    if use.unreadable:
        yield _KEYS.problem(
            f"No key decrypts the stored values of {_few(use.unreadable)}.",
            "Nothing is sent to these endpoints.",
            "Add the old key to the end of WEBHOOKS_ENCRYPTION_KEYS (or the old SECRET_KEY to SECRET_KEY_FALLBACKS), "
            "or rotate their secrets, and enter their headers and URLs again.",
        )
    if use.older:
        yield _KEYS.warning(
            f"{len(use.older):,} of {use.endpoints:,} endpoints need an older key: {_few(use.older)}.",
            "The older key cannot be removed.",
            "Run: flask webhooks reencrypt",
        )
    if use.unreadable_bodies:
        yield _KEYS.problem(
            f"No key decrypts the bodies of {use.unreadable_bodies:,} attempts.",
            "They cannot be shown.",
            "Add the old key to the end of WEBHOOKS_ENCRYPTION_KEYS (or the old SECRET_KEY to SECRET_KEY_FALLBACKS), "
            "or wait until they are removed by retention.",
        )
    if use.older_bodies:
        yield _KEYS.warning(
            f"The bodies of {use.older_bodies:,} attempts need an older key.",
            "The older key cannot be removed until retention removes them.",
            "Wait, or run: flask webhooks reencrypt",
        )
    if not (use.unreadable or use.older or use.unreadable_bodies or use.older_bodies):
        yield _KEYS.ok(f"The newest key decrypts all stored values of {use.endpoints:,} endpoints.")
    if not state.settings.encryption_keys:
        yield _KEYS.warning(
            "Secrets are encrypted with a key that is derived from SECRET_KEY.",
            "Changing SECRET_KEY without a fallback loses the secrets of all customers.",
            "Set WEBHOOKS_ENCRYPTION_KEYS. See the page “Rotate encryption keys”.",
        )


def _few(ids: tuple[str, ...]) -> str:
    more = f" and {len(ids) - _NAMED:,} others" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
