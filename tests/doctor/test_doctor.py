"""``flask webhooks doctor``: each finding, with what it means and what to do."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
import sqlalchemy as sa
from click.testing import Result
from flask import Flask
from rq.suspension import resume, suspend
from rq.version import VERSION

from demo.services import PostgresServer, RedisServer, free_port
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.http import machine
from flask_webhooks.doctor import Finding, Level, examine
from flask_webhooks.doctor.queue import _version
from tests.cli.test_cli import run
from tests.security.test_vault import NEW, OLD
from tests.support.delivering import make_app
from tests.support.helpers import accessing, add_delivery, add_endpoint, close, database_time
from tests.support.hostapp import create_app
from tests.support.processes import (
    COMMAND,
    PLAIN,
    PLAIN_SCHEDULER,
    WorkerProcess,
    config_of,
    wait_until,
)
from tests.support.receiver import Receiver
from tests.wakeup.test_redis_refuses import Cluster, form_cluster


def found(app: Flask, area: str, level: Level | None = None) -> list[Finding]:
    return [
        finding
        for finding in examine(accessing(app))
        if finding.area == area and level in (None, finding.level)
    ]


def the(app: Flask, area: str, level: Level) -> Finding:
    """The only finding of a level in an area."""
    [finding] = found(app, area, level)
    assert finding.meaning
    assert finding.advice
    return finding


def texts(app: Flask) -> list[str]:
    """What it says of workers."""
    return [finding.text for finding in found(app, "workers")]


def lines(result: Result, level: str) -> list[str]:
    return [line for line in result.stdout.splitlines() if line.startswith(level)]


@pytest.mark.slow
def test_all_is_well_beside_a_worker(database_url: str, redis_url: str, tmp_path: Path) -> None:
    app = make_app(
        database_url,
        redis_url,
        SQLITE_IMMEDIATE=True,
        WEBHOOKS_REQUIRE_HTTPS=True,
        WEBHOOKS_ALLOWED_NETWORKS=[],
        WEBHOOKS_ENCRYPTION_KEYS=[NEW],
    )
    with (
        app.app_context(),
        WorkerProcess(COMMAND, config_of(app), tmp_path / "worker.log") as worker,
    ):
        wait_until(lambda: not found(app, "workers", Level.PROBLEM), what=worker.output)
        result = run(app, "doctor")
        # A container may have no route, no name servers, or no certificates of authorities.
        own = len(machine.troubles(state_of(app).settings.concurrency))
        assert result.exit_code == (1 if own else 0), result.stdout
        problems = lines(result, "PROBLEM")
        assert len(problems) == own
        assert all("machine: " in line for line in problems)
        warnings = lines(result, "WARNING")
        assert not [
            item for item in warnings if "configuration:" not in item and "machine:" not in item
        ]
        for words in ("A worker is running.", "accepts writes", "18 tables", "clocks agree"):
            assert words in result.stdout
        worker.terminate()
        worker.wait(20)
        assert run(app, "doctor").exit_code == 1
    close(app)


def test_json_has_the_same_findings(app: Flask) -> None:
    result = run(app, "doctor", "--json")
    assert result.exit_code == 1
    listed = json.loads(result.stdout)
    [worker] = [item for item in listed if item["area"] == "workers" and item["level"] == "problem"]
    assert worker["finding"].startswith("No worker is running")
    assert worker["advice"] == "Start one with: flask webhooks worker"


# -- configuration ------------------------------------------------------------------------------------


def test_settings_that_let_customers_reach_inside_are_named(
    database_url: str, redis_url: str
) -> None:
    app = make_app(
        database_url,
        redis_url,
        TESTING=True,
        WEBHOOKS_ALLOWED_NETWORKS=["127.0.0.1/32", "169.254.0.0/16"],
    )
    with app.app_context():
        texts = " ".join(item.text for item in found(app, "configuration", Level.WARNING))
        for words in ("127.0.0.1, this machine", "169.254.169.254, the metadata", "testing mode"):
            assert words in texts
        assert "http://" in texts
    close(app)


# -- the database -------------------------------------------------------------------------------------


def test_missing_index_column_and_table_are_named(app: Flask) -> None:
    assert found(app, "database", Level.PROBLEM) == []
    engine = state_of(app).engine
    with engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX ix_webhooks_delivery_due"))
        connection.execute(sa.text("ALTER TABLE webhooks_event DROP COLUMN hops"))
        connection.execute(sa.text("DROP TABLE webhooks_activity"))
    texts = [item.text for item in found(app, "database", Level.PROBLEM)]
    assert "Tables are missing: webhooks_activity." in texts
    assert "Columns are missing: webhooks_event.hops." in texts
    assert "Indexes are missing: ix_webhooks_delivery_due." in texts


def test_index_under_another_name_is_none_that_is_missing(app: Flask) -> None:
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX ix_webhooks_event_type"))
        connection.execute(sa.text("CREATE INDEX mine ON webhooks_event (type, id)"))
    assert found(app, "database", Level.PROBLEM) == []


def test_database_that_is_away_leaves_the_rest_to_be_looked_at(redis_url: str) -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI=f"postgresql+psycopg://nobody:hush@127.0.0.1:{free_port()}/none",
        WEBHOOKS_REDIS_URL=redis_url,
    )
    with app.app_context():
        result = run(app, "doctor")
        assert result.exit_code == 1
        [line] = [item for item in lines(result, "PROBLEM") if "machine: " not in item]
        assert "The database cannot be used" in line
        assert "hush" not in result.output
        assert any("redis" in line for line in lines(result, "OK"))
    close(app)


@pytest.mark.slow
def test_database_that_takes_no_writes_is_told(
    postgres_server: PostgresServer, redis_url: str
) -> None:
    postgres_server.start()
    url = postgres_server.create_database("read_only")
    app = make_app(url, redis_url)
    close(app)
    separator = "&" if "?" in url else "?"
    app = create_app(
        SQLALCHEMY_DATABASE_URI=f"{url}{separator}options=-c%20default_transaction_read_only%3Don",
        WEBHOOKS_REDIS_URL=redis_url,
    )
    with app.app_context():
        assert "does not accept writes" in the(app, "database", Level.PROBLEM).text
    close(app)
    postgres_server.drop_database("read_only")


# -- clocks and keys ----------------------------------------------------------------------------------


def test_clock_of_a_worker_that_is_wrong_is_told(app: Flask) -> None:
    state = state_of(app)
    now = database_time(app)
    with state.engine.begin() as connection:
        connection.execute(
            state.table("Heartbeat")
            .insert()
            .values(
                name="w1",
                kind="worker",
                host="far",
                pid=1,
                started_at=now,
                seen_at=now,
                clock_skew=-400.0,
            )
        )
    finding = the(app, "clock", Level.PROBLEM)
    assert finding.text == (
        "The clock of the worker w1 on far is 400 s behind that of the database."
    )


@pytest.mark.slow
def test_what_hangs_on_an_old_key_is_told(database_url: str, redis_url: str) -> None:
    old = make_app(database_url, redis_url, WEBHOOKS_ENCRYPTION_KEYS=[OLD])
    with old.app_context():
        endpoint_id = add_endpoint(old).id
        assert found(old, "keys", Level.WARNING) == []
    close(old)
    both = make_app(database_url, redis_url, WEBHOOKS_ENCRYPTION_KEYS=[NEW, OLD])
    with both.app_context():
        finding = the(both, "keys", Level.WARNING)
        assert finding.text == f"1 of 1 endpoints need an older key: {endpoint_id}."
        assert finding.advice == "Run: flask webhooks reencrypt"
    lost = make_app(database_url, redis_url, WEBHOOKS_ENCRYPTION_KEYS=[NEW], SECRET_KEY="another")
    with lost.app_context():
        assert endpoint_id in the(lost, "keys", Level.PROBLEM).text
    with both.app_context():
        assert run(both, "reencrypt").exit_code == 0
        assert found(both, "keys", Level.WARNING) == []
    close(both)
    with lost.app_context():
        assert found(lost, "keys", Level.PROBLEM) == []
    close(lost)


# -- Redis and workers --------------------------------------------------------------------------------


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """Redis's operator; what it set is put back."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
        client.acl_deluser("narrow")
        resume(client)


RIGHTS = (
    "~rq:* ~flask_webhooks:* resetchannels &rq:* +@read +@write +@connection +@transaction +@scripting "
    "+@pubsub +@blocking +info +time"
)


@pytest.mark.parametrize(
    ("lacking", "right"),
    [(None, ""), ("-subscribe", "subscribe"), ("-blpop", "blpop"), ("-eval", "eval")],
)
def test_rights_of_the_redis_user_are_tried(
    admin: redis.Redis, redis_url: str, tmp_path: Path, lacking: str | None, right: str
) -> None:
    more = [lacking] if lacking else []
    rule = ["narrow", "on", ">secret", *RIGHTS.split(), *more]
    admin.execute_command("ACL", "SETUSER", *rule)  # type: ignore[no-untyped-call]
    app = make_app(
        f"sqlite:///{tmp_path / 'a.sqlite'}",
        redis_url.replace("redis://", "redis://narrow:secret@"),
    )
    with app.app_context():
        if lacking is None:
            assert found(app, "redis", Level.PROBLEM) == []
        else:
            finding = the(app, "redis", Level.PROBLEM)
            assert right in finding.text
            assert "ACL SETUSER" in finding.advice
            assert "secret" not in finding.text
    close(app)


def test_redis_that_throws_keys_away_is_told(app: Flask, admin: redis.Redis) -> None:
    assert found(app, "redis", Level.WARNING) == []
    admin.config_set("maxmemory", "1gb")
    admin.config_set("maxmemory-policy", "allkeys-lru")
    assert "allkeys-lru" in the(app, "redis", Level.WARNING).text


def test_suspended_queue_is_told(app: Flask, admin: redis.Redis) -> None:
    suspend(admin)
    problems = found(app, "workers", Level.PROBLEM)
    assert any(item.advice == "Resume with: rq resume" for item in problems)


@pytest.mark.slow
@pytest.mark.parametrize("command", [PLAIN, PLAIN_SCHEDULER])
def test_missing_scheduler_is_told(app: Flask, tmp_path: Path, command: list[str]) -> None:
    with WorkerProcess(command, config_of(app), tmp_path / "worker.log") as worker:
        wait_until(lambda: "A worker is running." in " ".join(texts(app)), what=worker.output)
        if command is PLAIN:
            problem = the(app, "workers", Level.PROBLEM)
            assert problem.text == "No scheduler is running."
            assert "--with-scheduler" in problem.advice
        else:
            wait_until(lambda: "RQ's scheduler is running." in texts(app), what=worker.output)
            assert found(app, "workers", Level.PROBLEM) == []
        worker.terminate()
        worker.wait(20)


def test_worker_with_another_rq_is_told(app: Flask, admin: redis.Redis) -> None:
    assert f"This process and the workers run RQ {VERSION}." in texts(app)
    worker: Any = rq.Worker([state_of(app).settings.queue], name="old", connection=admin)
    worker.register_birth()
    assert found(app, "workers", Level.WARNING) == []
    admin.hset(worker.key, "version", "1.16.2")
    warning = the(app, "workers", Level.WARNING)
    assert f"RQ 1.16.2, and this process RQ {VERSION}" in warning.text
    worker.register_death()


@pytest.mark.parametrize(
    ("version", "told"), [("5.0.14", True), ("6.0.5", True), ("6.0.6", False), ("7.2.1", False)]
)
def test_redis_that_is_too_old_is_told(version: str, told: bool) -> None:
    problems = list(_version(version))
    assert [finding.level for finding in problems] == [Level.PROBLEM] * told
    assert all(version in finding.text for finding in problems)


@pytest.mark.slow
def test_mode_of_redis_is_told(redis_url: str, tmp_path: Path) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'a.sqlite'}", redis_url)
    with app.app_context():
        assert "(standalone, master)" in found(app, "redis")[0].text
    close(app)
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", "1")
        app = make_app(f"sqlite:///{tmp_path / 'b.sqlite'}", server.url)
        with app.app_context():
            problem = the(app, "redis", Level.PROBLEM)
            assert problem.text.startswith("Redis is a read-only replica")
            assert problem.advice == "Name the primary in WEBHOOKS_REDIS_URL."
        close(app)
    with Cluster() as server, redis.Redis.from_url(server.url) as client:
        form_cluster(client)
        app = make_app(f"sqlite:///{tmp_path / 'c.sqlite'}", server.url)
        with app.app_context():
            problem = the(app, "redis", Level.PROBLEM)
            assert problem.text.startswith("Redis runs as a cluster")
            assert "RQ_KEY_PREFIX={rq}" in problem.advice
        close(app)


def test_overdue_deliveries_are_told(app: Flask) -> None:
    late = database_time(app) - timedelta(seconds=4000)
    add_delivery(app, add_endpoint(app), due_at=late)
    problems = found(app, "workers", Level.PROBLEM)
    assert any("overdue for 40" in item.text for item in problems)
    assert any("1 deliveries are due" in item.meaning for item in problems)


# -- receivers ----------------------------------------------------------------------------------------


def test_receivers_are_tried_and_nothing_is_sent(app: Flask) -> None:
    with Receiver() as receiver:
        add_endpoint(app, receiver.url("/ok"))
        [finding] = found(app, "receivers")
        assert (finding.level, finding.text) == (
            Level.OK,
            "1 of 1 servers of endpoints can be reached.",
        )
        closed = add_endpoint(app, f"http://127.0.0.1:{free_port()}/in")
        warning = the(app, "receivers", Level.WARNING)
        assert closed.url_shown.split("/")[2] in warning.text
        assert receiver.requests == []
    problem = the(app, "receivers", Level.PROBLEM)
    assert problem.text.startswith("None of 2 servers")


def test_private_address_is_not_connected_to(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads inside by now is refused, as it is for a delivery."""
    endpoint = add_endpoint(app, "https://hooks.example.com/in")
    resolve = socket.getaddrinfo

    def inside(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "hooks.example.com":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 443))]
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", inside)
    problem = the(app, "receivers", Level.PROBLEM)
    assert "private network" in problem.text
    assert endpoint.url_shown.split("/")[2] in problem.text
