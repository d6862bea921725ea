"""Tokens of the API."""

from __future__ import annotations

import sqlalchemy as sa

from ..access import Access, is_id, no_token
from ..columns import utc_now
from ..token_access import TokenRow
from .pages import Page, check_limit, older_than, page_of


def list_tokens(access: Access, before: str | None = None, limit: int = 50) -> Page[TokenRow]:
    """The tokens of the tenants in scope, newest first. One statement.

    :param before: only those older than this id.
    :raises InvalidInput: a filter makes no sense; `field` names it.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    access.require("tokens")
    table = access.state.models.Token
    query = (
        sa.select(table, utc_now())
        .where(access.scope(table.tenant), *older_than(table.id, before))
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
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
