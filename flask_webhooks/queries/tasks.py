"""Tasks over many deliveries or events: previews and progress."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Unpack

import sqlalchemy as sa

from ..access import Access, find_endpoint
from ..bulk.looking import Preview, find_task, plan, preview
from ..bulk.selection import TaskFilter, check_kind
from ..columns import utc_now
from ..db.conditions import created_between, of_tenant
from ..delivery.retention import REST_AFTER_STOP, last_task
from ..models import UNFINISHED, Endpoint, Task, TaskState
from .pages import Page, check_limit, check_state, older_than, page_of


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task with its endpoint."""

    task: Task
    #: ``None``: all endpoints in scope, or one that no longer exists.
    endpoint: Endpoint | None

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.task.state not in UNFINISHED

    @property
    def progress(self) -> float | None:
        """The progress from 0 to 1; ``None`` until the rows were counted."""
        total = self.task.total
        if total is None:
            return None
        return min(self.task.done / total, 1.0) if total else 1.0


def preview_task(
    access: Access,
    kind: str,
    endpoint_id: str | None = None,
    **filter: Unpack[TaskFilter],
) -> Preview:
    """Return what `actions.start_task` would affect with the same arguments. Takes a bounded time.

    :raises InvalidInput: a value is invalid; `field` names it.
    :raises InvalidTransition: the state of the endpoint does not allow it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    planned = plan(access, kind, endpoint_id, filter)
    access.require("view", planned.endpoint)
    return preview(access, planned)


def get_task(access: Access, task_id: str) -> TaskRow:
    """One task. One statement.

    :raises NotFound: there is no such task in scope.
    :raises Forbidden: not allowed to ``view`` its endpoint.
    """
    task, endpoint = find_task(access, task_id)
    access.require("view", endpoint)
    return TaskRow(task, endpoint)


def pruning_rests_until(access: Access) -> datetime | None:
    """Return until when old events are kept because a user stopped their removal; ``None`` if this does not apply.

    One statement.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    last = last_task(access.state).subquery()
    with access.read() as session:
        found = session.execute(sa.select(last, utc_now())).first()
    if found is None or found[0] != TaskState.STOPPED:
        return None
    _, ended, now = found
    until: datetime = ended + REST_AFTER_STOP
    return until if until > now else None


def list_tasks(
    access: Access,
    endpoint_id: str | None = None,
    *,
    tenant: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    unfinished: bool = False,
    before: str | None = None,
    limit: int = 50,
) -> Page[TaskRow]:
    """Tasks in scope, newest first.

    :param tenant: only of this tenant; ``None`` for all in scope.
    :param kind: only of this kind.
    :param state: only in this state.
    :param since: only those that were started at this time or later.
    :param until: only before this time.
    :param unfinished: only unfinished ones.
    :param before: only older than this id.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    endpoint = None if endpoint_id is None else find_endpoint(access, endpoint_id, deleted=True)
    access.require("view", endpoint)
    models = access.state.models
    table = models.Task
    query = (
        sa.select(table, models.Endpoint)
        .join_from(table, models.Endpoint, table.endpoint_id == models.Endpoint.id, isouter=True)
        .where(access.scope(table.tenant), *older_than(table.id, before))
        .where(*created_between(table.id, "task", since, until))
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    if endpoint_id is not None:
        query = query.where(table.endpoint_id == endpoint_id)
    if tenant is not None:
        query = query.where(of_tenant(table.tenant, tenant))
    if kind is not None:
        query = query.where(table.kind == check_kind(kind))
    if state is not None:
        query = query.where(table.state == check_state(state, TaskState))
    if unfinished:
        query = query.where(table.state.in_([str(item) for item in UNFINISHED]))
    with access.read() as session:
        rows = session.execute(query).all()
    return page_of(rows, limit, lambda row: row[0].id).map(lambda row: TaskRow(*row))
