"""Commands for deliveries that fit a filter, all of them at once; and for a single one that is given up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click
from flask.cli import AppGroup, with_appcontext

from .. import actions
from ..bulk.selection import TAKEN_FROM, TaskFilter
from ..models import TaskKind
from .bulk import Moment, start
from .failures import reports_errors
from .parsing import current_access

F = TypeVar("F", bound=Callable[..., Any])


def add_to(deliveries: AppGroup) -> None:
    """Add the commands to their group."""
    for command in (cancel, resend_all, cancel_all):
        deliveries.add_command(command)


def _filters(kind: TaskKind) -> Callable[[F], F]:
    """The options that say which deliveries."""
    states = sorted(str(state) for state in TAKEN_FROM[kind])
    options = [
        click.option("--endpoint", "endpoint_id", metavar="ID", help="Only of this endpoint."),
        click.option("--state", type=click.Choice(states)),
        click.option("--type", "event_type", metavar="NAME", help="Only of this event type."),
        click.option(
            "--status", metavar="STATUS", help="The last answer: 503, a class such as 5xx, or none."
        ),
        click.option("--event", "event_id", metavar="ID", help="Only of this event."),
        click.option(
            "--since", type=Moment(), metavar="TIME", help="Created since; UTC, or 36h, 3d ago."
        ),
        click.option("--until", type=Moment(), metavar="TIME", help="Only what is from before."),
        click.option("--dry-run", is_flag=True, help="Only say how many there are."),
        click.option("--yes", is_flag=True, help="Do not ask."),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.command()
@click.argument("delivery_id")
@with_appcontext
@reports_errors
def cancel(delivery_id: str) -> None:
    """Give up a delivery that has not been sent yet."""
    delivery = actions.cancel(current_access(), delivery_id)
    click.echo(f"Cancelled {delivery.id} ({delivery.event_type}).")


@click.command("resend-all")
@_filters(TaskKind.RESEND)
@with_appcontext
@reports_errors
def resend_all(**options: Any) -> None:
    """Send again every delivery that fits, whatever became of it.

    What is being sent right now is left alone.
    """
    _start(TaskKind.RESEND, **options)


@click.command("cancel-all")
@_filters(TaskKind.CANCEL)
@with_appcontext
@reports_errors
def cancel_all(**options: Any) -> None:
    """Give up every delivery that fits and is waiting.

    What is being sent right now is left alone.
    """
    _start(TaskKind.CANCEL, **options)


def _start(
    kind: TaskKind,
    endpoint_id: str | None,
    state: str | None,
    event_type: str | None,
    status: str | None,
    event_id: str | None,
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    yes: bool,
) -> None:
    wanted = TaskFilter(
        since=since,
        until=until,
        state=state,
        event_type=event_type,
        status=status,
        event_id=event_id,
    )
    start(kind, endpoint_id, wanted, dry_run=dry_run, yes=yes)
