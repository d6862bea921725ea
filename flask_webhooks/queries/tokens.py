"""Tokens of the API."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ..access import Access, is_id, no_token
from ..columns import utc_now
from ..db.conditions import created_between, of_tenant
from ..token_access import CONDITIONS, TokenRow, in_condition
from .pages import Page, check_limit, check_state, older_than, page_of


def list_tokens(
    access: Access,
    before: str | None = None,
    limit: int = 50,
    *,
    tenant: str | None = None,
    state: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[TokenRow]:
    """The tokens of the tenants in scope, newest first. One statement.

    :param tenant: only this one's; ``None`` for all that are in scope.
    :param state: only those that are ``active``, ``expired`` or ``revoked``.
    :param since: only those that were created at this time or later. :param until: only those from before it.
    :param before: only those older than this id.
    :raises InvalidInput: a filter makes no sense; `field` names it.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    access.require("tokens")
    table = access.state.models.Token
    query = (
        sa.select(table, utc_now())
        .where(access.scope(table.tenant), *older_than(table.id, before))
        .where(*created_between(table.id, "tok", since, until))
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    if tenant is not None:
        query = query.where(of_tenant(table.tenant, tenant))
    if state is not None:
        query = query.where(in_condition(table, check_state(state, CONDITIONS)))
    with access.read() as session:
        rows = session.execute(query).all()
    return page_of(rows, limit, lambda row: row[0].id).map(lambda row: TokenRow(*row))


def get_token(access: Access, token_id: str) -> TokenRow:
    """One token.

    :raises NotFound: there is no such token in scope.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    access.require("tokens")
    table = access.state.models.Token
    found = None
    if is_id(token_id):
        query = sa.select(table, utc_now()).where(table.id == token_id, access.scope(table.tenant))
        with access.read() as session:
            found = session.execute(query).one_or_none()
    if found is None:
        raise no_token(token_id)
    return TokenRow(*found)
