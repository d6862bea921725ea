"""The health of the system, and the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..access import Access, find_endpoint
from ..app_state import AllTenants
from ..audited import AUDITED
from ..columns import utc_now
from ..db.conditions import created_between, holds, of_tenant
from ..db.narrow import unicode_trouble
from ..delivery.heartbeat import STOPPED
from ..delivery.settle.health import OURS
from ..errors import InvalidInput
from ..models import ON_DEMAND, Activity, DeliveryState, EndpointState, Heartbeat
from ..texts import Text
from .pages import Page, check_limit, literal, older_than, page_of
from .searching import SEARCHED

MAX_HEARTBEATS = 100
#: Seconds without a heartbeat after which a worker counts as dead; our Worker sends one with each sweep.
SILENCE = 30.0
#: The counting limit of a backlog: an exact number is not needed, and must not take seconds.
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """Overdue deliveries and heartbeats of workers at one time, by the database's clock."""

    now: datetime
    #: The latest heartbeat of any worker; ``None`` if there never was one.
    last_seen_at: datetime | None
    #: Due deliveries in scope that are not held back, counted up to `MOST_COUNTED`; and the time of the oldest.
    due: int
    oldest_due_at: datetime | None
    #: Local problems for which endpoints in scope wait, as in `health.OURS`.
    trouble: str | None = field(default=None, kw_only=True)
    #: The latest heartbeat of a worker that has not ended since then; ``None`` if there is none.
    alive_at: datetime | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class HealthReport(Backlog):
    """Workers and backlog."""

    #: Heartbeats, latest first; empty for tenants, who do not see the operator's machines.
    heartbeats: list[Heartbeat]
    #: Deliveries in scope by status, each counted up to `MOST_COUNTED`.
    pending: int
    sending: int
    held: int
    #: When the oldest stored event was recorded; ``None`` for tenants, and without events.
    history_since: datetime | None = None


def silence(sweep_interval: float) -> float:
    """Return the seconds after which a worker with this sweep interval counts as dead."""
    return max(SILENCE, 3 * sweep_interval)


def backlog(access: Access) -> Backlog:
    """Return due deliveries, and the latest heartbeat. One statement, fast at any size of the backlog.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    with access.read() as session:
        *found, trouble, alive_at = session.execute(_backlog(access)).one()
    return Backlog(*found, trouble=trouble, alive_at=alive_at)


def health(access: Access) -> HealthReport:
    """Return workers, backlog and the oldest overdue delivery. Three statements.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    table = access.state.models.Heartbeat
    with access.read() as session:
        found = session.execute(_backlog(access)).one()
        pending, sending, held, history_since = session.execute(_counts(access)).one()
        heartbeats: list[Heartbeat] = []
        if isinstance(access.tenant, AllTenants):
            heartbeats = list(
                session.scalars(
                    sa.select(table).order_by(table.seen_at.desc()).limit(MAX_HEARTBEATS)
                )
            )
    now, last_seen_at, due, oldest_due_at, trouble, alive_at = found
    return HealthReport(
        now,
        last_seen_at,
        due,
        oldest_due_at,
        heartbeats,
        pending,
        sending,
        held,
        history_since,
        trouble=trouble,
        alive_at=alive_at,
    )


def database_troubles(access: Access) -> list[Text]:
    """Return problems with the database, with advice, for operators.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    if not isinstance(access.tenant, AllTenants):
        return []
    with access.read() as session:
        trouble = unicode_trouble(access.state, session.connection())
    return [] if trouble is None else [trouble]


def silent_workers(access: Access, names: Iterable[str], before: datetime) -> set[str]:
    """Return the names in RQ of our own workers whose last heartbeat was before this time.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    table = access.state.models.Heartbeat
    query = sa.select(table.name).where(
        table.name.in_(list(names)), table.kind == "worker", table.seen_at < before
    )
    with access.read() as session:
        return set(session.scalars(query))


def list_activity(
    access: Access,
    endpoint_id: str | None = None,
    before: str | None = None,
    limit: int = 50,
    *,
    actor: str | None = None,
    action: str | None = None,
    tenant: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[Activity]:
    """Return the audit log of the endpoints in scope, or of one, newest first.

    Filters without an index (`actor` and `action`) search the newest `SEARCHED` entries that match the others; the
    page then has a `next_before`, even if it has no items.

    :param before: only older than this id.
    :param actor: a part of who did it.
    :param action: what was done, ``endpoint.paused``.
    :param tenant: only this one's.
    :param since: only what was done at this time or later.
    :param until: only what was done before it.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    endpoint = None if endpoint_id is None else find_endpoint(access, endpoint_id, deleted=True)
    access.require("view", endpoint)
    if action is not None and action not in AUDITED:
        raise InvalidInput(
            "There is no such action; the audit log has %(known)s.",
            known=", ".join(AUDITED),
            field="action",
        )
    table = access.state.models.Activity
    most = check_limit(limit) + 1
    conditions = [
        access.scope(table.tenant),
        *older_than(table.id, before),
        *created_between(table.id, "act", since, until),
    ]
    if endpoint_id is not None:
        conditions.append(table.endpoint_id == endpoint_id)
    if tenant is not None:
        conditions.append(of_tenant(table.tenant, tenant))
    query = sa.select(table).order_by(table.id.desc()).limit(most)
    if actor is None and action is None:
        with access.read() as session:
            rows = session.scalars(query.where(*conditions)).all()
        return page_of(rows, limit, lambda row: row.id)
    newest = (
        sa.select(table.id, table.actor, table.action)
        .where(*conditions)
        .order_by(table.id.desc())
        .limit(SEARCHED)
        .subquery()
    )
    rare: list[sa.ColumnElement[bool]] = []
    if actor is not None:
        rare.append(holds(newest.c.actor, actor))
    if action is not None:
        rare.append(newest.c.action == action)
    hits = sa.select(newest.c.id).where(*rare).order_by(newest.c.id.desc()).limit(most).subquery()
    reached = sa.select(sa.func.count(), sa.func.min(newest.c.id)).select_from(newest)
    with access.read() as session:
        found = session.scalars(query.join(hits, hits.c.id == table.id)).all()
        searched, last = session.execute(reached).one()
    page = page_of(found, limit, lambda row: row.id)
    if page.next_before is None and searched == SEARCHED:
        page = Page(page.items, last)
    return page


def _counts(access: Access) -> sa.Executable:
    table = access.state.models.Delivery

    def count(state: DeliveryState) -> sa.ScalarSelect[int]:
        # One by one: each has a partial index, which a GROUP BY over all would not use.
        return _count_of(
            sa.select(table.endpoint_id).where(
                table.state == literal(state), access.scope(table.tenant)
            )
        )

    event = access.state.models.Event
    # Ids sort by time, so this is one lookup in the primary key. For a tenant it would need a search.
    first = sa.select(sa.func.min(event.id)).scalar_subquery()
    since = sa.select(event.created_at).where(event.id == first).scalar_subquery()
    return sa.select(
        count(DeliveryState.PENDING),
        count(DeliveryState.SENDING),
        count(DeliveryState.HELD),
        since if isinstance(access.tenant, AllTenants) else sa.null(),
    )


def _backlog(access: Access) -> sa.Executable:
    models = access.state.models
    table, endpoint, its_health = models.Delivery, models.Endpoint, models.EndpointHealth
    now = sa.select(utc_now().label("now")).cte("clock")
    moment = sa.select(now.c.now).scalar_subquery()
    open_ = sa.and_(
        endpoint.state == EndpointState.ACTIVE,
        sa.or_(its_health.hold_until.is_(None), its_health.hold_until <= moment),
    )
    due = sa.and_(table.state == literal(DeliveryState.PENDING), table.due_at <= moment)
    by_endpoint = (
        sa.select(endpoint.id)
        .join(its_health, its_health.endpoint_id == endpoint.id)
        .where(endpoint.deleted_at.is_(None), access.scope(endpoint.tenant))
    )
    # The first due delivery of an endpoint is one index lookup, however many there are.
    ordinary = sa.select(sa.func.min(table.due_at)).where(due, table.endpoint_id == endpoint.id)
    oldest = by_endpoint.where(open_).with_only_columns(
        ordinary.correlate(endpoint).scalar_subquery().label("due_at")
    )
    # Manual requests are also sent to inactive endpoints.
    asked = sa.select(sa.func.min(table.due_at)).where(
        due,
        table.trigger.in_([literal(trigger) for trigger in ON_DEMAND]),
        access.scope(table.tenant),
        table.endpoint_id.in_(by_endpoint),
    )
    firsts = sa.union_all(oldest, asked).subquery()
    counted = (
        sa.select(table.id)
        .join(endpoint, endpoint.id == table.endpoint_id)
        .join(its_health, its_health.endpoint_id == endpoint.id)
        .where(
            due,
            endpoint.deleted_at.is_(None),
            access.scope(table.tenant),
            sa.or_(open_, table.trigger.in_([literal(trigger) for trigger in ON_DEMAND])),
        )
    )
    return sa.select(
        moment.label("now"),
        sa.select(sa.func.max(models.Heartbeat.seen_at)).scalar_subquery(),
        _count_of(counted),
        sa.select(sa.func.min(firsts.c.due_at)).scalar_subquery(),
        by_endpoint.where(its_health.hold_until > moment, its_health.hold_reason.in_(OURS))
        .with_only_columns(sa.func.min(its_health.hold_reason))
        .scalar_subquery(),
        sa.select(sa.func.max(models.Heartbeat.seen_at))
        .where(models.Heartbeat.kind != STOPPED)
        .scalar_subquery(),
    )


def _count_of(query: sa.Select[Any]) -> sa.ScalarSelect[int]:
    """Count rows up to `MOST_COUNTED`, because a backlog may have any size."""
    rows = query.limit(MOST_COUNTED).subquery()
    return sa.select(sa.func.count()).select_from(rows).scalar_subquery()
