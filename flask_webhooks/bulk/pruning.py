"""The removal of many old events as a task, which is needed after ``WEBHOOKS_RETENTION_DAYS`` was lowered, after
days without a worker, and if more events are recorded than a drain can remove while it delivers
(`delivery.retention`).

Workers check for it when they sweep.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..columns import utc_now
from ..db.locks import read_only
from ..db.transactions import writing
from ..delivery import audit_log
from ..delivery.ages import ages_at
from ..delivery.retention import EVENTS, kept_since, stands_aside
from ..errors import WebhooksError
from ..log import get_logger
from ..models import TaskKind
from .selection import Conditions, Selection, conditions

logger = get_logger("flask_webhooks.tasks")

#: The number of old events from which on it is a task, among twice as many of the oldest.
MANY = 10_000
#: Time between two automatic tasks, so that they do not fill the list.
PAUSE = timedelta(hours=1)


def is_due(state: AppState, connection: sa.Connection, now: datetime) -> bool:
    """Return whether so many events are old that a task should start. Only reads, within the caller's transaction.

    :param now: the time of the database.
    """
    if stands_aside(state, connection, now):
        return False
    task = state.table("Task").c
    begun = sa.select(sa.func.max(task.created_at)).where(
        task.kind == TaskKind.PRUNE, task.actor == audit_log.ACTOR
    )
    last = connection.execute(begun).scalar()
    if last is not None and last > now - PAUSE:
        return False
    found = conditions(
        state, TaskKind.PRUNE, Selection(until=kept_since(state, now)), endpoint=None, tenant=None
    )
    starts = [""]
    if ages_at(state.settings, now).differ:
        # Events that are kept longer would hide the removable ones behind them: also search there.
        starts += connection.scalars(
            sa.select(state.table("Mark").c.front).where(state.table("Mark").c.name == EVENTS)
        )
    return any(_many_from(connection, found, start) for start in starts)


def _many_from(connection: sa.Connection, found: Conditions, start: str) -> bool:
    key = found.table.c.id
    enough = sa.select(key).where(key > start, *found.cheap).order_by(key).offset(MANY - 1).limit(1)
    if connection.execute(enough).first() is None:
        return False
    # A long backlog may be as old, and is examined every few seconds.
    oldest = found.window([], 2 * MANY, key > start).subquery()
    query = sa.select(sa.func.count()).select_from(oldest).where(oldest.c.fits)
    return connection.execute(query).scalar_one() >= MANY


def start_if_due(state: AppState, connection: sa.Connection, now: datetime) -> str | None:
    """Start the task if one is due; return its id. The caller has to wake a worker.

    :param connection: a connection without a transaction.
    :param now: the time of the database.
    """
    with read_only(connection):
        if not is_due(state, connection, now):
            return None
    try:
        # The same lock as for tasks of users: see `actions.start_task`.
        with writing(state, alone=f"task {TaskKind.PRUNE} None None") as session:
            return _start(state, session.connection(), now)
    except WebhooksError as error:
        logger.warning("The removal of old events begins at a later sweep: %s", error)
        return None


def _start(state: AppState, connection: sa.Connection, now: datetime) -> str | None:
    # Check again: another process may have started it.
    if not is_due(state, connection, now):
        return None
    forget_old(connection, state)
    task_id = ids.new_id("task")
    filter = Selection(until=kept_since(state, now)).as_json()
    connection.execute(
        sa.insert(state.table("Task")).values(
            id=task_id,
            kind=TaskKind.PRUNE,
            filter=filter,
            actor=audit_log.ACTOR,
            cursor="",
            bound=ids.new_id("evt"),
        )
    )
    audit_log.add_entry(
        state,
        connection,
        "task.started",
        changes={"task": task_id, "kind": TaskKind.PRUNE, "filter": filter},
    )
    return task_id


def forget_old(connection: sa.Connection, state: AppState) -> None:
    """Remove old finished tasks. They are kept as long as events; the audit log is kept longer."""
    table = state.table("Task")
    now = connection.execute(sa.select(utc_now())).scalar_one()
    kept = ages_at(state.settings, now).oldest
    connection.execute(sa.delete(table).where(table.c.finished_at < kept))
