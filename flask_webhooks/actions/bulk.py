"""Start and stop tasks over many deliveries or events."""

from __future__ import annotations

from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import ids
from ..access import Access
from ..audit import cut_values
from ..bulk.erasing import forget_unwritten
from ..bulk.looking import Plan, Preview, find_task, plan, preview, right_of
from ..bulk.pruning import forget_old
from ..bulk.selection import OF_EVENTS, TaskFilter
from ..columns import utc_now
from ..errors import InvalidInput, InvalidTransition
from ..models import UNFINISHED, Endpoint, Task, TaskKind, TaskState
from ..texts import Text, word
from . import limits


def start_task(
    access: Access,
    kind: str,
    endpoint_id: str | None = None,
    **filter: Unpack[TaskFilter],
) -> Task:
    """Start a task over many deliveries or events, which workers process in batches in the background.

    Events keep their ``webhook-id``, deliveries their history. Deliveries to an endpoint that is not active are
    held until it is resumed.

    :param kind: a `models.TaskKind`. ``recover`` and ``replay`` need `since`; ``prune`` takes no filter, ``erase``
    only `where` and `tenant`, and both require ``delete_all``.
    :param endpoint_id: ``None``: all endpoints in scope; a replay needs one.
    :param filter: selects deliveries, or events for a replay; see `bulk.selection.TaskFilter`.
    :raises InvalidInput: a value is invalid; `field` names it.
    :raises SendLimitReached: the tenant has reached its limit.
    :raises InvalidTransition: such a task has not ended yet, or the state of the endpoint does not allow it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    planned = plan(access, kind, endpoint_id, filter)
    access.require(right_of(planned.kind), planned.endpoint)
    seen = preview(access, planned)
    _check_history(planned, seen)
    where = planned.selection.where
    vault = access.state.vault
    stored = planned.selection.as_json()
    if where is not None:
        # Personal data that is to be erased must not be logged, either.
        stored["where"] = {name: vault.mac(value) for name, value in where.members.items()}
    task = access.state.models.Task(
        id=ids.new_id("task"),
        kind=planned.kind,
        endpoint_id=endpoint_id,
        tenant=planned.tenant,
        filter=stored,
        input_sealed=None if where is None else vault.encrypt(where.members),
        actor=access.actor,
        total=None if seen.more or where is not None else seen.count,
        cursor="",
        # Rows that are created from now on are excluded.
        bound=ids.new_id("evt" if planned.kind in OF_EVENTS else "dlv"),
    )
    with access.write(alone=f"task {planned.kind} {endpoint_id} {planned.tenant}") as session:
        if planned.kind != TaskKind.ERASE:
            _check_alone(session, access, planned)
        limits.check_task(session, access, planned.tenant, planned.kind)
        forget_old(session.connection(), access.state)
        session.add(task)
        session.flush()
        record_task(session, access, "task.started", task, filter=task.filter, count=seen.text)
        session.refresh(task)
    if where is not None:
        forget_unwritten(access.state, where, planned.selection.tenant)
    access.state.notifier.request_task_worker()
    return task


def stop_task(access: Access, task_id: str) -> Task:
    """Stop a task: nothing further is changed once this returns. What it has done is not undone.

    After a prune nothing is removed for a day, `delivery.retention.REST_AFTER_STOP`, unless another one is started.

    :raises InvalidTransition: it has already ended.
    :raises NotFound: there is no such task in scope.
    :raises Forbidden: not allowed.
    """
    found, endpoint = find_task(access, task_id)
    access.require(right_of(found.kind), endpoint)
    model = access.state.models.Task
    table = access.state.table("Task")
    with access.write() as session:
        # Waits for the current batch, whose transaction has locked the row.
        stopped = session.connection().execute(
            sa.update(table)
            .where(table.c.id == task_id, table.c.state.in_([str(item) for item in UNFINISHED]))
            .values(
                state=TaskState.STOPPED,
                lease_token=None,
                lease_until=None,
                finished_at=utc_now(),
                input_sealed=None,
            )
        )
        task = session.get_one(model, task_id)
        if stopped.rowcount != 1:
            raise InvalidTransition(
                "The task is already %(now)s.", now=word(task.state), state=task.state
            )
        record_task(session, access, "task.stopped", task, done=task.done)
    return task


def _check_history(planned: Plan, seen: Preview) -> None:
    until = planned.selection.until
    if planned.kind != TaskKind.REPLAY or until is None:
        return
    if seen.history_since is None or until <= seen.history_since:
        if seen.history_since is None:
            raise InvalidInput("There are no events from before that time.", field="until")
        raise InvalidInput(
            "There are no events from before that time: the first is from %(since)s.",
            since=f"{seen.history_since:%Y-%m-%d %H:%M} UTC",
            field="until",
        )


def _check_alone(session: Session, access: Access, planned: Plan) -> None:
    table = access.state.models.Task
    endpoint_id = _id_of(planned.endpoint)
    other = session.scalars(
        sa.select(table).where(
            table.kind == str(planned.kind),
            table.endpoint_id.is_(None)
            if endpoint_id is None
            else table.endpoint_id == endpoint_id,
            table.tenant.is_(None) if planned.tenant is None else table.tenant == planned.tenant,
            table.state.in_([str(item) for item in UNFINISHED]),
        )
    ).first()
    if other is not None:
        what = Text("of this endpoint") if endpoint_id is not None else Text("of all endpoints")
        raise InvalidTransition(
            "A %(kind)s %(what)s is already %(now)s (%(task)s): wait until it has ended, or stop it.",
            kind=word(planned.kind),
            what=what,
            now=word(other.state),
            task=other.id,
            state=other.state,
        )


def record_task(session: Session, access: Access, action: str, task: Task, **changes: Any) -> None:
    """Add an entry about a task to the audit log."""
    session.add(
        access.state.models.Activity(
            actor=access.actor,
            action=action,
            tenant=task.tenant,
            endpoint_id=task.endpoint_id,
            changes=cut_values({"task": task.id, "kind": str(task.kind), **changes}),
        )
    )


def _id_of(endpoint: Endpoint | None) -> str | None:
    return None if endpoint is None else endpoint.id
