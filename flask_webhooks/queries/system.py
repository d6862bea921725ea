"""How the whole thing is doing, and who did what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, find_endpoint
from ..columns import utc_now
from ..models import ON_DEMAND, Activity, DeliveryState, EndpointState, Heartbeat
from ..state import AllTenants
from .pages import Page, check_limit, literal, older_than, page_of

MAX_HEARTBEATS = 100


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Workers and backlog, at one time by the database's clock."""

    now: datetime
    #: Signs of life, latest first; empty for a tenant, who need not know the operator's machines.
    heartbeats: list[Heartbeat]
    #: The latest sign of life of any worker; ``None`` if there never was one.
    last_seen_at: datetime | None
    #: Deliveries in scope by where they stand.
    pending: int
    sending: int
    held: int
    #: Of the pending ones, those that nothing holds back and that are due; and the oldest one's time.
    due: int
    oldest_due_at: datetime | None


def health(access: Access) -> HealthReport:
    """Workers, backlog and the oldest overdue delivery. Three statements.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    table = access.state.models.Heartbeat
    with access.read() as session:
        now, last_seen_at, pending, sending, held = session.execute(_counts(access)).one()
        due, oldest_due_at = _due(session, access, now)
        heartbeats: list[Heartbeat] = []
        if isinstance(access.tenant, AllTenants):
            heartbeats = list(
                session.scalars(
                    sa.select(table).order_by(table.seen_at.desc()).limit(MAX_HEARTBEATS)
                )
            )
    return HealthReport(now, heartbeats, last_seen_at, pending, sending, held, due, oldest_due_at)


def list_activity(
    access: Access,
    endpoint_id: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Page[Activity]:
    """Who did what to the endpoints in scope, or to one, newest first.

    :param before: only those older than this id.
    :raises InvalidInput: a filter makes no sense; `field` names it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    endpoint = None if endpoint_id is None else find_endpoint(access, endpoint_id, deleted=True)
    access.require("view", endpoint)
    table = access.state.models.Activity
    query = (
        sa.select(table)
        .where(access.scope(table.tenant), *older_than(table.id, before))
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    if endpoint_id is not None:
        query = query.where(table.endpoint_id == endpoint_id)
    with access.read() as session:
        return page_of(session.scalars(query).all(), limit, lambda row: row.id)


def _counts(access: Access) -> sa.Executable:
    models = access.state.models
    table = models.Delivery

    def count(state: DeliveryState) -> sa.ScalarSelect[int]:
        # One by one: each has a partial index, which a GROUP BY over all would not use.
        return (
            sa.select(sa.func.count(table.id))
            .where(table.state == literal(state), access.scope(table.tenant))
            .scalar_subquery()
        )

    return sa.select(
        utc_now(),
        sa.select(sa.func.max(models.Heartbeat.seen_at)).scalar_subquery(),
        count(DeliveryState.PENDING),
        count(DeliveryState.SENDING),
        count(DeliveryState.HELD),
    )


def _due(session: Session, access: Access, now: datetime) -> tuple[int, datetime | None]:
    models = access.state.models
    table, endpoint, its_health = models.Delivery, models.Endpoint, models.EndpointHealth
    open_ = sa.and_(
        endpoint.state == EndpointState.ACTIVE,
        sa.or_(its_health.hold_until.is_(None), its_health.hold_until <= now),
    )
    query = (
        sa.select(sa.func.count(table.id), sa.func.min(table.due_at))
        .join_from(table, endpoint, endpoint.id == table.endpoint_id)
        .join(its_health, its_health.endpoint_id == endpoint.id)
        .where(
            table.state == literal(DeliveryState.PENDING),
            table.due_at <= now,
            endpoint.deleted_at.is_(None),
            access.scope(table.tenant),
            sa.or_(open_, table.trigger.in_(ON_DEMAND)),
        )
    )
    due, oldest = session.execute(query).one()
    return due, oldest
