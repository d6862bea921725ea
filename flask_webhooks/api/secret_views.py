"""Secrets: rotate, end an overlap, remove. A secret is shown once, in the response to the request that created it."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import actions
from ..access import Access
from ..serializers import EndedOverlapObject, RotatedObject
from .answering import answer
from .bodies import RotationBody
from .routes import Route


def endpoint_rotate(access: Access, endpoint_id: str, body: dict[str, Any]) -> Response:
    """Replace the secret, with an overlap; the response has the new one."""
    rotated = actions.rotate(access, endpoint_id, **body)
    return answer(RotatedObject.serialize(rotated))


def endpoint_end_overlap(access: Access, endpoint_id: str) -> Response:
    """Sign with the newest secret only, from now on."""
    return answer(EndedOverlapObject.serialize(actions.end_overlap(access, endpoint_id)))


def endpoint_remove_secret(access: Access, endpoint_id: str) -> Response:
    """Send requests without a signature, if the format allows it."""
    actions.remove_secret(access, endpoint_id)
    return Response(status=204)


ROUTES = (
    Route(
        "POST", "/endpoints/<endpoint_id>/rotate", endpoint_rotate, RotatedObject, body=RotationBody
    ),
    Route("POST", "/endpoints/<endpoint_id>/end-overlap", endpoint_end_overlap, EndedOverlapObject),
    Route(
        "POST", "/endpoints/<endpoint_id>/remove-secret", endpoint_remove_secret, None, status=204
    ),
)
