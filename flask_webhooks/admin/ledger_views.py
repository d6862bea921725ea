"""The ledger of an endpoint: which event each of its numbers is, and what became of it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import queries
from ..queries.ledger import no_ledger_number
from .filters import Filters
from .page import current_access, render

#: Numbers on a page.
_LISTED = 100


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/endpoints/<endpoint_id>/ledger", view_func=endpoint_ledger)


def endpoint_ledger(endpoint_id: str) -> Response:
    """The numbers up to one, the highest first."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    filters = Filters(request.args, "to")
    newest = detail.health.last_sequence or 0
    highest = _number(filters["to"]) if filters else newest
    highest = min(highest, newest)
    first = max(highest - _LISTED + 1, 1)
    items = queries.get_ledger(access, endpoint_id, first, highest).items if highest else []
    return render(
        "ledger.html",
        detail=detail,
        filters=filters,
        items=items[::-1],
        newest=newest,
        older=first - 1,
        newer=highest < newest,
    )


def _number(text: str) -> int:
    """:raises InvalidInput: it is none."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise no_ledger_number("to")
    return int(text)
