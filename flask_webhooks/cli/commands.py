"""The commands."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
import sqlalchemy as sa
from flask.cli import AppGroup

from .. import actions, queries, schema_changes
from ..access import Access
from ..errors import DuplicateEndpoint
from ..members import delivery_row_members, endpoint_row_members
from ..models import AT_REST, DeliveryState
from ..narrow import unicode_trouble
from ..state import state_of
from .failures import Failure, Misuse, reports_errors
from .formats import import_endpoints, keys, parse_options, render
from .output import (
    counted,
    plain,
    print_json,
    print_table,
    shortened,
    shown_time,
    tell_of_more,
)
from .parsing import current_access, note_of_tenant, parse_json

webhooks = AppGroup("webhooks", help="Run webhook workers; look after endpoints and deliveries.")
endpoints = AppGroup("endpoints", help="Where webhooks go.")
deliveries = AppGroup("deliveries", help="What was sent, and what is still owed.")
webhooks.add_command(endpoints)
webhooks.add_command(deliveries)
webhooks.add_command(render)
webhooks.add_command(import_endpoints)
endpoints.add_command(keys)


@webhooks.command()
@click.option("--burst", is_flag=True, help="End when there is nothing left to do.")
@click.option("--name", help="The worker's name; by default a random one.")
@reports_errors
def worker(burst: bool, name: str | None) -> None:
    """Deliver webhooks until stopped by Ctrl-C or SIGTERM."""
    from ..worker import run

    run(state_of(), burst=burst, name=name)


@webhooks.command()
@reports_errors
def sweep() -> None:
    """Wake the workers if something is due whose wake-up was lost.

    For cron, where no worker of ours runs.
    """
    from ..jobs import sweep as look

    click.echo("Something is due: woke the workers." if look(state_of()) else "Nothing is due.")


@webhooks.command("init-db")
@reports_errors
def init_db() -> None:
    """Create the tables that are missing, for applications without migrations."""
    state = state_of()
    metadata = state.models.metadata
    ours = state.models.tables()
    inspector = sa.inspect(state.engine)
    missing = [table for table in ours if not inspector.has_table(table.name, table.schema)]
    if missing:
        metadata.create_all(state.engine, tables=missing)
        click.echo(f"Created {', '.join(table.name for table in missing)}.")
    else:
        click.echo(f"All {len(ours)} tables exist already.")
    with state.engine.connect() as connection:
        trouble = unicode_trouble(state, connection)
        outdated = bool(schema_changes.missing(state, connection))
    if trouble is not None:
        click.echo(f"Warning: {trouble}", err=True)
    if outdated:
        click.echo(
            "Warning: the tables lack what this version needs. Run your migrations, or: "
            "flask webhooks upgrade-db",
            err=True,
        )


@endpoints.command("list")
@click.option("--search", help="A part of the name, description or URL.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def list_endpoints(search: str | None, as_json: bool) -> None:
    """List the endpoints, newest first."""
    rows = queries.list_endpoints(current_access(), search)
    if as_json:
        print_json(endpoint_row_members(row) for row in rows)
        return
    print_table(
        ("ID", "TENANT", "STATE", "FORMAT", "URL", "24 H", "PENDING", "HELD", "NAME"),
        [
            (
                row.endpoint.id,
                row.endpoint.tenant or "-",
                row.endpoint.state,
                row.endpoint.format,
                row.endpoint.url_shown,
                "-" if row.success_rate is None else f"{row.success_rate:.0%}",
                counted(row.pending),
                counted(row.held),
                row.endpoint.name,
            )
            for row in rows
        ],
        "There are no endpoints. Add one with: flask webhooks endpoints add URL",
    )


@endpoints.command("add")
@click.argument("url")
@click.option(
    "--event", "events", multiple=True, help="license.created, license.* …; default: every event."
)
@click.option("--tenant", help="Whose it is; default: the whole server.")
@click.option("--format", "format_", metavar="NAME", help="Default: what the URL asks for.")
@click.option("--name", default="", help="For people.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent along.")
@click.option("--user-agent", help="Instead of ours.")
@click.option("--secret", help="The receiver's own; default: a new one, printed once.")
@click.option("--no-secret", is_flag=True, help="None at all, where the format allows that.")
@click.option("--key-pair", is_flag=True, help="Sign by a new key pair; prints the public key.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of the format; =@FILE reads it.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="For a whole request.")
@click.option("--rate-limit", type=float, metavar="NUMBER", help="Requests a second, at most.")
@click.option("--ordered", is_flag=True, help="One after another, in the order of the events.")
@click.option(
    "--force", is_flag=True, help="Also if there is an equal one: each event comes twice."
)
@reports_errors
def add_endpoint(
    url: str,
    events: tuple[str, ...],
    tenant: str | None,
    format_: str | None,
    name: str,
    headers: tuple[str, ...],
    user_agent: str | None,
    secret: str | None,
    no_secret: bool,
    key_pair: bool,
    options: tuple[str, ...],
    timeout: float | None,
    rate_limit: float | None,
    ordered: bool,
    force: bool,
) -> None:
    """Add an endpoint and print its secret, this once."""
    if no_secret and secret is not None:
        raise Misuse("Give either --secret or --no-secret.")
    access = current_access()
    note_of_tenant(access, tenant)
    try:
        created = actions.create_endpoint(
            access,
            url,
            events=events or None,
            dialect=format_ or state_of().settings.default_format,
            tenant=tenant,
            format=format_,
            name=name,
            headers=_parse_headers(headers),
            user_agent=user_agent,
            secret=False if no_secret else secret,
            key_pair=key_pair,
            options=parse_options(options),
            timeout=timeout,
            rate_limit=rate_limit,
            ordered=ordered,
            allow_duplicate=force,
        )
    except DuplicateEndpoint as error:
        raise Failure(
            f"The endpoint {error.endpoint_id} has the same URL, format and event types, so each event would "
            "arrive there twice. Add --force if you want both."
        ) from error
    endpoint = created.endpoint
    click.echo(f"Added {endpoint.id} ({endpoint.format}): {endpoint.url_shown}")
    if created.secret is not None:
        click.echo(f"Secret, shown only now: {created.secret}")
    if created.public_key is not None:
        click.echo(f"Public key, for the receiver: {created.public_key}")


@endpoints.command("rotate")
@click.argument("endpoint_id")
@click.option(
    "--overlap",
    type=float,
    default=24,
    show_default=True,
    metavar="HOURS",
    help="For how long the old secret goes on signing, up to 168.",
)
@click.option("--secret", help="The receiver's own; default: a new one, printed once.")
@click.option("--key-pair", is_flag=True, help="Sign by a new key pair; prints the public key.")
@reports_errors
def rotate_secret(endpoint_id: str, overlap: float, secret: str | None, key_pair: bool) -> None:
    """Give an endpoint a new secret, and print it, this once."""
    new = actions.rotate_secret(
        current_access(),
        endpoint_id,
        overlap_seconds=overlap * 3600,
        secret=secret,
        key_pair=key_pair,
    )
    click.echo(
        f"Public key, for the receiver: {new}" if key_pair else f"Secret, shown only now: {new}"
    )


@endpoints.command("end-overlap")
@click.argument("endpoint_id")
@reports_errors
def end_overlap(endpoint_id: str) -> None:
    """Sign with the newest secret only, from now on: the receiver has it."""
    ended = actions.end_overlap(current_access(), endpoint_id)
    click.echo("Only the newest secret signs now." if ended else "There was no overlap to end.")


@deliveries.command("list")
@click.option("--endpoint", "endpoint_id", metavar="ID", help="Only of this endpoint.")
@click.option("--state", type=click.Choice([str(state) for state in DeliveryState]))
@click.option("--limit", type=click.IntRange(1, queries.MAX_LIMIT), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def list_deliveries(endpoint_id: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List deliveries, newest first."""
    page = queries.list_deliveries(
        current_access(), endpoint_id=endpoint_id, state=state, limit=limit
    )
    if as_json:
        print_json(delivery_row_members(row) for row in page.items)
        return
    print_table(
        ("ID", "EVENT TYPE", "STATE", "REASON", "ATTEMPTS", "STATUS", "CREATED", "ENDPOINT"),
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
            )
            for row in page.items
        ],
        "There are no such deliveries.",
    )
    tell_of_more(page)


@webhooks.command("test")
@click.argument("endpoint_id")
@click.option(
    "--type",
    "event_type",
    help="An event type of the catalogue; default: what the format is tested with.",
)
@click.option("--data", "data_text", metavar="JSON", help="Default: the example of the type.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait for the answer; ends with status 1 unless it is success.",
)
@reports_errors
def send_test(
    endpoint_id: str, event_type: str | None, data_text: str | None, wait: float | None
) -> None:
    """Send a test event to one endpoint."""
    access = current_access()
    data = None if data_text is None else parse_json(data_text, "--data")
    delivery = actions.send_test(access, endpoint_id, event_type, data)
    click.echo(f"Queued {delivery.id} ({delivery.event_type}).")
    if wait is not None:
        _wait_for(access, delivery.id, wait)


def _wait_for(access: Access, delivery_id: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        detail = queries.get_delivery(access, delivery_id)
        if detail.delivery.state in AT_REST:
            break
        if time.monotonic() >= end:
            raise Failure(
                f"No answer within {seconds:g} s: the delivery is {detail.delivery.state}. Is a worker "
                "running? Start one with: flask webhooks worker"
            )
        time.sleep(min(0.1, max(end - time.monotonic(), 0)))
    if detail.delivery.state != DeliveryState.SUCCEEDED:
        last = detail.attempts[-1] if detail.attempts else None
        why = (last and last.error) or detail.delivery.reason or "no attempt was made"
        answer = " ".join(((last and last.response_body) or "").split())
        said = f" It said: {shortened(answer)}" if answer else ""
        raise Failure(f"The delivery {detail.delivery.state}: {plain(why)}{said}")
    last = detail.attempts[-1]
    click.echo(f"Delivered: status {last.status} in {last.duration_ms or 0:.0f} ms.")


def _parse_headers(lines: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Misuse("Write a header as 'Name: value'.")
        if name.strip() in headers:
            raise Misuse(f"The header {plain(name.strip())} is given twice.")
        headers[name.strip()] = value.strip()
    return headers
