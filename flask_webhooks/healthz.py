"""``/healthz``, the health check for load balancers and monitors. No login, no detail."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response

from . import queries
from .app_state import state_of

NAME: Final = "flask_webhooks_health"


def create_blueprint() -> Blueprint:
    """Create a blueprint with the route ``/healthz``, for any number of applications."""
    blueprint = Blueprint(NAME, __name__)
    blueprint.add_url_rule("/healthz", view_func=healthz)
    return blueprint


def healthz() -> Response:
    """Respond with 200 if healthy, else with 503; commands and pages show details."""
    ready = queries.readiness(state_of()).ready
    return Response(
        "ok\n" if ready else "unavailable\n",
        200 if ready else 503,
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        mimetype="text/plain",
    )
