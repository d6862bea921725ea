"""Portal links."""

from __future__ import annotations

from ..access import Access
from ..portal_access import PortalLinkRow, no_portal_link
from .credentials import get_credential, list_credentials
from .pages import Page


def list_portal_links(
    access: Access, before: str | None = None, limit: int = 50, *, tenant: str | None = None
) -> Page[PortalLinkRow]:
    """Return the portal links of the tenants in scope, newest first. One statement.

    :param before: only older than this id.
    :param tenant: only of this tenant; ``None`` for all in scope.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    access.require("tokens")
    table = access.state.models.PortalLink
    page = list_credentials(access, table, before, limit, tenant)
    return page.map(lambda row: PortalLinkRow(*row))


def get_portal_link(access: Access, link_id: str) -> PortalLinkRow:
    """One portal link.

    :raises NotFound: there is no such link in scope.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    table = access.state.models.PortalLink
    return PortalLinkRow(*get_credential(access, table, link_id, no_portal_link))
