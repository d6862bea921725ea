"""Commands that run or wake workers."""

from __future__ import annotations

from contextlib import ExitStack

import click
from flask.cli import AppGroup, with_appcontext

from .. import queries
from ..app_state import state_of
from .failures import reports_errors
from .output import say


def add_to(webhooks: AppGroup) -> None:
    """Add the commands to their group."""
    webhooks.add_command(worker)
    webhooks.add_command(sweep)


@click.command()
@click.option("--burst", is_flag=True, help="Exit when there is nothing left to do.")
@click.option("--name", help="Name of the worker; default: a random one.")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve metrics for Prometheus on this port, under /metrics.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to serve them on.",
)
@click.option(
    "--metrics-label",
    "metrics_labels",
    multiple=True,
    type=click.Choice(queries.METRIC_LABELS),
    help="Label for the attempts of the last 24 hours.",
)
@with_appcontext
@reports_errors
def worker(
    burst: bool,
    name: str | None,
    metrics_port: int | None,
    metrics_host: str,
    metrics_labels: tuple[str, ...],
) -> None:
    """Deliver webhooks until stopped by Ctrl-C or SIGTERM."""
    from ..worker import run

    state = state_of()
    with ExitStack() as stack:
        if metrics_port is not None:
            # Imported here, because prometheus-client is an extra.
            from ..metrics.serving import beside

            stack.enter_context(beside(state, metrics_host, metrics_port, metrics_labels))
        run(state, burst=burst, name=name)


@click.command()
@with_appcontext
@reports_errors
def sweep() -> None:
    """Wake the workers if something is due and its wake-up was lost.

    For cron, if only plain rq workers run.
    """
    from ..jobs import sweep as look

    say("Deliveries were due: woke the workers." if look(state_of()) else "Nothing is due.")
