"""``flask webhooks health``, the health check for people and for the probes of containers."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .. import queries
from ..app_state import state_of
from .failures import reports_errors
from .options import JSON
from .output import print_fields, print_json, say, shown_duration


@click.command()
@JSON
@click.pass_context
@with_appcontext
@reports_errors
def health(context: click.Context, as_json: bool) -> None:
    """Check the database, Redis and overdue deliveries, like /healthz.

    Exits with status 1 unless everything is healthy.
    """
    state = state_of()
    found = queries.readiness(state)
    if as_json:
        print_json(
            {
                "ready": found.ready,
                "database": found.database,
                "redis": found.redis,
                "overdue_seconds": found.overdue,
            }
        )
    else:
        overdue = None if found.overdue is None else shown_duration(found.overdue)
        print_fields(
            [
                ("Database", found.database or "ok"),
                ("Redis", found.redis or "ok"),
                ("Overdue", f"since {overdue}" if overdue else "nothing"),
            ]
        )
        if not found.ready:
            say("For details and fixes, run: flask webhooks doctor", err=True)
    if not found.ready:
        context.exit(1)
