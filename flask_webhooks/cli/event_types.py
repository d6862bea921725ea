"""Commands for event types: list them, and show versions and subscribers."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from .. import queries
from ..catalog.differences import Difference
from ..columns import compact_json
from ..serializers import EventTypeDetailObject, EventTypeObject
from . import completion
from .failures import reports_errors
from .options import JSON
from .output import print_fields, print_json, print_table, say, shortened
from .parsing import current_access

event_types = AppGroup("event-types", help="Show event types.")


@event_types.command("list")
@click.option("--deprecated", is_flag=True, help="Only deprecated ones.")
@JSON
@reports_errors
def list_event_types(deprecated: bool, as_json: bool) -> None:
    """List the event types."""
    rows = [
        row
        for row in queries.list_event_types(current_access())
        if row.kind.deprecated or not deprecated
    ]
    if as_json:
        print_json(EventTypeObject.serialize(row) for row in rows)
        return
    print_table(
        ("NAME", "VERSIONS", "DESCRIPTION"),
        [(row.kind.name, len(row.data_versions) or "-", _description(row)) for row in rows],
        "There are no such event types.",
    )


@event_types.command("show")
@click.argument("name", shell_complete=completion.event_types)
@JSON
@reports_errors
def show_event_type(name: str, as_json: bool) -> None:
    """Show an event type: how its data has changed, and which endpoints subscribe to it."""
    detail = queries.get_event_type(current_access(), name)
    if as_json:
        print_json(EventTypeDetailObject.serialize(detail))
        return
    subscribers = detail.subscribers
    print_fields(
        [
            ("Name", detail.kind.name),
            ("Group", detail.kind.group),
            ("Description", _description(detail)),
            ("Example", compact_json(detail.kind.example)),
            ("Subscribed by name", subscribers.by_name),
            ("Among all types", subscribers.by_everything),
        ]
    )
    for version in detail.data_versions:
        say()
        say(f"Version {version.name}")
        for change in version.changes:
            say(f"  {change.kind.ljust(7)}  {_change(change)}")
        if version.example is None:
            say(
                "  A function of @webhooks.version fails with the example: see flask webhooks doctor"
            )
        elif not version.changes:
            say(f"  {compact_json(version.example)}")
    if subscribers.endpoints:
        say()
        print_table(
            ("ID", "TENANT", "STATE", "URL", "NAME"),
            [
                (item.id, item.tenant or "-", item.state, item.url_shown, item.name)
                for item in subscribers.endpoints
            ],
            "",
        )
    if subscribers.by_name > len(subscribers.endpoints):
        say(f"There are more: flask webhooks endpoints list --type {detail.kind.name}", err=True)


def _description(row: queries.EventTypeRow) -> str:
    mark = "DEPRECATED: " if row.kind.deprecated else ""
    return f"{mark}{row.kind.description}"


def _change(change: Difference) -> str:
    """Return a changed member, with its values in the examples."""
    before, after = (shortened(compact_json(value), 60) for value in (change.before, change.after))
    return f"{change.path}: {before} -> {after}" if change.kind == "changed" else change.path
