"""Events and their recipients."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import defer
from sqlalchemy.orm.attributes import set_committed_value

from ..access import Access, check_event_type, find_endpoint, is_id, shown
from ..catalog.type_filter import of_type
from ..db.conditions import created_between, of_tenant
from ..errors import NotFound
from ..models import Event
from .deliveries import DeliveryRow
from .pages import MAX_LIMIT, Page, check_limit, older_than, page_of
from .searching import owed_to


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event without its data, which may be large."""

    #: `data` is always ``None`` here.
    event: Event
    #: The number of its deliveries in scope by state.
    deliveries: dict[str, int]


@dataclass(frozen=True, slots=True)
class EventDetail:
    """An event with its deliveries."""

    #: Its `data` is ``None`` without the permission ``view_payload``.
    event: Event
    #: Those in scope, newest first, at most 200.
    deliveries: list[DeliveryRow]
    #: Whether the data is there.
    payload_visible: bool

    @property
    def more(self) -> bool:
        """Whether there may be others, which are in the list of deliveries."""
        return len(self.deliveries) >= MAX_LIMIT


def list_events(
    access: Access,
    event_type: str | None = None,
    before: str | None = None,
    limit: int = 50,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    id: str | None = None,
    tenant: str | None = None,
    endpoint_id: str | None = None,
) -> Page[EventRow]:
    """Events of the tenants in scope, newest first.

    Events of one endpoint are searched among the newest `SEARCHED` events that match the other filters; the page
    then has a `next_before`, even if it has no items.

    :param event_type: a name, or a prefix such as ``license.*``.
    :param endpoint_id: only those with a delivery to this one.
    :param tenant: only of this tenant; ``None`` for all in scope.
    :param before: only older than this id.
    :param since: only those that were recorded at this time or later.
    :param until: only before this time.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    if endpoint_id is not None:
        find_endpoint(access, endpoint_id, deleted=True)
    models = access.state.models
    table, delivery = models.Event, models.Delivery
    conditions = [
        access.scope(table.tenant),
        *older_than(table.id, before),
        *created_between(table.id, "evt", since, until),
    ]
    if id is not None:
        conditions.append(table.id == (id if is_id(id) else ""))
    if event_type is not None:
        check_event_type(access, event_type)
        conditions.append(of_type(table.type, event_type))
    if tenant is not None:
        conditions.append(of_tenant(table.tenant, tenant))
    query = sa.select(table).options(defer(table.data)).order_by(table.id.desc())
    most = check_limit(limit) + 1
    with access.read() as session:
        if endpoint_id is None:
            rows = session.scalars(query.where(*conditions).limit(most)).all()
            page = page_of(rows, limit, lambda event: event.id)
        else:
            found = owed_to(session, models, conditions, endpoint_id, most)
            rows = session.scalars(query.where(table.id.in_(found.ids))).all()
            page = page_of(rows, limit, lambda event: event.id)
            page = Page(page.items, page.next_before or found.reached, found.searched)
        counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for event_id, state, number in session.execute(
            sa.select(delivery.event_id, delivery.state, sa.func.count())
            .where(
                delivery.event_id.in_([event.id for event in page.items]),
                access.scope(delivery.tenant),
            )
            .group_by(delivery.event_id, delivery.state)
        ):
            counts[event_id][state] = number
    for event in page.items:
        set_committed_value(event, "data", None)
    return page.map(lambda event: EventRow(event, counts[event.id]))


def get_event(access: Access, event_id: str) -> EventDetail:
    """One event. Two statements.

    :raises NotFound: there is no such event in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    payload_visible = access.may("view_payload", None)
    models = access.state.models
    query = sa.select(models.Event).where(
        models.Event.id == event_id, access.scope(models.Event.tenant)
    )
    if not payload_visible:
        query = query.options(defer(models.Event.data))
    deliveries_query = (
        sa.select(models.Delivery, models.Endpoint)
        .join_from(
            models.Delivery, models.Endpoint, models.Delivery.endpoint_id == models.Endpoint.id
        )
        .where(models.Delivery.event_id == event_id, access.scope(models.Delivery.tenant))
        .order_by(models.Delivery.id.desc())
        .limit(MAX_LIMIT)
    )
    event = None
    if is_id(event_id):
        with access.read() as session:
            event = session.scalars(query).one_or_none()
            deliveries = [DeliveryRow(*row) for row in session.execute(deliveries_query)]
    if event is None:
        raise NotFound("There is no event %(id)s.", id=shown(event_id))
    if not payload_visible:
        set_committed_value(event, "data", None)
    return EventDetail(event, deliveries, payload_visible)
