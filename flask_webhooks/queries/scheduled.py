"""Scheduled events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import defer
from sqlalchemy.orm.attributes import set_committed_value

from ..access import Access, check_event_type, is_id, no_scheduled
from ..catalog.type_filter import of_type
from ..db.conditions import of_tenant
from ..models import ScheduledEvent
from .pages import Page, check_limit, older_than, page_of


@dataclass(frozen=True, slots=True)
class ScheduledDetail:
    """A scheduled event with its data."""

    #: Its `data` is ``None`` without the permission ``view_payload``.
    event: ScheduledEvent
    #: Whether the data is there.
    payload_visible: bool


def list_scheduled(
    access: Access,
    event_type: str | None = None,
    before: str | None = None,
    limit: int = 50,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    key: str | None = None,
    tenant: str | None = None,
) -> Page[ScheduledEvent]:
    """Return scheduled events of the tenants in scope, most recently scheduled first, without data. One statement.

    :param since: only those due at this time or later.
    :param until: only those due before this time.
    :param key: only the one with this key, of any tenant in scope.
    :param tenant: only of this tenant; ``None`` for all in scope.
    :param before: only older than this id.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    table = access.state.models.ScheduledEvent
    query = (
        sa.select(table)
        .options(defer(table.data))
        .where(access.scope(table.tenant), *older_than(table.id, before))
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    if event_type is not None:
        check_event_type(access, event_type)
        query = query.where(of_type(table.type, event_type))
    if since is not None:
        query = query.where(table.deliver_at >= since)
    if until is not None:
        query = query.where(table.deliver_at < until)
    if key is not None:
        query = query.where(table.key == key if key.isprintable() else sa.false())
    if tenant is not None:
        query = query.where(of_tenant(table.tenant, tenant))
    with access.read() as session:
        page = page_of(session.scalars(query).all(), limit, lambda event: event.id)
    for event in page.items:
        set_committed_value(event, "data", None)
    return page


def get_scheduled(access: Access, scheduled_id: str) -> ScheduledDetail:
    """One scheduled event. One statement.

    :raises NotFound: there is none in scope; it may have been recorded, replaced or cancelled.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    payload_visible = access.may("view_payload", None)
    table = access.state.models.ScheduledEvent
    query = sa.select(table).where(table.id == scheduled_id, access.scope(table.tenant))
    if not payload_visible:
        query = query.options(defer(table.data))
    event = None
    if is_id(scheduled_id):
        with access.read() as session:
            event = session.scalars(query).one_or_none()
    if event is None:
        raise no_scheduled(scheduled_id)
    if not payload_visible:
        set_committed_value(event, "data", None)
    return ScheduledDetail(event, payload_visible)
