"""Previews of tasks, and the tasks in scope."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..access import Access, check_event_type, find_endpoint, is_id, shown
from ..app_state import AllTenants
from ..columns import utc_now
from ..delivery.retention import kept_since
from ..errors import Forbidden, InvalidInput, InvalidTransition, NotFound
from ..models import Endpoint, EndpointState, Task, TaskKind
from ..texts import word
from .erasing import EventSearch, preview_newest
from .selection import (
    OF_EVENTS,
    Selection,
    TaskFilter,
    check_filter,
    check_kind,
    conditions,
)
from .whose import Whose

#: Rows that a preview examines, so that it is fast with any number of rows.
LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class Preview:
    """What a task would affect if it were started now."""

    kind: TaskKind
    #: Number of deliveries (events for a replay and a prune) among the newest `LOOKED_AT` that an index finds.
    count: int
    #: There may be more, older ones.
    more: bool
    #: When the first and the last counted rows were created; ``None`` without any.
    oldest: datetime | None
    newest: datetime | None
    #: Counted deliveries by state; empty for events.
    states: dict[str, int]
    #: For a replay: when the oldest stored event was recorded; ``None`` if there is none.
    history_since: datetime | None
    #: ``None``: all endpoints in scope. Deliveries to an inactive endpoint are held until it is resumed.
    endpoint: Endpoint | None
    #: For a prune: older events are removed.
    until: datetime | None = None

    @property
    def text(self) -> str:
        """Return the formatted count: ``1,234``, or ``10,000+`` if there may be more."""
        return f"{self.count:,}{'+' if self.more else ''}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The checked parameters of a task."""

    kind: TaskKind
    selection: Selection
    endpoint: Endpoint | None
    #: The endpoint's tenant, else the scope; ``None`` without an endpoint is all tenants.
    tenant: str | None


def plan(
    access: Access,
    kind: Any,
    endpoint_id: str | None,
    given: TaskFilter,
) -> Plan:
    """Check the parameters of a task.


    :raises InvalidInput: a value is invalid; `field` names it.
    :raises InvalidTransition: the state of the endpoint does not allow it.
    :raises NotFound: there is no such endpoint in scope.
    """
    wanted = check_kind(kind)
    if wanted == TaskKind.PRUNE:
        return _prune(access, endpoint_id, given)
    if wanted == TaskKind.ERASE:
        return _erase(access, endpoint_id, given)
    tenant = given.get("tenant")
    if tenant is not None:
        access = access.within(tenant)
    if endpoint_id is None:
        if wanted == TaskKind.REPLAY:
            raise InvalidInput(
                "Name the endpoint that events are replayed to.", field="endpoint_id"
            )
        endpoint = None
        tenant = _only_tenant(access)
    else:
        endpoint = find_endpoint(access, endpoint_id)
        tenant = endpoint.tenant
        if wanted == TaskKind.RELEASE and endpoint.state != EndpointState.ACTIVE:
            raise InvalidTransition(
                "The endpoint is %(now)s: resume it to send its held deliveries.",
                now=word(endpoint.state),
                state=endpoint.state,
            )
    rest = given.copy()
    rest.pop("tenant", None)
    selection = check_filter(wanted, rest)
    if selection.event_type is not None:
        check_event_type(access, selection.event_type)
    return Plan(wanted, selection, endpoint, tenant)


def _only_tenant(access: Access) -> str | None:
    """Return the tenant of a task without an endpoint; ``None`` is all tenants."""
    if isinstance(access.tenant, AllTenants):
        return None
    if len(access.tenants) > 1:
        raise InvalidInput(
            "You manage several tenants, and a task is for one of them: name a tenant or an endpoint.",
            field="tenant",
        )
    return access.tenants[0]


def _prune(access: Access, endpoint_id: str | None, given: TaskFilter) -> Plan:
    """Check a prune: an event may have gone to endpoints of several tenants, so it is removed for all of them or
    for none.
    """
    if not isinstance(access.tenant, AllTenants):
        raise Forbidden("Only users who can see every tenant may remove old events.")
    if endpoint_id is not None:
        raise InvalidInput(
            "Old events are removed for all endpoints: leave this out.", field="endpoint_id"
        )
    check_filter(TaskKind.PRUNE, given)
    with access.read() as session:
        now = session.scalar(sa.select(utc_now()))
    assert now is not None
    return Plan(TaskKind.PRUNE, Selection(until=kept_since(access.state, now)), None, None)


def require_all_tenants_to_erase(access: Access) -> None:
    """Refuse an erasure for some tenants: what was sent of an event to any endpoint is erased with it.

    :raises Forbidden: not every tenant is in scope.
    """
    if not isinstance(access.tenant, AllTenants):
        raise Forbidden("Only users who can see every tenant may erase data.")


def _erase(access: Access, endpoint_id: str | None, given: TaskFilter) -> Plan:
    require_all_tenants_to_erase(access)
    if endpoint_id is not None:
        raise InvalidInput(
            "Data is erased everywhere it occurs: leave this out.", field="endpoint_id"
        )
    return Plan(TaskKind.ERASE, check_filter(TaskKind.ERASE, given), None, None)


def right_of(kind: str) -> str:
    """Return the permission that is needed to start or stop a task."""
    return "delete_all" if kind in (TaskKind.PRUNE, TaskKind.ERASE) else "send"


def preview(access: Access, planned: Plan) -> Preview:
    """Count what a task would affect, in one statement, or two for events."""
    state = access.state
    if planned.selection.where is not None:
        return _preview_of_erasure(access, planned, planned.selection.where)
    found = conditions(
        state, planned.kind, planned.selection, endpoint=planned.endpoint, tenant=planned.tenant
    )
    row = found.table.c
    replay, events = planned.kind == TaskKind.REPLAY, planned.kind in OF_EVENTS
    columns = [row.created_at, (sa.literal("") if events else row.state).label("state")]
    window = found.window(columns, LOOKED_AT + 1, newest=True).subquery()
    created_at = sa.case((window.c.fits, window.c.created_at))
    counted = sa.select(
        window.c.state,
        sa.func.count(),
        sa.func.count(created_at),
        sa.func.min(created_at),
        sa.func.max(created_at),
    ).group_by(window.c.state)
    with access.read() as session:
        rows = session.execute(counted).all()
        history_since = session.scalar(_first_event(access, planned)) if replay else None
    groups = [(name, number, first, last) for name, _, number, first, last in rows if number]
    return Preview(
        kind=planned.kind,
        count=min(sum(number for _, number, _, _ in groups), LOOKED_AT),
        more=sum(looked_at for _, looked_at, *_ in rows) > LOOKED_AT,
        oldest=min((first for _, _, first, _ in groups), default=None),
        newest=max((last for _, _, _, last in groups), default=None),
        states={} if events else {name: number for name, number, _, _ in groups},
        history_since=history_since,
        endpoint=planned.endpoint,
        until=planned.selection.until if planned.kind == TaskKind.PRUNE else None,
    )


def _preview_of_erasure(access: Access, planned: Plan, where: Whose) -> Preview:
    search = EventSearch(access.state, where, planned.selection.tenant)
    with access.read() as session:
        seen, more = preview_newest(search, session.connection(), ids.new_id("evt"))
    times = seen.times
    return Preview(
        kind=planned.kind,
        count=len(seen.ids),
        more=more,
        oldest=min(times, default=None),
        newest=max(times, default=None),
        states={},
        history_since=None,
        endpoint=None,
    )


def _first_event(access: Access, planned: Plan) -> sa.Select[Any]:
    event = access.state.table("Event").c
    query = sa.select(event.created_at).order_by(event.id).limit(1)
    return query if planned.tenant is None else query.where(event.tenant == planned.tenant)


def find_task(access: Access, task_id: str) -> tuple[Task, Endpoint | None]:
    """Return a task in scope, and its endpoint if it still exists; both detached.

    :raises NotFound: there is no such task.
    """
    models = access.state.models
    found = None
    if is_id(task_id):
        query = (
            sa.select(models.Task, models.Endpoint)
            .join_from(
                models.Task,
                models.Endpoint,
                models.Task.endpoint_id == models.Endpoint.id,
                isouter=True,
            )
            .where(models.Task.id == task_id, access.scope(models.Task.tenant))
        )
        with access.read() as session:
            found = session.execute(query).one_or_none()
    if found is None:
        raise NotFound("There is no task %(id)s.", id=shown(task_id))
    return found[0], found[1]
