"""Events: the list, one, and why an endpoint did not get it."""

from __future__ import annotations

from flask import Response

from .. import queries
from ..access import Access
from ..serializers import EventDetailObject, EventRowObject, RoutingObject
from .answering import answer, answer_all, answer_page
from .reading import moment, read_query, scoped, text, whole


def event_list(access: Access) -> Response:
    """Events in scope, newest first."""
    query = read_query(
        event_type=text, since=moment, until=moment, id=text, tenant=text, before=text, limit=whole
    )
    return answer_page(queries.list_events(scoped(access, query), **query), EventRowObject)


def event(access: Access, event_id: str) -> Response:
    """One event and who it went to."""
    read_query()
    return answer(EventDetailObject.serialize(queries.get_event(access, event_id)))


def event_routing(access: Access, event_id: str) -> Response:
    """Why the endpoints that have no delivery of it have none."""
    query = read_query(search=text)
    detail = queries.get_event(access, event_id)
    found = queries.explain_routing(access, detail, query.get("search"))
    return answer_all(found, RoutingObject)


ROUTES = (
    ("GET", "/events", event_list),
    ("GET", "/events/<event_id>", event),
    ("GET", "/events/<event_id>/routing", event_routing),
)
