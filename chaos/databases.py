"""The databases of a run, and what may happen to each of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import sqlalchemy as sa

from demo.services import HOST, PostgresServer, Server, ServiceError

#: Faults that are not for every database.
SPECIAL = frozenset({"database-restarted", "connections-cut", "database-locked", "clock-shifted"})

#: What a process does that locks SQLite: a lock, a line that says so, and the end when its standard input ends.
_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


class MariaDbServer(Server):
    """A MariaDB of the system that survives a kill: what is committed is with the operating system."""

    def __init__(self) -> None:
        if not all(shutil.which(name) for name in ("mariadbd", "mariadb-install-db")):
            raise ServiceError("No MariaDB was found: apt-get install mariadb-server.")
        super().__init__(Path(tempfile.gettempdir()))
        self._account_option = ["--user=root"] if os.geteuid() == 0 else []

    @property
    def url(self) -> str:
        return f"mysql+pymysql://root@{HOST}:{self.port}/webhooks?charset=utf8mb4"

    def create_database(self) -> None:
        """Create the database ``webhooks``."""
        engine = sa.create_engine(self.url.replace("/webhooks", "/mysql"))
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE DATABASE webhooks CHARACTER SET utf8mb4"))
        engine.dispose()

    def _command(self) -> Sequence[str | Path]:
        data = self.directory / "data"
        if not data.exists():
            install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}"]
            install += ["--skip-test-db", "--auth-root-authentication-method=normal"]
            subprocess.run([*install, *self._account_option], check=True, capture_output=True)
        return [
            *("mariadbd", "--no-defaults", f"--datadir={data}", f"--port={self.port}"),
            *(f"--bind-address={HOST}", f"--socket={self.directory / 'socket'}"),
            *("--innodb-flush-log-at-trx-commit=2", "--max-connections=300"),
            *self._account_option,
        ]

    def _is_ready(self, pid: int) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                return len(connection.recv(64)) > 5
        except OSError:
            return False

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)


class Database(ABC):
    """One database, and its faults."""

    #: Those of `SPECIAL` that it can suffer.
    faults: frozenset[str]
    url: str

    def restart(self) -> None:
        """End the server while it works, and start it again."""
        raise NotImplementedError

    def cut_connections(self) -> None:
        """Break every connection to it."""
        raise NotImplementedError

    def locked(self) -> AbstractContextManager[None]:
        """Lock it from another process."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Stop it."""


class Sqlite(Database):
    """A file."""

    faults = frozenset({"database-locked"})

    def __init__(self, folder: Path) -> None:
        self._path = folder / "database.sqlite"
        self.url = f"sqlite:///{self._path}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        command = [sys.executable, "-c", _LOCK, str(self._path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            try:
                yield
            finally:
                process.stdin.close()
                process.wait(30)

    def close(self) -> None:
        pass


class OnServer(Database):
    """A database of a server that is ours."""

    #: A worker goes by the clock of its server; SQLite has none but the worker's own.
    faults = frozenset({"database-restarted", "connections-cut", "clock-shifted"})
    #: Lists the connections but this one, and ends one of them.
    others: str
    end: str

    def __init__(self, server: PostgresServer | MariaDbServer) -> None:
        self._server = server
        server.start()

    @property
    def url(self) -> str:  # type: ignore[override]
        return self._server.url

    def restart(self) -> None:
        self._server.restart()

    def cut_connections(self) -> None:
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for number in list(connection.scalars(sa.text(self.others))):
                # It may have ended by itself meanwhile.
                with contextlib.suppress(sa.exc.DBAPIError):
                    connection.execute(sa.text(self.end.format(int(number))))
        engine.dispose()

    def close(self) -> None:
        self._server.close()


class PostgreSql(OnServer):
    """PostgreSQL, which stops at once and breaks off what is under way."""

    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    end = "SELECT pg_terminate_backend({})"

    def __init__(self) -> None:
        super().__init__(PostgresServer())


class MariaDb(OnServer):
    """MariaDB, which is killed."""

    others = "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root'"
    end = "KILL {}"

    def __init__(self) -> None:
        server = MariaDbServer()
        super().__init__(server)
        server.create_database()


def database(name: str, folder: Path) -> Database:
    """Start a database that is empty.

    :raises ServiceError: its server cannot be run here.
    """
    if name == "sqlite":
        return Sqlite(folder)
    return PostgreSql() if name == "postgresql" else MariaDb()
