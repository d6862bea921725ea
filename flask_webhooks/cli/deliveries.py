"""Commands for deliveries: list, show, resend and cancel."""

from __future__ import annotations

from datetime import datetime

import click
from flask.cli import AppGroup

from .. import actions, queries
from ..models import Attempt, Event
from ..queries.explanations import missing_text, owed_text
from ..serializers import DeliveryDetailObject, DeliveryRowObject
from . import completion
from .failures import reports_errors
from .options import (
    DELIVERY_STATE,
    ENDPOINT,
    EVENT,
    JSON,
    LIMIT,
    SINCE,
    STATUS,
    TENANT,
    TYPE,
    UNTIL,
)
from .output import (
    LONGEST_CELL,
    print_fields,
    print_json,
    print_table,
    say,
    shortened,
    shown_time,
    tell_of_more,
)
from .parsing import current_access, wanted_event, wanted_tenant

deliveries = AppGroup("deliveries", help="Show, resend and cancel deliveries.")


@deliveries.command("list")
@ENDPOINT
@DELIVERY_STATE
@TYPE
@TENANT
@EVENT
@STATUS
@click.option("--text", metavar="TEXT", help="Part of the event's data as JSON text.")
@SINCE
@UNTIL
@LIMIT
@JSON
@reports_errors
def list_deliveries(
    endpoint_id: str | None,
    state: str | None,
    event_type: str | None,
    tenant: str | None,
    event_id: str | None,
    status: str | None,
    text: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List deliveries, newest first.

    --status and --text only search the newest 5,000 that match the other options.
    """
    access = current_access()
    page = queries.list_deliveries(
        access,
        endpoint_id,
        state,
        event_type,
        limit=limit,
        tenant=wanted_tenant(access, tenant),
        status=status,
        since=since,
        until=until,
        id=wanted_event(access, event_id),
        text=text,
    )
    if as_json:
        print_json(DeliveryRowObject.serialize(row) for row in page.items)
        return
    errors = queries.last_errors(access, [row.delivery for row in page.items])
    print_table(
        (
            *("ID", "EVENT TYPE", "STATE", "REASON", "ATTEMPTS", "STATUS", "CREATED"),
            *("ENDPOINT", "ERROR"),
        ),
        [
            (
                row.delivery.id,
                row.delivery.event_type,
                row.delivery.state,
                row.delivery.reason or "-",
                row.delivery.attempt_count,
                row.delivery.last_status or "-",
                shown_time(row.delivery.created_at),
                row.endpoint.name or row.endpoint.url_shown,
                shortened(errors.get(row.delivery.id, ""), LONGEST_CELL),
            )
            for row in page.items
        ],
        "No deliveries match.",
    )
    tell_of_more(page)


@deliveries.command("show")
@click.argument("delivery_id", shell_complete=completion.delivery_ids)
@click.option("--bodies", is_flag=True, help="Print recorded headers and bodies.")
@JSON
@reports_errors
def show_delivery(delivery_id: str, bodies: bool, as_json: bool) -> None:
    """Show a delivery and its attempts with their errors."""
    detail = queries.get_delivery(current_access(), delivery_id)
    if as_json:
        print_json(DeliveryDetailObject.serialize(detail))
        return
    delivery, endpoint = detail.delivery, detail.endpoint
    now = datetime.now(delivery.created_at.tzinfo)
    print_fields(
        [
            ("Id", delivery.id),
            ("Event", f"{delivery.event_id} ({delivery.event_type})"),
            ("Endpoint", f"{endpoint.id} {endpoint.name or endpoint.url_shown}"),
            ("Tenant", endpoint.tenant or "the whole server"),
            ("State", delivery.state),
            ("Meaning", " ".join(owed_text(delivery, endpoint, detail.health, now))),
            ("Created", shown_time(delivery.created_at)),
            ("Erased", _erased(detail.event)),
            ("Next attempt", None if delivery.due_at is None else shown_time(delivery.due_at)),
        ]
    )
    if detail.older_attempts:
        say()
        say(f"{detail.older_attempts:,} older attempts are not shown.")
    for attempt in detail.attempts:
        say()
        _print_attempt(attempt, bodies)
    if not detail.attempts:
        say()
        say("There are no attempts yet.")


def _print_attempt(attempt: Attempt, bodies: bool) -> None:
    took = "" if attempt.duration_ms is None else f" in {attempt.duration_ms:.0f} ms"
    status = "" if attempt.status is None else f", status {attempt.status}"
    say(f"Attempt {attempt.number}: {attempt.outcome}{status}{took}")
    answer = " ".join(_body(attempt, "response_body").split())
    print_fields(
        [
            ("At", shown_time(attempt.started_at)),
            ("Why", attempt.trigger if attempt.actor is None else _by(attempt)),
            ("Address", attempt.address),
            ("Error", attempt.error),
            ("Response", None if bodies else shortened(answer)),
        ],
        indent="  ",
    )
    if bodies:
        _print_message("Request", attempt.request_headers, _body(attempt, "request_body"))
        _print_message("Response", attempt.response_headers, _body(attempt, "response_body"))
        if attempt.response_cut and attempt.response_body is not None:
            say("  The body was longer.")


def _body(attempt: Attempt, name: str) -> str:
    """Return a body, or the reason why it is missing."""
    missing = attempt.missing.get(name)
    body: str | None = getattr(attempt, name)
    return (body or "") if missing is None else f"({missing_text(missing)})"


def _erased(event: Event) -> str | None:
    return None if event.erased_at is None else shown_time(event.erased_at)


def _by(attempt: Attempt) -> str:
    return f"{attempt.trigger}, by {attempt.actor}"


def _print_message(name: str, headers: list[list[str]] | None, body: str) -> None:
    if headers is None and not body:
        return
    say(f"  {name}:")
    print_fields(((f"{header}:", value) for header, value in headers or ()), indent="    ")
    if body:
        say()
        say(body)
        say()


@deliveries.command("resend")
@click.argument("delivery_id", shell_complete=completion.delivery_ids)
@reports_errors
def resend(delivery_id: str) -> None:
    """Send a delivery again now, with the same webhook-id."""
    delivery = actions.resend(current_access(), delivery_id)
    say(f"Queued {delivery.id} ({delivery.event_type}).")


@deliveries.command("cancel")
@click.argument("delivery_id", shell_complete=completion.delivery_ids)
@reports_errors
def cancel(delivery_id: str) -> None:
    """Cancel a delivery that has not been sent yet."""
    delivery = actions.cancel(current_access(), delivery_id)
    say(f"Cancelled {delivery.id} ({delivery.event_type}).")
