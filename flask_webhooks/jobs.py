"""The RQ job of a drain, and the sweep for work whose wake-up was lost."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa
from flask import Flask, current_app, has_app_context
from rq import get_current_job
from sqlalchemy.exc import DBAPIError

from .app_state import AppState, state_of, unwrap
from .bulk import pruning
from .bulk.background import BackgroundTasks, anything_waiting
from .db.clock import DatabaseClock
from .db.counters import LOST_WAKEUPS, Amounts, counters
from .db.locks import read_only, take_write_lock
from .delivery.claim.claim import Claimer
from .delivery.drain import Drain
from .delivery.owner_dispatch import anything_to_tell
from .delivery.scheduled import soonest_scheduled
from .errors import ConfigurationError
from .log import get_logger, hides_locals, safe_text
from .log_limit import LimitedLog
from .tally import Tally

logger = get_logger("flask_webhooks.jobs")
_limited = LimitedLog(logger)

#: How often workers of other installations pass a job on before it is dropped.
MAX_HOPS = 20
#: The same for jobs of test suites, of which there may be many.
MAX_HOPS_OF_TESTS = 2
#: Seconds for which the queue is left to workers of the other installation.
HOP_PAUSE = (0.05, 0.5)
#: Seconds after which a wake-up counts as lost: RQ's scheduler is up to two seconds late.
LATE = timedelta(seconds=2)

_app: Flask | None = None
_clock: DatabaseClock | None = None
#: Keys of the queues of our Worker; its drains linger while no job is waiting in them.
_queues: tuple[str, ...] = ()
#: Counts of the drains of this process and of its forks.
tally = Tally()


@hides_locals
def drain(installation: str, hops: int = 0) -> int:
    """The RQ job: deliver due events; return the number of attempts.

    :param installation: the installation of the job.
    :param hops: how often workers of other installations have passed it on.
    :raises ConfigurationError: the worker has no application: FLASK_APP is not set.
    """
    state = state_of(find_app())
    after_fork(state)
    if installation != state.settings.installation:
        with contextlib.closing(state.worker_queue.connect()) as client:
            enqueue, ttl = state.worker_queue.enqueue, current_ttl()
            again = partial(enqueue, client, hops + 1, installation, ttl)
            pass_on(state, installation, hops, again, ttl)
        return 0
    job = get_current_job()
    if job is None:
        return Drain(state, other=BackgroundTasks(state)).run()
    # RQ names the job in the environment of a work-horse, but not where it runs jobs in the worker itself.
    parent = os.getppid() if os.environ.get("RQ_JOB_ID") == job.id else None
    running = Drain(
        state,
        job.worker_name,
        parent,
        other=BackgroundTasks(state),
        clock=_clock,
        queues=() if parent is None else _queues,
    )
    delivered = running.run()
    tally.count(delivered)
    if parent is not None and running.cut_off:
        # Everything important is written. RQ would wait for Redis repeatedly, long after the process must end.
        logging.shutdown()
        os._exit(0)
    return delivered


def sweep(state: AppState) -> bool:
    """Look for work for which no worker was woken, and wake one; return whether there was any.

    If many events are older than their retention time, their removal is started as a task.

    :raises sqlalchemy.exc.DBAPIError: the database does not respond.
    :raises redis.RedisError: Redis does not respond.
    """
    with state.own_engine.connect() as connection:
        soonest = _soonest_scheduled(state, connection)
        with read_only(connection):
            now = DatabaseClock().read(connection)
            claimer = Claimer(state)
            scheduled = soonest is not None and soonest <= now
            due = scheduled or claimer.anything_due(connection, now)
            late = due and (
                (soonest is not None and soonest <= now - LATE)
                or claimer.anything_due(connection, now - LATE)
            )
            due = due or anything_to_tell(state, connection, now)
        pruning.start_if_due(state, connection, now)
        with read_only(connection):
            tasks = anything_waiting(state, connection)
    if not due and not tasks:
        return False
    client = state.worker_queue.connect()
    try:
        if due and state.worker_queue.notify(client) and late:
            _limited.write(
                "late",
                logging.WARNING,
                "Deliveries were overdue, and no worker had been woken for them; one is woken now",
            )
            _count_lost_wakeup(state)
        _limited.write_due()
        if tasks:
            state.worker_queue.request_task_worker(client)
    finally:
        client.close()
    return True


def _soonest_scheduled(state: AppState, connection: sa.Connection) -> datetime | None:
    """Return when the next scheduled event is due; ``None`` also if the tables are of an older version."""
    try:
        with read_only(connection):
            return soonest_scheduled(state, connection)
    except DBAPIError as error:
        logger.warning("Scheduled events could not be looked for: %s", safe_text(error))
        return None


def _count_lost_wakeup(state: AppState) -> None:
    """Count a lost wake-up: work was overdue without a drain or a job."""
    amounts = Amounts()
    amounts.count(LOST_WAKEUPS)
    with state.own_engine.connect() as connection, connection.begin():
        take_write_lock(state, connection)
        counters(state).add(connection, amounts)


def use_app(app: Flask, clock: DatabaseClock | None = None) -> None:
    """Set the application for the jobs of this process and of its forks.

    :param clock: a clock of its database that is read periodically.
    """
    global _app, _clock
    _app, _clock = app, clock


def let_drains_stay(queues: Sequence[str]) -> None:
    """Let drains of forks of this process linger until a job is waiting in one of these queues.

    :param queues: their keys in Redis; without any, drains leave after their linger time.
    """
    global _queues
    _queues = tuple(queues)


def find_app() -> Flask:
    """Return the application: the current one, the one that our Worker has loaded, or that of FLASK_APP.

    :raises ConfigurationError: there is none.
    """
    if has_app_context():
        app: Flask = unwrap(current_app)
        return app
    if _app is None:
        use_app(load_app())
    assert _app is not None
    return _app


def load_app() -> Flask:
    """Load the application of FLASK_APP, as the ``flask`` command does: after ``.env`` and ``.flaskenv``.

    :raises ConfigurationError: FLASK_APP is not set, or cannot be loaded.
    """
    from click import ClickException
    from flask.cli import ScriptInfo, load_dotenv
    from flask.helpers import get_load_dotenv

    if get_load_dotenv():
        load_dotenv()
    if not os.environ.get("FLASK_APP"):
        raise ConfigurationError(
            "The worker cannot find the application. Set FLASK_APP, as for the flask command: FLASK_APP=yourapp rq "
            "worker -w flask_webhooks.Worker"
        )
    try:
        return ScriptInfo(app_import_path=os.environ["FLASK_APP"]).load_app()
    except ClickException as error:
        raise ConfigurationError(f"FLASK_APP cannot be loaded: {error.message}") from error


def after_fork(state: AppState) -> None:
    """Discard database connections that were opened before a fork, because they belong to the parent."""
    if state.pid == os.getpid():
        return
    state.pid = os.getpid()
    for engine in engines(state):
        engine.dispose(close=False)


def engines(state: AppState) -> list[sa.Engine]:
    """Return all engines of the host."""
    with state.app.app_context():
        return list(state.db.engines.values())


def current_ttl() -> int | None:
    """Return the seconds that the current job may wait; ``None`` is unlimited."""
    job = get_current_job()
    return None if job is None else job.ttl


def pass_on(
    state: AppState,
    installation: str,
    hops: int,
    again: Callable[[], object],
    ttl: int | None = None,
) -> None:
    """Return the job of another host to the shared queue.

    :param hops: how often workers of other installations have passed it on.
    :param again: enqueues it again.
    :param ttl: the lifetime of the job; only jobs of test suites have one.
    """
    if ttl is not None and hops >= MAX_HOPS_OF_TESTS:
        logger.debug("Dropped a job of a test suite (installation %s)", installation)
        return
    if hops >= MAX_HOPS:
        logger.error(
            "Dropped a job of installation %s: none of its workers takes jobs from queue %r. Give each application "
            "its own WEBHOOKS_QUEUE.",
            installation,
            state.settings.queue,
        )
        return
    again()
    # Random, so that two workers with each other's job do not swap them repeatedly.
    time.sleep(random.uniform(*HOP_PAUSE))
