"""API tokens: list, create and revoke. A token itself cannot do this."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import actions, queries
from ..access import Access
from ..serializers import CreatedTokenObject, TokenObject
from .answering import answer, answer_page
from .bodies import NewTokenBody
from .parameters import TokenListQuery
from .request_reader import wanted_tenant
from .routes import PageOf, Route


def token_list(access: Access, query: dict[str, Any]) -> Response:
    """Tokens, newest first."""
    tenant = wanted_tenant(access, query)
    return answer_page(queries.list_tokens(access, tenant=tenant, **query), TokenObject)


def token_create(access: Access, body: dict[str, Any]) -> Response:
    """Create a token; only this response has it."""
    created = actions.create_token(access, **body)
    return answer(CreatedTokenObject.serialize(created), 201)


def token_revoke(access: Access, token_id: str) -> Response:
    """Revoke a token: the next request with it is refused."""
    actions.revoke_token(access, token_id)
    return Response(status=204)


ROUTES = (
    Route(
        "GET", "/tokens", token_list, PageOf(TokenObject), query=TokenListQuery, requires="tokens"
    ),
    Route(
        "POST",
        "/tokens",
        token_create,
        CreatedTokenObject,
        body=NewTokenBody,
        status=201,
        requires="tokens",
    ),
    Route("DELETE", "/tokens/<token_id>", token_revoke, None, status=204, requires="tokens"),
)
