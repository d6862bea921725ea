"""Take a task under a lease: one worker owns it until it ends or the lease expires."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..app_state import AppState
from ..columns import UtcDateTime, utc_now
from ..db.locks import read_only, take_write_lock
from ..models import TaskKind, TaskState
from ..security.vault import Sealed
from .selection import Selection
from .whose import Predicate

#: Seconds after which a silent worker counts as dead, and another one continues.
LEASE = 60.0


class Lost(Exception):
    """The task was stopped, or another worker has taken it over."""


@dataclass(frozen=True, slots=True)
class Held:
    """A task that this worker owns."""

    id: str
    token: str
    kind: TaskKind
    endpoint_id: str | None
    tenant: str | None
    selection: Selection
    actor: str
    bound: str
    #: For an erasure: its members and values, or a function of this process.
    sealed: Sealed | None = None
    predicate: Predicate | None = None


def waiting(task: Any, now: Any) -> sa.ColumnElement[bool]:
    """Return the condition for tasks without a worker, of the kinds that this version knows."""
    return sa.and_(
        sa.or_(
            task.state == TaskState.WAITING,
            sa.and_(task.state == TaskState.RUNNING, task.lease_until < now),
        ),
        task.kind.in_([str(kind) for kind in TaskKind]),
    )


def claim(state: AppState, connection: sa.Connection) -> Held | None:
    """Take the task that has waited longest, if any."""
    table = state.table("Task")
    task = table.c
    with read_only(connection):
        candidates = connection.scalars(
            sa.select(task.id).where(waiting(task, utc_now())).order_by(task.touched_at, task.id)
        ).all()
    for task_id in candidates:
        token = uuid.uuid4().hex
        with connection.begin():
            take_write_lock(state, connection)
            now = connection.execute(sa.select(utc_now())).scalar_one()
            mine = connection.execute(
                sa.update(table)
                .where(task.id == task_id, waiting(task, now))
                .values(
                    state=TaskState.RUNNING,
                    lease_token=token,
                    lease_until=lease_end(now),
                    started_at=sa.func.coalesce(task.started_at, sa.literal(now, UtcDateTime())),
                )
            ).rowcount
            if not mine:
                continue
            row = connection.execute(sa.select(table).where(task.id == task_id)).one()
        return Held(
            row.id,
            token,
            TaskKind(row.kind),
            row.endpoint_id,
            row.tenant,
            Selection.from_json(row.filter),
            row.actor,
            row.bound,
            row.input_sealed,
        )
    return None


def lease_end(now: datetime) -> datetime:
    """Return the end of a lease that starts now."""
    return now + timedelta(seconds=LEASE)
