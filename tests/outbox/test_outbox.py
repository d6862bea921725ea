"""Events in the host's transaction, and beside it: what is written, when, and who is woken.

Each host here is a real one on a real database: SQLite as Python's driver leaves it, SQLite as we recommend
it (`flask_webhooks.sqlite.immediate`), and PostgreSQL.
"""

from __future__ import annotations

import contextlib
import enum
import gc
import logging
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm
from sqlalchemy.exc import DBAPIError, IntegrityError

from flask_webhooks import ALL_TENANTS, actions, signals
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import (
    ConfigurationError,
    InvalidData,
    InvalidInput,
    UnknownEventType,
)
from flask_webhooks.models import Delivery, Event
from flask_webhooks.sqlite import READ_ONLY
from tests.support.delivering import close, db_of, models_of, webhooks_of
from tests.support.helpers import URL, accessing, make_app
from tests.support.processes import wait_until

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}
#: A type that rides in the host's transaction, and one that describes a refusal.
#: Of hosts that have a table of their own.
HOST_DB = SQLAlchemy()

CREATED, REFUSED = "license.created", "user.login_failed"


def _kinds(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("database_url", "sqlite_immediate"),
        [
            pytest.param(kind.partition("-")[0], kind.endswith("immediate"), id=kind)
            for kind in kinds
        ],
        indirect=["database_url"],
    )


on_every_database = _kinds("sqlite", "sqlite-immediate", "postgresql")
on_sqlite = _kinds("sqlite", "sqlite-immediate")
on_plain_sqlite = _kinds("sqlite")
on_postgresql = _kinds("postgresql")
#: Where savepoints do what their name says.
with_savepoints = _kinds("sqlite-immediate", "postgresql")


@pytest.fixture
def sqlite_immediate() -> bool:
    return False


@pytest.fixture(scope="module")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables: to copy it takes a tenth of the time of making them."""
    path = tmp_path_factory.mktemp("template") / "database.sqlite"
    app = make_app(f"sqlite:///{path}", "redis://localhost:1/0", db=HOST_DB)
    with app.app_context():
        add_notes(app)
        # Readers need not wait for writers, as in the other kinds.
        with db_of(app).engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    close(app)
    return path


def add_notes(app: Flask) -> None:
    """A table of the host's own."""
    notes = sa.Table(
        "note",
        db_of(app).metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("text", sa.String(100), nullable=False),
        extend_existing=True,
    )
    notes.create(db_of(app).engine, checkfirst=True)


@pytest.fixture
def host(
    database_url: str, redis_url: str, sqlite_immediate: bool, sqlite_template: Path
) -> Iterator[Flask]:
    """A host with a table of its own, no application context around it."""
    if database_url.startswith("sqlite"):
        shutil.copy(sqlite_template, database_url.removeprefix("sqlite:///"))
    app = make_app(
        database_url,
        redis_url,
        db=HOST_DB,
        SQLITE_IMMEDIATE=sqlite_immediate,
        WEBHOOKS_WAKE_PAUSE=0.1,
    )
    with app.app_context():
        add_notes(app)
    yield app
    close(app)


@pytest.fixture
def app(host: Flask) -> Iterator[Flask]:
    """The host within an application context, and one endpoint of the whole server."""
    with host.app_context():
        subscribe(host)
        yield host


def subscribe(app: Flask, *events: str, tenant: str | None = None, **options: Any) -> str:
    endpoint = webhooks_of(app).create_endpoint(URL, list(events) or None, tenant=tenant, **options)
    return endpoint.endpoint.id


def note_class(app: Flask) -> type[Any]:
    """An ORM class of the host's."""

    class Base(orm.DeclarativeBase):
        metadata = db_of(app).metadata

    return type("Note", (Base,), {"__table__": db_of(app).metadata.tables["note"]})


def write_note(app: Flask, session: orm.Session | None = None, text: str = "n") -> None:
    """What a host does beside: from here on SQLite has its writer."""
    notes = db_of(app).metadata.tables["note"]
    (session or db_of(app).session()).execute(sa.insert(notes).values(text=text))


def stored(app: Flask) -> list[Event]:
    """The events that others see, now."""
    return _look(app, models_of(app).Event)


def owed(app: Flask) -> list[Delivery]:
    return _look(app, models_of(app).Delivery)


def _look(app: Flask, model: type[Any]) -> list[Any]:
    state = state_of(app)
    with (
        state.engine.connect().execution_options(**{READ_ONLY: True}) as connection,
        orm.Session(connection) as session,
    ):
        return list(session.scalars(sa.select(model).order_by(model.id)))


def types(app: Flask) -> list[str]:
    return [event.type for event in stored(app)]


def wake_ups(app: Flask) -> int:
    """How often Redis was told since it was emptied. No worker runs, so each wake-up is one script."""
    with redis.Redis.from_url(state_of(app).settings.redis_url) as client:
        if not client.exists(state_of(app).worker_queue.keys.dirty):
            return 0
        calls = client.info("commandstats").get("cmdstat_eval", {"calls": 0})["calls"]
        return int(calls)


@pytest.fixture(autouse=True)
def _count_from_zero(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()


@contextlib.contextmanager
def statements(app: Flask) -> Iterator[Counter[str]]:
    """Counts statements that go to the database, by their first word; ``WITH`` holds more than one."""
    seen: Counter[str] = Counter()
    engine = state_of(app).engine

    def count(*values: Any) -> None:
        seen[values[2].split()[0].upper()] += 1

    sa.event.listen(engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", count)


def break_tables(app: Flask, *, mend: bool = False) -> None:
    """As for a host that was deployed before its migration ran."""
    before, after = "webhooks_delivery", "elsewhere"
    if mend:
        before, after = after, before
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {before} RENAME TO {after}"))


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Warnings and errors, but for a Redis that is slow because the machine is busy."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "flask_webhooks.alarm"
    ]


# -- invariant 1: the event stands and falls with the root transaction --------------------------------


Steps = Callable[[orm.Session, Callable[[], object]], object]


def _commit(session: orm.Session, emit: Callable[[], object]) -> None:
    emit()
    session.commit()


def _rollback(session: orm.Session, emit: Callable[[], object]) -> None:
    emit()
    session.rollback()


def _close(session: orm.Session, emit: Callable[[], object]) -> None:
    emit()
    session.close()


def _emit_before_a_savepoint_that_is_rolled_back(
    session: orm.Session, emit: Callable[[], object]
) -> None:
    emit()
    session.begin_nested().rollback()
    session.commit()


def _released_savepoint_then_commit(session: orm.Session, emit: Callable[[], object]) -> None:
    with session.begin_nested():
        emit()
    session.commit()


def _released_savepoint_then_rollback(session: orm.Session, emit: Callable[[], object]) -> None:
    with session.begin_nested():
        emit()
    session.rollback()


def _released_savepoint_then_close(session: orm.Session, emit: Callable[[], object]) -> None:
    with session.begin_nested():
        emit()
    session.close()


def _savepoint_rolled_back_then_commit(session: orm.Session, emit: Callable[[], object]) -> None:
    with contextlib.suppress(ZeroDivisionError), session.begin_nested():
        emit()
        raise ZeroDivisionError
    session.commit()


def _inner_released_outer_rolled_back_then_commit(
    session: orm.Session, emit: Callable[[], object]
) -> None:
    outer = session.begin_nested()
    with session.begin_nested():
        emit()
    outer.rollback()
    session.commit()


def _failing_flush(session: orm.Session, emit: Callable[[], object]) -> None:
    emit()
    session.add(session.info["note"](text=None))
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()


def _failing_flush_in_a_savepoint(session: orm.Session, emit: Callable[[], object]) -> None:
    emit()
    with contextlib.suppress(IntegrityError), session.begin_nested():
        session.add(session.info["note"](text=None))
    session.commit()


def _savepoint_left_open_then_commit(session: orm.Session, emit: Callable[[], object]) -> None:
    session.begin_nested()
    emit()
    session.commit()


def _savepoint_left_open_then_rollback(session: orm.Session, emit: Callable[[], object]) -> None:
    emit()
    session.begin_nested()
    emit()
    session.rollback()


def _rolled_back_then_emitted_again(session: orm.Session, emit: Callable[[], object]) -> None:
    emit()
    session.rollback()
    emit()
    session.commit()


PLAIN = [
    pytest.param(_commit, True),
    pytest.param(_rollback, False),
    pytest.param(_close, False),
    pytest.param(_failing_flush, False),
    pytest.param(_rolled_back_then_emitted_again, True),
]
NESTED = [
    pytest.param(_emit_before_a_savepoint_that_is_rolled_back, True),
    pytest.param(_released_savepoint_then_commit, True),
    pytest.param(_released_savepoint_then_rollback, False),
    pytest.param(_released_savepoint_then_close, False),
    pytest.param(_savepoint_rolled_back_then_commit, False),
    pytest.param(_inner_released_outer_rolled_back_then_commit, False),
    pytest.param(_failing_flush_in_a_savepoint, True),
    pytest.param(_savepoint_left_open_then_commit, True),
    pytest.param(_savepoint_left_open_then_rollback, False),
]


def _check_invariant_1(app: Flask, steps: Steps, exists: bool) -> None:
    webhooks, session = webhooks_of(app), db_of(app).session()
    session.info["note"] = note_class(app)
    too_early: list[object] = []

    def emit() -> None:
        assert webhooks.emit(CREATED, DATA) is not None
        too_early.extend([*stored(app), *owed(app)])

    @sa.event.listens_for(session, "after_begin")
    def begun(*_: object) -> None:
        too_early.extend(range(wake_ups(app)))

    @sa.event.listens_for(session, "after_transaction_end")
    def ended(_: orm.Session, transaction: orm.SessionTransaction) -> None:
        if transaction.nested:
            too_early.extend([*stored(app), *range(wake_ups(app))])

    steps(session, emit)
    assert too_early == []
    assert types(app) == [CREATED] * exists
    assert [delivery.state for delivery in owed(app)] == ["pending"] * exists
    assert wake_ups(app) >= exists
    assert state_of(app).worker_queue.queue(redis_of(app)).count == (1 if wake_ups(app) else 0)


def redis_of(app: Flask) -> redis.Redis:
    client: redis.Redis = app.extensions.setdefault(
        "test_redis", redis.Redis.from_url(state_of(app).settings.redis_url)
    )
    return client


@on_every_database
@pytest.mark.parametrize(("steps", "exists"), PLAIN)
def test_invariant_1_an_event_exists_if_and_only_if_the_root_transaction_committed(
    app: Flask, steps: Steps, exists: bool
) -> None:
    _check_invariant_1(app, steps, exists)


@with_savepoints
@pytest.mark.parametrize(("steps", "exists"), NESTED)
def test_invariant_1_holds_with_savepoints(app: Flask, steps: Steps, exists: bool) -> None:
    _check_invariant_1(app, steps, exists)


@on_postgresql
def test_invariant_1_a_commit_that_the_database_refuses_is_none(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    session = db_of(app).session
    session.execute(sa.text("CREATE TABLE once (id INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    session.commit()
    webhooks_of(app).emit(CREATED, DATA)
    webhooks_of(app).emit(REFUSED, {"reason": "password"})
    session.execute(sa.text("INSERT INTO once VALUES (1), (1)"))
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    assert types(app) == [REFUSED]
    assert wake_ups(app) == 1
    assert complaints(caplog) == []


@on_plain_sqlite
def test_invariant_1_with_savepoints_needs_immediate_on_sqlite(
    app: Flask, tmp_path: Path, redis_url: str
) -> None:
    """Why `flask_webhooks.sqlite.immediate` exists, and why `doctor` asks for it.

    Python's driver begins a transaction before the first INSERT, not before SAVEPOINT: the savepoint is then
    the transaction, its release a commit, and what the host rolls back afterwards stays.
    """
    _released_savepoint_then_rollback(
        db_of(app).session(), lambda: webhooks_of(app).emit(CREATED, DATA)
    )
    assert types(app) == [CREATED], "the driver does better now: the docs can be simpler"
    url = f"sqlite:///{tmp_path / 'new'}"
    recommended = make_app(url, redis_url, db=HOST_DB, SQLITE_IMMEDIATE=True)
    with recommended.app_context():
        subscribe(recommended)
        _released_savepoint_then_rollback(
            db_of(recommended).session(), lambda: webhooks_of(recommended).emit(CREATED, DATA)
        )
        assert types(recommended) == []
    close(recommended)


@with_savepoints
def test_released_savepoint_wakes_nobody(app: Flask) -> None:
    session = db_of(app).session()
    with session.begin_nested():
        webhooks_of(app).emit(CREATED, DATA)
    assert wake_ups(app) == 0
    session.commit()
    assert wake_ups(app) == 1


@with_savepoints
def test_released_savepoint_is_not_taken_for_a_commit_when_the_session_is_closed(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    session = db_of(app).session()
    with session.begin_nested():
        webhooks_of(app).emit(CREATED, DATA)
    session.close()
    assert wake_ups(app) == 0
    (complaint,) = complaints(caplog)
    assert "dropped" in complaint


@on_every_database
def test_rollback_wakes_nobody(app: Flask) -> None:
    webhooks_of(app).emit(CREATED, DATA)
    db_of(app).session.rollback()
    assert wake_ups(app) == 0


@on_every_database
def test_a_transaction_with_many_events_wakes_once(app: Flask) -> None:
    for _ in range(20):
        webhooks_of(app).emit(CREATED, DATA)
        webhooks_of(app).emit(REFUSED, {"reason": "password"})
    db_of(app).session.commit()
    assert Counter(types(app)) == {CREATED: 20, REFUSED: 20}
    assert wake_ups(app) == 1


@on_every_database
def test_workers_are_woken_when_others_can_see_the_event(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    notifier = state_of(app).notifier
    notify = notifier.notify

    def look_and_wake() -> bool:
        seen.append(types(app))
        return notify()

    monkeypatch.setattr(notifier, "notify", look_and_wake)
    webhooks_of(app).emit(CREATED, DATA)
    db_of(app).session.commit()
    webhooks_of(app).emit(REFUSED, {"reason": "password"})
    assert seen == [[CREATED], [CREATED, REFUSED]]


@on_every_database
def test_event_is_returned_as_it_stands_in_the_database(app: Flask) -> None:
    occurred_at = datetime(2024, 2, 29, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    event = webhooks_of(app).emit(
        CREATED, DATA, tenant="app_1", idempotency_key="k", occurred_at=occurred_at
    )
    db_of(app).session.commit()
    assert event is not None
    (row,) = stored(app)
    for column in ("id", "type", "tenant", "data", "occurred_at", "idempotency_key"):
        assert getattr(row, column) == getattr(event, column), column
    assert row.occurred_at == occurred_at
    assert row.data == DATA
    assert abs(row.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert abs(row.created_at - event.created_at) < timedelta(minutes=1)


# -- where a host emits -------------------------------------------------------------------------------


@on_every_database
def test_several_commits_in_one_request_stand_each_for_itself(
    host: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    @host.post("/licences")
    def create() -> ResponseReturnValue:
        session = db_of(host).session
        signals.license_created.send(host, data=DATA)
        session.commit()
        signals.license_activated.send(host, data=DATA)
        session.rollback()
        signals.license_renewed.send(host, data=DATA)
        session.commit()
        signals.license_revoked.send(host, data=DATA)
        return {}

    with host.app_context():
        subscribe(host)
    assert host.test_client().post("/licences").status_code == 200
    with host.app_context():
        assert types(host) == ["license.created", "license.renewed"]
        assert wake_ups(host) == 2
    (complaint,) = complaints(caplog)
    assert "neither commit nor rollback (license.revoked)" in complaint


@on_every_database
def test_emit_outside_of_a_request(host: Flask) -> None:
    with host.app_context():
        subscribe(host)
        webhooks_of(host).emit(CREATED, DATA)
        db_of(host).session.commit()
        assert types(host) == [CREATED]


@on_every_database
def test_emit_in_a_thread_with_its_own_context(app: Flask) -> None:
    def work(commit: bool) -> None:
        with app.app_context():
            webhooks_of(app).emit(CREATED if commit else "license.revoked", DATA)
            if commit:
                db_of(app).session.commit()

    for commit in (True, False):
        thread = threading.Thread(target=work, args=(commit,))
        thread.start()
        thread.join(10)
    assert types(app) == [CREATED]


@on_every_database
def test_emit_in_a_command(host: Flask) -> None:
    @host.cli.command("renew")
    @click.option("--commit", is_flag=True)
    def renew(commit: bool) -> None:
        webhooks_of(host).emit("license.renewed", DATA)
        webhooks_of(host).emit(REFUSED, {"reason": "password"})
        if commit:
            db_of(host).session.commit()

    with host.app_context():
        subscribe(host)
    runner = host.test_cli_runner()
    assert runner.invoke(args=["renew"], catch_exceptions=False).exit_code == 0
    with host.app_context():
        assert types(host) == [REFUSED]
    assert runner.invoke(args=["renew", "--commit"], catch_exceptions=False).exit_code == 0
    with host.app_context():
        assert Counter(types(host)) == {"license.renewed": 1, REFUSED: 2}


@on_sqlite
def test_emit_without_context_says_what_to_do(host: Flask) -> None:
    with pytest.raises(ConfigurationError, match=r"with app\.app_context\(\)"):
        webhooks_of(host).emit(CREATED, DATA)


@on_sqlite
def test_signal_for_another_application_than_the_current_one_touches_no_database(
    host: Flask, tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_app(f"sqlite:///{tmp_path / 'other'}", redis_url)
    for app in (host, other):
        with app.app_context():
            subscribe(app)
    with other.app_context():
        signals.license_created.send(host, data=DATA)
        db_of(other).session.commit()
        assert types(other) == []
    signals.license_created.send(host, data=DATA)
    with host.app_context():
        assert types(host) == []
    assert len(complaints(caplog)) == 2
    assert "with app.app_context()" in complaints(caplog)[0]
    close(other)


# -- with a session of the host's own -----------------------------------------------------------------


@on_every_database
def test_emit_with_a_session_of_the_hosts_own(app: Flask) -> None:
    factory = orm.sessionmaker(db_of(app).engine)
    with orm.Session(db_of(app).engine) as session:
        webhooks_of(app).emit("license.created", DATA, session=session)
        assert types(app) == []
        session.commit()
    with factory.begin() as session:
        webhooks_of(app).emit("license.renewed", DATA, session=session)
    with contextlib.suppress(ZeroDivisionError), factory.begin() as session:
        webhooks_of(app).emit("license.revoked", DATA, session=session)
        raise ZeroDivisionError
    with factory() as session:
        webhooks_of(app).emit("license.deleted", DATA, session=session)
    assert types(app) == ["license.created", "license.renewed"]
    assert wake_ups(app) == 2


@on_every_database
def test_emit_takes_the_scoped_session_too(app: Flask) -> None:
    session = db_of(app).session
    webhooks_of(app).emit(CREATED, DATA, session=session)
    webhooks_of(app).emit(REFUSED, {"reason": "password"}, session=session)
    assert types(app) == []
    session.commit()
    assert Counter(types(app)) == {CREATED: 1, REFUSED: 1}


@on_every_database
def test_two_sessions_at_once_do_not_mix(app: Flask, sqlite_immediate: bool) -> None:
    if sqlite_immediate or state_of(app).engine.dialect.name == "sqlite":
        # One writer: the first has to end before the second begins.
        with orm.Session(db_of(app).engine) as own:
            webhooks_of(app).emit("license.renewed", DATA, session=own)
            own.rollback()
        webhooks_of(app).emit(CREATED, DATA)
        db_of(app).session.commit()
    else:
        webhooks_of(app).emit(CREATED, DATA)
        with orm.Session(db_of(app).engine) as own:
            webhooks_of(app).emit("license.renewed", DATA, session=own)
            db_of(app).session.commit()
            own.rollback()
    assert types(app) == [CREATED]


@on_every_database
@pytest.mark.parametrize("commit", [True, False])
def test_session_joined_to_a_connection_of_the_host_waits_for_that_one(
    app: Flask, commit: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with db_of(app).engine.connect() as connection:
        transaction = connection.begin()
        with orm.Session(connection) as session:
            webhooks_of(app).emit(CREATED, DATA, session=session)
            session.commit()
        assert types(app) == []
        assert wake_ups(app) == 0
        transaction.commit() if commit else transaction.rollback()
    assert types(app) == [CREATED] * commit
    # It cannot be told from outside how the transaction ended, and one wake-up too many costs little.
    assert wake_ups(app) == 1
    assert complaints(caplog) == []


@on_every_database
def test_joined_session_that_is_only_closed_has_dropped_nothing(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLAlchemy leaves what such a session did to the transaction that it was joined to."""
    with db_of(app).engine.connect() as connection:
        transaction = connection.begin()
        with orm.Session(connection) as session:
            webhooks_of(app).emit(CREATED, DATA, session=session)
        transaction.commit()
    assert types(app) == [CREATED]
    assert wake_ups(app) == 1
    assert complaints(caplog) == []


@pytest.mark.slow
@on_every_database
@pytest.mark.parametrize("outer", [True, False])
def test_joined_session_that_is_dropped_unclosed_wakes(app: Flask, outer: bool) -> None:
    with db_of(app).engine.connect() as connection:
        if outer:
            connection.begin()
        webhooks_of(app).emit(CREATED, DATA, session=orm.Session(connection))
        gc.collect()
        assert wake_ups(app) == 0
        connection.commit()
    assert types(app) == [CREATED]
    assert wake_ups(app) == 1


@on_every_database
def test_joined_session_that_commits_by_itself_wakes_once(app: Flask) -> None:
    with db_of(app).engine.connect() as connection:
        with orm.Session(connection) as session:
            webhooks_of(app).emit(CREATED, DATA, session=session)
            session.commit()
        assert wake_ups(app) == 1
    assert wake_ups(app) == 1


@on_every_database
@pytest.mark.parametrize("commit", [True, False])
def test_refusal_in_a_joined_session_goes_over_the_hosts_connection(
    app: Flask, commit: bool
) -> None:
    """Such as in a test suite that rolls everything back: a second writer would wait for the first."""
    began = time.monotonic()
    with db_of(app).engine.connect() as connection:
        transaction = connection.begin()
        with orm.Session(connection) as session:
            write_note(app, session)
            webhooks_of(app).emit(REFUSED, {"reason": "password"}, session=session)
        inside = connection.execute(sa.select(models_of(app).Event.type)).scalars().all()
        assert inside == [REFUSED]
        transaction.commit() if commit else transaction.rollback()
    # SQLite would wait for its writer for 5 seconds.
    assert time.monotonic() - began < 4.5
    assert types(app) == [REFUSED] * commit


# -- events that describe a refusal -------------------------------------------------------------------


@on_every_database
@pytest.mark.parametrize("writes", [False, True], ids=["has only read", "has written"])
def test_failed_login_answered_with_401_and_no_commit_is_written(
    host: Flask, writes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @host.post("/login")
    def login() -> ResponseReturnValue:
        db_of(host).session.execute(sa.text("SELECT count(*) FROM note")).scalar()
        if writes:
            write_note(host)
        signals.user_login_failed.send(host, data={"reason": "password", "username": "eve"})
        assert types(host) == []
        return {"error": "wrong password"}, 401

    with host.app_context():
        subscribe(host)
    began = time.monotonic()
    assert host.test_client().post("/login").status_code == 401
    # SQLite would wait for its writer for 5 seconds.
    assert time.monotonic() - began < 4.5
    with host.app_context():
        (event,) = stored(host)
        assert (event.type, event.data["username"]) == (REFUSED, "eve")
        assert len(owed(host)) == 1
        assert wake_ups(host) == 1
        notes = db_of(host).session.execute(sa.text("SELECT count(*) FROM note")).scalar()
        assert notes == 0
    assert complaints(caplog) == []


@on_every_database
def test_refusal_without_a_transaction_is_written_at_once(app: Flask) -> None:
    event = webhooks_of(app).emit(REFUSED, {"reason": "password"})
    assert event is not None
    assert [row.id for row in stored(app)] == [event.id]
    assert wake_ups(app) == 1


@on_every_database
@pytest.mark.parametrize("outcome", ["commit", "rollback", "close"])
@pytest.mark.parametrize("has_written", [True, False], ids=["written", "only read"])
def test_refusal_is_written_whatever_the_outcome(
    app: Flask, outcome: str, has_written: bool, caplog: pytest.LogCaptureFixture
) -> None:
    session = db_of(app).session
    session.execute(sa.text("SELECT count(*) FROM note")).scalar()
    if has_written:
        write_note(app)
    with statements(app) as sent:
        event = webhooks_of(app).emit(REFUSED, {"reason": "password"})
        assert not sent, "in the middle of the host's transaction nothing is written, nor read"
    assert event is not None
    assert types(app) == []
    began = time.monotonic()
    getattr(session, outcome)()
    # SQLite would wait for its writer for 5 seconds.
    assert time.monotonic() - began < 4.5
    assert [row.id for row in stored(app)] == [event.id]
    assert wake_ups(app) == 1
    assert complaints(caplog) == []


@with_savepoints
def test_refusal_in_a_savepoint_waits_for_the_root_transaction(app: Flask) -> None:
    session = db_of(app).session()
    with contextlib.suppress(ZeroDivisionError), session.begin_nested():
        webhooks_of(app).emit(REFUSED, {"reason": "password"})
        raise ZeroDivisionError
    assert types(app) == []
    session.rollback()
    assert types(app) == [REFUSED]


@on_every_database
def test_refusal_through_another_session_waits_for_the_one_that_writes(app: Flask) -> None:
    """On SQLite the request would otherwise wait for itself until the lock times out."""
    began = time.monotonic()
    write_note(app)
    with orm.Session(db_of(app).engine) as own:
        webhooks_of(app).emit(REFUSED, {"reason": "password"}, session=own)
    db_of(app).session.commit()
    # SQLite would wait for its writer for 5 seconds.
    assert time.monotonic() - began < 4.5
    assert types(app) == [REFUSED]


@on_plain_sqlite
def test_refusal_at_the_end_of_another_session_waits_for_the_one_that_writes(app: Flask) -> None:
    began = time.monotonic()
    with orm.Session(db_of(app).engine) as own:
        own.execute(sa.text("SELECT count(*) FROM note")).scalar()
        webhooks_of(app).emit(REFUSED, {"reason": "password"}, session=own)
        write_note(app)
    assert types(app) == []
    db_of(app).session.rollback()
    # SQLite would wait for its writer for 5 seconds.
    assert time.monotonic() - began < 4.5
    assert types(app) == [REFUSED]


@on_every_database
def test_refusal_does_not_wait_for_a_session_that_outlives_its_context(
    host: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that a host leaves open is only thrown away some day, and tells nobody of it."""
    with host.app_context():
        subscribe(host)
        own = orm.Session(db_of(host).engine)
    with host.app_context():
        own.execute(sa.text("SELECT count(*) FROM note"))
        webhooks_of(host).emit(REFUSED, {"reason": "password"}, session=own)
        assert types(host) == []
    if state_of(host).engine.dialect.name == "sqlite":
        # It may be the one writer, and we would wait for it.
        (complaint,) = complaints(caplog)
        assert f"{REFUSED} could not be written (a session" in complaint
        own.close()
        wait_until(lambda: wake_ups(host) == 1, 20)
    else:
        assert complaints(caplog) == []
    assert types(host) == [REFUSED]
    assert wake_ups(host) == 1
    own.close()


@on_every_database
def test_refusals_keep_their_order(app: Flask) -> None:
    write_note(app)
    for number in range(5):
        webhooks_of(app).emit(REFUSED, {"reason": str(number)})
    db_of(app).session.rollback()
    assert [event.data["reason"] for event in stored(app)] == list("01234")
    assert wake_ups(app) == 1


@on_every_database
def test_fault_while_writing_a_refusal_does_not_reach_the_host(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    break_tables(app)
    write_note(app)
    assert webhooks_of(app).emit(REFUSED, {"reason": "do-not-log-me"}) is not None
    db_of(app).session.commit()
    assert webhooks_of(app).emit(REFUSED, {"reason": "do-not-log-me"}) is None
    assert "do-not-log-me" not in caplog.text
    assert [line.partition(" could")[0] for line in complaints(caplog)] == [
        f"The event {REFUSED}"
    ] * 2
    assert db_of(app).session.execute(sa.text("SELECT count(*) FROM note")).scalar() == 1


@on_every_database
def test_one_refusal_that_cannot_be_written_leaves_the_others_alone(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.text("CREATE UNIQUE INDEX fault ON webhooks_event (tenant)"))
    write_note(app)
    for tenant in ("a", "a", "b"):
        webhooks_of(app).emit(REFUSED, {"reason": "password"}, tenant=tenant)
    db_of(app).session.commit()
    assert [event.tenant for event in stored(app)] == ["a", "b"]
    assert len(complaints(caplog)) == 1
    assert wake_ups(app) == 1


# -- transactional= -----------------------------------------------------------------------------------


@on_every_database
def test_transactional_can_be_overridden_both_ways(app: Flask) -> None:
    write_note(app)
    webhooks_of(app).emit(REFUSED, {"reason": "password"}, transactional=True)
    webhooks_of(app).emit(CREATED, DATA, transactional=False)
    db_of(app).session.rollback()
    assert types(app) == [CREATED]
    webhooks_of(app).emit(REFUSED, {"reason": "password"}, transactional=True)
    assert types(app) == [CREATED]
    db_of(app).session.commit()
    assert types(app) == [CREATED, REFUSED]


@on_every_database
def test_dropping_an_event_by_closing_the_session_is_a_warning(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).emit("license.renewed", DATA)
    webhooks_of(app).emit("license.created", DATA)
    webhooks_of(app).emit("license.created", DATA)
    db_of(app).session.remove()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("flask_webhooks.outbox", "WARNING")
    assert "(license.created, license.renewed)" in record.getMessage()
    assert "Commit after sending the signal" in record.getMessage()


@on_every_database
def test_no_warning_where_nothing_was_dropped(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    webhooks, session = webhooks_of(app), db_of(app).session
    webhooks.emit(CREATED, DATA)
    session.commit()
    webhooks.emit(CREATED, DATA)
    session.rollback()
    webhooks.emit(REFUSED, {"reason": "password"})
    session.remove()
    actions.delete_all_endpoints(accessing(app))
    assert webhooks.emit(CREATED, DATA) is None
    session.remove()
    assert complaints(caplog) == []


# -- idempotency --------------------------------------------------------------------------------------


@on_every_database
def test_repeated_key_returns_the_first_event(app: Flask) -> None:
    webhooks, session = webhooks_of(app), db_of(app).session
    first = webhooks.emit("payment.succeeded", {"amount": 1}, idempotency_key="pay_1")
    again = webhooks.emit("payment.succeeded", {"amount": 2}, idempotency_key="pay_1")
    session.commit()
    later = webhooks.emit("payment.failed", {"amount": 3}, idempotency_key="pay_1")
    session.commit()
    assert first is not None
    assert again is not None
    assert later is not None
    assert first.id == again.id == later.id
    assert later.data == {"amount": 1}
    assert [event.id for event in stored(app)] == [first.id]
    assert [delivery.event_id for delivery in owed(app)] == [first.id]


@on_every_database
def test_repeated_key_leaves_nothing_to_commit(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a payment provider calls twice, and the host finds that it has nothing to do."""
    session = db_of(app).session
    webhooks_of(app).emit("payment.succeeded", {"amount": 1}, idempotency_key="pay_1")
    session.commit()
    for end in (session.remove, session.commit):
        webhooks_of(app).emit("payment.succeeded", {"amount": 1}, idempotency_key="pay_1")
        end()
    assert complaints(caplog) == []
    assert wake_ups(app) == 1
    assert len(stored(app)) == 1


@on_every_database
def test_keys_belong_to_their_tenant(app: Flask) -> None:
    def emit(tenant: str | None) -> str:
        event = webhooks_of(app).emit(CREATED, DATA, tenant=tenant, idempotency_key="k")
        assert event is not None
        return event.id

    tenants = [None, "a", "b", "None", "=a"]
    first = [emit(tenant) for tenant in tenants]
    assert [emit(tenant) for tenant in tenants] == first
    db_of(app).session.commit()
    assert len(set(first)) == len(tenants)
    assert [event.id for event in stored(app)] == sorted(first)
    assert {delivery.event_id for delivery in owed(app)} == set(first)


@on_every_database
def test_key_of_a_transaction_that_rolled_back_is_free(app: Flask) -> None:
    first = webhooks_of(app).emit(CREATED, DATA, idempotency_key="k")
    db_of(app).session.rollback()
    second = webhooks_of(app).emit(CREATED, DATA, idempotency_key="k")
    db_of(app).session.commit()
    assert first is not None
    assert second is not None
    assert [event.id for event in stored(app)] == [second.id] != [first.id]


@on_every_database
def test_repeat_leaves_the_hosts_transaction_whole(app: Flask) -> None:
    for _ in range(2):
        write_note(app)
        webhooks_of(app).emit(CREATED, DATA, idempotency_key="k")
        write_note(app)
    db_of(app).session.commit()
    assert db_of(app).session.execute(sa.text("SELECT count(*) FROM note")).scalar() == 4
    assert len(stored(app)) == 1


@on_every_database
def test_key_without_subscribers(app: Flask) -> None:
    webhooks, session = webhooks_of(app), db_of(app).session
    first = webhooks.emit(CREATED, DATA, idempotency_key="k")
    session.commit()
    actions.delete_all_endpoints(accessing(app))
    again = webhooks.emit(CREATED, DATA, idempotency_key="k")
    assert first is not None
    assert again is not None
    assert again.id == first.id
    assert webhooks.emit(CREATED, DATA, idempotency_key="other") is None
    session.commit()
    assert len(stored(app)) == 1


@on_every_database
def test_repeated_key_of_a_refusal(app: Flask) -> None:
    first = webhooks_of(app).emit(REFUSED, {"reason": "a"}, idempotency_key="k")
    again = webhooks_of(app).emit(REFUSED, {"reason": "b"}, idempotency_key="k")
    assert first is not None
    assert again is not None
    assert first.id == again.id
    write_note(app)
    webhooks_of(app).emit(REFUSED, {"reason": "c"}, idempotency_key="k")
    db_of(app).session.rollback()
    assert [event.data["reason"] for event in stored(app)] == ["a"]


@on_postgresql
@pytest.mark.parametrize("first_commits", [True, False])
def test_repeated_key_waits_for_the_transaction_that_has_it(
    app: Flask, first_commits: bool
) -> None:
    webhooks, ids = webhooks_of(app), []
    first = webhooks.emit(CREATED, DATA, idempotency_key="k")
    assert first is not None

    def second() -> None:
        with app.app_context():
            event = webhooks.emit(CREATED, DATA, idempotency_key="k")
            assert event is not None
            db_of(app).session.commit()
            ids.append(event.id)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    db_of(app).session.commit() if first_commits else db_of(app).session.rollback()
    thread.join(10)
    assert [event.id for event in stored(app)] == ids
    assert (ids == [first.id]) is first_commits


@on_every_database
def test_repeated_key_from_many_threads_makes_one_event(app: Flask) -> None:
    def emit(ids: list[str], start: threading.Barrier) -> None:
        with app.app_context():
            start.wait(10)
            for number in range(5):
                event = webhooks_of(app).emit(CREATED, DATA, idempotency_key=f"k{number}")
                db_of(app).session.commit()
                assert event is not None
                ids.append(event.id)

    threads, start = 4, threading.Barrier(4)
    results: list[list[str]] = [[] for _ in range(threads)]
    workers = [threading.Thread(target=emit, args=(result, start)) for result in results]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert all(result == results[0] for result in results)
    assert len(set(results[0])) == 5
    assert {event.id for event in stored(app)} == set(results[0])
    assert Counter(delivery.event_id for delivery in owed(app)) == dict.fromkeys(results[0], 1)


# -- who gets it --------------------------------------------------------------------------------------


@on_every_database
def test_event_goes_to_its_tenant_and_to_the_whole_server(host: Flask) -> None:
    with host.app_context():
        of = {name: subscribe(host, tenant=name) for name in ("a", "b")}
        of["server"] = subscribe(host)
        expected = {}
        for tenant, names in {None: {"server"}, "a": {"a", "server"}, "c": {"server"}}.items():
            event = webhooks_of(host).emit(CREATED, DATA, tenant=tenant)
            assert event is not None
            expected[event.id] = {of[name] for name in names}
        db_of(host).session.commit()
        found: dict[str, set[str]] = {}
        for delivery in owed(host):
            found.setdefault(delivery.event_id, set()).add(delivery.endpoint_id)
            assert delivery.tenant == {of["a"]: "a", of["server"]: None}[delivery.endpoint_id]
            assert delivery.event_type == CREATED
            assert delivery.trigger == "event"
        assert found == expected


@on_every_database
def test_event_goes_to_those_whose_patterns_match(host: Flask) -> None:
    with host.app_context():
        all_ = subscribe(host)
        prefix = subscribe(host, "license.*")
        exact = subscribe(host, "license.created", "user.banned")
        subscribe(host, "user.*")
        subscribe(host, "license.revoked")
        webhooks_of(host).emit(CREATED, DATA)
        db_of(host).session.commit()
        assert {delivery.endpoint_id for delivery in owed(host)} == {all_, prefix, exact}


@on_every_database
def test_deleted_endpoint_gets_nothing_and_paused_one_is_owed(host: Flask) -> None:
    with host.app_context():
        access = accessing(host)
        deleted, paused, active = subscribe(host), subscribe(host), subscribe(host)
        actions.delete_endpoint(access, deleted)
        actions.pause_endpoint(access, paused)
        webhooks_of(host).emit(CREATED, DATA)
        db_of(host).session.commit()
        states = {row.endpoint_id: (str(row.state), row.due_at is None) for row in owed(host)}
        assert states == {paused: ("held", True), active: ("pending", False)}


@on_every_database
def test_pending_delivery_is_due_by_the_databases_clock(app: Flask) -> None:
    webhooks_of(app).emit(CREATED, DATA)
    db_of(app).session.commit()
    (delivery,) = owed(app)
    assert delivery.due_at is not None
    assert abs(delivery.due_at - datetime.now(UTC)) < timedelta(minutes=1)


@on_every_database
def test_unmatched_event_is_kept_where_the_host_wants_it(host: Flask) -> None:
    with host.app_context():
        assert webhooks_of(host).emit(CREATED, DATA) is None
        db_of(host).session.commit()
        assert stored(host) == []
    keeping = make_app(
        host.config["SQLALCHEMY_DATABASE_URI"],
        host.config["WEBHOOKS_REDIS_URL"],
        SQLITE_IMMEDIATE=host.config["SQLITE_IMMEDIATE"],
        WEBHOOKS_KEEP_UNMATCHED=True,
    )
    with keeping.app_context():
        assert webhooks_of(keeping).emit(CREATED, DATA) is not None
        assert webhooks_of(keeping).emit(REFUSED, {"reason": "password"}) is not None
        db_of(keeping).session.commit()
        assert types(keeping) == [CREATED, REFUSED]
        assert owed(keeping) == []
    close(keeping)


# -- what it costs ------------------------------------------------------------------------------------


@on_every_database
@pytest.mark.parametrize("event_type", [CREATED, REFUSED])
def test_event_without_subscribers_costs_one_select(host: Flask, event_type: str) -> None:
    with host.app_context():
        subscribe(host, "user.banned")
        subscribe(host, tenant="other")
        write_note(host)
        with statements(host) as sent:
            webhooks_of(host).emit(event_type, {"reason": "password"})
            db_of(host).session.commit()
        sent.pop("BEGIN", None)
        assert sent == {"SELECT": 1}
        assert stored(host) == []
        assert wake_ups(host) == 0


@on_every_database
@pytest.mark.parametrize("endpoints", [1, 10, 100])
def test_event_costs_three_statements_for_any_number_of_endpoints(
    host: Flask, endpoints: int
) -> None:
    with host.app_context():
        models = models_of(host)
        with state_of(host).engine.begin() as connection:
            connection.execute(
                sa.insert(models.table("Endpoint")),
                [
                    {"id": f"ep_{n}", "url_shown": URL, "format": "standard"}
                    for n in range(endpoints)
                ],
            )
        write_note(host)
        with statements(host) as sent:
            webhooks_of(host).emit(CREATED, DATA)
        at_once = state_of(host).engine.dialect.name == "postgresql"
        assert sent == {"SELECT": 1, **({"WITH": 1} if at_once else {"INSERT": 2})}
        db_of(host).session.commit()
        assert len(owed(host)) == endpoints


@on_every_database
def test_delivery_is_the_same_row_however_many_there_are(app: Flask) -> None:
    """Also where the database makes the rows out of lists."""
    webhooks_of(app).emit(CREATED, DATA, tenant="app_1")
    db_of(app).session.commit()
    subscribe(app)
    webhooks_of(app).emit(CREATED, DATA, tenant="app_1")
    db_of(app).session.commit()
    models = models_of(app)
    differing = {"id", "event_id", "endpoint_id", "due_at", "created_at", "occurred_at"}
    with state_of(app).engine.connect() as connection:
        for name, count in (("Event", 2), ("Delivery", 3)):
            rows = connection.execute(sa.select(models.table(name))).mappings().all()
            assert len(rows) == count
            alike = [
                {key: value for key, value in row.items() if key not in differing} for row in rows
            ]
            assert alike == [alike[0]] * count
            assert all(row["created_at"] is not None for row in rows)
        assert all(row["due_at"] is not None for row in rows)


@pytest.mark.slow
@on_every_database
def test_each_delivery_has_the_tenant_and_the_state_of_its_endpoint(app: Flask) -> None:
    endpoints = {
        subscribe(app, tenant=tenant): (tenant, state)
        for tenant in (None, 'app, "1"', "app_2")
        for state in ("active", "paused", "disabled")
    }
    table = models_of(app).table("Endpoint")
    with state_of(app).engine.begin() as connection:
        for endpoint_id, (_, state) in endpoints.items():
            connection.execute(
                sa.update(table).where(table.c.id == endpoint_id).values(state=state)
            )
    webhooks_of(app).emit(CREATED, DATA, tenant='app, "1"')
    db_of(app).session.commit()
    found = {row.endpoint_id: (row.tenant, row.state, row.due_at is None) for row in owed(app)}
    assert found == {
        endpoint_id: (tenant, "pending", False) if state == "active" else (tenant, "held", True)
        for endpoint_id, (tenant, state) in endpoints.items()
        if tenant != "app_2"
    } | {
        delivery.endpoint_id: (None, "pending", False)
        for delivery in owed(app)
        if delivery.endpoint_id not in endpoints
    }


@on_postgresql
def test_endpoint_that_another_process_creates_gets_the_next_event(app: Flask) -> None:
    """Statements are kept, what they find is not."""
    webhooks_of(app).emit(CREATED, DATA)
    db_of(app).session.commit()
    other = make_app(app.config["SQLALCHEMY_DATABASE_URI"], app.config["WEBHOOKS_REDIS_URL"])
    with other.app_context():
        subscribe(other)
        close(other)
    webhooks_of(app).emit(CREATED, DATA)
    db_of(app).session.commit()
    assert len(owed(app)) == 1 + 2


@on_postgresql
def test_signal_costs_a_savepoint_more_on_postgresql(app: Flask) -> None:
    write_note(app)
    with statements(app) as sent:
        signals.license_created.send(app, data=DATA)
    assert sent == {"SAVEPOINT": 1, "SELECT": 1, "WITH": 1, "RELEASE": 1}


# -- the host's session is left alone -----------------------------------------------------------------


@on_every_database
def test_half_built_objects_of_the_host_are_not_flushed(app: Flask) -> None:
    session, note = db_of(app).session, note_class(app)()
    session.add(note)
    webhooks_of(app).emit(CREATED, DATA)
    assert note in session.new
    note.text = "whole"
    session.commit()
    assert types(app) == [CREATED]
    assert note.id is not None


@on_every_database
def test_emit_while_the_host_flushes(app: Flask) -> None:
    model, session = note_class(app), db_of(app).session

    @sa.event.listens_for(model, "after_insert")
    def inserted(*_: object) -> None:
        webhooks_of(app).emit(CREATED, DATA)
        webhooks_of(app).emit(REFUSED, {"reason": "password"})

    session.add(model(text="n"))
    session.flush()
    session.rollback()
    assert types(app) == [REFUSED]
    session.add(model(text="n"))
    session.commit()
    assert Counter(types(app)) == {REFUSED: 2, CREATED: 1}


@on_every_database
def test_returned_event_does_not_enter_the_hosts_session(app: Flask) -> None:
    event = webhooks_of(app).emit(CREATED, DATA)
    session = db_of(app).session
    assert event not in session
    assert not session.new
    session.commit()
    assert event is not None
    assert event.id.startswith("evt_")


@on_postgresql
def test_event_in_an_aborted_transaction(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """The host's transaction is lost anyway; what counts is that a signal says so only in the log."""
    session = db_of(app).session
    write_note(app)
    with pytest.raises(DBAPIError):
        session.execute(sa.text("SELECT 1 / 0"))
    signals.license_created.send(app, data=DATA)
    assert len(complaints(caplog)) == 1
    signals.user_login_failed.send(app, data={"reason": "password"})
    with pytest.raises(DBAPIError):
        webhooks_of(app).emit(CREATED, DATA)
    session.rollback()
    assert types(app) == [REFUSED]
    webhooks_of(app).emit(CREATED, DATA)
    session.commit()
    assert types(app) == [REFUSED, CREATED]


@on_every_database
def test_fault_of_ours_in_a_signal_leaves_the_hosts_transaction_usable(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """A host that was deployed before its migration ran must still log people in."""
    break_tables(app)
    write_note(app)
    signals.license_created.send(app, data=DATA)
    assert DATA["license_key"] not in caplog.text
    assert [line.partition(" could")[0] for line in complaints(caplog)] == [f"The event {CREATED}"]
    write_note(app)
    db_of(app).session.commit()
    assert db_of(app).session.execute(sa.text("SELECT count(*) FROM note")).scalar() == 2


@on_every_database
def test_event_that_could_not_be_written_whole_is_not_there_and_its_key_is_free(app: Flask) -> None:
    subscribe(app)
    break_tables(app)
    write_note(app)
    signals.license_created.send(app, data=DATA, idempotency_key="k")
    db_of(app).session.commit()
    assert stored(app) == []
    break_tables(app, mend=True)
    signals.license_created.send(app, data=DATA, idempotency_key="k")
    db_of(app).session.commit()
    assert types(app) == [CREATED]
    assert len(owed(app)) == 2


@on_sqlite
def test_event_that_the_host_gave_up_does_not_stay_without_deliveries(app: Flask) -> None:
    """Elsewhere a failed statement undoes what the host could commit afterwards."""
    break_tables(app)
    with pytest.raises(DBAPIError):
        webhooks_of(app).emit(CREATED, DATA, idempotency_key="k")
    write_note(app)
    db_of(app).session.commit()
    assert stored(app) == []


@on_sqlite
def test_after_commit_is_too_late_for_an_event_of_that_transaction(app: Flask) -> None:
    session = db_of(app).session()
    refused = []

    @sa.event.listens_for(session, "after_commit")
    def committed(_: orm.Session) -> None:
        webhooks_of(app).emit(REFUSED, {"reason": "password"})
        with pytest.raises(InvalidInput, match="before the commit"):
            webhooks_of(app).emit(CREATED, DATA)
        refused.append(True)

    write_note(app)
    session.commit()
    assert refused
    assert types(app) == [REFUSED]


# -- what emit refuses --------------------------------------------------------------------------------


@on_plain_sqlite
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"tenant": ALL_TENANTS}, "tenant"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": "a\nb"}, "tenant"),
        ({"tenant": "x" * 256}, "tenant"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": 7}, "idempotency_key"),
        ({"idempotency_key": "x" * 256}, "idempotency_key"),
        ({"idempotency_key": "a\0b"}, "idempotency_key"),
        ({"idempotency_key": "\ud800"}, "idempotency_key"),
        ({"occurred_at": "2024-01-01T00:00:00Z"}, "occurred_at"),
        ({"occurred_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, "occurred_at"),
        ({"tenant": SQLAlchemy()}, "tenant"),
        ({"tenant": b"app_1"}, "tenant"),
        ({"tenant": True}, "tenant"),
        ({"session": SQLAlchemy()}, "session"),
        ({"session": "db.session"}, "session"),
    ],
    ids=str,
)
def test_bad_options_are_refused_with_their_name(
    app: Flask, options: dict[str, Any], field: str
) -> None:
    for event_type in (CREATED, REFUSED):
        with pytest.raises(InvalidInput) as caught:
            webhooks_of(app).emit(event_type, DATA, **options)
        assert caught.value.field == field
    db_of(app).session.commit()
    assert stored(app) == []


@on_plain_sqlite
def test_bad_types_and_data_are_refused(app: Flask) -> None:
    emit = webhooks_of(app).emit
    with pytest.raises(UnknownEventType, match=r"license\.created"):
        emit("licence.created", DATA)
    for wrong in (None, ["license.created"], 7):
        with pytest.raises(UnknownEventType, match="There is no event type"):
            emit(wrong, DATA)  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="sent by Flask-Webhooks itself"):
        emit("test", {})
    with pytest.raises(InvalidData) as caught:
        emit(CREATED, {"user": {"avatar": b"png"}})
    assert caught.value.path == "data.user.avatar"
    assert not db_of(app).session().in_transaction()


# Hosts that ran on Python 3.10 write enumerations like this.
class Applications(str, enum.Enum):  # noqa: UP042
    SHOP = "app_1"


class EventTypes(str, enum.Enum):  # noqa: UP042
    CREATED = "license.created"


@on_every_database
@pytest.mark.parametrize(
    ("tenant", "stands"),
    [
        (7, "7"),
        (Applications.SHOP, "app_1"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
    ids=str,
)
def test_tenant_may_be_what_hosts_have_for_ids(host: Flask, tenant: Any, stands: str) -> None:
    with host.app_context():
        # What makes endpoints and what sends events must mean the same.
        endpoint_id = subscribe(host, tenant=tenant)
        for event_type in (EventTypes.CREATED, REFUSED):
            event = webhooks_of(host).emit(event_type, DATA, tenant=tenant)
            assert event is not None
            assert event.tenant == stands
        db_of(host).session.commit()
        assert Counter(types(host)) == {CREATED: 1, REFUSED: 1}
        assert [row.endpoint_id for row in owed(host)] == [endpoint_id] * 2
        assert {row.tenant for row in owed(host)} == {stands}
