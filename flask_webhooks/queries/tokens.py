"""Tokens of the API."""

from __future__ import annotations

from datetime import datetime

from ..access import Access, no_token
from ..db.conditions import created_between
from ..token_access import CONDITIONS, TokenRow, in_condition
from .credentials import get_credential, list_credentials
from .pages import Page, check_state


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
    :param since: only those that were created at this time or later.
    :param until: only those from before it.
    :param before: only those older than this id.
    :raises InvalidInput: a filter makes no sense; `field` names it.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    access.require("tokens")
    table = access.state.models.Token
    conditions = created_between(table.id, "tok", since, until)
    if state is not None:
        conditions.append(in_condition(table, check_state(state, CONDITIONS)))
    page = list_credentials(access, table, before, limit, tenant, *conditions)
    return page.map(lambda row: TokenRow(*row))


def get_token(access: Access, token_id: str) -> TokenRow:
    """One token.

    :raises NotFound: there is no such token in scope.
    :raises Forbidden: not allowed the action ``tokens``.
    """
    return TokenRow(*get_credential(access, access.state.models.Token, token_id, no_token))
