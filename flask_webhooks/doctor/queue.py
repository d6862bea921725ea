"""Redis and the queue: permissions and mode, workers and scheduler, overdue deliveries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import redis
from rq import Worker
from rq.version import VERSION

from .. import queries
from ..access import Access
from ..delivery.ages import longest_kept
from ..delivery.http.machine import ADVICE
from ..delivery.settle.health import Hold
from ..queries.engine import EngineReport, ask
from ..queries.explanations import hold_text
from ..queries.system import silence
from ..wakeup.redis_trouble import explain_error
from ..wakeup.worker_queue import WorkerQueue
from .findings import Area, Finding

_REDIS = Area("redis")
_WORKERS = Area("workers")
#: The oldest version with all commands of our scripts (LPOS).
_OLDEST = (6, 0, 6)
#: Retention is not working if events are older than their retention time by more than this.
_GRACE = timedelta(days=2)


class Queue:
    """The state of Redis."""

    def __init__(self, worker_queue: WorkerQueue) -> None:
        self.worker_queue = worker_queue
        #: The time of its clock, and the data of RQ; ``None`` if Redis cannot be used.
        self.time: datetime | None = None
        self.engine: EngineReport | None = None

    def examine(self) -> Iterator[Finding]:
        """Check Redis in the same way as web processes and workers use it."""
        with contextlib.closing(self.worker_queue.connect()) as client:
            try:
                yield from self._examine(client)
            except (redis.RedisError, OSError) as error:
                trouble = explain_error(error)
                yield _REDIS.problem(
                    f"{trouble.kind.title.rstrip('.')}: {trouble.cause}.",
                    "Events are recorded, and nothing is lost; but workers are not woken, and none can start.",
                    str(trouble.kind.advice)
                    if trouble.answered
                    else "Start it, or set WEBHOOKS_REDIS_URL.",
                )

    def _examine(self, client: redis.Redis) -> Iterator[Finding]:
        self.worker_queue.check(client)
        seconds, microseconds = client.time()
        self.time = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        self.engine = ask(self.worker_queue, client)
        info = client.info()
        version, mode = info.get("redis_version", "?"), info.get("redis_mode", "?")
        yield _REDIS.ok(f"Redis {version} responds ({mode}, {info.get('role', '?')}).")
        yield from _version(version)
        yield from _rq_versions(client, self.engine.names)
        self._use_as_workers(client)
        yield _REDIS.ok("The user has the permissions that web processes and workers need.")
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and str(policy).startswith("allkeys"):
            yield _REDIS.warning(
                f"Redis evicts keys when its memory is full (maxmemory-policy {policy}).",
                "Wake-ups may be lost, and deliveries then wait for a sweep. Nothing else is lost.",
                "Set maxmemory-policy to noeviction or volatile-lru, or use a separate Redis.",
            )

    def _use_as_workers(self, client: redis.Redis) -> None:
        """Wait for a key, and listen on a channel, as workers of RQ do.

        :raises redis.RedisError: Redis refuses it.
        """
        client.blpop([self.worker_queue.keys.check + ":doctor"], timeout=0.01)
        with contextlib.closing(client.pubsub()) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(self.worker_queue.queue(client).key + ":doctor")
            channel.get_message(timeout=1.0)


def _version(text: object) -> Iterator[Finding]:
    with contextlib.suppress(ValueError):
        if tuple(int(part) for part in str(text).split(".")[:3]) < _OLDEST:
            yield _REDIS.problem(
                f"Redis {text} is too old.",
                "It lacks LPOS, so workers are not woken.",
                f"Use Redis {'.'.join(map(str, _OLDEST))} or newer, or Valkey.",
            )


def _rq_versions(client: redis.Redis, names: Iterable[str]) -> Iterator[Finding]:
    """Compare the RQ of the workers with that of this process.

    :param names: of workers.
    """
    prefix = Worker.redis_worker_namespace_prefix
    with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hget(prefix + name, "version")
        found = {version.decode(errors="replace") for version in pipeline.execute() if version}
    others = sorted(found - {VERSION})
    if others:
        yield _WORKERS.warning(
            f"A worker runs RQ {', '.join(others)}, and this process RQ {VERSION}.",
            "They may not be able to read each other's jobs, so wake-ups fail.",
            "Install the same version for web processes and workers, and restart them.",
        )
    else:
        yield _WORKERS.ok(f"This process and the workers run RQ {VERSION}.")


def examine_workers(access: Access, engine: EngineReport | None) -> Iterator[Finding]:
    """Check workers, the scheduler and overdue deliveries."""
    report = queries.health(access)
    settings = access.state.settings
    limit = timedelta(seconds=silence(settings.sweep_interval))
    seen = report.alive_at is not None and report.now - report.alive_at <= limit
    if engine is not None and engine.suspended:
        yield _WORKERS.problem(
            f"The queue {engine.queue!r} is suspended.",
            "Workers take no jobs from it or any other queue.",
            "Resume with: rq resume",
        )
    if seen or (engine is not None and engine.workers):
        number = "" if engine is None else f" RQ knows {engine.workers} for this queue."
        yield _WORKERS.ok(f"A worker is running.{number}")
    elif engine is not None or report.alive_at is None:
        # A worker that waits for Redis sends no heartbeat.
        last = (
            "no worker has run yet"
            if report.last_seen_at is None
            else f"one was last seen at {report.last_seen_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        yield _WORKERS.problem(
            f"No worker is running; {last}.",
            f"Nothing is delivered. {report.due:,} deliveries are due.",
            "Start one with: flask webhooks worker",
        )
    if engine is not None and engine.workers and not engine.scheduler and not seen:
        yield _WORKERS.problem(
            "No scheduler is running.",
            "Retries wait until something else is sent.",
            "Start a worker with: flask webhooks worker, or start yours with --with-scheduler.",
        )
    elif engine is not None and engine.scheduler:
        yield _WORKERS.ok("RQ's scheduler is running.")
    if engine is not None and engine.failed:
        yield _WORKERS.warning(
            f"{engine.failed} jobs have failed in the last day.",
            "A drain only fails because of a bug or a problem with the database. Other workers have taken over its "
            "work.",
            f"Read the log of the workers, and: rq info {engine.queue}",
        )
    yield from _late(access, report)


def _late(access: Access, report: queries.HealthReport) -> Iterator[Finding]:
    overdue = queries.readiness(access.state).overdue
    if overdue is not None:
        yield _WORKERS.problem(
            f"A delivery has been overdue for {overdue:.0f} s, and nothing was sent to its endpoint meanwhile.",
            f"{report.due:,} deliveries are due. Workers cannot keep up or are not working.",
            "Read the log of the workers; if they are busy, start more of them.",
        )
    else:
        yield _WORKERS.ok(f"Nothing is overdue; {report.due:,} deliveries are due.")
    if report.trouble == Hold.VERSION_FAILED:
        yield _WORKERS.problem(
            str(hold_text(report.trouble)),
            "Deliveries to some endpoints wait. No attempts are used up meanwhile.",
            "Correct the function given to @webhooks.version that the log of the workers names, and start them again.",
        )
    elif report.trouble is not None:
        yield _WORKERS.problem(
            str(hold_text(report.trouble)),
            "A worker has found a problem on its own machine. No attempts are used up meanwhile.",
            ADVICE[Hold(report.trouble)],
        )
    kept = longest_kept(access.state.settings)
    if report.history_since is not None and report.now - report.history_since > kept + _GRACE:
        yield _WORKERS.warning(
            f"The oldest event is from {report.history_since:%Y-%m-%d}.",
            f"Events are to be removed after {kept.days} days (WEBHOOKS_RETENTION_DAYS). Workers remove them while "
            "they run, except those with undelivered deliveries.",
            "See flask webhooks tasks list; remove them now with: flask webhooks prune",
        )
