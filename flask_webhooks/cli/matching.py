"""Commands over many deliveries or events: recover, replay, resend and cancel."""

from __future__ import annotations

from typing import Any, Unpack

import click
from flask.cli import AppGroup, with_appcontext

from ..bulk.selection import TAKEN_FROM, TaskFilter
from ..models import TaskKind
from .failures import reports_errors
from .options import (
    DRY_RUN,
    ENDPOINT,
    ENDPOINT_ARGUMENT,
    EVENT,
    SINCE,
    STATUS,
    TENANT,
    TYPE,
    UNTIL,
    WAIT,
    YES,
    MomentOption,
    Option,
    options,
)
from .tasks import start


def add_to(endpoints: AppGroup, deliveries: AppGroup) -> None:
    """Add the commands to their groups."""
    endpoints.add_command(recover)
    endpoints.add_command(replay)
    deliveries.add_command(resend_all)
    deliveries.add_command(cancel_all)


_window: Option[Any] = options(
    click.option(
        "--since",
        type=MomentOption(),
        required=True,
        metavar="TIME",
        help="UTC, or how long ago: 36h, 3d.",
    ),
    UNTIL,
    TYPE,
    DRY_RUN,
    YES,
    WAIT,
)


@click.command()
@ENDPOINT_ARGUMENT
@_window
@with_appcontext
@reports_errors
def recover(
    endpoint_id: str, dry_run: bool, yes: bool, wait: bool, **wanted: Unpack[TaskFilter]
) -> None:
    """Resend deliveries that failed since a time, with the same webhook-id."""
    start(TaskKind.RECOVER, endpoint_id, wanted, dry_run=dry_run, yes=yes, wait=wait)


@click.command()
@ENDPOINT_ARGUMENT
@_window
@with_appcontext
@reports_errors
def replay(
    endpoint_id: str, dry_run: bool, yes: bool, wait: bool, **wanted: Unpack[TaskFilter]
) -> None:
    """Send events that the endpoint subscribes to now but never got.

    These are events from before it was added, or before it subscribed to them.
    """
    start(TaskKind.REPLAY, endpoint_id, wanted, dry_run=dry_run, yes=yes, wait=wait)


def _filters(kind: TaskKind) -> Option[Any]:
    """Return the options that select deliveries."""
    states = sorted(str(state) for state in TAKEN_FROM[kind])
    return options(
        ENDPOINT,
        TENANT,
        click.option("--state", type=click.Choice(states)),
        TYPE,
        STATUS,
        EVENT,
        SINCE,
        UNTIL,
        DRY_RUN,
        YES,
        WAIT,
    )


@click.command("resend-all")
@_filters(TaskKind.RESEND)
@with_appcontext
@reports_errors
def resend_all(
    endpoint_id: str | None, dry_run: bool, yes: bool, wait: bool, **wanted: Unpack[TaskFilter]
) -> None:
    """Resend all matching deliveries, in any state.

    Deliveries that are being sent right now are not affected.
    """
    start(TaskKind.RESEND, endpoint_id, wanted, dry_run=dry_run, yes=yes, wait=wait)


@click.command("cancel-all")
@_filters(TaskKind.CANCEL)
@with_appcontext
@reports_errors
def cancel_all(
    endpoint_id: str | None, dry_run: bool, yes: bool, wait: bool, **wanted: Unpack[TaskFilter]
) -> None:
    """Cancel all matching deliveries that are waiting.

    Deliveries that are being sent right now are not affected.
    """
    start(TaskKind.CANCEL, endpoint_id, wanted, dry_run=dry_run, yes=yes, wait=wait)
