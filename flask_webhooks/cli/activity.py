"""Commands for the audit log."""

from __future__ import annotations

import json
from datetime import datetime

import click
from flask.cli import AppGroup

from .. import queries
from ..serializers import ActivityObject
from .failures import reports_errors
from .options import ENDPOINT, JSON, LIMIT, SINCE, TENANT, UNTIL
from .output import (
    LONGEST_CELL,
    print_json,
    print_table,
    shortened,
    shown_time,
    tell_of_more,
)
from .parsing import current_access, within_tenant

activity = AppGroup("activity", help="Who did what.")


@activity.command("list")
@ENDPOINT
@TENANT
@click.option("--actor", help="Part of the name of the actor.")
@click.option("--action", metavar="NAME", help="The action, such as endpoint.paused.")
@SINCE
@UNTIL
@LIMIT
@JSON
@reports_errors
def list_activity(
    endpoint_id: str | None,
    tenant: str | None,
    actor: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the audit log, newest first."""
    page = queries.list_activity(
        within_tenant(current_access(), tenant),
        endpoint_id,
        limit=limit,
        actor=actor,
        action=action,
        since=since,
        until=until,
    )
    if as_json:
        print_json(ActivityObject.serialize(row) for row in page.items)
        return
    print_table(
        ("AT", "BY", "ACTION", "TENANT", "ENDPOINT", "DELIVERY", "CHANGES"),
        [
            (
                shown_time(row.at),
                row.actor,
                row.action,
                row.tenant or "-",
                row.endpoint_id or "-",
                row.delivery_id or "-",
                shortened(json.dumps(row.changes) if row.changes else "", LONGEST_CELL),
            )
            for row in page.items
        ],
        "No activity matches.",
    )
    tell_of_more(page)
