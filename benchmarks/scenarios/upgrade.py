"""How long an emit waits at most while ``flask webhooks upgrade-db`` changes tables with 2,000,000 deliveries."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..bench import Bench, Scale
from ..filling import fill
from ..host import Host
from ..results import Result, at_most
from ..workers import BenchmarkError

ENDPOINTS = 20
TENANT = "app_1"
#: Milliseconds that an emit may take.
LIMIT = 1000.0
#: What the version before does not have, by model.
TABLES = ("Metric", "Mark", "Token")
COLUMNS = {"Event": ("hops", "trace_context"), "Attempt": ("body_key",)}
#: Large ones that are built anew. SQLite has one writer, which stops all others while it builds one.
INDEXES = {
    "postgresql": {"Event": "ix_webhooks_event_type", "Delivery": "ix_webhooks_delivery_all_type"}
}
#: Seconds between two emits.
PAUSE = 0.005


@dataclass(frozen=True)
class Size:
    history: int


SIZES: dict[Scale, Size] = {"full": Size(2_000_000), "quick": Size(200_000), "smoke": Size(400)}


def run(bench: Bench, database: str) -> Iterator[Result]:
    with bench.host(database) as host:
        endpoint_ids = host.add_endpoints(f"{bench.receiver.url}/ok", ENDPOINTS, TENANT)
        fill(host, endpoint_ids, SIZES[bench.scale].history, TENANT, settled=True)
        _make_older(host, database)
        with _Emitting(host) as emitting:
            emitting.wait_for(10)
            began = time.monotonic()
            _upgrade(host)
            took = time.monotonic() - began
            emitting.wait_for(10)
    yield Result(
        "upgrade-db: the longest emit beside it",
        database,
        max(emitting.took) * 1000,
        LIMIT,
        "ms",
        at_most(1.0),
    )
    yield Result(
        "upgrade-db: all of it, and its longest emit", database, took, max(emitting.took), "s"
    )


def _make_older(host: Host, database: str) -> None:
    """Take away what the version before does not have."""
    with host.engine.begin() as connection:
        for name in TABLES:
            host.models.table(name).drop(connection)
        for model, columns in COLUMNS.items():
            table = host.models.table(model)
            for index in table.indexes:
                if set(columns) & {column.name for column in index.columns}:
                    index.drop(connection)
            for column in columns:
                connection.exec_driver_sql(f"ALTER TABLE {table.name} DROP COLUMN {column}")
        for name in INDEXES.get(database, {}).values():
            connection.exec_driver_sql(f"DROP INDEX {name}")


def _upgrade(host: Host) -> None:
    result = host.app.test_cli_runner().invoke(args=["webhooks", "upgrade-db"])
    if result.exit_code != 0 or "Added the column" not in result.output:
        raise BenchmarkError(f"The tables were not upgraded: {result.output}")


class _Emitting:
    """An application of the version before, which writes events without a pause; use it as a context manager."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None
        #: Seconds that each took.
        self.took: list[float] = []

    def __enter__(self) -> _Emitting:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def wait_for(self, number: int) -> None:
        wanted = len(self.took) + number
        while len(self.took) < wanted and self._error is None:
            time.sleep(PAUSE)

    def _run(self) -> None:
        try:
            statements = [_copy(self._host, name) for name in ("Event", "Delivery")]
            for number in itertools.count():
                if self._ended.is_set():
                    return
                ids = {"event_id": f"evt_upgrade_{number}", "id": f"dlv_upgrade_{number}"}
                began = time.monotonic()
                with self._host.engine.begin() as connection:
                    for statement in statements:
                        connection.execute(statement, ids)
                self.took.append(time.monotonic() - began)
                time.sleep(PAUSE)
        except BaseException as error:
            self._error = error


def _copy(host: Host, model: str) -> sa.Insert:
    """A statement that writes a row like another one, with the columns that the table has now."""
    name = host.models.table(model).name
    columns = [column["name"] for column in sa.inspect(host.engine).get_columns(name)]
    table = sa.table(name, *(sa.column(column) for column in columns))
    key = "event_id" if model == "Event" else "id"
    changed: dict[str, Any] = {"id": sa.bindparam(key), "event_id": sa.bindparam("event_id")}
    values = [changed.get(column, table.c[column]).label(column) for column in columns]
    return table.insert().from_select(columns, sa.select(*values).select_from(table).limit(1))
