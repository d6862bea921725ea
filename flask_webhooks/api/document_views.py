"""The OpenAPI document."""

from __future__ import annotations

from flask import Response, request

from ..access import Access
from .answering import answer
from .document import document


def openapi(access: Access) -> Response:
    """What this API takes and answers, with the place where it is mounted."""
    access.require("view")
    here = request.script_root + request.path.removesuffix("/openapi.json")
    return answer(document(access.state.formats, server=here))


ROUTES = (("GET", "/openapi.json", openapi),)
