"""``flask webhooks upgrade-db``."""

from __future__ import annotations

import click
from flask.cli import AppGroup, with_appcontext

from ..app_state import state_of
from ..db import schema_changes
from ..sqlite import READ_ONLY
from .failures import reports_errors
from .output import say


def add_to(webhooks: AppGroup) -> None:
    """Add the command to its group."""
    webhooks.add_command(upgrade_db)


@click.command("upgrade-db")
@click.option(
    "--dry-run", "--sql", "sql", is_flag=True, help="Print the statements without running them."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a table that is in use.",
)
@with_appcontext
@reports_errors
def upgrade_db(sql: bool, wait: float) -> None:
    """Add tables, columns and indexes that an earlier version did not have.

    Workers of that version can keep running. For applications without migrations.
    """
    state = state_of()
    if sql:
        with state.own_engine.connect().execution_options(**{READ_ONLY: True}) as connection:
            changes = schema_changes.missing(state, connection)
        for change in changes:
            for statement in change.statements:
                say(f"{statement};")
    else:
        changes = []

        def report(change: schema_changes.SchemaChange) -> None:
            changes.append(change)
            say(f"{change.done}.")

        schema_changes.upgrade(state, report, wait)
    if not changes:
        say(f"All {len(state.models.tables())} tables are up to date.", err=sql)
