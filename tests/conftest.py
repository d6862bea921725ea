"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from flask import Flask

from demo.services import PostgresServer, RedisServer
from tests.support import mariadb
from tests.support.delivering import close, make_app
from tests.support.receiver import Receiver
from tests.support.working import Worker

#: Folders with tests of what the kind of database decides; elsewhere the runs on PostgreSQL are slow tests.
ON_EACH_DATABASE = {"bulk", "db", "delivery", "outbox", "wakeup"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the slow tests what SQLite shows as well as PostgreSQL."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if parameters.get("database_url") != "postgresql":
            continue
        folders = item.path.relative_to(Path(__file__).parent).parts[:-1]
        if not ON_EACH_DATABASE & {*folders} or item.get_closest_marker("slow_on_postgresql"):
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """One line where tests in the browser were left out: here, since xdist's main process collects nothing."""
    from tests.browser.chromium import MISSING, is_missing

    browser = Path(__file__).with_name("browser")
    asked = [Path(config.invocation_params.dir, arg.split("::")[0]) for arg in config.args]
    if is_missing() and any(
        browser in (path, *path.parents) or path in browser.parents for path in asked
    ):
        terminalreporter.write_line(f"SKIPPED tests/browser: {MISSING}", yellow=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis for this test process; tests that stop or pause it need not tidy up, see `redis_url`."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis that answers."""
    redis_server.resume()
    redis_server.start()
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for this test process."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_tables(postgres_server: PostgresServer) -> str:
    """The name of a database with our tables, to copy."""
    app = make_app(postgres_server.create_database("tables"), "redis://127.0.0.1:1/0")
    close(app)
    return "tables"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of this test alone, on each kind of server; empty, or with our tables where there is an `app`."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'database.sqlite'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    server.start()
    name = f"test_{uuid.uuid4().hex}"
    tables = "app" in request.fixturenames
    template = request.getfixturevalue("postgres_tables") if tables else "template0"
    yield server.create_database(name, template)
    server.start()
    server.drop_database(name)


@pytest.fixture(scope="session")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MariaDB for this test process, with a database in Latin-1; tests remove their tables.

    With ``MYSQL_URL`` in the environment, a server that runs already: an empty database of MySQL, for one test process.
    """
    if url := os.environ.get("MYSQL_URL"):
        yield url
        return
    if not mariadb.installed():
        pytest.skip("needs mariadbd and mariadb-install-db: apt-get install mariadb-server")
    with mariadb.mariadb(tmp_path_factory.mktemp("mariadb"), "latin1") as url:
        yield url


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    """The small host of `tests.support.hostapp` with its tables, once on each kind of database."""
    app = make_app(database_url, redis_url)
    with app.app_context():
        yield app
        close(app)


@pytest.fixture
def worker(app: Flask) -> Iterator[Worker]:
    """A worker without HTTP; see `tests.support.working`."""
    with closing(Worker(app)) as worker:
        yield worker


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    with Receiver() as receiver:
        yield receiver
