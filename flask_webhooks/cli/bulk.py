"""Commands that pause, resume and remove endpoints, send again, remove what is old, and list and stop tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, Unpack

import click
from flask.cli import AppGroup, with_appcontext

from .. import actions, queries
from ..access import Access
from ..bulk.selection import OF_EVENTS, TaskFilter
from ..models import EndpointState, TaskKind
from ..serializers import TaskObject
from .failures import Misuse, reports_errors
from .output import plain, print_json, print_table, shown_time, tell_of_more
from .parsing import current_access

F = TypeVar("F", bound=Callable[..., Any])

_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

tasks = AppGroup("tasks", help="Long jobs over many deliveries or events: how far they are.")


def add_to(webhooks: AppGroup, endpoints: AppGroup, deliveries: AppGroup) -> None:
    """Add the commands to their groups."""
    webhooks.add_command(tasks)
    webhooks.add_command(prune)
    for command in (recover, replay, pause, resume, remove):
        endpoints.add_command(command)
    deliveries.add_command(resend)


class Moment(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A time, or how long ago that was."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        age = _AGE.fullmatch(value)
        try:
            if age is not None:
                return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
            moment = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            raise Misuse(
                f"{plain(value)} is not a time. Write one such as 2026-11-17, 2026-11-17T08:30+01:00, or "
                "how long ago: 90m, 36h, 3d."
            ) from None
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Option = Callable[[F], F]

TYPE: Option[Any] = click.option(
    "--type", "event_type", metavar="NAME", help="Only of this event type."
)
UNTIL: Option[Any] = click.option(
    "--until", type=Moment(), metavar="TIME", help="Only what is from before."
)
DRY_RUN: Option[Any] = click.option("--dry-run", is_flag=True, help="Only say how many there are.")
YES: Option[Any] = click.option("--yes", is_flag=True, help="Do not ask.")


def options(*wanted: Option[Any]) -> Option[F]:
    """Decorate a command with options, in this order."""

    def decorate(function: F) -> F:
        for option in reversed(wanted):
            function = option(function)
        return function

    return decorate


_window: Option[Any] = options(
    click.option(
        "--since",
        type=Moment(),
        required=True,
        metavar="TIME",
        help="UTC, or how long ago: 36h, 3d.",
    ),
    UNTIL,
    TYPE,
    DRY_RUN,
    YES,
)


@click.command()
@click.argument("endpoint_id")
@_window
@with_appcontext
@reports_errors
def recover(endpoint_id: str, dry_run: bool, yes: bool, **wanted: Unpack[TaskFilter]) -> None:
    """Send again what failed since a time, with the same webhook-id."""
    start(TaskKind.RECOVER, endpoint_id, wanted, dry_run=dry_run, yes=yes)


@click.command()
@click.argument("endpoint_id")
@_window
@with_appcontext
@reports_errors
def replay(endpoint_id: str, dry_run: bool, yes: bool, **wanted: Unpack[TaskFilter]) -> None:
    """Send events that the endpoint subscribes to now, and was never owed.

    Those from before it was added, or before it subscribed to them.
    """
    start(TaskKind.REPLAY, endpoint_id, wanted, dry_run=dry_run, yes=yes)


def start(
    kind: TaskKind, endpoint_id: str | None, wanted: TaskFilter, *, dry_run: bool, yes: bool
) -> None:
    """Say how many there are, ask, and start the task."""
    access = current_access()
    seen = queries.preview_task(access, kind, endpoint_id, **wanted)
    noun = _noun(kind)
    line = f"{seen.text} {noun}"
    if seen.oldest is not None and seen.newest is not None:
        line += f", from {shown_time(seen.oldest)} to {shown_time(seen.newest)}"
    click.echo(f"{line}.")
    since = wanted.get("since")
    if seen.history_since is not None and since is not None and since < seen.history_since:
        click.echo(f"The history begins at {shown_time(seen.history_since)}.")
    if not seen.count and not seen.more:
        return
    inactive = seen.endpoint is not None and seen.endpoint.state != EndpointState.ACTIVE
    if inactive and kind != TaskKind.CANCEL:
        assert seen.endpoint is not None
        click.echo(f"The endpoint is {seen.endpoint.state}: they are held until it is resumed.")
    if dry_run or not (yes or click.confirm(f"{kind.capitalize()} them?")):
        return
    task = actions.start_task(access, kind, endpoint_id, **wanted)
    click.echo(f"Started {task.id}. See: flask webhooks tasks list")


@click.command()
@DRY_RUN
@YES
@with_appcontext
@reports_errors
def prune(dry_run: bool, yes: bool) -> None:
    """Remove events that are older than WEBHOOKS_RETENTION_DAYS, now.

    With their deliveries and attempts, but for what is still owed. Workers do it by themselves, too.
    """
    start(TaskKind.PRUNE, None, {}, dry_run=dry_run, yes=yes)


@click.command()
@click.argument("endpoint_id")
@click.option("--reason", default="", help="For people.")
@with_appcontext
@reports_errors
def pause(endpoint_id: str, reason: str) -> None:
    """Send nothing until it is resumed; what comes is held."""
    endpoint = actions.pause_endpoint(current_access(), endpoint_id, reason)
    click.echo(f"Paused {endpoint.id}. What comes is held until: flask webhooks endpoints resume")


@click.command()
@click.argument("endpoint_id")
@click.option(
    "--held",
    type=click.Choice(["send", "discard", "keep"]),
    default="send",
    show_default=True,
    help="What to do with what was held.",
)
@with_appcontext
@reports_errors
def resume(endpoint_id: str, held: str) -> None:
    """Make a paused or disabled endpoint active again."""
    endpoint = actions.resume_endpoint(current_access(), endpoint_id, held)
    click.echo(f"Resumed {endpoint.id}.")


@click.command()
@click.argument("endpoint_id")
@YES
@with_appcontext
@reports_errors
def remove(endpoint_id: str, yes: bool) -> None:
    """Delete an endpoint and its secret; its history stays."""
    access = current_access()
    endpoint = queries.get_endpoint(access, endpoint_id).endpoint
    name = plain(endpoint.name or endpoint.url_shown)
    if not yes and not click.confirm(f"Delete {name}? What it is still owed is cancelled."):
        return
    actions.delete_endpoint(access, endpoint_id)
    click.echo(f"Deleted {endpoint_id}.")


@click.command()
@click.argument("delivery_id")
@with_appcontext
@reports_errors
def resend(delivery_id: str) -> None:
    """Send a delivery again now, with the same webhook-id."""
    delivery = actions.resend(current_access(), delivery_id)
    click.echo(f"Queued {delivery.id} ({delivery.event_type}).")


@tasks.command("list")
@click.option("--endpoint", "endpoint_id", metavar="ID", help="Only of this endpoint.")
@click.option("--unfinished", is_flag=True, help="Only those that are not over.")
@click.option("--limit", type=click.IntRange(1, queries.MAX_LIMIT), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def list_tasks(endpoint_id: str | None, unfinished: bool, limit: int, as_json: bool) -> None:
    """List tasks with their progress, newest first."""
    page = queries.list_tasks(current_access(), endpoint_id, unfinished=unfinished, limit=limit)
    if as_json:
        print_json(page.items, TaskObject)
        return
    print_table(
        ("ID", "KIND", "STATE", "DONE", "OF", "BY", "STARTED", "ENDPOINT", "ERROR"),
        [
            (
                row.task.id,
                row.task.kind,
                row.task.state,
                row.task.done,
                "?" if row.task.total is None else row.task.total,
                row.task.actor,
                shown_time(row.task.created_at),
                row.task.endpoint_id or "all",
                row.task.error or "",
            )
            for row in page.items
        ],
        "There are no tasks.",
    )
    tell_of_more(page)


@tasks.command("stop")
@click.argument("task_id")
@reports_errors
def stop_task(task_id: str) -> None:
    """Stop a task; what it has done stays done."""
    access: Access = current_access()
    task = actions.stop_task(access, task_id)
    click.echo(f"Stopped {task.id} after {task.done:,} {_noun(task.kind)}.")


def _noun(kind: str) -> str:
    return "events" if kind in OF_EVENTS else "deliveries"
