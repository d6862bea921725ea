"""The overview: how deliveries are going, and where to look first."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import queries
from ..models import DeliveryState
from .page import current_access, render

#: Failed deliveries, and failing endpoints, that it shows.
_SHOWN = 6


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/overview", view_func=overview)


def overview() -> Response:
    """Outcomes and response times of everything in scope."""
    access = current_access()
    return render(
        "overview.html",
        series=queries.statistics(access, period=request.args.get("period", "24h")),
        failing=queries.most_failures(access, limit=_SHOWN),
        failed=queries.list_deliveries(access, state=DeliveryState.FAILED, limit=_SHOWN),
        report=queries.health(access),
    )
