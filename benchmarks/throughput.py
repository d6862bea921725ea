"""Deliveries per second of one ``rq worker``, beside a bare aiohttp loop against the same receiver.

Both send the same number of signed requests of the same size with the same concurrency, in turns. Ours
claims each delivery from the database, records the attempt with all that was sent and received, and
settles it; the time runs from the first request to the last row that is written. Every request is
accounted for: a lost delivery makes the exit status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import sqlalchemy as sa
from flask import Flask

from example_app.services import PostgresServer, RedisServer
from flask_webhooks.formats import OutgoingEvent, Target
from flask_webhooks.formats.standard import Standard

ROOT = Path(__file__).resolve().parent.parent
#: Seconds after which a round is given up.
LIMIT = 120


@dataclass(frozen=True)
class Result:
    """One line of the report; rates are per second."""

    scenario: str
    database: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    lost: int
    duplicates: int


@contextmanager
def receiver() -> Iterator[str]:
    """A receiver process; yields its URL."""
    command = [sys.executable, "-m", "benchmarks.receiver"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


@contextmanager
def worker(log: Path) -> Iterator[None]:
    """One ``rq worker``, as an operator runs it."""
    command = [sys.executable, "-m", "rq.cli", "worker", "-w", "flask_webhooks.Worker"]
    environment = {**os.environ, "FLASK_APP": "benchmarks.host:create_app"}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def counts(url: str) -> tuple[int, int]:
    """Requests and distinct deliveries that the receiver has seen since it was last asked."""
    with urllib.request.urlopen(f"{url}/count", timeout=5) as answer:
        seen = json.load(answer)
    return seen["requests"], seen["distinct"]


def bare_loop(url: str, deliveries: int, endpoints: int, concurrency: int) -> float:
    """Requests per second of aiohttp alone: one session, no database, no checks."""
    style = Standard()
    secret = style.generate_secret()
    now = datetime.now(UTC)

    async def run() -> float:
        numbers = iter(range(deliveries))
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        ) as session:

            async def send() -> None:
                for number in numbers:
                    address = f"{url}/bare/{number % endpoints}"
                    event = OutgoingEvent(
                        f"evt_{number}", "license.created", "app_1", now, _data(number)
                    )
                    target = Target(
                        "ep", None, address, address, "standard", (secret,), {}, None, 1
                    )
                    request = style.render(event, target, now)
                    headers = {"content-type": "application/json", **request.headers}
                    async with session.post(address, data=request.body, headers=headers) as answer:
                        await answer.read()

            began = time.perf_counter()
            await asyncio.gather(*(send() for _ in range(concurrency)))
            return deliveries / (time.perf_counter() - began)

    try:
        import uvloop
    except ImportError:
        return asyncio.run(run())
    return uvloop.run(run())


def our_worker(app: Flask, deliveries: int, log: Path) -> float:
    """Deliveries per second of a worker that finds so many due, from first request to last row."""
    from benchmarks.host import db, webhooks

    with app.app_context():
        before = db.session.scalar(sa.select(sa.func.count(webhooks.models.Attempt.number))) or 0
        endpoints = db.session.scalar(sa.select(sa.func.count(webhooks.models.Endpoint.id))) or 1
        for number in range(deliveries // endpoints):
            webhooks.emit("license.created", json.loads(_data(number)), tenant="app_1")
        db.session.commit()
        delivery, attempt = webhooks.models.Delivery, webhooks.models.Attempt
        db.session.remove()
        with worker(log):
            deadline = time.monotonic() + LIMIT
            unsettled = sa.select(delivery.id).where(delivery.state != "succeeded").limit(1)
            while True:
                with db.engine.connect() as connection:
                    if connection.execute(unsettled).first() is None:
                        break
                if time.monotonic() > deadline:
                    raise SystemExit(f"not done within {LIMIT} s:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
        with db.engine.connect() as connection:
            recorded = connection.execute(sa.select(sa.func.count(attempt.number))).scalar_one()
            first = connection.execute(
                sa.select(sa.func.min(attempt.started_at, type_=attempt.started_at.type)).where(
                    attempt.delivery_id.in_(
                        sa.select(delivery.id).order_by(delivery.id.desc()).limit(deliveries)
                    )
                )
            ).scalar_one()
            last = connection.execute(
                sa.select(sa.func.max(delivery.completed_at, type_=delivery.completed_at.type))
            ).scalar_one()
        db.engine.dispose()
    assert first is not None
    assert last is not None
    if recorded - before != deliveries:
        raise SystemExit(f"{recorded - before} attempts were recorded of {deliveries}")
    return float(deliveries / (last - first).total_seconds())


def measure(database: str, deliveries: int, endpoints: int, rounds: int) -> Result:
    """Ours and the bare loop in turns; medians."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["BENCHMARK_REDIS_URL"] = stack.enter_context(RedisServer()).url
        if database == "sqlite":
            os.environ["BENCHMARK_DATABASE_URL"] = f"sqlite:///{folder / 'benchmark.sqlite'}"
        else:
            server = stack.enter_context(PostgresServer())
            os.environ["BENCHMARK_DATABASE_URL"] = server.create_database("benchmark")
        url = stack.enter_context(receiver())
        from benchmarks.host import create_app, db, webhooks

        app = create_app()
        with app.app_context():
            db.create_all()
            for number in range(endpoints):
                webhooks.create_endpoint(f"{url}/ours/{number}", ["license.*"])
            db.engine.dispose()
        concurrency = app.extensions["webhooks"].settings.concurrency
        ours: list[float] = []
        theirs: list[float] = []
        lost = duplicates = 0
        for _ in range(rounds):
            theirs.append(bare_loop(url, deliveries, endpoints, concurrency))
            counts(url)
            ours.append(our_worker(app, deliveries, folder / "worker.log"))
            requests, distinct = counts(url)
            lost += deliveries - distinct
            duplicates += requests - distinct
    rate, bare = statistics.median(ours), statistics.median(theirs)
    return Result(
        scenario="throughput",
        database=database,
        ours=round(rate),
        theirs=round(bare),
        unit="deliveries/s",
        ratio=round(rate / bare, 3),
        lost=lost,
        duplicates=duplicates,
    )


def _data(number: int) -> str:
    return json.dumps(
        {
            "license_id": f"lic_{number}",
            "license_key": "AAAA-BBBB-CCCC-DDDD",
            "status": "active",
            "level": 1,
            "duration_type": "30d",
        },
        separators=(",", ":"),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    databases = ["sqlite", "postgresql"] if options.database == "both" else [options.database]
    lost = 0
    for database in databases:
        deliveries = options.deliveries // options.endpoints * options.endpoints
        result = measure(database, deliveries, options.endpoints, options.rounds)
        lost += result.lost
        if options.json:
            print(json.dumps(asdict(result)), flush=True)
        else:
            print(
                f"{database:<12} ours {result.ours:>7,.0f}/s   bare aiohttp {result.theirs:>7,.0f}/s   "
                f"ratio {result.ratio:.2f}   lost {result.lost}   duplicates {result.duplicates}",
                flush=True,
            )
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
