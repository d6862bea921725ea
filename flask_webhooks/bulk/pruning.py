"""When the removal of old events is a task of its own: many are old at once.

So it is after ``WEBHOOKS_RETENTION_DAYS`` was lowered, after days without a worker, and where more is recorded than
goes beside deliveries (`delivery.retention`). Workers look for it as they sweep.
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

#: Old events that make it a task, among twice as many of the oldest.
MANY = 10_000
#: Between two that were begun by themselves: people should find others in the list, too.
PAUSE = timedelta(hours=1)


def is_due(state: AppState, connection: sa.Connection, now: datetime) -> bool:
    """Whether so much is old that a task should be begun. Only reads, within the caller's transaction.

    :param now: the database's time.
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
        # What stays of an age at which others go would hide those: begin behind it, too.
        starts += connection.scalars(
            sa.select(state.table("Mark").c.front).where(state.table("Mark").c.name == EVENTS)
        )
    return any(_many_from(connection, found, start) for start in starts)


def _many_from(connection: sa.Connection, found: Conditions, start: str) -> bool:
    key = found.table.c.id
    enough = sa.select(key).where(key > start, *found.cheap).order_by(key).offset(MANY - 1).limit(1)
    if connection.execute(enough).first() is None:
        return False
    # A long backlog may be as old, and is looked at every few seconds.
    oldest = found.window([], 2 * MANY, key > start).subquery()
    query = sa.select(sa.func.count()).select_from(oldest).where(oldest.c.fits)
    return connection.execute(query).scalar_one() >= MANY


def start_if_due(state: AppState, connection: sa.Connection, now: datetime) -> str | None:
    """Begin the task if one is due; returns its id. Someone has to be called to it.

    :param connection: in no transaction.
    :param now: the database's time.
    """
    with read_only(connection):
        if not is_due(state, connection, now):
            return None
    try:
        # The name that people's own wait for: see `actions.start_task`.
        with writing(state, alone=f"task {TaskKind.PRUNE} None None") as session:
            return _start(state, session.connection(), now)
    except WebhooksError as error:
        logger.warning("The removal of old events begins at a later sweep: %s", error)
        return None


def _start(state: AppState, connection: sa.Connection, now: datetime) -> str | None:
    # Checked again: another process may have started it.
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
    """Remove old tasks that are over. They stay as long as events do; the audit log stays longer."""
    table = state.table("Task")
    now = connection.execute(sa.select(utc_now())).scalar_one()
    kept = ages_at(state.settings, now).oldest
    connection.execute(sa.delete(table).where(table.c.finished_at < kept))
