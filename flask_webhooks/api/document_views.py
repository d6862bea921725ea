"""The OpenAPI document, and all routes that it describes."""

from __future__ import annotations

from typing import Final

from flask import Response, request

from ..access import Access
from . import (
    catalog_views,
    delivery_views,
    endpoint_views,
    event_views,
    health_views,
    portal_link_views,
    scheduled_views,
    secret_views,
    switch_views,
    task_views,
    token_views,
)
from .answering import answer
from .openapi import document
from .routes import Route
from .security_schemes import Signing, signing_of_request


def openapi(access: Access) -> Response:
    """This document."""
    # Includes the URL where this API is mounted.
    here = request.script_root + request.path.removesuffix("/openapi.json")
    signing = signing_of_request()
    return answer(document(access.state, routes_of(signing), signing, server=here))


_WITHOUT_TOKENS: Final = (
    Route("GET", "/openapi.json", openapi, dict, requires="view"),
    *catalog_views.ROUTES,
    *endpoint_views.ROUTES,
    *switch_views.ROUTES,
    *secret_views.ROUTES,
    *delivery_views.ROUTES,
    *event_views.ROUTES,
    *scheduled_views.ROUTES,
    *task_views.ROUTES,
    *health_views.ROUTES,
    *portal_link_views.ROUTES,
)
#: All routes, some of which depend on options.
ROUTES: Final = (*_WITHOUT_TOKENS, *token_views.ROUTES)


def routes_of(signing: Signing) -> tuple[Route, ...]:
    """Return the routes of one mounted API."""
    return ROUTES if signing.tokens else _WITHOUT_TOKENS
