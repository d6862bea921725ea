"""Events: the list, one, and why an endpoint did not get it."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import queries
from ..access import Access
from ..serializers import EventDetailObject, EventRowObject, RoutingObject
from .answering import answer, answer_all, answer_page
from .parameters import EventListQuery, RoutingQuery
from .request_reader import wanted_tenant
from .routes import AllOf, PageOf, Route


def event_list(access: Access, query: dict[str, Any]) -> Response:
    """Events, newest first.

    By `endpoint_id` a page looks through 5,000: it may be empty, and not the last.
    """
    tenant = wanted_tenant(access, query)
    return answer_page(queries.list_events(access, tenant=tenant, **query), EventRowObject)


def event(access: Access, event_id: str) -> Response:
    """One event, and who it went to."""
    return answer(EventDetailObject.serialize(queries.get_event(access, event_id)))


def event_routing(access: Access, event_id: str, query: dict[str, Any]) -> Response:
    """Why endpoints without a delivery of it have none; at most 50."""
    detail = queries.get_event(access, event_id)
    found = queries.explain_routing(access, detail, query.get("search"))
    return answer_all(found, RoutingObject)


ROUTES = (
    Route("GET", "/events", event_list, PageOf(EventRowObject), query=EventListQuery),
    Route("GET", "/events/<event_id>", event, EventDetailObject),
    Route(
        "GET", "/events/<event_id>/routing", event_routing, AllOf(RoutingObject), query=RoutingQuery
    ),
)
