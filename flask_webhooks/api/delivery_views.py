"""Deliveries: the list, one with its attempts, resend and cancel."""

from __future__ import annotations

from flask import Response

from .. import actions, queries
from ..access import Access
from ..serializers import DeliveryDetailObject, DeliveryObject, DeliveryRowObject
from .answering import answer, answer_page
from .reading import moment, read_body, read_query, scoped, text, whole


def delivery_list(access: Access) -> Response:
    """Deliveries of everybody in scope, or of one endpoint, newest first."""
    query = read_query(
        endpoint_id=text,
        state=text,
        event_type=text,
        status=text,
        since=moment,
        until=moment,
        id=text,
        text=text,
        tenant=text,
        before=text,
        limit=whole,
    )
    page = queries.list_deliveries(scoped(access, query), **query)
    return answer_page(page, DeliveryRowObject)


def delivery(access: Access, delivery_id: str) -> Response:
    """One delivery and the newest attempts that were made for it."""
    read_query()
    return answer(DeliveryDetailObject.serialize(queries.get_delivery(access, delivery_id)))


def delivery_resend(access: Access, delivery_id: str) -> Response:
    """Send it again, now."""
    read_body(access.state)
    return answer(DeliveryObject.serialize(actions.resend(access, delivery_id)), 202)


def delivery_cancel(access: Access, delivery_id: str) -> Response:
    """Give it up."""
    read_body(access.state)
    return answer(DeliveryObject.serialize(actions.cancel(access, delivery_id)))


ROUTES = (
    ("GET", "/deliveries", delivery_list),
    ("GET", "/deliveries/<delivery_id>", delivery),
    ("POST", "/deliveries/<delivery_id>/resend", delivery_resend),
    ("POST", "/deliveries/<delivery_id>/cancel", delivery_cancel),
)
