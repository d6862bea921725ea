"""The recommended RQ worker: ``FLASK_APP=… rq worker -w flask_webhooks.Worker``.

It loads the application once, in the parent, so that a job starts in milliseconds; runs RQ's scheduler; looks for
lost work when it starts and every few seconds; registers again when Redis has lost its data; and passes SIGTERM on
to the work-horse, which RQ does not. Long, since it overrides all stages of RQ's worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import click
import rq
import rq.worker_registration
from redis import RedisError
from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.exceptions import StopRequested
from rq.logutils import setup_loghandlers
from sqlalchemy.exc import DBAPIError

from . import jobs
from .app_state import AppState, state_of
from .config import Settings
from .db.clock import DatabaseClock
from .db.narrow import unicode_trouble
from .delivery import heartbeat
from .delivery.http import machine
from .delivery.retention import prune
from .delivery.warmup import freeze, warm_up
from .errors import WebhooksError
from .log import get_logger, safe_text
from .wakeup.redis_client import connect, names_sentinels, present_url
from .wakeup.redis_trouble import explain_error

logger = get_logger("flask_webhooks.worker")

#: Seconds between checks whether Redis is back.
REDIS_PAUSE = 1.0

#: The time limit for removing old events in a sweep, in seconds.
PRUNE_BUDGET = 0.2
#: Seconds after a stop request until the worker no longer waits for Redis; work-horses need less.
STOP_LIMIT = 7.5

#: How often RQ's scheduler is asked to stop, once per second, before it is killed.
SCHEDULER_TRIES = 3

#: Environment variables with which the command line names a Redis.
_REDIS_VARIABLES = ("RQ_REDIS_URL", "RQ_CONFIG", "REDIS_URL", "REDIS_HOST")

#: Whether RQ's command uses the application's Redis.
_adopted = False


class Worker(rq.Worker):
    """An RQ worker for webhook deliveries, with the parameters of `rq.Worker`."""

    def __init__(self, queues: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("prepare_for_work") is False:
            # RQ creates such objects to list workers; these never work and have no application.
            self._sweep_interval = Settings().sweep_interval
            super().__init__(queues, *args, **kwargs)
            return
        try:
            self._webhooks = state_of(jobs.find_app())
        except WebhooksError as error:
            if _rq_command() is None:
                raise
            # RQ's command logs exceptions with their traceback.
            click.ClickException(error.message).show()
            raise SystemExit(1) from error
        self._clock = DatabaseClock()
        jobs.use_app(self._webhooks.app, self._clock)
        self._sweep_interval = self._webhooks.settings.sweep_interval
        connection = kwargs.get("connection") or (queues[0].connection if queues else None)
        redis_url = self._webhooks.settings.redis_url
        if _adopted and connection is not None and names_sentinels(redis_url):
            # RQ's command connected to the server that is the primary now; another one may be it later.
            connection.connection_pool = connect(redis_url).connection_pool
        if not _named("queues"):
            queues = [rq.Queue(self._webhooks.settings.queue, connection=connection)]
        with _refusal_in_one_line():
            super().__init__(queues, *args, **kwargs)
            self._webhooks.worker_queue.check(self.connection)
        self.job_monitoring_interval = min(self.job_monitoring_interval, 5)
        self._swept_at = float("-inf")
        self._warm = False
        self._burst = False
        self._started = False
        self._ended = threading.Event()

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Work until stopped, even if Redis becomes unavailable, in which case RQ would quit.

        The scheduler always runs, because retries become due without a new event.
        """
        self._warm_up()
        self._ended.clear()
        kwargs["with_scheduler"] = True
        self._burst = bool(kwargs.get("burst") or args)
        bounded = any(kwargs.get(name) for name in ("burst", "max_jobs", "max_idle_time"))
        jobs.let_drains_stay(() if bounded else [queue.key for queue in self.queues])
        worked = False
        began, before = time.monotonic(), jobs.tally.done
        self._started = False
        try:
            while True:
                try:
                    worked |= super().work(*args, **kwargs)
                except RedisError as error:
                    self._log_trouble(error)
                if bounded or args or not self._wait_for_redis():
                    return worked
                self.log.info("Worker %s: continuing", self.name)
        finally:
            self._ended.set()
            if self._started and not self.is_horse:
                done = jobs.tally.done
                drains, attempts = done.drains - before.drains, done.attempts - before.attempts
                logger.info(
                    "Worker %s stopped after %d s: %d attempts in %d drains",
                    self.name,
                    time.monotonic() - began,
                    attempts,
                    drains,
                    extra={"attempts": attempts, "drains": drains},
                )

    def bootstrap(
        self,
        logging_level: str | None = "INFO",
        date_format: str = DEFAULT_LOGGING_DATE_FORMAT,
        log_format: str = DEFAULT_LOGGING_FORMAT,
    ) -> None:
        """Start working; use RQ's log handlers, unless the application has configured logging."""
        ours = logging.getLogger("flask_webhooks")
        if not ours.hasHandlers():
            level = logging_level or ours.level or logging.INFO
            setup_loghandlers(level, date_format, log_format, name=ours.name)
        super().bootstrap(logging_level, date_format, log_format)
        if not self._started:
            self._started = True
            logger.info("Worker %s started for %s", self.name, ", ".join(self.queue_names()))

    @property
    def dequeue_timeout(self) -> int:
        """Seconds between sweeps while there are no jobs."""
        return max(1, round(self._sweep_interval))

    @property
    def connection_timeout(self) -> int:
        return self.dequeue_timeout + 10

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Send a heartbeat and sweep; RQ calls this after waiting for a job, and after each job."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None and not self.is_horse and not self.horse_pid:
            self._register_again()
            self._take_up_scheduling()
            self._sweep()

    def maintain_heartbeats(self, *args: Any, **kwargs: Any) -> None:
        """Send heartbeats during a job; RQ calls this every few seconds, RQ 3 with an additional argument."""
        super().maintain_heartbeats(*args, **kwargs)
        self._register_again()

    def fork_work_horse(self, job: rq.job.Job, queue: rq.Queue) -> None:
        """Fork with no database connection open: the child could neither use nor close it."""
        self._close_connections()
        super().fork_work_horse(job, queue)

    def handle_warm_shutdown_request(self) -> None:
        """Stop the work-horse after its requests in flight, then this worker."""
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)
        threading.Thread(target=self._end_without_redis, daemon=True).start()
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]

    def _end_without_redis(self) -> None:
        """Exit without deregistering if Redis is unavailable, because RQ would wait for it repeatedly."""
        if self._ended.wait(STOP_LIMIT):
            return
        while self.horse_pid and _lives(self.horse_pid):
            # It ends by itself, without Redis.
            if self._ended.wait(0.1):
                return
        self.log.warning("Worker %s: Redis prevents a clean stop; exiting anyway", self.name)
        process: Any = self.scheduler._process if self.scheduler else None
        if process is not None:
            process.kill()
        os._exit(0)

    def stop_scheduler(self) -> None:
        """Stop RQ's scheduler; RQ would wait for ever for one that was just forked and missed the signal."""
        process: Any = self.scheduler._process if self.scheduler else None
        if process is None:
            return
        for _ in range(SCHEDULER_TRIES):
            with contextlib.suppress(OSError):
                process.terminate()
            process.join(1)
            if not process.is_alive():
                return
        process.kill()
        process.join()

    def _take_up_scheduling(self) -> None:
        """Start a scheduler once its lock is free: RQ tries again after ten minutes.

        A worker that was killed holds the lock for a minute.
        """
        scheduler: Any = self.scheduler
        if (
            not self._burst
            and scheduler
            and not (scheduler._process and scheduler._process.is_alive())
        ):
            scheduler.acquire_locks(auto_start=True)

    def _wait_for_redis(self) -> bool:
        """Wait until Redis is back; return False if the worker was stopped."""
        if self.horse_pid:
            # It also delivers without Redis; let it finish.
            self.wait_for_horse()
            self._horse_pid = 0
        while self._shutdown_requested_date is None:
            try:
                time.sleep(REDIS_PAUSE)
                # Even if Redis still has the registration, which would look like a duplicate.
                self.register_death()  # type: ignore[no-untyped-call]
                # While Redis refuses commands, RQ would end at once, with a traceback each time.
                self._webhooks.worker_queue.check(self.connection)
            except StopRequested:
                return False
            except RedisError:
                continue
            # A signal may have arrived meanwhile without an effect.
            return self._shutdown_requested_date is None
        return False

    def _warm_up(self) -> None:
        """Prepare everything that each fork would otherwise do again."""
        settings = self._webhooks.settings
        for trouble in machine.troubles(settings.concurrency, settings.proxy()):
            self.log.error("Worker %s: %s", self.name, trouble)
        for doubt in machine.doubts(settings.proxy()):
            self.log.warning("Worker %s: %s", self.name, doubt)
        try:
            warm_up(self._webhooks)
            with self._webhooks.own_engine.connect() as connection:
                narrow = unicode_trouble(self._webhooks, connection)
        except DBAPIError as error:
            self.log.warning("The database cannot be used yet: %s", safe_text(error))
        else:
            self._warm = True
            if narrow is not None:
                self.log.warning("%s", narrow)
        self._close_connections()
        freeze()

    def _close_connections(self) -> None:
        for engine in jobs.engines(self._webhooks):
            engine.dispose()

    def _register_again(self) -> None:
        # After a FLUSHALL, RQ would not know this worker, and drains would not know the number of workers.
        if not self.connection.sismember(self.redis_workers_keys, self.key):
            self.log.info(
                "Worker %s: its registration in Redis is gone, registering again", self.name
            )
            self.connection.hset(self.key, mapping=self.serialize())
            with self.connection.pipeline() as pipeline:
                rq.worker_registration.register(self, pipeline)
                pipeline.execute()

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < self._sweep_interval * 0.9:
            return
        self._swept_at = time.monotonic()
        try:
            jobs.sweep(self._webhooks)
            with self._webhooks.own_engine.connect() as connection:
                with connection.begin():
                    now = self._clock.read(connection)
                sign = heartbeat.Sign(self.name, "worker", socket.gethostname(), os.getpid())
                heartbeat.beat(self._webhooks, connection, sign, now, skew=self._clock.skew)
                # New jobs wait meanwhile; drains have more time for this.
                prune(self._webhooks, connection, now, budget=PRUNE_BUDGET)
            if not self._warm:
                self._warm_up()
        except DBAPIError as error:
            self.log.warning(
                "The database cannot be used: %s. If tables are missing or out of date, run your migrations or: "
                "flask webhooks upgrade-db",
                safe_text(error),
            )
        except RedisError as error:
            self._log_trouble(error)

    def _log_trouble(self, error: RedisError) -> None:
        self.log.warning("Worker %s: %s", self.name, explain_error(error))

    def teardown(self) -> None:
        super().teardown()  # type: ignore[no-untyped-call]
        if self.is_horse:
            return
        with contextlib.suppress(DBAPIError), self._webhooks.own_engine.connect() as connection:
            heartbeat.end(self._webhooks, connection, self.name)


@contextlib.contextmanager
def _refusal_in_one_line() -> Iterator[None]:
    """End RQ's command with one line if Redis refuses a command; RQ would print a traceback."""
    try:
        yield
    except RedisError as error:
        trouble = explain_error(error)
        if _rq_command() is None or not trouble.answered:
            raise
        click.ClickException(f"{trouble}.").show()
        raise SystemExit(1) from error


def _lives(pid: int) -> bool:
    """Return whether a child is still running, without consuming its exit status."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def run(state: AppState, *, burst: bool = False, name: str | None = None) -> None:
    """Run a worker for an application until it is stopped, for ``flask webhooks worker``.

    :param burst: end when there is nothing left to do.
    :raises redis.RedisError: Redis does not respond.
    """
    jobs.use_app(state.app)
    # RQ uses it to wait for jobs, and sets its timeout.
    client = connect(state.settings.redis_url)
    Worker([state.worker_queue.queue(client)], name=name, connection=client).work(burst=burst)


def adopt_redis() -> None:
    """Make ``rq worker`` use the application's Redis if the command line names none.

    RQ's command connects before it creates the worker, but after it has imported the worker's class.

    :raises click.ClickException: there is no application, or Redis refuses a command.
    """
    global _adopted
    context = _rq_command()
    if context is None or _named("url") or _named("config"):
        return
    if any(os.environ.get(name) for name in _REDIS_VARIABLES):
        return
    try:
        queue = state_of(jobs.find_app()).worker_queue
    except WebhooksError as error:
        raise click.ClickException(error.message) from error
    try:
        os.environ["REDIS_URL"] = present_url(queue.settings.redis_url)
    except RedisError as error:
        raise click.ClickException(f"{explain_error(error)}.") from error
    _adopted = True
    with contextlib.closing(queue.connect()) as client:
        try:
            # Before the first call of RQ's command, which would fail with a traceback.
            queue.check(client)
        except RedisError as error:
            trouble = explain_error(error)
            if trouble.answered:
                raise click.ClickException(f"{trouble}.") from error


def _rq_command() -> click.Context | None:
    """Return the context of the running ``rq worker`` or ``rq worker-pool``, if any."""
    context = click.get_current_context(silent=True)
    if context is None or not context.command.callback:
        return None
    module = getattr(context.command.callback, "__module__", "")
    return context if module.startswith("rq.") else None


def _named(parameter: str) -> bool:
    """Return whether the command line of RQ contains a parameter; elsewhere, the caller passes it."""
    context = _rq_command()
    return context is None or bool(context.params.get(parameter))
