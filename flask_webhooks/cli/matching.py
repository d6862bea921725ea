"""Commands for deliveries that fit a filter, all of them at once; and for a single one that is given up."""

from __future__ import annotations

from typing import Any, Unpack

import click
from flask.cli import AppGroup, with_appcontext

from .. import actions
from ..bulk.selection import TAKEN_FROM, TaskFilter
from ..models import TaskKind
from .bulk import DRY_RUN, TYPE, UNTIL, YES, Moment, Option, options, start
from .failures import reports_errors
from .parsing import current_access


def add_to(deliveries: AppGroup) -> None:
    """Add the commands to their group."""
    for command in (cancel, resend_all, cancel_all):
        deliveries.add_command(command)


def _filters(kind: TaskKind) -> Option[Any]:
    """The options that say which deliveries."""
    states = sorted(str(state) for state in TAKEN_FROM[kind])
    return options(
        click.option("--endpoint", "endpoint_id", metavar="ID", help="Only of this endpoint."),
        click.option("--state", type=click.Choice(states)),
        TYPE,
        click.option(
            "--status", metavar="STATUS", help="The last answer: 503, a class such as 5xx, or none."
        ),
        click.option("--event", "event_id", metavar="ID", help="Only of this event."),
        click.option(
            "--since", type=Moment(), metavar="TIME", help="Created since; UTC, or 36h, 3d ago."
        ),
        UNTIL,
        DRY_RUN,
        YES,
    )


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
def resend_all(
    endpoint_id: str | None, dry_run: bool, yes: bool, **wanted: Unpack[TaskFilter]
) -> None:
    """Send again every delivery that fits, whatever became of it.

    What is being sent right now is left alone.
    """
    start(TaskKind.RESEND, endpoint_id, wanted, dry_run=dry_run, yes=yes)


@click.command("cancel-all")
@_filters(TaskKind.CANCEL)
@with_appcontext
@reports_errors
def cancel_all(
    endpoint_id: str | None, dry_run: bool, yes: bool, **wanted: Unpack[TaskFilter]
) -> None:
    """Give up every delivery that fits and is waiting.

    What is being sent right now is left alone.
    """
    start(TaskKind.CANCEL, endpoint_id, wanted, dry_run=dry_run, yes=yes)
