"""Commands that create tables, remove old events, and erase one person's data."""

from __future__ import annotations

import click
import sqlalchemy as sa
from flask.cli import AppGroup, with_appcontext

from ..app_state import state_of
from ..bulk.selection import TaskFilter
from ..bulk.whose import read_members
from ..db import schema_changes
from ..db.narrow import unicode_trouble
from ..models import TaskKind
from . import completion
from .failures import reports_errors
from .options import DRY_RUN, WAIT, YES
from .output import say
from .tasks import start


def add_to(webhooks: AppGroup) -> None:
    """Add the commands to their group."""
    webhooks.add_command(init_db)
    webhooks.add_command(prune)
    webhooks.add_command(erase)


@click.command("init-db")
@with_appcontext
@reports_errors
def init_db() -> None:
    """Create missing tables, for applications without migrations."""
    state = state_of()
    metadata = state.models.metadata
    ours = state.models.tables()
    inspector = sa.inspect(state.own_engine)
    missing = [table for table in ours if not inspector.has_table(table.name, table.schema)]
    if missing:
        metadata.create_all(state.own_engine, tables=missing)
        say(f"Created {', '.join(table.name for table in missing)}.")
    else:
        say(f"All {len(ours)} tables exist already.")
    with state.own_engine.connect() as connection:
        trouble = unicode_trouble(state, connection)
        outdated = bool(schema_changes.missing(state, connection))
    if trouble is not None:
        say(f"Warning: {trouble}", err=True)
    if outdated:
        say(
            "Warning: the tables are out of date. Run your migrations, or: flask webhooks upgrade-db",
            err=True,
        )


@click.command()
@DRY_RUN
@YES
@WAIT
@with_appcontext
@reports_errors
def prune(dry_run: bool, yes: bool, wait: bool) -> None:
    """Remove events that are older than WEBHOOKS_RETENTION_DAYS.

    Removes their deliveries and attempts as well. Events with undelivered deliveries stay. Workers also do this
    automatically.
    """
    start(TaskKind.PRUNE, None, {}, dry_run=dry_run, yes=yes, wait=wait)


@click.command()
@click.option(
    "--where",
    "members",
    metavar="MEMBER=VALUE",
    multiple=True,
    required=True,
    help="A member of the data and its value, such as user_id=42. If repeated, events must match all of them.",
)
@click.option(
    "--tenant",
    metavar="ID",
    help="Only events of this tenant.",
    shell_complete=completion.tenants,
)
@DRY_RUN
@YES
@WAIT
@with_appcontext
@reports_errors
def erase(
    members: tuple[str, ...], tenant: str | None, dry_run: bool, yes: bool, wait: bool
) -> None:
    """Erase one person's data from events and attempts, and cancel waiting deliveries.

    A member may be anywhere in the data, or be a path such as user.id. Events stay, without their data. This cannot be
    undone.
    """
    wanted = TaskFilter(where=read_members(members), tenant=tenant)
    start(TaskKind.ERASE, None, wanted, dry_run=dry_run, yes=yes, wait=wait)
