"""Licensing servers of every shape, each with Flask-Webhooks mounted in it as its author would.

Each function makes one server. Beside what it shows, it has a `License` of its own, which `serve` writes in one
transaction with the event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask, Response, abort, request
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_admin.menu import MenuLink
from flask_babel import Babel
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.model import Model
from flask_wtf import CSRFProtect
from jinja2 import DictLoader
from sqlalchemy import orm

from flask_webhooks import Webhooks
from tests.browser.frameworks import FRAMEWORKS

Config = dict[str, Any]
Server = tuple[Flask, Webhooks]
Build = Callable[[Config], Server]


def serve(app: Flask, webhooks: Webhooks, model: Any, session: Any = None) -> Server:
    """Add what each server does: licences are created, and each is an event; and everybody may see the pages.

    :param session: makes the session that the server works with, if that is not `db.session`.
    """

    @app.post("/licenses")
    def create_license() -> str:
        current = webhooks.db.session() if session is None else session()
        key = request.form["key"]
        current.add(model(key=key))
        webhooks.emit("license.created", {"license_key": key}, session=current)
        if "refused" in request.form:
            current.rollback()
            abort(409)
        current.commit()
        return ""

    @app.get("/licenses")
    def list_licenses() -> list[str]:
        current = webhooks.db.session() if session is None else session()
        return [found.key for found in current.query(model)]

    @webhooks.authorize
    def may(action: str, endpoint: object) -> bool:
        return True  # the tests sign nobody in

    return app, webhooks


# -- how the application is made --------------------------------------------------------------------


def module_level_app(config: Config) -> Server:
    app = Flask(__name__)
    app.config.update(config)
    db = SQLAlchemy(app)
    webhooks = Webhooks(db, app)

    class License(db.Model):  # type: ignore[name-defined,misc]
        id = db.Column(db.Integer, primary_key=True)
        key = db.Column(db.String(20))

    return serve(app, webhooks, License)


def factory(config: Config) -> Server:
    db = SQLAlchemy()
    webhooks = Webhooks(db)

    class License(db.Model):  # type: ignore[name-defined,misc]
        id = db.Column(db.Integer, primary_key=True)
        key = db.Column(db.String(20))

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config.update(config)
        db.init_app(app)
        webhooks.init_app(app)
        return app

    return serve(create_app(), webhooks, License)


# -- how its tables are declared --------------------------------------------------------------------


def declared(config: Config, db: SQLAlchemy, model: Callable[[Any], Any]) -> Server:
    """A server around a `db`.

    :param model: makes its `License` from `db.Model`.
    """
    app = Flask(__name__)
    app.config.update(config)
    db.init_app(app)
    webhooks = Webhooks(db, app)
    return serve(app, webhooks, model(db.Model))


class Columns:
    """Those of a licence, as SQLAlchemy 2 has them."""

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    key: orm.Mapped[str] = orm.mapped_column(sa.String(20))


def typed(base: Any) -> Any:
    return type("License", (Columns, base), {"__tablename__": "license"})


def declarative_base(config: Config) -> Server:
    class Base(orm.DeclarativeBase):
        pass

    return declared(config, SQLAlchemy(model_class=Base), typed)


def declarative_base_without_metaclass(config: Config) -> Server:
    class Base(orm.DeclarativeBaseNoMeta):
        pass

    return declared(config, SQLAlchemy(model_class=Base), typed)


def dataclass_of(base: Any, *others: type) -> Any:
    class License(*others, base):  # type: ignore[misc]
        __tablename__ = "license"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True, init=False)
        key: orm.Mapped[str] = orm.mapped_column(sa.String(20))

    return License


def dataclass_base(config: Config) -> Server:
    """Flask-SQLAlchemy 3.1 makes such a base only with SQLAlchemy 2.0."""

    class Base(orm.MappedAsDataclass, orm.DeclarativeBase):
        pass

    return declared(config, SQLAlchemy(model_class=Base), dataclass_of)


def dataclass_models(config: Config) -> Server:
    class Base(orm.DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)
    return declared(config, db, lambda base: dataclass_of(base, orm.MappedAsDataclass))


def customised_model(config: Config) -> Server:
    """The base class of Flask-SQLAlchemy, with a primary key for all, and names of tables as they are written."""

    class WithKey(Model):
        @orm.declared_attr
        def id(cls):  # type: ignore[no-untyped-def]
            return sa.Column(sa.Integer, primary_key=True)

    db = SQLAlchemy(
        model_class=WithKey, disable_autonaming=True, session_options={"expire_on_commit": False}
    )

    class License(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "license"
        key = sa.Column(sa.String(20))

    return declared(config, db, lambda base: License)


def customised_base(config: Config) -> Server:
    """A base with names of constraints and arguments of its own."""

    class Base(orm.DeclarativeBase):
        metadata = sa.MetaData(
            naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(column_0_label)s"}
        )
        __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012
        __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    return declared(config, SQLAlchemy(model_class=Base), typed)


# -- where its rows are written ---------------------------------------------------------------------


def session_of_its_own(config: Config) -> Server:
    """Tables and sessions of plain SQLAlchemy; Flask-SQLAlchemy is there for Flask-Webhooks only."""

    class Base(orm.DeclarativeBase):
        pass

    app = Flask(__name__)
    app.config.update(config)
    engine = sa.create_engine(config["SQLALCHEMY_DATABASE_URI"])
    session = orm.scoped_session(orm.sessionmaker(engine))
    app.teardown_appcontext(lambda error: session.remove())
    webhooks = Webhooks(SQLAlchemy(app), app)
    license_model = typed(Base)
    Base.metadata.create_all(engine)
    app.extensions["own_engine"] = engine
    return serve(app, webhooks, license_model, session)


def several_databases(config: Config) -> Server:
    """Licences are in one database, customers in another; ours are where the licences are."""
    app = Flask(__name__)
    app.config.update(config)
    app.config["SQLALCHEMY_BINDS"] = {"customers": "sqlite://", "licensing": _beside(config)}
    app.config["WEBHOOKS_BIND_KEY"] = "licensing"
    db = SQLAlchemy(app)
    webhooks = Webhooks(db, app)

    class License(db.Model):  # type: ignore[name-defined,misc]
        __bind_key__ = "licensing"
        id = db.Column(db.Integer, primary_key=True)
        key = db.Column(db.String(20))

    class Customer(db.Model):  # type: ignore[name-defined,misc]
        __bind_key__ = "customers"
        id = db.Column(db.Integer, primary_key=True)

    return serve(app, webhooks, License)


def database_beside_the_default(config: Config) -> Server:
    """Ours are in another database than the licences."""
    app = Flask(__name__)
    app.config.update(config)
    app.config["SQLALCHEMY_BINDS"] = {"webhooks": _beside(config)}
    app.config["WEBHOOKS_BIND_KEY"] = "webhooks"
    db = SQLAlchemy(app)
    webhooks = Webhooks(db, app)

    class License(db.Model):  # type: ignore[name-defined,misc]
        id = db.Column(db.Integer, primary_key=True)
        key = db.Column(db.String(20))

    return serve(app, webhooks, License)


def _beside(config: Config) -> str:
    return f"{config['SQLALCHEMY_DATABASE_URI']}.second"


# -- what is around the pages -----------------------------------------------------------------------


def protected_forms(config: Config) -> Server:
    app, webhooks = module_level_app(config)
    # Programs create licences; forms of the server would have a token.
    CSRFProtect(app).exempt(app.view_functions["create_license"])
    return app, webhooks


def forms_without_protection(config: Config) -> Server:
    return module_level_app({**config, "WTF_CSRF_ENABLED": False})


def flask_admin(config: Config) -> Server:
    app = Flask(__name__)
    app.config.update(config)
    db = SQLAlchemy(app)
    webhooks = Webhooks(db, app)
    Babel(app)

    class License(db.Model):  # type: ignore[name-defined,misc]
        id = db.Column(db.Integer, primary_key=True)
        key = db.Column(db.String(20))

    admin = Admin(app, name="Licences")
    admin.add_view(ModelView(License, db))
    admin.add_link(MenuLink("Webhooks", endpoint="flask_webhooks.endpoint_list"))
    return serve(app, webhooks, License)


def strict_policy(config: Config) -> Server:
    app, webhooks = module_level_app(config)

    @app.after_request
    def allow_what_is_needed(response: Response) -> Response:
        policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'"
        response.headers["Content-Security-Policy"] = policy
        return response

    return app, webhooks


def layout_of(framework: str) -> Build:
    def build(config: Config) -> Server:
        config = {**config, "WEBHOOKS_BASE_TEMPLATE": "layout.html"}
        app, webhooks = module_level_app(config)
        app.jinja_loader = DictLoader({"layout.html": FRAMEWORKS[framework].layout("light")})
        return app, webhooks

    return build


# -- all of them ------------------------------------------------------------------------------------

HOSTS: dict[str, Build] = {
    "module-level": module_level_app,
    "factory": factory,
    "declarative-base": declarative_base,
    "declarative-base-no-meta": declarative_base_without_metaclass,
    "dataclass-base": dataclass_base,
    "dataclass-models": dataclass_models,
    "customised-model": customised_model,
    "customised-base": customised_base,
    "own-session": session_of_its_own,
    "several-databases": several_databases,
    "own-database": database_beside_the_default,
    "csrf-on": protected_forms,
    "csrf-off": forms_without_protection,
    "flask-admin": flask_admin,
    "strict-csp": strict_policy,
    "bootstrap5": layout_of("bootstrap5"),
    "tailwind4": layout_of("tailwind4"),
}
