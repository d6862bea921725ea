"""Scheduled events: list, show and cancel."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import actions, queries
from ..access import Access
from ..serializers import ScheduledDetailObject, ScheduledObject
from .answering import answer, answer_page
from .parameters import ScheduledListQuery
from .request_reader import wanted_tenant
from .routes import PageOf, Route


def scheduled_list(access: Access, query: dict[str, Any]) -> Response:
    """Scheduled events, most recently scheduled first."""
    tenant = wanted_tenant(access, query)
    return answer_page(queries.list_scheduled(access, tenant=tenant, **query), ScheduledObject)


def scheduled(access: Access, scheduled_id: str) -> Response:
    """One scheduled event. It no longer exists once it is due."""
    return answer(ScheduledDetailObject.serialize(queries.get_scheduled(access, scheduled_id)))


def scheduled_cancel(access: Access, scheduled_id: str) -> Response:
    """Cancel a scheduled event."""
    actions.cancel_scheduled(access, scheduled_id)
    return Response(status=204)


ROUTES = (
    Route("GET", "/scheduled", scheduled_list, PageOf(ScheduledObject), query=ScheduledListQuery),
    Route("GET", "/scheduled/<scheduled_id>", scheduled, ScheduledDetailObject),
    Route(
        "DELETE",
        "/scheduled/<scheduled_id>",
        scheduled_cancel,
        None,
        status=204,
        requires="send",
    ),
)
