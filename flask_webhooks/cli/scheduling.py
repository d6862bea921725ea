"""Commands for scheduled events: list and cancel."""

from __future__ import annotations

import click
from flask.cli import AppGroup, with_appcontext

from .. import actions, queries
from ..serializers import ScheduledObject
from . import completion
from .failures import reports_errors
from .options import JSON, LIMIT, TENANT, TYPE
from .output import print_json, print_table, say, shown_time, tell_of_more
from .parsing import current_access, wanted_tenant


def add_to(events: AppGroup) -> None:
    """Add the commands to their group."""
    events.add_command(list_scheduled)
    events.add_command(cancel_scheduled)


@click.command("scheduled")
@TYPE
@TENANT
@click.option("--key", metavar="KEY", help="Only the one with this key.")
@LIMIT
@JSON
@with_appcontext
@reports_errors
def list_scheduled(
    event_type: str | None, tenant: str | None, key: str | None, limit: int, as_json: bool
) -> None:
    """List scheduled events, most recently scheduled first."""
    access = current_access()
    page = queries.list_scheduled(
        access, event_type, tenant=wanted_tenant(access, tenant), key=key, limit=limit
    )
    if as_json:
        print_json(ScheduledObject.serialize(event) for event in page.items)
        return
    print_table(
        ("ID", "TYPE", "TENANT", "KEY", "DUE", "SCHEDULED"),
        [
            (
                event.id,
                event.type,
                event.tenant or "-",
                event.key or "-",
                shown_time(event.deliver_at),
                shown_time(event.created_at),
            )
            for event in page.items
        ],
        "No scheduled events match.",
    )
    tell_of_more(page)


@click.command("cancel")
@click.argument("scheduled_id", shell_complete=completion.scheduled_ids)
@with_appcontext
@reports_errors
def cancel_scheduled(scheduled_id: str) -> None:
    """Cancel a scheduled event: it is never recorded or sent."""
    event = actions.cancel_scheduled(current_access(), scheduled_id)
    say(f"Cancelled {event.id} ({event.type}), which was due {shown_time(event.deliver_at)}.")
