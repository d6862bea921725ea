"""The commands."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import sqlalchemy as sa
from flask.cli import AppGroup

from .. import actions, queries
from ..access import Access, system_access
from ..models import AT_REST, DeliveryState
from ..state import state_of
from .failures import Failure, Misuse, reports_errors
from .output import (
    delivery_members,
    endpoint_members,
    first_line,
    plain,
    print_json,
    print_table,
)

webhooks = AppGroup("webhooks", help="Run webhook workers; look after endpoints and deliveries.")
endpoints = AppGroup("endpoints", help="Where webhooks go.")
deliveries = AppGroup("deliveries", help="What was sent, and what is still owed.")
webhooks.add_command(endpoints)
webhooks.add_command(deliveries)


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
    ours = [state.table(field.name) for field in dataclasses.fields(state.models)]
    inspector = sa.inspect(state.engine)
    missing = [table for table in ours if not inspector.has_table(table.name, table.schema)]
    if not missing:
        click.echo(f"All {len(ours)} tables exist already.")
        return
    metadata.create_all(state.engine, tables=missing)
    click.echo(f"Created {', '.join(table.name for table in missing)}.")


@endpoints.command("list")
@click.option("--search", help="A part of the name, description or URL.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def list_endpoints(search: str | None, as_json: bool) -> None:
    """List the endpoints, newest first."""
    rows = queries.list_endpoints(_access(), search)
    if as_json:
        print_json(endpoint_members(row) for row in rows)
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
                row.pending,
                row.held,
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
) -> None:
    """Add an endpoint and print its secret, this once."""
    created = actions.create_endpoint(
        _access(),
        url,
        events=events or None,
        tenant=tenant,
        format=format_,
        name=name,
        headers=_parse_headers(headers),
        user_agent=user_agent,
        secret=secret,
    )
    endpoint = created.endpoint
    click.echo(f"Added {endpoint.id} ({endpoint.format}): {endpoint.url_shown}")
    if created.secret is not None:
        click.echo(f"Secret, shown only now: {created.secret}")


@deliveries.command("list")
@click.option("--endpoint", "endpoint_id", metavar="ID", help="Only of this endpoint.")
@click.option("--state", type=click.Choice([str(state) for state in DeliveryState]))
@click.option("--limit", type=click.IntRange(1, queries.MAX_LIMIT), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def list_deliveries(endpoint_id: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List deliveries, newest first."""
    page = queries.list_deliveries(_access(), endpoint_id=endpoint_id, state=state, limit=limit)
    if as_json:
        print_json(delivery_members(row) for row in page.items)
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
                row.delivery.created_at.isoformat(" ", "seconds"),
                row.endpoint.name or row.endpoint.url_shown,
            )
            for row in page.items
        ],
        "There are no such deliveries.",
    )


@webhooks.command("test")
@click.argument("endpoint_id")
@click.option("--type", "event_type", help="An event type of the catalogue; default: test.")
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
    access = _access()
    data = None if data_text is None else _parse_data(data_text)
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
        raise Failure(f"The delivery {detail.delivery.state}: {plain(why)}")
    last = detail.attempts[-1]
    click.echo(f"Delivered: status {last.status} in {last.duration_ms or 0:.0f} ms.")


def _access() -> Access:
    # There may be no user of this number, as in some containers.
    user = "unknown"
    with contextlib.suppress(OSError, KeyError):
        user = getpass.getuser()
    return system_access(state_of(), f"cli:{user}")


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


def _parse_data(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"JSON has no {constant}")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Misuse(
            f"--data is not JSON ({first_line(error)}). Write an object, such as "
            """'{"license_id": "lic_1"}'.""",
        ) from error
