"""The extension object: setting up applications, hearing signals, and what is public."""

from __future__ import annotations

import ast
import gc
import inspect
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import blinker
import flask_login
import pytest
from flask import Flask, current_app
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy

import flask_webhooks
from flask_webhooks import ALL_TENANTS, Format, Webhooks, signals
from flask_webhooks.app_state import EXTENSION, state_of
from flask_webhooks.errors import (
    ConfigurationError,
    InvalidEventType,
    UnknownEventType,
    WebhooksError,
)
from flask_webhooks.formats.standard import Standard
from flask_webhooks.models import Event
from tests.support.delivering import close, db_of, models_of, webhooks_of
from tests.support.helpers import URL, make_app
from tests.support.hostapp import DEFAULTS
from tests.support.processes import ROOT

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}

MakeApp = Callable[..., Flask]


@pytest.fixture
def make(redis_url: str, tmp_path: Path) -> Iterator[MakeApp]:
    """Makes hosts with a database each, and an endpoint of the whole server."""
    made: list[Flask] = []

    def make_host(**config: Any) -> Flask:
        app = make_app(f"sqlite:///{tmp_path / str(len(made))}", redis_url, **config)
        made.append(app)
        with app.app_context():
            webhooks_of(app).create_endpoint(URL)
        return app

    yield make_host
    for app in made:
        close(app)


@pytest.fixture
def app(make: MakeApp) -> Flask:
    return make()


def events(app: Flask) -> list[Event]:
    """What was recorded, once the host has committed."""
    with app.app_context():
        model = models_of(app).Event
        session = db_of(app).session
        found = session.query(model).order_by(model.id).all()
        session.expunge_all()
        return found


def types(app: Flask) -> list[str]:
    return [event.type for event in events(app)]


def bare(**config: Any) -> tuple[Flask, SQLAlchemy]:
    app, db = Flask("bare"), SQLAlchemy()
    app.config.update(DEFAULTS, SQLALCHEMY_DATABASE_URI="sqlite://", **config)
    db.init_app(app)
    return app, db


# -- setting up ---------------------------------------------------------------------------------------------


def test_two_applications_with_different_settings_in_one_process(make: MakeApp) -> None:
    one = make(WEBHOOKS_TIMEOUT=1.0, WEBHOOKS_MAX_DATA_BYTES=2048, SECRET_KEY="one")
    two = make(WEBHOOKS_TIMEOUT=2.0, WEBHOOKS_QUEUE="other", SECRET_KEY="two")
    assert [state_of(app).settings.timeout for app in (one, two)] == [1.0, 2.0]
    assert [state_of(app).settings.queue for app in (one, two)] == ["webhooks", "other"]
    assert state_of(one).settings.installation != state_of(two).settings.installation
    large = {"license_id": "x" * 3000}
    for app in (one, two):
        with app.app_context():
            signals.license_created.send(app, data=large)
            db_of(app).session.commit()
    assert types(one) == []
    assert types(two) == ["license.created"]


@pytest.mark.slow
def test_nothing_goes_to_the_customers_of_another_application(redis_url: str) -> None:
    def init(name: str) -> tuple[Flask, Webhooks]:
        app, db = Flask(name), SQLAlchemy()
        app.config.update(
            DEFAULTS, SQLALCHEMY_DATABASE_URI="sqlite://", WEBHOOKS_REDIS_URL=redis_url
        )
        db.init_app(app)
        return app, Webhooks(db, app)

    (_, shop), (games, of_games) = init("shop"), init("games")
    with games.app_context():
        of_games.db.create_all()
        of_games.create_endpoint(URL)
        with pytest.raises(ConfigurationError, match="'games' has its own Webhooks object"):
            shop.emit("license.created", DATA)
        with pytest.raises(ConfigurationError, match="'games' has its own Webhooks object"):
            shop.create_endpoint(URL)
        assert shop.models is not of_games.models
        assert of_games.db.session.query(of_games.models.Event).count() == 0
        assert of_games.db.session.query(of_games.models.Endpoint).count() == 1
    close(games)


@pytest.mark.slow
def test_one_object_may_serve_several_applications(tmp_path: Path, redis_url: str) -> None:
    db = SQLAlchemy()
    webhooks = Webhooks(db)
    apps = []
    for number in range(2):
        app = Flask(f"app{number}")
        app.config.update(
            DEFAULTS,
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / app.name}",
            WEBHOOKS_REDIS_URL=redis_url,
            WEBHOOKS_PRODUCT_NAME=app.name,
        )
        db.init_app(app)
        webhooks.init_app(app)
        apps.append(app)
    for app in apps:
        with app.app_context():
            db.create_all()
            assert state_of().settings.product_name == app.name
            webhooks.create_endpoint(URL)
            webhooks.emit("license.created", {"app": app.name})
            db.session.commit()
    assert [event.data["app"] for app in apps for event in events(app)] == ["app0", "app1"]
    for app in apps:
        close(app)


def test_second_init_app_says_what_to_do() -> None:
    app, db = bare()
    webhooks = Webhooks(db, app)
    for again in (webhooks, Webhooks(db)):
        with pytest.raises(ConfigurationError, match=r"already called .* Call it once") as caught:
            again.init_app(app)
        assert "'bare'" in str(caught.value)


def test_database_comes_first() -> None:
    app, db = Flask("bare"), SQLAlchemy()
    app.config.update(DEFAULTS, SQLALCHEMY_DATABASE_URI="sqlite://")
    with pytest.raises(ConfigurationError, match=r"Call db\.init_app\(app\) before"):
        Webhooks(db, app)
    assert EXTENSION not in app.extensions
    db.init_app(app)
    Webhooks(db, app)


def test_database_of_another_extension_object_is_refused() -> None:
    app, _ = bare()
    with pytest.raises(ConfigurationError, match="uses a different SQLAlchemy object"):
        Webhooks(SQLAlchemy(), app)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"WEBHOOKS_TIMEOUT": "soon"}, "WEBHOOKS_TIMEOUT must be a number"),
        ({"WEBHOOKS_DEFAULT_FORMAT": "xml"}, "WEBHOOKS_DEFAULT_FORMAT is 'xml'; choose one of:"),
        ({"WEBHOOKS_BIND_KEY": "second"}, "SQLALCHEMY_BINDS has no such key"),
        ({"WEBHOOKS_ENCRYPTION_KEYS": ["x"]}, "WEBHOOKS_ENCRYPTION_KEYS[0] is not a Fernet key"),
        ({"WEBHOOKS_ALLOWED_NETWORKS": ["x"]}, "WEBHOOKS_ALLOWED_NETWORKS"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_and_leave_the_application_as_it_was(
    config: dict[str, Any], says: str
) -> None:
    app, db = bare(**config)
    with pytest.raises(ConfigurationError) as caught:
        Webhooks(db, app)
    assert says in str(caught.value)
    assert EXTENSION not in app.extensions
    assert db.metadata.tables == {}


def test_bind_that_only_another_application_has_is_refused() -> None:
    app, db = bare(SQLALCHEMY_BINDS={"hooks": "sqlite://"}, WEBHOOKS_BIND_KEY="hooks")
    Webhooks(db, app)
    other = Flask("other")
    other.config.update(DEFAULTS, SQLALCHEMY_DATABASE_URI="sqlite://", WEBHOOKS_BIND_KEY="hooks")
    db.init_app(other)
    with pytest.raises(ConfigurationError, match="SQLALCHEMY_BINDS has no such key"):
        Webhooks(db, other)


def test_host_with_named_databases_only_has_to_choose_one() -> None:
    def init(**config: Any) -> None:
        app, db = Flask("bare"), SQLAlchemy()
        app.config.update(
            DEFAULTS, SQLALCHEMY_BINDS={"hooks": "sqlite://", "x": "sqlite://"}, **config
        )
        db.init_app(app)
        Webhooks(db, app)

    with pytest.raises(ConfigurationError, match=r"Set WEBHOOKS_BIND_KEY .*: 'hooks', 'x'\."):
        init()
    init(WEBHOOKS_BIND_KEY="hooks")


@pytest.mark.slow
def test_factory_that_runs_twice_reuses_the_models(tmp_path: Path, redis_url: str) -> None:
    db = SQLAlchemy()

    def create_app(name: str) -> tuple[Flask, Webhooks]:
        app = Flask(name)
        app.config.update(
            DEFAULTS,
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / name}",
            WEBHOOKS_REDIS_URL=redis_url,
        )
        db.init_app(app)
        return app, Webhooks(db, app)

    (one, first), (two, second) = create_app("one"), create_app("two")
    assert first.models is second.models
    assert first.models.Endpoint is second.models.Endpoint
    for app, webhooks in ((one, first), (two, second)):
        with app.app_context():
            db.create_all()
            webhooks.create_endpoint(URL)
            webhooks.emit("license.created", DATA)
            db.session.commit()
        assert types(app) == ["license.created"]
        close(app)


def test_models_before_init_app_say_what_is_missing() -> None:
    webhooks = Webhooks(SQLAlchemy())
    with pytest.raises(ConfigurationError, match="needs an application context"):
        _ = webhooks.models
    app, _ = bare()
    with (
        app.app_context(),
        pytest.raises(ConfigurationError, match=r"not set up for the .* 'bare'"),
    ):
        _ = webhooks.models


def test_models_outside_of_a_context_are_those_of_the_only_database() -> None:
    app, db = bare()
    webhooks = Webhooks(db, app)
    with app.app_context():
        inside = webhooks.models
    assert webhooks.models is inside
    assert inside.table("Event") is db.metadata.tables["webhooks_event"]


def test_set_up_brings_pages_and_commands() -> None:
    app, db = bare(WEBHOOKS_URL_PREFIX="/hooks")
    Webhooks(db, app)
    assert "flask_webhooks" in app.blueprints
    assert "webhooks" in app.cli.commands
    without, db = bare(WEBHOOKS_URL_PREFIX=None)
    Webhooks(db, without)
    assert "flask_webhooks" not in without.blueprints


def test_hooks_are_registered_by_decorators_that_give_the_function_back() -> None:
    webhooks = Webhooks(SQLAlchemy())

    @webhooks.authorize
    def may(action: str, endpoint: object) -> bool:
        return True

    @webhooks.current_tenant
    def tenant() -> Any:
        return ALL_TENANTS

    @webhooks.current_actor
    def actor() -> str:
        return "eve"

    assert webhooks.hooks.authorize is may
    assert webhooks.hooks.current_tenant is tenant
    assert webhooks.hooks.current_actor is actor
    assert may("view", None)
    assert tenant() is ALL_TENANTS
    assert actor() == "eve"


def test_hooks_belong_to_one_extension_object() -> None:
    one, two = Webhooks(SQLAlchemy()), Webhooks(SQLAlchemy())
    one.authorize(lambda action, endpoint: True)
    assert two.hooks.authorize is None


# -- the host's own types and formats -------------------------------------------------------------------------


def test_event_type_of_the_hosts_own(app: Flask) -> None:
    webhooks = webhooks_of(app)
    added = webhooks.add_event_type(
        "shop.order_placed", description="An order was placed.", example={"order_id": "o_1"}
    )
    assert added.group == "Application"
    assert added.transactional
    with app.app_context():
        webhooks.create_endpoint(URL, ["shop.*"])
        webhooks.emit("shop.order_placed", {"order_id": "o_1"})
        db_of(app).session.rollback()
        webhooks.emit("shop.order_placed", {"order_id": "o_2"})
        db_of(app).session.commit()
    assert [event.data for event in events(app)] == [{"order_id": "o_2"}]
    with pytest.raises(InvalidEventType):
        webhooks.add_event_type("shop.order_placed", description="Again.")
    assert "shop.order_placed" not in Webhooks(SQLAlchemy()).catalog


def test_refusal_of_the_hosts_own(app: Flask) -> None:
    webhooks_of(app).add_event_type("shop.refused", description="No.", transactional=False)
    with app.app_context():
        webhooks_of(app).emit("shop.refused", {})
        db_of(app).session.rollback()
    assert types(app) == ["shop.refused"]


def test_format_of_the_hosts_own() -> None:
    class Plain(Standard):
        name = "plain"

    app, db = bare(WEBHOOKS_DEFAULT_FORMAT="plain")
    webhooks = Webhooks(db)
    item = Plain()
    assert isinstance(item, Format)
    assert webhooks.add_format(item) is item
    webhooks.init_app(app)
    assert state_of(app).formats["plain"] is item
    with pytest.raises(ConfigurationError, match="already"):
        webhooks.add_format(Plain())
    assert "plain" not in Webhooks(SQLAlchemy()).formats


# -- signals of ours ------------------------------------------------------------------------------------------


def send(app: Flask, sender: Any, **values: Any) -> None:
    with app.app_context():
        signals.license_created.send(sender, **values)
        db_of(app).session.commit()


def test_sender_may_be_the_application_or_its_proxy(app: Flask) -> None:
    send(app, app, data=DATA)
    send(app, current_app, data=DATA)
    assert types(app) == ["license.created"] * 2


@pytest.mark.parametrize(
    "sender", [None, "licence service", object()], ids=["None", "text", "object"]
)
def test_sender_of_another_kind_speaks_of_the_current_application(
    app: Flask, sender: object
) -> None:
    send(app, sender, data=DATA)
    assert types(app) == ["license.created"]


def test_signal_carries_everything_that_emit_takes(app: Flask) -> None:
    for _ in range(2):
        send(app, app, data=DATA, tenant="app_1", idempotency_key="k")
    (event,) = events(app)
    assert (event.tenant, event.idempotency_key, event.data) == ("app_1", "k", DATA)
    send(app, app)
    assert events(app)[1].data == {}


def test_application_without_the_extension_is_ignored(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Flask("stranger")
    with stranger.app_context():
        for sender in (stranger, current_app, "service"):
            signals.license_created.send(sender, data=DATA)
    with app.app_context():
        signals.license_created.send(stranger, data=DATA)
        db_of(app).session.commit()
    assert types(app) == []
    assert caplog.records == []


def test_signal_goes_to_the_application_that_sent_it_only(make: MakeApp) -> None:
    one, two = make(), make()
    send(one, one, data=DATA)
    assert (types(one), types(two)) == (["license.created"], [])


def test_signal_that_speaks_of_no_application_is_not_lost_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for sender in ("service", current_app):
        signals.license_created.send(sender, data=DATA)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "within 'with app.app_context():'" in caplog.text


@pytest.mark.parametrize(
    "values",
    [{"data": {"a": b"x"}}, {"data": "text"}, {"data": {}, "tenant": ALL_TENANTS}],
    ids=str,
)
def test_fault_in_a_signal_never_reaches_its_sender(
    app: Flask, values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    send(app, app, **values)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    said = record.getMessage()
    assert re.match(r"The event license\.created could not be recorded \(Invalid\w+: ", said)
    # The message says it all; the variables of a traceback would show the data.
    assert record.exc_info is None
    assert types(app) == []


# -- signals of the host's ------------------------------------------------------------------------------------


@pytest.fixture
def signal() -> blinker.NamedSignal:
    return blinker.Namespace().signal("order-placed")


@pytest.mark.slow
def test_connect_takes_a_lambda_that_nobody_else_keeps(
    app: Flask, signal: blinker.NamedSignal
) -> None:
    webhooks_of(app).connect(signal, "license.created", lambda sender, **values: dict(DATA))
    gc.collect()
    with app.app_context():
        signal.send(app)
        db_of(app).session.commit()
    assert types(app) == ["license.created"]


def test_builder_gives_data_or_data_and_tenant_or_nothing(
    app: Flask, signal: blinker.NamedSignal
) -> None:
    def build(sender: Any, answer: Any, **values: Any) -> Any:
        assert sender is app
        return answer

    webhooks_of(app).connect(signal, "license.created", build)
    with app.app_context():
        for answer in ({"n": 1}, ({"n": 2}, "app_1"), ({"n": 3}, None), None):
            signal.send(app, answer=answer)
        db_of(app).session.commit()
    found = [(event.data["n"], event.tenant) for event in events(app)]
    assert found == [(1, None), (2, "app_1"), (3, None)]


def test_builder_that_fails_does_not_reach_the_sender(
    app: Flask, signal: blinker.NamedSignal, caplog: pytest.LogCaptureFixture
) -> None:
    def build(sender: Any) -> dict[str, Any]:
        raise ZeroDivisionError("in the host's own code")

    webhooks_of(app).connect(signal, "license.created", build)
    with app.app_context():
        signal.send(app)
        signal.send(app, unexpected="keyword")
        signal.send(current_app)
    signal.send("nobody")
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 4
    assert "in the host's own code" in caplog.text
    assert types(app) == []


def test_connect_hears_only_its_own_applications(
    make: MakeApp, signal: blinker.NamedSignal
) -> None:
    one, two = make(), make()
    webhooks_of(one).connect(signal, "license.created", lambda sender: {"of": "one"})
    for app in (one, two, Flask("stranger")):
        with app.app_context():
            signal.send(app)
            signal.send("service")
            if app.extensions.get("sqlalchemy"):
                db_of(app).session.commit()
    assert (len(types(one)), len(types(two))) == (2, 0)


def test_connect_knows_its_event_types_at_once(signal: blinker.NamedSignal) -> None:
    webhooks = Webhooks(SQLAlchemy())
    with pytest.raises(UnknownEventType, match=r"user\.logged_in"):
        webhooks.connect(signal, "user.login", lambda sender: {})
    assert not signal.receivers


def test_logins_of_flask_login_become_events(make: MakeApp) -> None:
    app = make()
    manager = flask_login.LoginManager(app)

    class User(flask_login.UserMixin):  # type: ignore[misc]
        id = "usr_1"

    manager.user_loader(lambda user_id: User())
    webhooks_of(app).connect(
        flask_login.user_logged_in,
        "user.logged_in",
        lambda sender, user, **extra: ({"user_id": user.id, "username": "eve"}, "app_1"),
    )

    @app.post("/login")
    def login() -> ResponseReturnValue:
        flask_login.login_user(User())
        return {}

    assert app.test_client().post("/login").status_code == 200
    (event,) = events(app)
    assert (event.type, event.tenant) == ("user.logged_in", "app_1")
    assert event.data == {"user_id": "usr_1", "username": "eve"}


# -- what is public -------------------------------------------------------------------------------------------


def test_public_names_of_the_package() -> None:
    assert flask_webhooks.__all__ == [
        "ALL_TENANTS",
        "EventType",
        "Format",
        "Webhooks",
        "WebhooksError",
        "Worker",
    ]
    for name in flask_webhooks.__all__:
        assert getattr(flask_webhooks, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = flask_webhooks.nothing
    assert issubclass(ConfigurationError, WebhooksError)
    assert repr(ALL_TENANTS) == "ALL_TENANTS"


def test_public_names_of_the_extension_object() -> None:
    names = {name for name in dir(Webhooks(SQLAlchemy())) if not name.startswith("_")}
    assert names == {
        *("init_app", "db", "hooks", "catalog", "formats", "models"),
        *(
            "emit",
            "connect",
            "cancel",
            "create_endpoint",
            "erase",
            "pull",
            "ledger",
            "add_event_type",
            "version",
            "add_format",
            "api_blueprint",
            "health_blueprint",
            "metrics_blueprint",
            "vendor_api_blueprint",
        ),
        *(
            "authorize",
            "current_tenant",
            "current_actor",
            "tenant_name",
            "tenant_exists",
            "endpoint_limit",
            "notify",
            "portal_link",
        ),
    }


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (
            "emit",
            "event_type data tenant idempotency_key occurred_at transactional session",
        ),
        ("cancel", "key tenant session"),
        ("connect", "signal event_type build"),
        (
            "create_endpoint",
            "url events tenant format name description secret headers user_agent",
        ),
        (
            "add_event_type",
            "name description group schema example transactional high_volume",
        ),
        ("init_app", "app"),
    ],
)
def test_parameters_may_be_added_but_not_renamed(method: str, parameters: str) -> None:
    found = list(inspect.signature(getattr(Webhooks, method)).parameters)
    assert found[0] == "self"
    assert [name for name in found if name in parameters.split()] == parameters.split()


def test_every_public_function_says_what_it_is() -> None:
    for name, value in inspect.getmembers(Webhooks):
        if not name.startswith("_"):
            assert inspect.getdoc(value), name


# -- the direction of imports ---------------------------------------------------------------------------------

#: From below to above; what is not named here is a leaf, below all of them. A module imports from lower
#: layers, or from its own package.
LAYERS = [
    {"models"},
    {"app_state"},
    {"db", "state"},
    {"outbox"},
    {"delivery"},
    {"access"},
    {"bulk", "stored_secrets", "token_access"},
    {"portal_access"},
    {"queries", "actions"},
    {"jobs"},
    {"worker", "tasks", "serializers", "doctor", "metrics"},
    {"admin", "api", "cli", "testing", "healthz"},
    {"extension"},
    {"__init__"},
]

#: Imports within functions: each has its reason where it stands.
LAZY = {
    ("catalog", "catalog"),
    ("cli", "doctor"),
    ("cli", "jobs"),
    ("cli", "metrics"),
    ("cli", "worker"),
    ("commands", "cli"),
    ("extension", "api"),
    ("extension", "cli"),
    ("extension", "metrics"),
    ("metrics", "jobs"),
    ("receiver_ledger", "receiver"),
    ("testing", "testing"),
}

PACKAGE = Path(flask_webhooks.__file__).parent

#: What reads or writes a database: modules, and attributes of connections and sessions.
SQL = re.compile(
    r"(sqlalchemy|flask_sqlalchemy|sqlite3|psycopg)(\.|$)"
    r"|(.*\.)?(transactions|session_events|store|locks|conditions|columns)$"
    r"|\.(execute|scalars?|begin|connect|exec_driver_sql)$"
)


def modules() -> dict[str, Path]:
    """Every module, named without the package: ``delivery.claim``, ``__init__``."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)] = path
    return found


def imports(name: str, path: Path, known: set[str]) -> Iterator[tuple[str, bool]]:
    """The modules of ours that a module imports, and whether it does so within a function."""
    package = [] if name == "__init__" else name.split(".")
    if path.name != "__init__.py":
        package.pop()

    def walk(node: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.ImportFrom) and child.level:
                above = package[: len(package) - child.level + 1]
                base = [*above, *(child.module or "").split(".")] if child.module else above
                for alias in child.names:
                    full = ".".join([*base, alias.name])
                    yield (full if full in known else ".".join(base) or "__init__"), lazy
            elif isinstance(child, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in child.names]
                names.append(getattr(child, "module", None) or "")
                assert not any(item.startswith("flask_webhooks") for item in names), name
            inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, inside)

    yield from walk(ast.parse(path.read_text()), False)


def layer(top: str) -> int:
    return next((number for number, names in enumerate(LAYERS, 1) if top in names), 0)


@pytest.mark.slow
def test_imports_go_one_way() -> None:
    known = modules()
    graph: dict[str, set[str]] = {name: set() for name in known}
    wrong = []
    for name, path in known.items():
        top = name.partition(".")[0]
        for target, lazy in imports(name, path, set(known)):
            other = target.partition(".")[0]
            if lazy:
                if (top, other) not in LAZY:
                    wrong.append(f"{name} imports {target} within a function")
                continue
            graph[name].add(target)
            if top != other and layer(top) <= layer(other) and layer(top) + layer(other) > 0:
                wrong.append(f"{name} imports {target}, which is not below it")
    assert wrong == []
    # Among the leaves, and within a package, there are no circles either.
    tuple(TopologicalSorter({name: found - {name} for name, found in graph.items()}).static_order())


def test_views_hold_no_sql() -> None:
    """Pages and the API ask `queries` and `actions`, which are what checks who may see what."""
    wrong = []
    for path in (*(PACKAGE / "admin").rglob("*.py"), *(PACKAGE / "api").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [node.module or ""]
            elif isinstance(node, ast.Attribute):
                found = [f".{node.attr}"]
            wrong += [f"{path.name}: {name}" for name in found if SQL.match(name)]
    assert wrong == []


@pytest.mark.slow
def test_nobody_imports_the_extension_but_the_package() -> None:
    known = modules()
    importers = {
        name
        for name, path in known.items()
        if "extension" in {target for target, _ in imports(name, path, set(known))}
    }
    # The package's own `__getattr__` does, when somebody asks for `Webhooks`.
    assert importers == set()
    assert flask_webhooks._MODULES["Webhooks"] == "extension"


def test_receiver_app_does_without_the_sending_side() -> None:
    program = (
        "import sys; from flask_webhooks.receiver import verified, verify;"
        "print(*(name for name in sys.argv[1:] if name in sys.modules))"
    )
    unwanted = ["pycurl", "sqlalchemy", "flask_sqlalchemy", "redis", "rq", "flask_wtf"]
    done = subprocess.run(
        [sys.executable, "-c", program, *unwanted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == []


@pytest.mark.slow
def test_processes_of_the_host_do_without_the_delivery_side() -> None:
    program = (
        "import sys; from tests.support.hostapp import create_app;"
        "app = create_app(SQLALCHEMY_DATABASE_URI='sqlite://');"
        "app.app_context().push(); app.extensions['sqlalchemy'].create_all();"
        "app.extensions['test_webhooks'].emit('user.login_failed', {});"
        "print(*(name for name in sys.argv[1:] if name in sys.modules))"
    )
    unwanted = ["pycurl", "flask_webhooks.worker", "flask_webhooks.delivery.drain"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *unwanted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == []
