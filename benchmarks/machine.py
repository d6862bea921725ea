"""What the figures were measured on, without saying whose machine it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sqlite3
from pathlib import Path

import redis
import sqlalchemy as sa

from demo.services import RedisServer

from .bench import Bench

PACKAGES = ("aiohttp", "rq", "redis", "requests", "SQLAlchemy", "Flask", "psycopg")


def describe(bench: Bench, load: float) -> list[str]:
    """One line for each thing that matters.

    :param load: how busy the machine was before: processes that want to run.
    """
    look = ["a quick look: too short for figures to quote"] if bench.scale != "full" else []
    return [
        *look,
        f"{len(os.sched_getaffinity(0))} cores ({_processor()}), {_memory()} of memory; "
        f"everything on loopback; load before the run {load:.1f}",
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"event loop {_loop()}",
        ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
        f"Redis {_redis()}, SQLite {sqlite3.sqlite_version}, PostgreSQL {_postgres(bench)}",
    ]


def _processor() -> str:
    found = _first(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo")
    return found or platform.machine()


def _memory() -> str:
    found = _first(r"^MemTotal:\s*(\d+) kB$", "/proc/meminfo")
    return f"{int(found) / 1024 / 1024:.0f} GiB" if found else "an unknown amount"


def _first(pattern: str, path: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1].strip() if found else None


def _loop() -> str:
    try:
        return f"uvloop {importlib.metadata.version('uvloop')}"
    except importlib.metadata.PackageNotFoundError:
        return "asyncio"


def _redis() -> str:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        return str(client.info("server")["redis_version"])


def _postgres(bench: Bench) -> str:
    engine = sa.create_engine(bench.postgres.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return str(connection.scalar(sa.text("SHOW server_version"))).split()[0]
