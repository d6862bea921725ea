"""Commands that run workers, or do what a worker does."""

from __future__ import annotations

import click
from flask.cli import AppGroup, with_appcontext

from ..state import state_of
from .failures import reports_errors
from .output import say


def add_to(webhooks: AppGroup) -> None:
    """Add the commands to their group."""
    webhooks.add_command(worker)
    webhooks.add_command(sweep)


@click.command()
@click.option("--burst", is_flag=True, help="End when there is nothing left to do.")
@click.option("--name", help="The worker's name; by default a random one.")
@with_appcontext
@reports_errors
def worker(burst: bool, name: str | None) -> None:
    """Deliver webhooks until stopped by Ctrl-C or SIGTERM."""
    from ..worker import run

    run(state_of(), burst=burst, name=name)


@click.command()
@with_appcontext
@reports_errors
def sweep() -> None:
    """Wake the workers if something is due whose wake-up was lost.

    For cron, where no worker of ours runs.
    """
    from ..jobs import sweep as look

    say("Something is due: woke the workers." if look(state_of()) else "Nothing is due.")
