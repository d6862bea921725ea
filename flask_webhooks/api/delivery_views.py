"""Deliveries: the list, one with its attempts, resend and cancel."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import actions, queries
from ..access import Access
from ..serializers import DeliveryDetailObject, DeliveryObject, DeliveryRowObject
from .answering import answer, answer_page
from .parameters import DeliveryListQuery
from .request_reader import wanted_tenant
from .routes import PageOf, Route


def delivery_list(access: Access, query: dict[str, Any]) -> Response:
    """Deliveries, newest first.

    With `status` or `text`, a page searches 5,000 deliveries: it may be empty without being the last.
    """
    page = queries.list_deliveries(access, tenant=wanted_tenant(access, query), **query)
    return answer_page(page, DeliveryRowObject)


def delivery(access: Access, delivery_id: str) -> Response:
    """One delivery with its newest attempts."""
    return answer(DeliveryDetailObject.serialize(queries.get_delivery(access, delivery_id)))


def delivery_resend(access: Access, delivery_id: str) -> Response:
    """Resend a delivery now, with the same `webhook-id`."""
    return answer(DeliveryObject.serialize(actions.resend(access, delivery_id)), 202)


def delivery_cancel(access: Access, delivery_id: str) -> Response:
    """Cancel a pending or held delivery."""
    return answer(DeliveryObject.serialize(actions.cancel(access, delivery_id)))


ROUTES = (
    Route("GET", "/deliveries", delivery_list, PageOf(DeliveryRowObject), query=DeliveryListQuery),
    Route("GET", "/deliveries/<delivery_id>", delivery, DeliveryDetailObject),
    Route(
        "POST",
        "/deliveries/<delivery_id>/resend",
        delivery_resend,
        DeliveryObject,
        status=202,
        limited=True,
    ),
    Route("POST", "/deliveries/<delivery_id>/cancel", delivery_cancel, DeliveryObject),
)
