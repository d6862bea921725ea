"""Tasks, which are long jobs over many deliveries or events: start, list, watch and stop."""

from __future__ import annotations

import time
from datetime import datetime

import click
from flask.cli import AppGroup

from .. import actions, queries
from ..access import Access
from ..bulk.selection import OF_EVENTS, TaskFilter
from ..models import EndpointState, TaskKind, TaskState
from ..serializers import TaskObject
from . import completion
from .failures import CommandFailure, Misuse, reports_errors
from .options import ENDPOINT, JSON, LIMIT, SINCE, TENANT, UNTIL
from .output import (
    plain,
    print_json,
    print_table,
    say,
    shown_time,
    tell_of_more,
)
from .parsing import current_access, wanted_event, wanted_tenant, within_tenant

#: Seconds between polls of a task.
_PAUSE = 0.5

tasks = AppGroup("tasks", help="Show, watch and stop long-running tasks.")


def start(
    kind: TaskKind,
    endpoint_id: str | None,
    wanted: TaskFilter,
    *,
    dry_run: bool,
    yes: bool,
    wait: bool,
) -> None:
    """Show how many matches there are, ask for confirmation, and start the task.

    :param wait: show its progress until it ends.
    :raises NotFound: there is no such tenant, or no such endpoint.
    """
    access = current_access()
    if "" in wanted.values():
        # From an unset shell variable: it must not mean everything.
        raise Misuse("An option is empty: write a value after it, or leave it out.")
    wanted_tenant(access, wanted.get("tenant"))
    wanted_event(access, wanted.get("event_id"))
    seen = queries.preview_task(access, kind, endpoint_id, **wanted)
    noun = noun_of(kind)
    line = f"{seen.text} {noun}"
    if seen.oldest is not None and seen.newest is not None:
        line += f", from {shown_time(seen.oldest)} to {shown_time(seen.newest)}"
    say(f"{line}.")
    since = wanted.get("since")
    if seen.history_since is not None and since is not None and since < seen.history_since:
        say(f"The history starts at {shown_time(seen.history_since)}.")
    if not seen.count and not seen.more:
        return
    inactive = seen.endpoint is not None and seen.endpoint.state != EndpointState.ACTIVE
    if inactive and kind != TaskKind.CANCEL:
        assert seen.endpoint is not None
        say(f"The endpoint is {seen.endpoint.state}: its deliveries are held until it is resumed.")
    if dry_run or not (yes or click.confirm(f"{kind.capitalize()} them?")):
        return
    task = actions.start_task(access, kind, endpoint_id, **wanted)
    say(f"Started {task.id}. See: flask webhooks tasks list")
    if wait:
        show_progress(access, task.id)


def show_progress(access: Access, task_id: str) -> None:
    """Show a progress bar until a task ends.

    :raises Failure: it was stopped, or has failed.
    """
    row = queries.get_task(access, task_id)
    noun = noun_of(row.task.kind)
    with click.progressbar(length=1000, label=f"{row.task.kind.capitalize()}") as bar:
        while not row.ended:
            bar.update(round((row.progress or 0) * 1000) - bar.pos)
            time.sleep(_PAUSE)
            row = queries.get_task(access, task_id)
        bar.update(round((row.progress or 0) * 1000) - bar.pos)
    task = row.task
    if task.state != TaskState.FINISHED:
        why = f": {plain(task.error)}" if task.error else "."
        raise CommandFailure(f"{task.id} was {task.state} after {task.done:,} {noun}{why}")
    if task.kind == TaskKind.ERASE:
        say(f"Finished: {task.changed or 0:,} of {task.done:,} events erased.")
    else:
        say(f"Finished: {task.done:,} {noun}.")


@tasks.command("list")
@ENDPOINT
@TENANT
@click.option(
    "--kind",
    "--type",
    type=click.Choice([str(kind) for kind in TaskKind]),
    help="Only tasks of this kind.",
)
@click.option("--state", type=click.Choice([str(state) for state in TaskState]))
@SINCE
@UNTIL
@click.option("--unfinished", is_flag=True, help="Only tasks that have not ended.")
@LIMIT
@JSON
@reports_errors
def list_tasks(
    endpoint_id: str | None,
    tenant: str | None,
    kind: str | None,
    state: str | None,
    since: datetime | None,
    until: datetime | None,
    unfinished: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List tasks with their progress, newest first."""
    access = within_tenant(current_access(), tenant)
    page = queries.list_tasks(
        access,
        endpoint_id,
        kind=kind,
        state=state,
        since=since,
        until=until,
        unfinished=unfinished,
        limit=limit,
    )
    if as_json:
        print_json(TaskObject.serialize(row) for row in page.items)
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
        "No tasks match."
        if any((endpoint_id, tenant, kind, state, since, until, unfinished))
        else "There are no tasks.",
    )
    tell_of_more(page)


@tasks.command("watch")
@click.argument("task_id", shell_complete=completion.task_ids)
@reports_errors
def watch_task(task_id: str) -> None:
    """Show the progress of a task until it ends.

    Exits with status 1 if it was stopped or has failed. Ctrl-C stops watching, not the task.
    """
    show_progress(current_access(), task_id)


@tasks.command("stop")
@click.argument("task_id", shell_complete=completion.task_ids)
@reports_errors
def stop_task(task_id: str) -> None:
    """Stop a task; what it has done is not undone."""
    task = actions.stop_task(current_access(), task_id)
    say(f"Stopped {task.id} after {task.done:,} {noun_of(task.kind)}.")


def noun_of(kind: str) -> str:
    """Return the noun for the objects of such a task."""
    return "events" if kind in OF_EVENTS else "deliveries"
