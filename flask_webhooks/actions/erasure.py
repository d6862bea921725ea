"""Erase one person's data: as a task for workers, or in this process if a function of the host selects it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..access import Access
from ..bulk.erasing import forget_unwritten
from ..bulk.lease import Held, Lost, lease_end
from ..bulk.looking import require_all_tenants_to_erase
from ..bulk.pruning import forget_old
from ..bulk.runner import Runner
from ..bulk.selection import Selection, TaskFilter, check_filter
from ..bulk.whose import Predicate
from ..columns import utc_now
from ..errors import InvalidInput
from ..models import Task, TaskKind, TaskState
from .bulk import record_task, start_task


def erase(
    access: Access, unwanted: Mapping[str, Any] | Predicate, *, tenant: str | None = None
) -> Task:
    """Erase the data of events and attempts, and cancel waiting deliveries.

    :param unwanted: members of the data and their values, for workers; or a function that is called here with
        every event.
    :param tenant: only events of this tenant.
    :return: the task, which workers will process or which has ended.
    :raises InvalidInput: the values do not identify the data.
    :raises Forbidden: ``delete_all`` is not allowed, or not for all tenants.
    """
    if isinstance(unwanted, Mapping):
        return start_task(access, TaskKind.ERASE, where=unwanted, tenant=tenant)
    if not callable(unwanted):
        raise InvalidInput(
            'Specify whose data to erase: {"user_id": 42}, or a function that is called with each event.',
            field="where",
        )
    access.require("delete_all")
    require_all_tenants_to_erase(access)
    return _erase_here(access, unwanted, tenant)


def _erase_here(access: Access, predicate: Predicate, tenant: str | None) -> Task:
    state = access.state
    given = TaskFilter(where={"x": 1}, tenant=tenant)
    selection = Selection(tenant=check_filter(TaskKind.ERASE, given).tenant)
    called = f"{getattr(predicate, '__module__', '')}.{getattr(predicate, '__qualname__', '')}"
    token, bound = uuid.uuid4().hex, ids.new_id("evt")
    task = state.models.Task(
        id=ids.new_id("task"),
        kind=TaskKind.ERASE,
        filter={**selection.as_json(), "where": called[:200]},
        actor=access.actor,
        state=TaskState.RUNNING,
        lease_token=token,
        started_at=utc_now(),
        cursor="",
        bound=bound,
    )
    with access.write() as session:
        forget_old(session.connection(), state)
        now = session.execute(sa.select(utc_now())).scalar_one()
        task.lease_until = lease_end(now)
        session.add(task)
        session.flush()
        record_task(session, access, "task.started", task, filter=task.filter)
    forget_unwritten(state, predicate, tenant)
    held = Held(
        *(task.id, token, TaskKind.ERASE, None, None, selection, access.actor, bound),
        predicate=predicate,
    )
    with state.own_engine.connect() as connection:
        _run(Runner(state, connection, held), connection)
    with access.read() as session:
        return session.get_one(state.models.Task, task.id)


def _run(runner: Runner, connection: sa.Connection) -> None:
    try:
        runner.count()
        while runner.step():
            runner.rest()
    except Lost:
        # A user has stopped it.
        connection.rollback()
    except BaseException as error:
        connection.rollback()
        runner.end(TaskState.FAILED, f"It was interrupted ({type(error).__name__}).")
        raise
