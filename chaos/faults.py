"""The faults: what strikes, and how it heals.

A fault is a function that strikes, lets it last, and heals, so that it leaves everything as it was. Those of one lane
never overlap; lanes do.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import redis
import sqlalchemy as sa
from flask import Flask

from demo.services import RedisServer

from .board import Board
from .databases import Database
from .schedule import Strike
from .workers import STOPS_WITHIN, WorkerSlot

#: Seconds that a fault lasts at least which shows only in what workers do next.
LONG = 2.0
#: An index that an upgrade puts back, and a column that it does not know.
INDEX, TABLE = "ix_webhooks_delivery_failures", "webhooks_delivery"


@dataclass
class World:
    """What faults strike at."""

    folder: Path
    board: Board
    redis: RedisServer
    database: Database
    engine: sa.Engine
    #: Workers of this version. The first one is never ended; the last one's clock can be made wrong.
    workers: list[WorkerSlot]
    #: One of the version before, where the history of the source is at hand.
    older: WorkerSlot | None
    app: Flask
    #: Set when the run is to end.
    over: threading.Event = field(default_factory=threading.Event)
    #: Broken promises that a fault itself has seen.
    complaints: list[str] = field(default_factory=list)

    @property
    def hit(self) -> list[WorkerSlot]:
        """Workers that faults end."""
        return self.workers[1:]

    def last(self, seconds: float) -> None:
        """Let a fault last."""
        self.over.wait(seconds)


Fault = Callable[[World, Strike], None]


def _chosen(world: World, strike: Strike) -> WorkerSlot:
    return world.hit[strike.choice % len(world.hit)]


def kill_work_horse(world: World, strike: Strike) -> None:
    slot = _chosen(world, strike)
    if not slot.kill_work_horse():
        # That one has none just now.
        for other in world.hit:
            if other.kill_work_horse():
                return


def kill_worker(world: World, strike: Strike) -> None:
    slot = _chosen(world, strike)
    slot.kill()
    slot.start()


def terminate_worker(world: World, strike: Strike) -> None:
    slot = _chosen(world, strike)
    took = slot.terminate()
    if took >= STOPS_WITHIN:
        world.complaints.append(f"{slot.name} did not stop within {took:.0f} s of SIGTERM")
    slot.start()


def descriptors_used_up(world: World, strike: Strike) -> None:
    with contextlib.ExitStack() as stack:
        for slot in world.workers:
            stack.enter_context(slot.without_descriptors())
        world.last(LONG + strike.seconds)


def older_worker(world: World, strike: Strike) -> None:
    """A worker of the version before begins anew beside the others, and the last one is killed."""
    assert world.older is not None
    world.older.kill()
    world.older.start()


def redis_killed(world: World, strike: Strike) -> None:
    world.redis.stop()
    world.last(strike.seconds)
    world.redis.start()


def redis_restarted_empty(world: World, strike: Strike) -> None:
    world.redis.restart()


def redis_paused(world: World, strike: Strike) -> None:
    world.redis.pause()
    world.last(strike.seconds)
    world.redis.resume()


def redis_flushed(world: World, strike: Strike) -> None:
    with redis.Redis.from_url(world.redis.url, socket_timeout=10) as client:
        client.flushall()


def database_restarted(world: World, strike: Strike) -> None:
    world.database.restart()


def connections_cut(world: World, strike: Strike) -> None:
    world.database.cut_connections()


def database_locked(world: World, strike: Strike) -> None:
    with world.database.locked():
        world.last(strike.seconds)


def schema_upgraded(world: World, strike: Strike) -> None:
    """The next version's column comes, and an index that is not there yet, as one of its upgrades would do."""
    column = f"chaos_{time.monotonic_ns()}"
    drop = f"DROP INDEX {INDEX}"
    if world.engine.dialect.name == "mysql":
        drop += f" ON {TABLE}"
    for statement in (drop, f"ALTER TABLE {TABLE} ADD COLUMN {column} INTEGER"):
        _until_done(world, statement)
    for _ in range(5):
        upgrade = world.app.test_cli_runner().invoke(args=["webhooks", "upgrade-db"])
        if upgrade.exit_code == 0:
            return
        world.last(1.0)
    world.complaints.append(f"upgrade-db failed: {upgrade.output[-500:]}")


#: What databases say of a column or an index that is there, or gone, already.
DONE = ("exist", "no such index", "duplicate column")


def _until_done(world: World, statement: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with world.engine.begin() as connection:
                connection.exec_driver_sql(statement)
                return
        except sa.exc.SQLAlchemyError as error:
            # It was done before its connection was cut.
            if any(word in str(error).lower() for word in DONE):
                return
            if time.monotonic() > deadline:
                world.complaints.append(f"{statement}: {error}")
                return
            time.sleep(0.2)


def clock_shifted(world: World, strike: Strike) -> None:
    """The clock of one worker is hours ahead, or behind."""
    clock = world.workers[-1].clock
    assert clock is not None
    hours = 1 + strike.choice % 11
    _write(clock, f"{'+' if strike.choice % 2 else '-'}{hours}h\n")
    world.last(2 * LONG + strike.seconds)
    _write(clock, "+0\n")


def log_disk_full(world: World, strike: Strike) -> None:
    """The files that workers log to are on a disk that is full."""
    logs = {slot.log: slot.log.with_suffix(".log.kept") for slot in world.workers}
    for log, kept in logs.items():
        log.touch()
        log.rename(kept)
        # In one step: a worker may have made a new file by now.
        full = log.with_suffix(".full")
        full.symlink_to("/dev/full")
        full.rename(log)
    world.last(LONG + strike.seconds)
    for log, kept in logs.items():
        kept.rename(log)


def _write(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text)
    other.rename(path)


LANES: dict[str, dict[str, Fault]] = {
    "workers": {
        "work-horse-killed": kill_work_horse,
        "worker-killed": kill_worker,
        "worker-terminated": terminate_worker,
    },
    "older": {"older-worker": older_worker},
    "descriptors": {"descriptors-used-up": descriptors_used_up},
    "redis": {
        "redis-killed": redis_killed,
        "redis-restarted-empty": redis_restarted_empty,
        "redis-paused": redis_paused,
        "redis-flushed": redis_flushed,
    },
    "database": {
        "database-restarted": database_restarted,
        "connections-cut": connections_cut,
        "database-locked": database_locked,
    },
    "schema": {"schema-upgraded": schema_upgraded},
    "clock": {"clock-shifted": clock_shifted},
    "log": {"log-disk-full": log_disk_full},
}
#: Faults in which the host waits for its database, not for us.
OF_DATABASE = frozenset(
    {"database-restarted", "connections-cut", "database-locked", "schema-upgraded"}
)
