"""``flask webhooks upgrade-db``: the tables of an earlier version become those of this one, beside its workers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from demo.services import PostgresServer
from flask_webhooks.app_state import state_of
from flask_webhooks.columns import utc_now
from flask_webhooks.db import schema_changes
from flask_webhooks.models import Models
from tests.support.api_calls import PREFIX, Api
from tests.support.delivering import (
    attempts,
    close,
    db_of,
    deliveries,
    drain,
    emit,
    states,
    webhooks_of,
)
from tests.support.hostapp import create_app
from tests.support.pages import Browser
from tests.support.receiver import Receiver
from tests.support.upgrading import emit_as_before, make_old_tables, recorded, replay

#: What the first 0.1.0 did not have.
NEW = [
    "Created the table webhooks_scheduled.",
    "Created the table webhooks_coalescing.",
    "Created the table webhooks_metric.",
    "Created the table webhooks_mark.",
    "Created the table webhooks_numbering.",
    "Created the table webhooks_notification.",
    "Created the table webhooks_token.",
    "Created the table webhooks_portal_link.",
    "Added the column filter to webhooks_endpoint.",
    "Added the column coalesce to webhooks_endpoint.",
    "Added the column data_version to webhooks_endpoint.",
    "Added the column certificate_sealed to webhooks_endpoint.",
    "Added the column client_certificate to webhooks_endpoint.",
    "Added the column contact to webhooks_endpoint.",
    "Added the column state_reason_code to webhooks_endpoint.",
    "Added the column state_reason_params to webhooks_endpoint.",
    "Added the column challenge to webhooks_endpoint.",
    "Added the column last_sequence to webhooks_endpoint_health.",
    "Added the column hops to webhooks_event.",
    "Added the column trace_context to webhooks_event.",
    "Added the column data_version to webhooks_event.",
    "Added the column erased_at to webhooks_event.",
    "Added the column batch to webhooks_event.",
    "Added the column coalesced to webhooks_delivery.",
    "Added the column sequence to webhooks_delivery.",
    "Added the column data_version to webhooks_delivery.",
    "Added the column error_code to webhooks_attempt.",
    "Added the column error_params to webhooks_attempt.",
    "Added the column body_key to webhooks_attempt.",
    "Added the column clock_skew to webhooks_heartbeat.",
    "Added the column input_sealed to webhooks_task.",
    "Added the column changed to webhooks_task.",
    "Added the index ix_webhooks_event_batch to webhooks_event.",
    "Added the index ix_webhooks_event_tenant_batch to webhooks_event.",
    "Added the index ix_webhooks_event_unnumbered to webhooks_event.",
    "Added the index ix_webhooks_delivery_sequence to webhooks_delivery.",
    "Added the index ix_webhooks_attempt_body_key to webhooks_attempt.",
]
#: How many of them come before the table of events is touched.
BEFORE_EVENTS = next(i for i, done in enumerate(NEW) if done.endswith(" to webhooks_event."))
#: No second attempt in the same test.
LATER = (60.0,) * 9
UP_TO_DATE = "All 18 tables are up to date."


@pytest.fixture
def empty(database_url: str, redis_url: str) -> Iterator[Flask]:
    """A host without a table."""
    app = create_app(SQLALCHEMY_DATABASE_URI=database_url, WEBHOOKS_REDIS_URL=redis_url)
    with app.app_context():
        yield app
        close(app)


@pytest.fixture
def old(empty: Flask) -> Flask:
    """A host with the tables of before, and with rows in them."""
    engine = engine_of(empty)
    make_old_tables(engine)
    with engine.begin() as connection:
        replay(connection, recorded(engine, "populate"))
    return empty


def engine_of(app: Flask) -> sa.Engine:
    return state_of(app).engine


def upgrade(app: Flask, *options: str) -> Result:
    return app.test_cli_runner().invoke(args=["webhooks", "upgrade-db", *options])


def upgraded(app: Flask, *options: str) -> list[str]:
    result = upgrade(app, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def refused(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    return line


def run_sql(app: Flask, *statements: str) -> None:
    engine = engine_of(app)
    if engine.dialect.name == "postgresql":
        # An index is not built beside others within a transaction.
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def shape(engine: sa.Engine) -> dict[str, Any]:
    """Columns, indexes and unique constraints of our tables, by name."""
    inspector = sa.inspect(engine)
    return {
        name: (
            {
                # SQLAlchemy 2.0 and 2.1 call a float by different names.
                column["name"]: (
                    re.sub("DOUBLE(_| )?(PRECISION)?", "FLOAT", str(column["type"])),
                    column["nullable"],
                )
                for column in inspector.get_columns(name)
            },
            {str(item["name"]): item["column_names"] for item in inspector.get_indexes(name)},
            {
                str(item["name"]): item["column_names"]
                for item in inspector.get_unique_constraints(name)
            },
        )
        for name in inspector.get_table_names()
    }


@pytest.mark.slow
def test_tables_of_before_become_those_of_now(old: Flask) -> None:
    assert upgraded(old) == NEW
    assert upgraded(old) == [UP_TO_DATE]
    found = shape(engine_of(old))
    metadata = state_of(old).models.metadata
    metadata.drop_all(engine_of(old))
    metadata.create_all(engine_of(old))
    assert found == shape(engine_of(old))


def test_an_empty_database_gets_every_table(empty: Flask) -> None:
    lines = upgraded(empty)
    assert lines[0] == "Created the table webhooks_endpoint."
    assert len(lines) == 18
    assert upgraded(empty) == [UP_TO_DATE]
    found = shape(engine_of(empty))
    metadata = state_of(empty).models.metadata
    metadata.drop_all(engine_of(empty))
    metadata.create_all(engine_of(empty))
    assert found == shape(engine_of(empty))


@pytest.mark.parametrize("option", ["--dry-run", "--sql"])
def test_statements_are_printed_and_not_run(old: Flask, option: str) -> None:
    before = shape(engine_of(old))
    printed = "\n".join(upgraded(old, option))
    assert printed.endswith(";")
    statements = printed.removesuffix(";").split(";\n")
    # Indexes of new tables come with them.
    assert len(statements) == len(NEW) + 8
    for statement in statements:
        assert statement.startswith(("CREATE TABLE ", "ALTER TABLE ", "CREATE INDEX "))
    assert shape(engine_of(old)) == before
    run_sql(old, *statements)
    again = upgrade(old, option)
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", f"{UP_TO_DATE}\n")


@pytest.mark.slow
def test_history_is_shown_and_goes_on(old: Flask, receiver: Receiver) -> None:
    upgraded(old)
    run_sql(old, f"UPDATE webhooks_endpoint SET url_shown = '{receiver.url('/status/503')}'")
    told = {item.error for item in attempts(old)}
    # Rows of before have their sentences.
    assert told == {
        None,
        "The receiver answered 503.",
        "The connection was closed without an answer.",
    }
    table = state_of(old).table("Delivery")
    with engine_of(old).begin() as connection:
        # What waits for a retry falls due now.
        pending = table.c.state == "pending"
        connection.execute(sa.update(table).where(pending).values(due_at=utc_now(), noticed=None))
    drain(old, retry_schedule=LATER)
    old.register_blueprint(webhooks_of(old).api_blueprint(), url_prefix=PREFIX)
    retried = [item for item in deliveries(old) if item.attempt_count == 2]
    assert len(retried) == 4
    for delivery in retried:
        detail = Api(old).get(f"/deliveries/{delivery.id}")
        first, second = detail["attempts"]
        assert first["error"] in told
        assert first["error_code"] is None
        assert (second["error"], second["error_code"]) == (
            "The receiver responded with 503.",
            "refused",
        )
        page = Browser(old).get(f"/deliveries/{delivery.id}").text
        assert first["error"] in page


@pytest.mark.slow
def test_an_old_worker_goes_on_beside_the_new_one(old: Flask, receiver: Receiver) -> None:
    """Its statements, as it ran them: events, claims, settlements, heartbeats, and what it looks at."""
    upgraded(old)
    engine = engine_of(old)
    with engine.begin() as connection:
        replay(connection, recorded(engine, "work"))
    assert states(old) == {"succeeded": 4, "pending": 8}
    assert all(item.error_code is None for item in attempts(old))
    run_sql(old, f"UPDATE webhooks_endpoint SET url_shown = '{receiver.url('/status/400')}'")
    emit_as_before(engine, 1)
    [event_id] = emit(old)
    drain(old, retry_schedule=LATER)
    ours = [item for item in deliveries(old) if item.event_id == event_id]
    theirs = [item for item in deliveries(old) if "_00000001" in item.id]
    assert len(ours) == len(theirs) == 3
    by_delivery = {item.delivery_id: item for item in attempts(old)}
    for delivery in ours + theirs:
        attempt = by_delivery[delivery.id]
        assert (attempt.error_code, attempt.error) == (
            "refused",
            "The receiver responded with 400.",
        )


@pytest.mark.slow
def test_what_was_dropped_comes_back(old: Flask) -> None:
    upgraded(old)
    before = shape(engine_of(old))
    run_sql(
        old,
        "DROP TABLE webhooks_task",
        "DROP INDEX ix_webhooks_delivery_all_type",
        "DROP INDEX ix_webhooks_event_type",
    )
    assert upgraded(old) == [
        "Created the table webhooks_task.",
        "Added the index ix_webhooks_event_type to webhooks_event.",
        "Added the index ix_webhooks_delivery_all_type to webhooks_delivery.",
    ]
    assert shape(engine_of(old)) == before


@pytest.mark.slow
def test_a_key_that_was_not_unique_becomes_so(empty: Flask) -> None:
    name = "uq_webhooks_event_idempotency"
    make_old_tables(engine_of(empty), without=f"CONSTRAINT {name} UNIQUE (idempotency_digest)")
    assert f"Added the index {name} to webhooks_event." in upgraded(empty)
    assert upgraded(empty) == [UP_TO_DATE]
    webhooks_of(empty).create_endpoint("https://example.com/hook")
    first = emit(empty, 2, idempotency_key="one")
    assert first[0] == first[1]


def test_a_table_that_is_not_ours_is_left_alone(empty: Flask) -> None:
    make_old_tables(engine_of(empty), without="url_shown VARCHAR(2048) NOT NULL")
    before = shape(engine_of(empty))
    for options in ([], ["--sql"]):
        line = refused(upgrade(empty, *options))
        assert "The table webhooks_endpoint has no column url_shown" in line
    assert shape(engine_of(empty)) == before


@pytest.mark.slow
def test_two_upgrades_at_once_do_no_harm(old: Flask) -> None:
    run_sql(old, "DROP INDEX ix_webhooks_delivery_all_type")
    lines: list[str] = []

    def work() -> None:
        with old.app_context():
            schema_changes.upgrade(state_of(old), lambda change: lines.append(change.done), 30)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(lines)) == len(NEW) + 1
    assert upgraded(old) == [UP_TO_DATE]


def test_init_db_says_what_brings_tables_up_to_date(old: Flask) -> None:
    result = old.test_cli_runner().invoke(args=["webhooks", "init-db"])
    assert (result.exit_code, result.stdout) == (
        0,
        "Created webhooks_scheduled, webhooks_coalescing, webhooks_metric, webhooks_mark, webhooks_numbering, "
        "webhooks_notification, webhooks_token, webhooks_portal_link.\n",
    )
    [line] = result.stderr.splitlines()
    assert "flask webhooks upgrade-db" in line
    upgraded(old)
    assert old.test_cli_runner().invoke(args=["webhooks", "init-db"]).stderr == ""


def test_outdated_tables_are_told_with_the_command(old: Flask) -> None:
    result = old.test_cli_runner().invoke(args=["webhooks", "sweep"])
    assert result.exit_code == 0
    page = Browser(old).get("/deliveries/" + deliveries_of_before(old), 503)
    assert "flask webhooks upgrade-db" in page.text


def deliveries_of_before(app: Flask) -> str:
    with engine_of(app).connect() as connection:
        return str(connection.exec_driver_sql("SELECT min(id) FROM webhooks_delivery").scalar())


# -- Names and places ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_database_of_the_bind_key_is_upgraded(tmp_path: Path, redis_url: str) -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'host.sqlite'}",
        SQLALCHEMY_BINDS={"hooks": f"sqlite:///{tmp_path / 'hooks.sqlite'}"},
        WEBHOOKS_BIND_KEY="hooks",
        WEBHOOKS_REDIS_URL=redis_url,
    )
    with app.app_context():
        make_old_tables(engine_of(app))
        assert upgraded(app) == NEW
        assert sa.inspect(db_of(app).engine).get_table_names() == []
        close(app)


def test_schema_and_names_of_the_host_are_kept(
    postgres_server: PostgresServer, redis_url: str
) -> None:
    convention = {"ix": "index_of_%(table_name)s", "uq": "one_%(table_name)s_%(column_0_name)s"}
    db = SQLAlchemy(metadata=sa.MetaData(schema="Web hooks", naming_convention=convention))
    url = postgres_server.create_database("upgrade_schema")
    app = create_app(db, SQLALCHEMY_DATABASE_URI=url, WEBHOOKS_REDIS_URL=redis_url)
    with app.app_context():
        run_sql(app, 'CREATE SCHEMA "Web hooks"')
        assert len(upgraded(app)) == 18
        assert upgraded(app) == [UP_TO_DATE]
        run_sql(
            app,
            'ALTER TABLE "Web hooks".webhooks_event DROP COLUMN hops',
            'DROP INDEX "Web hooks".ix_webhooks_event_type',
            'ALTER TABLE "Web hooks".webhooks_event DROP CONSTRAINT uq_webhooks_event_idempotency',
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
            "'\"Web hooks\".ix_webhooks_event_tenant'::regclass",
        )
        assert len(upgraded(app)) == 4
        assert upgraded(app) == [UP_TO_DATE]
        assert sa.inspect(engine_of(app)).get_table_names("public") == []
        close(app)


# -- Locks of others -----------------------------------------------------------------------------------------


@pytest.fixture
def on_postgresql(postgres_server: PostgresServer, redis_url: str) -> Iterator[Flask]:
    url = postgres_server.create_database("upgrade")
    app = create_app(SQLALCHEMY_DATABASE_URI=url, WEBHOOKS_REDIS_URL=redis_url)
    with app.app_context():
        make_old_tables(engine_of(app))
        with engine_of(app).begin() as connection:
            replay(connection, recorded(engine_of(app), "populate"))
        yield app
        close(app)
    postgres_server.drop_database("upgrade")


class Emitting:
    """An application of the old version that emits without a pause, in a thread."""

    def __init__(self, app: Flask) -> None:
        self._engine = engine_of(app)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None
        #: Seconds that each took.
        self.took: list[float] = []

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                began = time.monotonic()
                emit_as_before(self._engine, len(self.took) + 1)
                self.took.append(time.monotonic() - began)
                time.sleep(0.005)
        except BaseException as error:
            self._error = error

    def wait_for(self, number: int) -> None:
        end = time.monotonic() + 30
        wanted = len(self.took) + number
        while len(self.took) < wanted and time.monotonic() < end and self._error is None:
            time.sleep(0.01)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def start(self) -> None:
        self._thread.start()
        self.wait_for(5)


@contextmanager
def emitting(app: Flask) -> Iterator[Emitting]:
    """Emit all the while, and hold it against the longest time that an emit may take."""
    traffic = Emitting(app)
    traffic.start()
    try:
        yield traffic
        traffic.wait_for(20)
    finally:
        traffic.end()
    assert len(traffic.took) > 20
    assert max(traffic.took) < 1


@contextmanager
def long_transaction(app: Flask) -> Iterator[sa.Connection]:
    """A transaction of the host's that has written an event and is still open."""
    with engine_of(app).connect() as connection:
        connection.exec_driver_sql("UPDATE webhooks_event SET tenant = 'slow' WHERE id = 'none'")
        yield connection


@pytest.mark.slow
def test_a_long_transaction_ends_the_upgrade_and_stops_no_emit(on_postgresql: Flask) -> None:
    with long_transaction(on_postgresql), emitting(on_postgresql):
        result = upgrade(on_postgresql, "--wait", "2")
    # What was done before stays.
    assert (result.exit_code, result.stdout.splitlines()) == (1, NEW[:BEFORE_EVENTS])
    assert "webhooks_event was in use for 2 s" in result.stderr
    assert upgraded(on_postgresql) == NEW[BEFORE_EVENTS:]


@pytest.mark.slow
def test_the_upgrade_waits_for_a_long_transaction(on_postgresql: Flask) -> None:
    with long_transaction(on_postgresql) as connection, emitting(on_postgresql):
        timer = threading.Timer(1.5, connection.rollback)
        timer.start()
        assert upgraded(on_postgresql, "--wait", "30") == NEW
        timer.join()


@pytest.mark.slow
def test_an_index_that_was_interrupted_is_built_again(on_postgresql: Flask) -> None:
    upgraded(on_postgresql)
    name = "ix_webhooks_delivery_all_type"
    run_sql(
        on_postgresql,
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass",
    )
    assert upgraded(on_postgresql, "--sql") == [
        f"DROP INDEX CONCURRENTLY {name};",
        f"CREATE INDEX CONCURRENTLY {name} ON webhooks_delivery (event_type, id);",
    ]
    assert upgraded(on_postgresql) == [f"Added the index {name} to webhooks_delivery."]
    assert upgraded(on_postgresql) == [UP_TO_DATE]


@pytest.mark.slow
def test_one_upgrade_waits_for_another(on_postgresql: Flask) -> None:
    with engine_of(on_postgresql).connect() as connection:
        lock = sa.func.pg_advisory_lock(schema_changes._ADVISORY_LOCK)
        connection.execute(sa.select(lock))
        line = refused(upgrade(on_postgresql, "--wait", "0.5"))
        assert "Another upgrade" in line
        connection.execute(sa.select(sa.func.pg_advisory_unlock_all()))
    assert upgraded(on_postgresql) == NEW


@pytest.fixture
def on_mariadb(mariadb_url: str, redis_url: str) -> Iterator[Flask]:
    app = create_app(SQLALCHEMY_DATABASE_URI=mariadb_url, WEBHOOKS_REDIS_URL=redis_url)
    with app.app_context():
        state_of(app).models.metadata.create_all(engine_of(app))
        yield app
        db_of(app).session.remove()
        state_of(app).models.metadata.drop_all(engine_of(app))
        close(app)


def test_mariadb_adds_without_copying_a_table(on_mariadb: Flask) -> None:
    before = shape(engine_of(on_mariadb))
    webhooks_of(on_mariadb).create_endpoint("https://example.com/hook")
    emit(on_mariadb)
    run_sql(
        on_mariadb,
        "ALTER TABLE webhooks_event DROP COLUMN hops",
        "ALTER TABLE webhooks_attempt DROP COLUMN error_code, DROP COLUMN error_params",
        "DROP INDEX ix_webhooks_event_type ON webhooks_event",
        "DROP TABLE webhooks_task",
    )
    statements = upgraded(on_mariadb, "--sql")
    assert statements[-1].endswith(" ALGORITHM=INPLACE LOCK=NONE;")
    assert sum(line.endswith(", ALGORITHM=INSTANT;") for line in statements) == 3
    with engine_of(on_mariadb).connect() as connection:
        connection.exec_driver_sql("UPDATE webhooks_event SET tenant = 'slow'")
        began = time.monotonic()
        result = upgrade(on_mariadb, "--wait", "1")
        assert time.monotonic() - began < 10
    # Its time was up before the table was free.
    assert result.exit_code == 1
    assert "webhooks_event was in use for 1 s" in result.stderr
    assert "Added the index ix_webhooks_event_type to webhooks_event." in upgraded(on_mariadb)
    assert upgraded(on_mariadb) == [UP_TO_DATE]
    assert shape(engine_of(on_mariadb)) == before


# -- A large database ----------------------------------------------------------------------------------------

MANY = 200_000

#: Numbers from 1 to `MANY`.
_NUMBERS = {
    "postgresql": f"SELECT n FROM generate_series(1, {MANY}) AS s (n)",
    "sqlite": f"WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {MANY}) SELECT n FROM s",
}


def copied(engine: sa.Engine, table: str, changed: dict[str, str]) -> str:
    """A statement that makes `MANY` rows like the first one of a table."""
    names = [column["name"] for column in sa.inspect(engine).get_columns(table)]
    quoted = [engine.dialect.identifier_preparer.quote(name) for name in names]
    values = [changed.get(name, f"t.{q}") for name, q in zip(names, quoted, strict=True)]
    return (
        f"INSERT INTO {table} ({', '.join(quoted)}) SELECT {', '.join(values)} "
        f"FROM ({_NUMBERS[engine.dialect.name]}) AS numbers, (SELECT * FROM {table} LIMIT 1) AS t"
    )


@pytest.mark.slow
def test_emits_go_on_while_a_large_database_is_upgraded(old: Flask) -> None:
    engine = engine_of(old)
    event, delivery = "'evt_many_' || n", "'dlv_many_' || n"
    run_sql(
        old,
        copied(engine, "webhooks_event", {"id": event}),
        copied(engine, "webhooks_delivery", {"id": delivery, "event_id": event}),
        copied(engine, "webhooks_attempt", {"delivery_id": delivery}),
    )
    expected = list(NEW)
    if engine.dialect.name == "postgresql":
        # SQLite has one writer, and building an index is writing.
        run_sql(
            old, "DROP INDEX ix_webhooks_delivery_all_type", "DROP INDEX ix_webhooks_event_type"
        )
        # In the order of their names, table by table.
        expected[-3:-3] = ["Added the index ix_webhooks_event_type to webhooks_event."]
        expected[-2:-2] = ["Added the index ix_webhooks_delivery_all_type to webhooks_delivery."]
    with emitting(old):
        assert upgraded(old) == expected


def test_every_column_that_may_be_missing_can_be_added(old: Flask) -> None:
    """Each that the first version did not have must be nullable or have a default in the database."""
    models: Models = state_of(old).models
    inspector = sa.inspect(engine_of(old))
    before = set(inspector.get_table_names())
    for table in models.tables():
        if table.name not in before:
            continue
        known = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            assert column.name in known or column.nullable or column.server_default is not None
