"""Every route that shows something answers within the time that a statement may take, whatever holds it up."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from flask_webhooks import actions
from flask_webhooks.actions.portal_links import PORTAL
from flask_webhooks.app_state import state_of
from tests.support.api_calls import PREFIX as API
from tests.support.delivering import close, db_of, emit, webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    add_portal_link,
    add_scheduled,
    statements,
)
from tests.support.pages import make_app
from tests.support.vendor_calls import SERVICES

TENANT: Final = "app_1"
#: What a page may do besides: ask Redis, and render. Nothing of it waits for the database.
SLACK: Final = 10.0
#: Routes that say by a status of their own that something is wrong, and no more.
TERSE: Final = {"flask_webhooks_health.healthz", "flask_webhooks_metrics.show"}


def make_host(database_url: str, redis_url: str, **config: Any) -> Flask:
    """A host with all blueprints that there are, that lets a statement of ours take a tenth of a second."""
    app = make_app(database_url, redis_url, WEBHOOKS_QUERY_TIMEOUT=0.1, **config)
    webhooks = webhooks_of(app)
    api = webhooks.api_blueprint(authenticate=lambda: True, tokens=True)
    app.register_blueprint(api, url_prefix=API)
    for service in SERVICES:
        app.register_blueprint(webhooks.vendor_api_blueprint(service, lambda: True))
    app.register_blueprint(webhooks.health_blueprint())
    app.register_blueprint(webhooks.metrics_blueprint())
    return app


@pytest.fixture
def mariadb_host(mariadb_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_host(mariadb_url, redis_url)
    with app.app_context():
        yield app
        db_of(app).drop_all()
        close(app)


@pytest.fixture
def postgresql_host(postgres_server: Any, redis_url: str) -> Iterator[Flask]:
    postgres_server.start()
    app = make_host(postgres_server.create_database("time_limit"), redis_url)
    with app.app_context():
        yield app
        close(app)
    postgres_server.drop_database("time_limit")


@pytest.fixture
def sqlite_host(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_host(
        f"sqlite:///{tmp_path / 'database.sqlite'}",
        redis_url,
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 0.1}},
    )
    with app.app_context():
        yield app
        close(app)


def paths(app: Flask) -> list[tuple[Rule, str]]:
    """Every route of ours that shows something, for things that exist."""
    access = accessing(app)
    endpoint = add_endpoint(app, tenant=TENANT, secret="whsec_" + "A" * 32)
    [event_id] = emit(app, tenant=TENANT)
    values = {
        "endpoint_id": endpoint.id,
        "delivery_id": add_delivery(app, endpoint, "failed"),
        "event_id": event_id,
        "task_id": actions.start_task(access, "resend", endpoint.id, state="failed").id,
        "token_id": actions.create_token(access, "CI", ["view"], tenant=TENANT).token.id,
        "scheduled_id": add_scheduled(app, TENANT),
        "link_id": add_portal_link(app, TENANT),
        "name": "license.created",
        "app_id": TENANT,
        "webhook_id": "any",
        "path": "nowhere",
    }
    adapter = app.url_map.bind("localhost")
    found = []
    for rule in app.url_map.iter_rules():
        ours = rule.endpoint.startswith("flask_webhooks") and not rule.endpoint.endswith(".static")
        # The portal has the same pages, for those who opened a link.
        ours &= not rule.endpoint.startswith(f"{PORTAL}.")
        if ours and "GET" in (rule.methods or ()):
            arguments = {name: values[name] for name in rule.arguments}
            found.append((rule, adapter.build(rule.endpoint, arguments)))
    return found


@contextmanager
def locked(app: Flask, *tables: str) -> Iterator[None]:
    """Another connection holds tables, so that nothing can be read of them."""
    engine = state_of(app).own_engine
    quoted = [engine.dialect.identifier_preparer.quote(table) for table in tables]
    with engine.connect() as connection:
        match engine.dialect.name:
            case "sqlite":
                # Of the whole database.
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
            case "postgresql":
                connection.exec_driver_sql(f"LOCK {', '.join(quoted)} IN ACCESS EXCLUSIVE MODE")
            case _:
                writes = ", ".join(f"{table} WRITE" for table in quoted)
                connection.exec_driver_sql(f"LOCK TABLES {writes}")
        try:
            yield
        finally:
            if engine.dialect.name not in ("sqlite", "postgresql"):
                connection.exec_driver_sql("UNLOCK TABLES")
            connection.rollback()


def all_tables(app: Flask) -> list[str]:
    state = state_of(app)
    return [state.table(name).name for name in state.models.__dataclass_fields__]


def says_why(answer: TestResponse, message: str) -> bool:
    """Whether an answer is a refusal of its kind that names the cause: a page, problem details, a service's own."""
    if answer.status_code != 503:
        return False
    if answer.mimetype == "text/html":
        return re.search(message, answer.text) is not None and "<h1" in answer.text
    body = answer.get_json()
    if answer.mimetype == "application/problem+json":
        return re.search(message, body["detail"]) is not None and body["status"] == 503
    return re.search(message, body["error"]) is not None and body["code"].endswith("error")


def walk(app: Flask, found: list[tuple[Rule, str]], message: str, *tables: str) -> int:
    """Open every route while tables cannot be read; returns how many of them tried.

    :param message: what those say, as a pattern.
    """
    assert len(found) > 60
    met = 0
    mentioned = re.compile(rf"\b(?:{'|'.join(tables)})\b")
    client = app.test_client()
    for rule, path in found:
        began = time.monotonic()
        with statements(app) as executed:
            answer = client.get(path)
        assert time.monotonic() - began < SLACK, path
        if not mentioned.search("\n".join(executed)):
            # On a busy machine 0.1 seconds may pass without a lock.
            assert answer.status_code in (200, 404, 405, 503), path
            continue
        met += 1
        if rule.endpoint in TERSE:
            assert answer.status_code in (200, 503)
            assert re.search(r'^unavailable$|_up\{part="database"\} 0', answer.text, re.M), path
        else:
            assert says_why(answer, message), f"{path}: {answer.status_code} {answer.text[:2000]}"
    return met


TOO_LONG: Final = r"within 0\.1 seconds"


@pytest.mark.slow
def test_every_route_answers_while_all_tables_are_locked(postgresql_host: Flask) -> None:
    app = postgresql_host
    found, tables = paths(app), all_tables(app)
    with locked(app, *tables):
        assert walk(app, found, TOO_LONG, *tables) > 50


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_route_answers_while_one_table_is_locked(postgresql_host: Flask) -> None:
    """Whichever: what a page reads first, or what it reads beside."""
    app = postgresql_host
    found = paths(app)
    met = {}
    for table in all_tables(app):
        with locked(app, table):
            met[table] = walk(app, found, TOO_LONG, table)
    # The marks are the workers' own.
    unread = {table for table, count in met.items() if not count}
    assert unread == {"webhooks_coalescing", "webhooks_mark", "webhooks_numbering"}
    assert met["webhooks_endpoint"] > 40
    assert met["webhooks_delivery"] > 40


@pytest.mark.slow
def test_every_route_answers_while_mariadb_has_locked_all_tables(mariadb_host: Flask) -> None:
    app = mariadb_host
    found, tables = paths(app), all_tables(app)
    with locked(app, *tables):
        assert walk(app, found, TOO_LONG, *tables) > 50


@pytest.mark.slow
def test_every_route_answers_while_sqlite_is_locked(sqlite_host: Flask) -> None:
    """Then it is not the time of a statement that counts: the host has said how long it waits for a lock."""
    app = sqlite_host
    found, tables = paths(app), all_tables(app)
    with locked(app, *tables):
        assert walk(app, found, "The SQLite database is locked", *tables) > 50


def test_use_of_a_token_is_noted_by_a_read_only_where_nothing_is_in_the_way(
    postgresql_host: Flask,
) -> None:
    app = postgresql_host
    state = state_of(app)
    table = state.table("Token")
    created = actions.create_token(accessing(app), "CI", ["view"])
    used = sa.select(table.c.last_used_at).where(table.c.id == created.token.id)
    headers = {"Authorization": f"Bearer {created.secret}"}
    client = app.test_client()
    for mode in ("SHARE", "ROW SHARE"):
        with state.own_engine.connect() as other:
            other.exec_driver_sql(f"LOCK {table.name} IN {mode} MODE")
            other.execute(used.with_for_update())
            began = time.monotonic()
            assert client.get(f"{API}/endpoints", headers=headers).status_code == 200
            assert time.monotonic() - began < SLACK
            assert other.scalar(used) is None
    assert client.get(f"{API}/endpoints", headers=headers).status_code == 200
    with state.own_engine.connect() as connection:
        assert connection.scalar(used) is not None


#: What takes many seconds to count.
ENDLESS: Final = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000000) "
    "SELECT count(*) AS n FROM c"
)


@pytest.mark.slow
def test_every_route_answers_whatever_the_data(sqlite_host: Flask) -> None:
    app = sqlite_host
    found, tables = paths(app), all_tables(app)
    with state_of(app).own_engine.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO small_{table}")
            connection.exec_driver_sql(
                f"CREATE VIEW {table} AS SELECT small_{table}.* FROM ({ENDLESS}) CROSS JOIN small_{table}"
            )
    assert walk(app, found, TOO_LONG, *tables) > 50
