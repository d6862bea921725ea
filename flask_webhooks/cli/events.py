"""Commands for events: list, pull, show and explain."""

from __future__ import annotations

import json
from datetime import datetime

import click
from flask.cli import AppGroup, with_appcontext

from .. import queries
from ..access import find_endpoint
from ..columns import compact_json
from ..models import Event
from ..queries.cursors import START
from ..queries.explanations import failed_text, owed_text, routing_text
from ..serializers import (
    EventDetailObject,
    EventRowObject,
    PulledObject,
    RoutingObject,
)
from . import completion
from .failures import reports_errors
from .options import ENDPOINT, EVENT, JSON, LIMIT, SINCE, TENANT, TYPE, UNTIL
from .output import (
    print_fields,
    print_json,
    print_table,
    say,
    shown_time,
    tell_of_more,
)
from .parsing import current_access, wanted_event, wanted_tenant

events = AppGroup("events", help="Show events and their recipients.")


@events.command("list")
@TYPE
@TENANT
@EVENT
@ENDPOINT
@SINCE
@UNTIL
@LIMIT
@JSON
@reports_errors
def list_events(
    event_type: str | None,
    tenant: str | None,
    event_id: str | None,
    endpoint_id: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List events, newest first.

    --endpoint only searches the newest 5,000 that match the other options.
    """
    access = current_access()
    page = queries.list_events(
        access,
        event_type,
        tenant=wanted_tenant(access, tenant),
        limit=limit,
        since=since,
        until=until,
        id=wanted_event(access, event_id),
        endpoint_id=endpoint_id,
    )
    if as_json:
        print_json(EventRowObject.serialize(row) for row in page.items)
        return
    print_table(
        ("ID", "TYPE", "TENANT", "RECORDED", "DELIVERIES"),
        [
            (
                row.event.id,
                row.event.type,
                row.event.tenant or "-",
                shown_time(row.event.created_at),
                _counts(row.deliveries),
            )
            for row in page.items
        ],
        "No events match.",
    )
    tell_of_more(page)


@events.command("pull")
@click.option(
    "--after",
    default=START,
    show_default=True,
    metavar="CURSOR",
    help="The cursor of the previous pull; start: from the oldest events.",
)
@ENDPOINT
@TYPE
@TENANT
@click.option(
    "--limit",
    type=click.IntRange(1, queries.MAX_PULLED),
    default=queries.DEFAULT_PULLED,
    show_default=True,
)
@JSON
@reports_errors
def pull_events(
    after: str,
    endpoint_id: str | None,
    event_type: str | None,
    tenant: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show events in the order in which they were committed, after a cursor.

    The next cursor is printed on standard error, with --json as next_after.
    """
    access = current_access()
    page = queries.Pull(
        access,
        after,
        tenant=wanted_tenant(access, tenant),
        endpoint_id=endpoint_id,
        event_type=event_type,
        limit=limit,
    ).page()
    if as_json:
        print_json(PulledObject.serialize(page))
        return
    print_table(
        ("ID", "TYPE", "TENANT", "OCCURRED"),
        [
            (item.id, item.type, item.tenant or "-", shown_time(item.timestamp))
            for item in page.items
        ],
        "There is nothing new.",
    )
    more = "There are more. " if page.has_more else ""
    say(f"{more}The next ones: --after {page.next_after}", err=True)


@events.command("show")
@click.argument("event_id", shell_complete=completion.event_ids)
@JSON
@reports_errors
def show_event(event_id: str, as_json: bool) -> None:
    """Show the data and the recipients of an event."""
    access = current_access()
    detail = queries.get_event(access, event_id)
    if as_json:
        print_json(EventDetailObject.serialize(detail))
        return
    event = detail.event
    print_fields(
        [
            ("Id", event.id),
            ("Type", event.type),
            ("Tenant", event.tenant or "none"),
            ("Occurred", shown_time(event.occurred_at)),
            ("Recorded", shown_time(event.created_at)),
            ("Erased", None if event.erased_at is None else shown_time(event.erased_at)),
        ]
    )
    say()
    if event.erased_at is not None:
        say("Its data was erased.")
    else:
        say(json.dumps(event.data, indent=2, ensure_ascii=False))
    say()
    errors = queries.last_errors(access, [row.delivery for row in detail.deliveries])
    print_table(
        ("DELIVERY", "STATE", "ATTEMPTS", "STATUS", "ENDPOINT", "ERROR"),
        [
            (
                row.delivery.id,
                row.delivery.state,
                row.delivery.attempt_count,
                row.delivery.last_status or "-",
                row.endpoint.name or row.endpoint.url_shown,
                errors.get(row.delivery.id, ""),
            )
            for row in detail.deliveries
        ],
        f"No endpoint was subscribed to it. See: flask webhooks why {event.id} ENDPOINT_ID",
    )


@click.command()
@click.argument("event_id", shell_complete=completion.event_ids)
@click.argument("endpoint_id", shell_complete=completion.endpoint_ids)
@JSON
@with_appcontext
@reports_errors
def why(event_id: str, endpoint_id: str, as_json: bool) -> None:
    """Explain why an endpoint got an event or not, and the state of its delivery."""
    access = current_access()
    detail = queries.get_event(access, event_id)
    find_endpoint(access, endpoint_id, deleted=True)
    [routing] = queries.explain_routing(access, detail, endpoint_id)
    if as_json:
        print_json(RoutingObject.serialize(routing))
        return
    _print_routing(detail.event, routing)
    if routing.delivery is not None:
        say()
        errors = queries.last_errors(access, [routing.delivery])
        delivery = routing.delivery
        print_fields(
            [
                ("Delivery", delivery.id),
                ("State", delivery.state),
                ("Attempts", delivery.attempt_count),
                ("Last status", delivery.last_status),
                ("Last error", errors.get(delivery.id)),
                ("Next attempt", None if delivery.due_at is None else shown_time(delivery.due_at)),
            ]
        )
        say(f"Full details: flask webhooks deliveries show {delivery.id}")


def _print_routing(event: Event, routing: queries.Routing) -> None:
    """Print the reason, and the record that it is based on."""
    say(routing_text(routing.why, event.type))
    if routing.delivery is not None and routing.health is not None:
        now = datetime.now(event.created_at.tzinfo)
        say(" ".join(owed_text(routing.delivery, routing.endpoint, routing.health, now)))
    say()
    endpoint, change = routing.endpoint, routing.change
    print_fields(
        [
            ("Event", f"{event.id} ({event.type}), recorded {shown_time(event.created_at)}"),
            ("Its tenant", event.tenant or "none"),
            ("Endpoint", f"{endpoint.id} {endpoint.name or endpoint.url_shown}"),
            ("Its tenant", endpoint.tenant or "the whole server"),
            ("Added", shown_time(endpoint.created_at)),
            ("Deleted", None if endpoint.deleted_at is None else shown_time(endpoint.deleted_at)),
            ("Subscribed then", "all" if routing.events is None else ", ".join(routing.events)),
            ("Filter then", None if routing.filter is None else compact_json(routing.filter)),
            *(("Condition", failed_text(failed)) for failed in routing.failed),
            (
                "Changed after",
                None if change is None else f"{shown_time(change.at)} by {change.actor}",
            ),
        ]
    )


def _counts(deliveries: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(deliveries.items())) or "none"
