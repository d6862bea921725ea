"""``/healthz`` and ``flask webhooks health``: what they look at, and how little that costs."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from demo.services import PostgresServer, RedisServer
from flask_webhooks import Webhooks
from flask_webhooks.app_state import state_of
from flask_webhooks.config import Settings
from flask_webhooks.errors import ConfigurationError
from flask_webhooks.queries import health_check as module
from flask_webhooks.queries.health_check import Readiness, readiness
from tests.cli.test_cli import run
from tests.support.delivering import close, states, webhooks_of
from tests.support.helpers import (
    add_delivery,
    add_endpoint,
    add_scheduled,
    database_time,
    statements,
    update,
)
from tests.support.hostapp import create_app
from tests.support.processes import COMMAND, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is answered anew."""
    monkeypatch.setattr(module, "FRESH", 0.0)


def mount(app: Flask, prefix: str | None = None) -> None:
    app.register_blueprint(webhooks_of(app).health_blueprint(), url_prefix=prefix)


def status_of(app: Flask, path: str = "/healthz") -> int:
    return app.test_client().get(path).status_code


def owe(app: Flask, late: float) -> str:
    """A delivery that is due for so many seconds; returns the id of its endpoint."""
    endpoint = add_endpoint(app)
    add_delivery(app, endpoint, due_at=database_time(app) - timedelta(seconds=late))
    return endpoint.id


# -- what it says -------------------------------------------------------------------------------------


def test_healthz_needs_no_login_and_tells_no_detail(app: Flask) -> None:
    webhooks_of(app).authorize(lambda action, endpoint: False)
    mount(app)
    client = app.test_client()
    response = client.get("/healthz")
    assert (response.status_code, response.text) == (200, "ok\n")
    assert response.headers["Cache-Control"] == "no-store"
    assert client.head("/healthz").status_code == 200
    assert client.post("/healthz").status_code == 405


def test_healthz_is_where_the_host_mounts_it(app: Flask) -> None:
    mount(app, "/internal")
    assert status_of(app, "/internal/healthz") == 200
    assert status_of(app) == 404


@pytest.mark.usefixtures("fresh")
def test_healthz_follows_redis(app: Flask, redis_server: RedisServer) -> None:
    mount(app)
    redis_server.stop()
    response = app.test_client().get("/healthz")
    assert (response.status_code, response.text) == (503, "unavailable\n")
    assert "Redis does not respond" in (readiness(state_of(app)).redis or "")
    redis_server.start()
    assert status_of(app) == 200


@pytest.mark.usefixtures("fresh")
def test_healthz_follows_the_database(app: Flask) -> None:
    mount(app)
    table = state_of(app).table("Delivery")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table.name} RENAME TO gone"))
    assert status_of(app) == 503
    assert "flask webhooks upgrade-db" in (readiness(state_of(app)).database or "")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE gone RENAME TO {table.name}"))
    assert status_of(app) == 200


@pytest.mark.usefixtures("fresh")
def test_overdue_deliveries_are_a_failure_only_where_nothing_is_sent(app: Flask) -> None:
    state = state_of(app)
    endpoint_id = owe(app, late=200)
    assert readiness(state).ready
    other_id = owe(app, late=400)
    found = readiness(state)
    assert not found.ready
    assert found.overdue == pytest.approx(400, abs=60)
    now = database_time(app)
    for values in (
        {"hold_until": now + timedelta(hours=1)},
        {"wait_until": now + timedelta(hours=1)},
        {"last_success_at": now - timedelta(seconds=5)},
        {"last_failure_at": now - timedelta(seconds=5)},
    ):
        update(app, "EndpointHealth", other_id, **values)
        assert readiness(state) == Readiness(), values
        update(app, "EndpointHealth", other_id, **dict.fromkeys(values))
        assert not readiness(state).ready
    update(app, "Endpoint", other_id, state="paused")
    assert readiness(state).ready
    update(app, "Endpoint", other_id, state="active")
    assert not readiness(state).ready
    assert endpoint_id != other_id


@pytest.mark.usefixtures("fresh")
def test_overdue_scheduled_event_is_a_failure(app: Flask) -> None:
    now = database_time(app)
    for late in (200, 400):
        assert readiness(state_of(app)).ready
        moment = now - timedelta(seconds=late)
        update(app, "ScheduledEvent", add_scheduled(app), deliver_at=moment)
    found = readiness(state_of(app))
    assert not found.ready
    assert found.overdue == pytest.approx(400, abs=60)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_overdue_deliveries_can_be_left_out(database_url: str, redis_url: str) -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI=database_url,
        WEBHOOKS_REDIS_URL=redis_url,
        WEBHOOKS_HEALTH_OVERDUE=None,
    )
    with app.app_context():
        app.extensions["sqlalchemy"].create_all()
        owe(app, late=4000)
        assert readiness(state_of(app)).ready
    close(app)


# -- what it costs ------------------------------------------------------------------------------------


def test_many_questions_are_one_check_a_second(app: Flask) -> None:
    mount(app)
    with statements(app) as executed:
        began = time.monotonic()
        threads = [threading.Thread(target=status_of, args=(app,)) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
    # Two statements a check.
    assert len(executed) <= 2 * (1 + took / module.FRESH)


@pytest.fixture
def silence() -> Iterator[int]:
    """The port of a server that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def hanging(config: dict[str, Any]) -> Flask:
    app = create_app(**config)
    mount(app)
    return app


@pytest.mark.slow
def test_database_that_hangs_costs_one_thread_and_a_short_wait(
    postgres_server: PostgresServer, redis_url: str, silence: int
) -> None:
    postgres_server.start()
    url = sa.make_url(postgres_server.url).set(port=silence, host="127.0.0.1", query={})
    app = hanging(
        {
            "SQLALCHEMY_DATABASE_URI": url.render_as_string(hide_password=False),
            "WEBHOOKS_REDIS_URL": redis_url,
        }
    )
    began = time.monotonic()
    assert status_of(app) == 503
    assert time.monotonic() - began < module.PATIENCE + 1
    with app.app_context():
        assert "no response" in (readiness(state_of(app)).database or "")
    began = time.monotonic()
    for _ in range(20):
        assert status_of(app) == 503
    # No caller waits again for what hangs already.
    assert time.monotonic() - began < 1
    running = [item for item in threading.enumerate() if item.name == "flask-webhooks-health"]
    assert len(running) == 1
    close(app)


@pytest.mark.usefixtures("fresh")
def test_redis_that_hangs_is_told_in_time(tmp_path: Path, silence: int) -> None:
    app = hanging(
        {
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'a.sqlite'}",
            "WEBHOOKS_REDIS_URL": f"redis://127.0.0.1:{silence}/0",
        }
    )
    with app.app_context():
        app.extensions["sqlalchemy"].create_all()
        began = time.monotonic()
        found = readiness(state_of(app))
        assert found.redis is not None
        assert time.monotonic() - began < module.PATIENCE + 1
    close(app)


def test_database_in_memory_is_asked_over_its_only_connection(redis_url: str) -> None:
    app = Flask("memory")
    app.config.update(
        SECRET_KEY="s", SQLALCHEMY_DATABASE_URI="sqlite://", WEBHOOKS_REDIS_URL=redis_url
    )
    db = SQLAlchemy(app)
    webhooks = Webhooks(db, app)
    app.register_blueprint(webhooks.health_blueprint())
    with app.app_context():
        db.create_all()
    assert status_of(app) == 200
    close(app)


# -- the command --------------------------------------------------------------------------------------


def test_command_says_what_is_wrong_and_fails(app: Flask) -> None:
    result = run(app, "health")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "Database  ok\nRedis     ok\nOverdue   nothing\n"
    owe(app, late=4000)
    wait_until(lambda: not readiness(state_of(app)).ready, 10)
    result = run(app, "health")
    assert result.exit_code == 1
    assert "Overdue   since 1 h" in result.stdout
    assert "flask webhooks doctor" in result.stderr
    result = run(app, "health", "--json")
    assert (result.exit_code, json.loads(result.stdout)["ready"]) == (1, False)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_a_worker_makes_it_healthy_again(app: Flask, tmp_path: Path) -> None:
    with Receiver() as receiver:
        endpoint = add_endpoint(app, receiver.url("/ok"))
        late = database_time(app) - timedelta(seconds=4000)
        add_delivery(app, endpoint, due_at=late)
        assert run(app, "health").exit_code == 1
        with WorkerProcess(COMMAND, config_of(app), tmp_path / "worker.log") as worker:
            wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
            assert run(app, "health").exit_code == 0
            worker.terminate()
            worker.wait(20)


def test_bad_setting_says_what_to_write() -> None:
    with pytest.raises(ConfigurationError, match="WEBHOOKS_HEALTH_OVERDUE must be a number"):
        Settings.from_config({"WEBHOOKS_HEALTH_OVERDUE": "soon", "SECRET_KEY": "s"})
