"""The overview: statistics of deliveries, and endpoints with problems."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import queries
from ..errors import InvalidInput
from ..models import DeliveryState
from .page import current_access, render

#: A month by hours for all endpoints would take too long; the page of each endpoint shows it.
_PERIODS = ("24h", "7d")
#: The number of failed deliveries, and of failing endpoints, on the page.
_SHOWN = 6


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/overview", view_func=overview)


def overview() -> Response:
    """Show outcomes and response times of everything in scope."""
    access = current_access()
    period = request.args.get("period", _PERIODS[0])
    if period not in _PERIODS:
        raise InvalidInput(
            "Choose one of these periods: %(choices)s.", choices=", ".join(_PERIODS), field="period"
        )
    return render(
        "overview.html",
        series=queries.statistics(access, period=period),
        periods=_PERIODS,
        failing=queries.most_failures(access, limit=_SHOWN),
        failed=queries.list_deliveries(access, state=DeliveryState.FAILED, limit=_SHOWN),
        report=queries.health(access),
    )
