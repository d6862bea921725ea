"""One run, from empty servers to the verdict."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from benchmarks import orphans
from demo.processes import ROOT
from demo.services import RedisServer

from . import report
from .board import Board
from .databases import SPECIAL, Database, database
from .endpoints import endpoints
from .faults import LANES, OF_DATABASE, World
from .hostapp import API, VARIABLE, create_app, db, webhooks
from .journal import read_journals
from .ledgers import check_ledgers
from .older import older_package
from .options import Options
from .pacing import Pacer
from .recovery import DRAINS_WITHIN, seconds_to_drain, trouble_that_stays
from .rows import create_endpoints, read_receipts, read_rows
from .schedule import IN_FLIGHT, Strike, replayed, schedule
from .striking import Striking, Struck
from .verdict import Verdict, count_outcomes, judge
from .workers import FAKETIME, WorkerSlot

DRIVERS = 3
#: Faults begin once so many requests are in flight, or after so many seconds.
ENOUGH, WARM_UP = 2 * IN_FLIGHT, 90.0
#: Seconds that drivers may take to end.
ENDS_WITHIN = 90.0


class Run:
    """A run; use it as a context manager, which ends all that it has started."""

    def __init__(self, options: Options) -> None:
        self.options = options
        name = f"{options.database}-{options.seed}-{os.getpid()}"
        self.folder = ROOT / "build" / "chaos" / name
        self._stack = contextlib.ExitStack()
        self.specs = endpoints(options.seed)
        self.remarks: list[str] = []

    def __enter__(self) -> Run:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        self.redis = self._stack.enter_context(RedisServer())
        self.database: Database = self._stack.enter_context(
            contextlib.closing(database(self.options.database, self.folder))
        )
        self.board = Board(self.folder / "board")
        config = {
            "SQLALCHEMY_DATABASE_URI": self.database.url,
            "WEBHOOKS_REDIS_URL": self.redis.url,
        }
        self.environment = {
            **{name: value for name, value in os.environ.items() if "REDIS" not in name},
            "FLASK_APP": "chaos.hostapp:create_app",
            VARIABLE: json.dumps(config),
            orphans.VARIABLE: str(os.getpid()),
        }
        self._receivers = self._stack.enter_context(self._child("chaos.receivers"))
        assert self._receivers.stdout is not None
        ports = json.loads(self._receivers.stdout.readline())
        self.app = create_app(**config)
        self._stack.enter_context(self.app.app_context())
        db.create_all()
        self._stack.callback(db.engine.dispose)
        self.numbers = create_endpoints(webhooks, self.specs, ports)
        db.session.remove()
        self.world = self._world()
        self._stack.callback(self._end_workers)

    def _world(self) -> World:
        faked = FAKETIME.exists()
        workers = [
            WorkerSlot("steady", self.folder, self.environment),
            WorkerSlot("worker-1", self.folder, self.environment),
            WorkerSlot(
                "worker-2",
                self.folder,
                self.environment,
                clock=self.folder / "clock" if faked else None,
            ),
        ]
        package = older_package(self.folder)
        older = None
        if package is not None:
            older = WorkerSlot("older", self.folder, self.environment, package=package)
        return World(
            folder=self.folder,
            board=self.board,
            redis=self.redis,
            database=self.database,
            engine=db.engine,
            workers=workers,
            older=older,
            app=self.app,
        )

    @property
    def lanes(self) -> dict[str, list[str]]:
        """The faults of this run, by lane: all that its database can suffer, but for those that were left out."""
        left_out = (SPECIAL - self.database.faults) | self.options.without
        return {
            lane: kept
            for lane, faults in LANES.items()
            if (kept := [name for name in faults if name not in left_out])
        }

    def _possible(self) -> dict[str, list[str]]:
        """Those of them that this machine can do."""
        impossible = set()
        if self.world.older is None:
            impossible.add("older-worker")
            self.remarks.append("older-worker needs the history of the source (git)")
        if self.world.workers[-1].clock is None:
            impossible.add("clock-shifted")
            self.remarks.append("clock-shifted needs libfaketime: apt-get install faketime")
        return {
            lane: [name for name in faults if name not in impossible]
            for lane, faults in self.lanes.items()
        }

    def go(self) -> tuple[Verdict, dict[str, int], dict[str, Any]]:
        """Let it all happen; returns the verdict, the strikes that count, and other facts."""
        planned = self._plan()
        slots = [*self.world.workers, *([self.world.older] if self.world.older else [])]
        for slot in slots:
            slot.start()
        drivers = [
            self._stack.enter_context(self._child("chaos.drivers", str(n))) for n in range(DRIVERS)
        ]
        pacer = Pacer(db.engine, webhooks.models.Delivery, self.board, self._reachable())
        done = threading.Event()
        helpers = ThreadPoolExecutor(2)
        helpers.submit(self._keep_running, slots, done)
        helpers.submit(pacer.run, done)
        try:
            struck = self._strike(planned)
            self._write_schedule(struck)
            self.board["calm"], self.board["stop"] = 1, 1
            for driver in drivers:
                driver.wait(ENDS_WITHIN)
            drained = seconds_to_drain(db.engine, webhooks.models.Delivery, self._reachable())
            trouble = trouble_that_stays()
        finally:
            self.world.over.set()
            done.set()
            helpers.shutdown()
        slowest = max(slot.terminate() for slot in slots)
        self._end_receivers()
        verdict = self._judge(struck)
        self._add_own_findings(verdict, drained, trouble)
        facts = {
            "strikes": [asdict(one) for one in struck],
            "drained_after": drained,
            "slowest_stop": slowest,
            "workers_ended_by_themselves": {slot.name: slot.ended_by_itself for slot in slots},
            "remarks": self.remarks,
        }
        kinds = [name for faults in self.lanes.values() for name in faults]
        return verdict, report.counted(kinds, struck), {**facts, **self._counts}

    def _plan(self) -> dict[str, list[Strike]]:
        possible = self._possible()
        if self.options.replayed is not None:
            planned = replayed(self.options.replayed, possible)
        else:
            planned = schedule(self.options.seed, self.options.seconds, possible)
        return planned

    def _write_schedule(self, struck: list[Struck]) -> None:
        """Write what it takes to repeat this run: the faults as they came."""
        found = {
            "database": self.options.database,
            "seconds": self.options.seconds,
            "seed": self.options.seed,
            "strikes": [asdict(one.strike) for one in struck],
        }
        (self.folder / "schedule.json").write_text(json.dumps(found, indent=1))

    def _strike(self, planned: dict[str, list[Strike]]) -> list[Struck]:
        deadline = time.monotonic() + WARM_UP
        while self.board["in_flight"] < ENOUGH and time.monotonic() < deadline:
            time.sleep(0.05)
        start = time.monotonic()
        # On a busy machine traffic takes its time to come back from a strike.
        until = start + 2 * self.options.seconds + 30.0
        return Striking(self.world, start, until).run(planned)

    def _reachable(self) -> list[str]:
        reachable = {spec.number for spec in self.specs if spec.kind.reachable}
        return [one for one, number in self.numbers.items() if number in reachable]

    def _judge(self, struck: list[Struck]) -> Verdict:
        story = read_journals(sorted(self.folder.glob("*.journal")))
        stored = read_rows(db.engine, webhooks.models, self.numbers)
        received = read_receipts(self.folder / "receipts")
        self._counts = {"outcomes": count_outcomes(story.events.values())}
        troubles = [(one.began, one.ended + 1.0) for one in struck if one.fault in OF_DATABASE]
        verdict = judge(story, received, stored, self.specs, troubles)
        endpoint_ids = {number: one for one, number in self.numbers.items()}
        secrets = {spec.number: spec.secret for spec in self.specs}
        gaps = check_ledgers(verdict, received, stored, endpoint_ids, secrets, self._ask)
        self._counts["gaps"] = {"found": gaps}
        return verdict

    def _ask(self, path: str) -> tuple[Any, bytes]:
        answer = self.app.test_client().get(API + path)
        return answer.headers, answer.get_data()

    def _add_own_findings(
        self, verdict: Verdict, drained: float | None, trouble: str | None
    ) -> None:
        if drained is None:
            verdict.breaks("the backlog drains", f"not within {DRAINS_WITHIN:g} s")
        if trouble is not None:
            verdict.breaks("the health check is green", trouble)
        for complaint in self.world.complaints:
            verdict.breaks("faults go as planned", complaint)

    @contextlib.contextmanager
    def _child(self, module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a module of ours, which gets the folder and the seed; it is ended with the run."""
        command = [
            sys.executable,
            "-m",
            module,
            str(self.folder),
            *arguments,
            str(self.options.seed),
        ]
        name = "-".join([module.partition(".")[2], *arguments])
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def _end_receivers(self) -> None:
        assert self._receivers.stdin is not None
        self._receivers.stdin.close()
        self._receivers.stdin = None
        self._receivers.wait(30)

    def _keep_running(self, slots: list[WorkerSlot], done: threading.Event) -> None:
        while not done.wait(0.5):
            for slot in slots:
                slot.keep_running()

    def _end_workers(self) -> None:
        for slot in [*self.world.workers, self.world.older]:
            if slot is not None:
                slot.kill()
