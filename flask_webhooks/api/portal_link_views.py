"""Portal links: list, create and revoke."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import actions, queries
from ..access import Access
from ..errors import NotFound
from ..serializers import CreatedPortalLinkObject, PortalLinkObject
from .answering import answer, answer_page
from .bodies import NewPortalLinkBody
from .parameters import PortalLinkListQuery
from .request_reader import wanted_tenant
from .routes import PageOf, Route


def portal_link_list(access: Access, query: dict[str, Any]) -> Response:
    """Portal links, newest first."""
    _require_portal(access)
    tenant = wanted_tenant(access, query)
    return answer_page(queries.list_portal_links(access, tenant=tenant, **query), PortalLinkObject)


def portal_link_create(access: Access, body: dict[str, Any]) -> Response:
    """Create a link that opens the pages for one tenant; only this response has its URL."""
    _require_portal(access)
    created = actions.create_portal_link(access, body.pop("tenant", None), **body)
    return answer(CreatedPortalLinkObject.serialize(created), 201)


def portal_link_revoke(access: Access, link_id: str) -> Response:
    """Revoke a portal link, and end the session that it opened."""
    _require_portal(access)
    actions.revoke_portal_link(access, link_id)
    return Response(status=204)


def _require_portal(access: Access) -> None:
    if access.state.settings.portal_prefix is None:
        raise NotFound("This application has no portal.")


ROUTES = (
    Route(
        "GET",
        "/portal-links",
        portal_link_list,
        PageOf(PortalLinkObject),
        query=PortalLinkListQuery,
        requires="tokens",
    ),
    Route(
        "POST",
        "/portal-links",
        portal_link_create,
        CreatedPortalLinkObject,
        body=NewPortalLinkBody,
        status=201,
        requires="tokens",
    ),
    Route(
        "DELETE", "/portal-links/<link_id>", portal_link_revoke, None, status=204, requires="tokens"
    ),
)
