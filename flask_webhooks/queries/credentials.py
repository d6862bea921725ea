"""Reading tokens and portal links, each with the database's time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from ..access import Access, is_id
from ..columns import utc_now
from ..db.conditions import of_tenant
from ..errors import NotFound
from ..models import PortalLink, Token
from .pages import Page, check_limit, older_than, page_of

_Stored = TypeVar("_Stored", Token, PortalLink)


def list_credentials(
    access: Access,
    table: type[_Stored],
    before: str | None,
    limit: int,
    tenant: str | None,
    *conditions: sa.ColumnElement[bool],
) -> Page[tuple[_Stored, datetime]]:
    """Return those of the tenants in scope, newest first, for a caller with ``tokens``. One statement.

    :param before: only older than this id.
    :param tenant: only of this tenant; ``None`` for all in scope.
    :raises InvalidInput: a filter is invalid; `field` names it.
    """
    query = (
        sa.select(table, utc_now())
        .where(access.scope(table.tenant), *older_than(table.id, before), *conditions)
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    if tenant is not None:
        query = query.where(of_tenant(table.tenant, tenant))
    with access.read() as session:
        rows = [(row[0], row[1]) for row in session.execute(query)]
    return page_of(rows, limit, lambda row: row[0].id)


def get_credential(
    access: Access,
    table: type[_Stored],
    credential_id: str,
    missing: Callable[[object], NotFound],
) -> tuple[_Stored, datetime]:
    """One of them.

    :param missing: creates the error for a missing one.
    :raises NotFound: there is none in scope.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    access.require("tokens")
    found = None
    if is_id(credential_id):
        query = sa.select(table, utc_now()).where(
            table.id == credential_id, access.scope(table.tenant)
        )
        with access.read() as session:
            found = session.execute(query).one_or_none()
    if found is None:
        raise missing(credential_id)
    return found[0], found[1]
