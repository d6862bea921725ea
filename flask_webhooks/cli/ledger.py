"""The ledger of an endpoint: the event of each of its numbers."""

from __future__ import annotations

import click
from flask.cli import AppGroup, with_appcontext

from .. import queries
from ..serializers import LedgerObject
from .failures import reports_errors
from .options import ENDPOINT_ARGUMENT, JSON
from .output import maybe_time, print_json, print_table, say
from .parsing import current_access


def add_to(endpoints: AppGroup) -> None:
    """Add the command to its group."""
    endpoints.add_command(show_ledger)


@click.command("ledger")
@ENDPOINT_ARGUMENT
@click.option(
    "--from", "first", type=int, default=1, show_default=True, metavar="NUMBER", help="The first."
)
@click.option(
    "--to", "last", type=int, metavar="NUMBER", help="The last number; default: the highest."
)
@JSON
@with_appcontext
@reports_errors
def show_ledger(endpoint_id: str, first: int, last: int | None, as_json: bool) -> None:
    """Show the event and the state of each number of an endpoint; up to 1,000 at once."""
    page = queries.get_ledger(current_access(), endpoint_id, first, last)
    if as_json:
        print_json(LedgerObject.serialize(page))
        return
    print_table(
        ("NUMBER", "STATE", "EVENT", "TYPE", "ATTEMPTS", "LAST ATTEMPT"),
        [
            (
                item.sequence,
                item.state,
                item.event_id or "-",
                item.event_type or "-",
                "-" if item.attempt_count is None else item.attempt_count,
                maybe_time(item.last_attempt_at) or "-",
            )
            for item in page.items
        ],
        f"There are none. The highest assigned number is {page.last_sequence}.",
    )
    if page.next_from is not None:
        say(f"There are more, up to {page.last_sequence}: --from {page.next_from}", err=True)
