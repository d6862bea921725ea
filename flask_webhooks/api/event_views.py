"""Events: list, show, and explain why an endpoint did not get one."""

from __future__ import annotations

from typing import Any, Final

from flask import Response

from .. import queries
from ..access import Access
from ..errors import InvalidInput
from ..serializers import EventDetailObject, EventRowObject, PulledObject, RoutingObject
from .answering import answer, answer_all, answer_page
from .long_polls import check_wait, page_in_time
from .parameters import EventListQuery, RoutingQuery
from .request_reader import wanted_tenant
from .routes import AllOf, PageOf, Route

#: Parameters that apply either to the list or to a pull.
_OF_PULLS: Final = {"wait"}
_OF_LISTS: Final = {"before", "since", "until", "id"}


def event_list(access: Access, query: dict[str, Any]) -> Response:
    """Events, newest first; or, with `after`, those that follow a cursor, oldest first.

    With `endpoint_id`, a page of the list searches 5,000 events: it may be empty without being the last. A pull
    also needs `view_payload`, because it includes the data, and excludes test events. An event that is committed
    late appears late, and is never skipped.
    """
    tenant = wanted_tenant(access, query)
    if "after" in query:
        return _pulled(access, tenant, query)
    for name in _OF_PULLS & query.keys():
        raise InvalidInput(f"{name} can only be used with after: write after=start.", field=name)
    return answer_page(queries.list_events(access, tenant=tenant, **query), EventRowObject)


def _pulled(access: Access, tenant: str | None, query: dict[str, Any]) -> Response:
    for name in _OF_LISTS & query.keys():
        raise InvalidInput(f"{name} cannot be used with after: leave out one of them.", field=name)
    wait = check_wait(query.pop("wait", 0))
    page = page_in_time(access, queries.Pull(access, tenant=tenant, **query), wait)
    return answer(PulledObject.serialize(page))


def event(access: Access, event_id: str) -> Response:
    """One event with its deliveries."""
    return answer(EventDetailObject.serialize(queries.get_event(access, event_id)))


def event_routing(access: Access, event_id: str, query: dict[str, Any]) -> Response:
    """Reasons why endpoints have no delivery of an event; at most 50."""
    detail = queries.get_event(access, event_id)
    found = queries.explain_routing(access, detail, query.get("search"))
    return answer_all(found, RoutingObject)


ROUTES = (
    Route(
        "GET",
        "/events",
        event_list,
        PageOf(EventRowObject),
        query=EventListQuery,
        otherwise=PulledObject,
        expires=True,
        converts=True,
    ),
    Route("GET", "/events/<event_id>", event, EventDetailObject),
    Route(
        "GET", "/events/<event_id>/routing", event_routing, AllOf(RoutingObject), query=RoutingQuery
    ),
)
