"""Why an endpoint got an event, or did not."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..access import Access
from ..catalog.registry import Catalog, matches
from ..errors import InvalidFilter
from ..filters.clauses import Clause
from ..filters.explaining import FailedCondition, failed_conditions
from ..filters.matching import event_view
from ..filters.notation import parse_filter
from ..models import Activity, Delivery, Endpoint, EndpointHealth, Event, Trigger
from .endpoints import found_by
from .events import EventDetail

#: The maximum number of explained endpoints.
EXPLAINED = 50


class Why(enum.StrEnum):
    """The reason why an endpoint has an event or not."""

    #: There is a delivery.
    OWED = "owed"
    #: It was a test, which is sent to one endpoint only.
    TEST = "test"
    #: The event belongs to one tenant, the endpoint to another.
    OTHER_TENANT = "other_tenant"
    #: The event belongs to no tenant, and the endpoint to one.
    WITHOUT_TENANT = "without_tenant"
    #: The endpoint did not exist yet.
    ADDED_LATER = "added_later"
    #: The endpoint had been deleted.
    DELETED = "deleted"
    NOT_SUBSCRIBED = "not_subscribed"
    #: It is subscribed now, but was not when the event was recorded.
    SUBSCRIBED_LATER = "subscribed_later"
    #: Its filter did not match.
    FILTERED = "filtered"
    #: It was subscribed at the time, but the delivery was removed.
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Routing:
    """The explanation for one endpoint."""

    endpoint: Endpoint
    why: Why
    #: The subscription at that time; ``None`` is all types.
    events: list[str] | None
    #: A later change that explains it, if any.
    change: Activity | None = None
    #: The filter at that time, if it is the reason, and the conditions that the event did not meet.
    filter: dict[str, Any] | None = None
    failed: tuple[FailedCondition, ...] = ()
    #: The delivery, if any, and the health of the endpoint.
    delivery: Delivery | None = None
    health: EndpointHealth | None = None


def explain_routing(
    access: Access, detail: EventDetail, search: str | None = None
) -> list[Routing]:
    """Explain why endpoints in scope have no delivery of an event. Two statements, three with filters.

    :param detail: of the event, from `get_event`.
    :param search: only matching endpoints, as in `list_endpoints`, including deleted ones and those with a
    delivery. By default the existing ones of the event's tenant. At most `EXPLAINED`, newest first.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    event = detail.event
    models = access.state.models
    table, delivery, activity = models.Endpoint, models.Delivery, models.Activity
    its_delivery = sa.and_(delivery.event_id == event.id, delivery.endpoint_id == table.id)
    query = (
        sa.select(table, delivery, models.EndpointHealth)
        .join(delivery, its_delivery, isouter=True)
        .join(models.EndpointHealth, models.EndpointHealth.endpoint_id == table.id, isouter=True)
        .where(access.scope(table.tenant))
        .order_by(table.id.desc())
        .limit(EXPLAINED)
    )
    if search:
        query = query.where(found_by(table, search))
    else:
        own: sa.ColumnElement[bool] = table.tenant.is_(None)
        if event.tenant is not None:
            own = sa.or_(own, table.tenant == event.tenant)
        query = query.where(own, table.deleted_at.is_(None), delivery.id.is_(None))
    with access.read() as session:
        found = session.execute(query).all()
        # A program may have changed an endpoint thousands of times since then, so only one change of each is read.
        endpoint_ids = [endpoint.id for endpoint, _, _ in found]
        firsts = [
            sa.select(sa.func.min(activity.id))
            .where(
                activity.endpoint_id.in_(endpoint_ids),
                activity.action == "endpoint.updated",
                activity.at >= event.created_at,
                # The key, because quotation marks within a text would be escaped.
                sa.type_coerce(activity.changes, sa.Text).contains(f'"{name}":'),
            )
            .group_by(activity.endpoint_id)
            for name in ("events", "filter")
        ]
        changes = session.scalars(
            sa.select(activity)
            .where(sa.or_(*[activity.id.in_(first) for first in firsts]))
            .order_by(activity.id)
        ).all()
        data = None
        if any(endpoint.filter for endpoint, _, _ in found) or any(map(_refilters, changes)):
            # Also for people who may not see data: they see the condition, but no value.
            data = session.scalar(sa.select(models.Event.data).where(models.Event.id == event.id))
    deliveries = [row.delivery for row in detail.deliveries]
    catalog = access.state.catalog
    routings = []
    for endpoint, its, health in found:
        of_it = [item for item in changes if item.endpoint_id == endpoint.id]
        known = deliveries if its is None else [its]
        routing = explain_one(event, known, endpoint, of_it, catalog, data)
        if not detail.payload_visible:
            hidden = tuple(replace(item, found=None) for item in routing.failed)
            routing = replace(routing, failed=hidden)
        routings.append(replace(routing, delivery=its, health=health))
    return routings


def explain_one(
    event: Event,
    deliveries: Sequence[Delivery],
    endpoint: Endpoint,
    changes: Sequence[Activity],
    catalog: Catalog,
    data: Any = None,
) -> Routing:
    """Decide why an endpoint has an event or not, based on recorded changes.

    :param deliveries: of the event.
    :param changes: of the endpoint after the event was recorded, with the first one of its event types and the
        first one of its filter.
    :param data: of the event; needed where there is a filter.
    """
    change = _first_of(changes, "events")
    events = endpoint.events if change is None else (change.changes or {})["events"][0]

    def because(why: Why, evidence: Activity | None = None) -> Routing:
        return Routing(endpoint, why, events, evidence)

    if any(delivery.endpoint_id == endpoint.id for delivery in deliveries):
        return because(Why.OWED)
    by_hand = event.type in catalog and not catalog[event.type].subscribable
    if by_hand or any(delivery.trigger == Trigger.TEST for delivery in deliveries):
        return because(Why.TEST)
    if endpoint.tenant is not None and endpoint.tenant != event.tenant:
        return because(Why.WITHOUT_TENANT if event.tenant is None else Why.OTHER_TENANT)
    if endpoint.created_at > event.created_at:
        return because(Why.ADDED_LATER)
    if _before_event(endpoint.deleted_at, event):
        return because(Why.DELETED)
    if not matches(events, event.type):
        if change is not None and matches(endpoint.events, event.type):
            return because(Why.SUBSCRIBED_LATER, change)
        return because(Why.NOT_SUBSCRIBED)
    refiltered = _first_of(changes, "filter")
    filter = endpoint.filter if refiltered is None else (refiltered.changes or {})["filter"][0]
    clause = _read(filter)
    if clause is not None and event.erased_at is None:
        failed = failed_conditions(clause, event_view(event.type, data))
        if failed:
            return replace(because(Why.FILTERED, refiltered), filter=filter, failed=failed)
    return because(Why.REMOVED)


def _read(filter: Any) -> Clause | None:
    """Return a filter from the audit log, if it is not shortened."""
    try:
        return parse_filter(filter)
    except InvalidFilter:
        return None


def _before_event(moment: datetime | None, event: Event) -> bool:
    return moment is not None and moment <= event.created_at


def _first_of(changes: Sequence[Activity], name: str) -> Activity | None:
    return next((item for item in changes if name in (item.changes or {})), None)


def _refilters(change: Activity) -> bool:
    return "filter" in (change.changes or {})
