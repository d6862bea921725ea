"""What scenarios stand on: servers, a receiver, and host applications with their workers."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from demo.services import PostgresServer, RedisServer

from .counting import Receiver
from .host import Host

#: How large a run is: for figures, for a look, and for the test suite.
Scale = Literal["full", "quick", "smoke"]
DATABASES = ("sqlite", "postgresql")


class Bench:
    """The servers of one run; use it as a context manager. Each starts when it is first needed."""

    def __init__(self, scale: Scale = "full") -> None:
        self.scale = scale
        self._stack = contextlib.ExitStack()
        self._postgres: PostgresServer | None = None
        self._databases = 0

    def __enter__(self) -> Bench:
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.receiver = stack.enter_context(Receiver())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def postgres(self) -> PostgresServer:
        if self._postgres is None:
            self._postgres = self._stack.enter_context(PostgresServer())
        return self._postgres

    @contextlib.contextmanager
    def host(self, database: str, **config: Any) -> Iterator[Host]:
        """A host application with an empty database and a Redis of its own.

        :param config: settings of the application.
        """
        self._databases += 1
        name = f"benchmark_{self._databases}"
        with contextlib.ExitStack() as stack:
            if database == "postgresql":
                url = self.postgres.create_database(name)
                stack.callback(self.postgres.drop_database, name)
            else:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder)))
                url = f"sqlite:///{folder / 'benchmark.sqlite'}"
            redis_url = stack.enter_context(RedisServer()).url
            host = Host(self.receiver, self.folder, url, redis_url, config)
            stack.callback(host.close)
            yield host

    @contextlib.contextmanager
    def hosts(
        self,
        database: str,
        configs: Iterable[Mapping[str, Any]],
        endpoints: int,
        tenant: str = "app_1",
    ) -> Iterator[list[Host]]:
        """Hosts to compare, each with endpoints of a tenant that answer at once.

        :param configs: the settings of each.
        """
        with contextlib.ExitStack() as stack:
            hosts = [stack.enter_context(self.host(database, **config)) for config in configs]
            for host in hosts:
                host.add_endpoints(f"{self.receiver.url}/ok", endpoints, tenant)
            yield hosts
