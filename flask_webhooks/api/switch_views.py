"""Pause and resume endpoints."""

from __future__ import annotations

from flask import Response

from .. import actions
from ..access import Access
from ..serializers import EndpointObject
from .answering import answer
from .reading import anything, read_body


def endpoint_pause(access: Access, endpoint_id: str) -> Response:
    """Send nothing until it is resumed."""
    body = read_body(access.state, reason=anything)
    endpoint = actions.pause_endpoint(access, endpoint_id, body.get("reason") or "")
    return answer(EndpointObject.serialize(endpoint))


def endpoint_resume(access: Access, endpoint_id: str) -> Response:
    """Make it active again; what was held is sent, unless the body says otherwise."""
    body = read_body(access.state, held=anything)
    endpoint = actions.resume_endpoint(access, endpoint_id, body.get("held", "send"))
    return answer(EndpointObject.serialize(endpoint))


ROUTES = (
    ("POST", "/endpoints/<endpoint_id>/pause", endpoint_pause),
    ("POST", "/endpoints/<endpoint_id>/resume", endpoint_resume),
)
