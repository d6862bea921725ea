"""Portal links."""

from __future__ import annotations

import sqlalchemy as sa

from ..access import Access, is_id
from ..columns import utc_now
from ..db.conditions import of_tenant
from ..portal_access import PortalLinkRow, no_portal_link
from .pages import Page, check_limit, older_than, page_of


def list_portal_links(
    access: Access, before: str | None = None, limit: int = 50, *, tenant: str | None = None
) -> Page[PortalLinkRow]:
    """The portal links of the tenants in scope, newest first. One statement.

    :param before: only those older than this id.
    :param tenant: only this one's; ``None`` for all that are in scope.
    :raises InvalidInput: a filter makes no sense; `field` names it.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    access.require("tokens")
    table = access.state.models.PortalLink
    query = (
        sa.select(table, utc_now())
        .where(access.scope(table.tenant), *older_than(table.id, before))
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    if tenant is not None:
        query = query.where(of_tenant(table.tenant, tenant))
    with access.read() as session:
        rows = session.execute(query).all()
    return page_of(rows, limit, lambda row: row[0].id).map(lambda row: PortalLinkRow(*row))


def get_portal_link(access: Access, link_id: str) -> PortalLinkRow:
    """One portal link.

    :raises NotFound: there is no such link in scope.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    access.require("tokens")
    table = access.state.models.PortalLink
    found = None
    if is_id(link_id):
        query = sa.select(table, utc_now()).where(table.id == link_id, access.scope(table.tenant))
        with access.read() as session:
            found = session.execute(query).one_or_none()
    if found is None:
        raise no_portal_link(link_id)
    return PortalLinkRow(*found)
