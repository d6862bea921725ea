"""Long jobs over many deliveries or events: what they would do, and how far they are."""

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
    """A task, and how far it is."""

    task: Task
    #: ``None``: all endpoints in scope, or one that is not known any more.
    endpoint: Endpoint | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will change."""
        return self.task.state not in UNFINISHED

    @property
    def progress(self) -> float | None:
        """The share that is done, from 0 to 1; ``None`` until it was counted."""
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
    """What `actions.start_task` with the same arguments would do. Takes a bounded time.

    :raises InvalidInput: a value makes no sense; `field` names it.
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
    """Until when old events stay because a user stopped their removal; ``None`` if that was not so, or is past.

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

    :param tenant: only this one's; ``None`` for all that are in scope.
    :param kind: only those that do this.
    :param state: only those that stand so.
    :param since: only those that were started at this time or later.
    :param until: only those from before it.
    :param unfinished: only those that are not over.
    :param before: only those older than this id.
    :raises InvalidInput: a filter makes no sense; `field` names it.
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
