"""The tables in hosts of every shape: their metadata, migrations, schemas, binds and base classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm
from sqlalchemy.exc import IntegrityError

from flask_webhooks import Webhooks
from flask_webhooks import models as definitions
from flask_webhooks.app_state import state_of
from flask_webhooks.columns import utc_now
from flask_webhooks.errors import ConfigurationError
from flask_webhooks.models import Models, Row, build_models
from tests.support.delivering import close, count, drain, make_app
from tests.support.hostapp import DEFAULTS
from tests.support.receiver import Receiver

TABLES = {
    "webhooks_endpoint",
    "webhooks_endpoint_health",
    "webhooks_bucket",
    "webhooks_event",
    "webhooks_scheduled",
    "webhooks_delivery",
    "webhooks_coalescing",
    "webhooks_attempt",
    "webhooks_statistic",
    "webhooks_metric",
    "webhooks_mark",
    "webhooks_numbering",
    "webhooks_heartbeat",
    "webhooks_activity",
    "webhooks_task",
    "webhooks_notification",
    "webhooks_token",
    "webhooks_portal_link",
}
CREATED, DATA = "license.created", {"license_id": "lic_1", "license_key": "AAAA-BBBB"}

Hosts = Callable[..., Flask]


@pytest.fixture
def hosts(redis_url: str) -> Iterator[Hosts]:
    """Makes hosts around a given `SQLAlchemy` object."""
    made = []

    def make(db: SQLAlchemy, url: str, **config: Any) -> Flask:
        app = Flask("tests.models")
        app.config.update(DEFAULTS, SQLALCHEMY_DATABASE_URI=url, WEBHOOKS_REDIS_URL=redis_url)
        app.config.update(config)
        db.init_app(app)
        webhooks = Webhooks(db, app)
        webhooks.authorize(lambda action, endpoint: True)
        app.extensions["test_webhooks"] = webhooks
        made.append(app)
        return app

    yield make
    for app in made:
        close(app)


def webhooks_of(app: Flask) -> Webhooks:
    webhooks: Webhooks = app.extensions["test_webhooks"]
    return webhooks


def table(app: Flask, name: str) -> sa.Table:
    return state_of(app).table(name)


def check_delivery(app: Flask, db: SQLAlchemy, receiver: Receiver) -> None:
    """All the way: raw SQL names our tables as well as the ORM does."""
    webhooks_of(app).create_endpoint(receiver.url())
    assert webhooks_of(app).emit(CREATED, DATA) is not None
    db.session.commit()
    assert drain(app) == 1
    receiver.wait_for(1)
    assert (count(app, "Delivery"), count(app, "Attempt")) == (1, 1)


# -- create_all ---------------------------------------------------------------------------------------------


def test_create_all_makes_every_table(database_url: str, hosts: Hosts, receiver: Receiver) -> None:
    db = SQLAlchemy()
    app = hosts(db, database_url)
    with app.app_context():
        db.create_all()
        db.create_all()
        assert set(sa.inspect(db.engine).get_table_names()) == TABLES
        assert {mapped.__tablename__ for mapped in definitions._MIXINS} == TABLES
        check_delivery(app, db, receiver)
        db.session.remove()
        db.drop_all()
        assert sa.inspect(db.engine).get_table_names() == []


def test_tables_begin_with_our_name() -> None:
    """Hosts have a ``webhook_event`` of their own, for what they receive."""
    assert all(name.startswith("webhooks_") for name in TABLES)


def test_models_are_named_and_typed_as_documented(hosts: Hosts) -> None:
    models = webhooks_of(hosts(SQLAlchemy(), "sqlite://")).models
    for mixin in definitions._MIXINS:
        model = getattr(models, mixin.__name__)
        assert issubclass(model, mixin)
        assert issubclass(model, Row)
        assert model.__name__ == mixin.__name__
        assert models.table(mixin.__name__) is model.__table__
        assert models.table(mixin.__name__).metadata is models.metadata


def test_names_fit_every_database_and_history_goes_with_what_it_is_of() -> None:
    for item in build_models(sa.MetaData()).metadata.tables.values():
        for index in item.indexes:
            assert len(str(index.name)) <= 63
        for constraint in item.constraints:
            assert len(str(constraint.name or "")) <= 63
        for foreign_key in item.foreign_keys:
            assert foreign_key.ondelete == "CASCADE"


def test_one_delivery_for_each_event_and_endpoint(database_url: str, hosts: Hosts) -> None:
    db = SQLAlchemy()
    app = hosts(db, database_url)
    with app.app_context():
        db.create_all()
        endpoint = webhooks_of(app).create_endpoint("https://hooks.example.com/").endpoint
        event = webhooks_of(app).emit(CREATED, DATA)
        db.session.commit()
        assert event is not None
        again = {
            "event_id": event.id,
            "endpoint_id": endpoint.id,
            "event_type": event.type,
            "due_at": utc_now(),
        }
        with pytest.raises(IntegrityError), state_of(app).engine.begin() as connection:
            connection.execute(sa.insert(table(app, "Delivery")).values(again))


# -- built once -----------------------------------------------------------------------------------------------


def test_models_are_built_once_for_a_metadata() -> None:
    metadata = sa.MetaData()
    models = build_models(metadata)
    assert build_models(metadata) is models
    assert build_models(sa.MetaData()) is not models
    assert isinstance(models, Models)
    assert models.metadata is metadata


def test_two_databases_have_classes_of_their_own() -> None:
    one, two = build_models(sa.MetaData()), build_models(sa.MetaData())
    orm.configure_mappers()
    assert one.Endpoint is not two.Endpoint
    assert one.table("Endpoint") is not two.table("Endpoint")


@pytest.mark.parametrize("schema", [None, "licensing"])
def test_taken_table_name_is_an_error_that_says_so(schema: str | None) -> None:
    metadata = sa.MetaData(schema=schema)
    sa.Table("webhooks_event", metadata, sa.Column("id", sa.Integer, primary_key=True))
    with pytest.raises(ConfigurationError) as caught:
        build_models(metadata)
    assert "already defines a table 'webhooks_event'" in str(caught.value)
    assert "WEBHOOKS_BIND_KEY" in str(caught.value)
    assert set(metadata.tables) == {f"{schema}.webhooks_event" if schema else "webhooks_event"}


def test_table_of_the_same_name_in_another_schema_is_no_obstacle() -> None:
    metadata = sa.MetaData(schema="licensing")
    sa.Table("webhooks_event", metadata, sa.Column("id", sa.Integer, primary_key=True), schema="x")
    build_models(metadata)


# -- the host's base class ------------------------------------------------------------------------------------


def _legacy() -> tuple[SQLAlchemy, Any]:
    db = SQLAlchemy()
    values = {"id": sa.Column(sa.Integer, primary_key=True), "name": sa.Column(sa.String(10))}
    return db, type("User", (db.Model,), values)


class _Columns:
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(10))


def _declarative() -> tuple[SQLAlchemy, Any]:
    class Base(orm.DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)
    return db, type("User", (_Columns, db.Model), {})


def _no_meta() -> tuple[SQLAlchemy, Any]:
    class Base(orm.DeclarativeBaseNoMeta):
        pass

    db = SQLAlchemy(model_class=Base)
    return db, type("User", (_Columns, db.Model), {"__tablename__": "user"})


def _dataclass_base() -> tuple[SQLAlchemy, Any]:
    class Base(orm.MappedAsDataclass, orm.DeclarativeBase):
        pass

    if sa.__version__ >= "2.1":
        pytest.skip("Flask-SQLAlchemy 3.1 cannot make such a base with SQLAlchemy 2.1")
    db = SQLAlchemy(model_class=Base)
    model: Any = db.Model

    class User(model):  # type: ignore[misc]
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True, init=False)
        name: orm.Mapped[str] = orm.mapped_column(sa.String(10))

    return db, User


def _dataclass_models() -> tuple[SQLAlchemy, Any]:
    class Base(orm.DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)
    model: Any = db.Model

    class User(orm.MappedAsDataclass, model):  # type: ignore[misc]
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True, init=False)
        name: orm.Mapped[str] = orm.mapped_column(sa.String(10))

    return db, User


@pytest.mark.parametrize(
    "make", [_legacy, _declarative, _no_meta, _dataclass_base, _dataclass_models]
)
def test_host_with_any_base_class(
    make: Callable[[], tuple[SQLAlchemy, Any]], hosts: Hosts, tmp_path: Path, receiver: Receiver
) -> None:
    db, user = make()
    app = hosts(db, f"sqlite:///{tmp_path / 'database'}")
    with app.app_context():
        db.create_all()
        assert set(sa.inspect(db.engine).get_table_names()) == {*TABLES, "user"}
        db.session.add(user(name="eve"))
        check_delivery(app, db, receiver)
        assert db.session.scalars(sa.select(user.name)).all() == ["eve"]


# -- schema and naming convention -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_schema_of_the_host_is_used(database_url: str, hosts: Hosts, receiver: Receiver) -> None:
    db = SQLAlchemy(metadata=sa.MetaData(schema="licensing"))
    app = hosts(db, database_url)
    with app.app_context():
        with db.engine.begin() as connection:
            connection.execute(sa.text("CREATE SCHEMA licensing"))
        db.create_all()
        inspector = sa.inspect(db.engine)
        assert set(inspector.get_table_names("licensing")) == TABLES
        assert inspector.get_table_names() == []
        check_delivery(app, db, receiver)


CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


@pytest.mark.slow
def test_naming_convention_of_the_host_is_used(
    database_url: str, hosts: Hosts, receiver: Receiver
) -> None:
    db = SQLAlchemy(metadata=sa.MetaData(naming_convention=CONVENTION))
    app = hosts(db, database_url)
    with app.app_context():
        db.create_all()
        inspector = sa.inspect(db.engine)
        names = {key["name"] for key in inspector.get_foreign_keys("webhooks_delivery")}
        assert names == {
            "fk_webhooks_delivery_event_id_webhooks_event",
            "fk_webhooks_delivery_endpoint_id_webhooks_endpoint",
        }
        assert inspector.get_pk_constraint("webhooks_event")["name"] == "pk_webhooks_event"
        check_delivery(app, db, receiver)


# -- a second database ----------------------------------------------------------------------------------------


def test_tables_in_a_second_database(
    database_url: str, hosts: Hosts, tmp_path: Path, receiver: Receiver
) -> None:
    db = SQLAlchemy()
    user = type("User", (db.Model,), {"id": sa.Column(sa.Integer, primary_key=True)})
    app = hosts(
        db,
        f"sqlite:///{tmp_path / 'main'}",
        SQLALCHEMY_BINDS={"hooks": database_url},
        WEBHOOKS_BIND_KEY="hooks",
    )
    with app.app_context():
        db.create_all()
        assert set(sa.inspect(db.engines["hooks"]).get_table_names()) == TABLES
        assert sa.inspect(db.engine).get_table_names() == ["user"]
        assert str(state_of(app).engine.url) == str(db.engines["hooks"].url)

        # One session, two transactions that end together.
        check_delivery(app, db, receiver)
        for finish, users, events in (
            (db.session.commit, 1, 2),
            (db.session.rollback, 1, 2),
            (db.session.remove, 1, 2),
        ):
            db.session.add(user())
            webhooks_of(app).emit(CREATED, DATA)
            finish()
            assert db.session.scalar(sa.select(sa.func.count()).select_from(user)) == users
            db.session.rollback()
            assert count(app, "Event") == events

        db.session.add(user())
        db.session.flush()
        webhooks_of(app).emit("user.login_failed", {"reason": "password"})
        db.session.rollback()
        assert count(app, "Event") == 3


@pytest.mark.slow
def test_models_of_two_applications_with_different_databases(hosts: Hosts, tmp_path: Path) -> None:
    db = SQLAlchemy()
    binds = {"SQLALCHEMY_BINDS": {"hooks": f"sqlite:///{tmp_path / 'hooks'}"}}
    one = hosts(db, f"sqlite:///{tmp_path / 'one'}", **binds, WEBHOOKS_BIND_KEY="hooks")
    two = hosts(db, f"sqlite:///{tmp_path / 'two'}", **binds)
    assert webhooks_of(one) is not webhooks_of(two)
    for app, bind_key in ((one, "hooks"), (two, None)):
        with app.app_context():
            db.create_all()
            models = webhooks_of(app).models
            assert models.metadata is db.metadatas[bind_key]
            assert webhooks_of(app).emit(CREATED, DATA) is None
            webhooks_of(app).create_endpoint("https://hooks.example.com/")
            assert webhooks_of(app).emit(CREATED, DATA) is not None
            db.session.commit()
            assert count(app, "Event") == 1
    with pytest.raises(ConfigurationError, match="needs an application context"):
        _ = webhooks_of(one).models


# -- indexes -------------------------------------------------------------------------------------------------

ON_DEMAND = "state = 'pending' AND \"trigger\" IN ('manual', 'test')"


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("endpoint_id IN ('a', 'b') AND state = 'sending'", "lease"),
        ("endpoint_id IN ('a', 'b') AND state = 'pending'", "due"),
        ("endpoint_id = 'a' AND state = 'held'", "held"),
        (
            "endpoint_id > 'a' AND state = 'pending' AND noticed IS NULL ORDER BY endpoint_id",
            "fresh",
        ),
        ("endpoint_id = 'a' AND state = 'pending' AND noticed IS NULL ORDER BY id", "fresh"),
        (f"endpoint_id > 'a' AND {ON_DEMAND} ORDER BY endpoint_id", "on_demand"),
        (f"endpoint_id = 'a' AND {ON_DEMAND} ORDER BY due_at", "on_demand"),
        ("endpoint_id = 'a' AND state = 'failed' ORDER BY id DESC", "failed"),
        ("tenant = 'a' AND state = 'failed' ORDER BY id DESC", "failures_tenant"),
        ("endpoint_id = 'a' ORDER BY id DESC", "all_endpoint"),
    ],
)
def test_sqlite_looks_into_the_index_of_a_state(
    tmp_path: Path, redis_url: str, condition: str, index: str
) -> None:
    """The history of an endpoint is many times as long as what waits for it."""
    app = make_app(f"sqlite:///{tmp_path / 'db.sqlite'}", redis_url)
    with state_of(app).engine.connect() as connection:
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN SELECT * FROM webhooks_delivery WHERE {condition}"
        ).all()
    assert f"USING INDEX ix_webhooks_delivery_{index} " in str(plan)
    close(app)
