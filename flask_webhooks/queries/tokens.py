"""API tokens."""

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
    """Return the tokens of the tenants in scope, newest first. One statement.

    :param tenant: only of this tenant; ``None`` for all in scope.
    :param state: only those that are ``active``, ``expired`` or ``revoked``.
    :param since: only those that were created at this time or later.
    :param until: only before this time.
    :param before: only older than this id.
    :raises InvalidInput: a filter is invalid; `field` names it.
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
