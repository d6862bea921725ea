"""The secret: shown once, in the answer to the request that made it; the end of an overlap; going without."""

from __future__ import annotations

from flask import Response

from .. import actions
from ..access import Access
from ..serializers import EndedOverlapObject, RotatedObject
from .answering import answer
from .reading import boolean, number, read_body, text


def endpoint_rotate(access: Access, endpoint_id: str) -> Response:
    """Replace the secret, with an overlap. The answer has the new one."""
    body = read_body(access.state, overlap_seconds=number, secret=text, key_pair=boolean)
    rotated = actions.rotate(access, endpoint_id, **body)
    return answer(RotatedObject.serialize(rotated))


def endpoint_end_overlap(access: Access, endpoint_id: str) -> Response:
    """Sign with the newest secret only, from now on."""
    read_body(access.state)
    return answer(EndedOverlapObject.serialize(actions.end_overlap(access, endpoint_id)))


def endpoint_remove_secret(access: Access, endpoint_id: str) -> Response:
    """Send without a signature, where the format allows it."""
    read_body(access.state)
    actions.remove_secret(access, endpoint_id)
    return Response(status=204)


ROUTES = (
    ("POST", "/endpoints/<endpoint_id>/rotate", endpoint_rotate),
    ("POST", "/endpoints/<endpoint_id>/end-overlap", endpoint_end_overlap),
    ("POST", "/endpoints/<endpoint_id>/remove-secret", endpoint_remove_secret),
)
