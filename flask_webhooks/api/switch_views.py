"""Pause, resume and challenge endpoints."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import actions
from ..access import Access
from ..serializers import DeliveryObject, EndpointObject
from .answering import answer, location_of
from .bodies import PauseBody, ResumeBody
from .routes import Route


def endpoint_pause(access: Access, endpoint_id: str, body: dict[str, Any]) -> Response:
    """Send nothing until it is resumed."""
    endpoint = actions.pause_endpoint(access, endpoint_id, body.get("reason") or "")
    return answer(EndpointObject.serialize(endpoint))


def endpoint_resume(access: Access, endpoint_id: str, body: dict[str, Any]) -> Response:
    """Make an endpoint active again; held deliveries are sent, unless the body says otherwise."""
    endpoint = actions.resume_endpoint(access, endpoint_id, body.get("held", "send"))
    return answer(EndpointObject.serialize(endpoint))


def endpoint_challenge(access: Access, endpoint_id: str) -> Response:
    """Send an unverified endpoint another challenge; only the newest counts."""
    delivery = actions.send_challenge(access, endpoint_id)
    where = location_of("delivery", delivery_id=delivery.id)
    return answer(DeliveryObject.serialize(delivery), 202, location=where)


ROUTES = (
    Route("POST", "/endpoints/<endpoint_id>/pause", endpoint_pause, EndpointObject, body=PauseBody),
    Route(
        "POST", "/endpoints/<endpoint_id>/resume", endpoint_resume, EndpointObject, body=ResumeBody
    ),
    Route(
        "POST",
        "/endpoints/<endpoint_id>/challenge",
        endpoint_challenge,
        DeliveryObject,
        status=202,
        located=True,
        limited=True,
    ),
)
