"""The command that tests a filter."""

from __future__ import annotations

import click
from flask.cli import AppGroup, with_appcontext

from .. import queries
from ..queries.explanations import failed_text
from ..serializers import FilterTrialObject
from . import completion
from .failures import Misuse, reports_errors
from .options import JSON
from .output import plain, print_json, say
from .parsing import current_access, parse_json, parse_object


def add_to(endpoints: AppGroup) -> None:
    """Add the command to its group."""
    endpoints.add_command(try_filter)


@click.command("try-filter")
@click.argument(
    "endpoint_id",
    metavar="ENDPOINT",
    required=False,
    shell_complete=completion.endpoint_ids,
)
@click.option(
    "--filter",
    "filter_text",
    metavar="JSON",
    help="A filter to try, instead of that of an endpoint.",
)
@click.option(
    "--type",
    "event_type",
    metavar="NAME",
    help="Event type of the example; default: license.created.",
    shell_complete=completion.event_types,
)
@click.option("--data", "data_text", metavar="JSON", help="Default: the example of the type.")
@click.option(
    "--event",
    "event_id",
    metavar="ID",
    help="A recorded event to try it with, instead of an example.",
    shell_complete=completion.event_ids,
)
@JSON
@with_appcontext
@reports_errors
def try_filter(
    endpoint_id: str | None,
    filter_text: str | None,
    event_type: str | None,
    data_text: str | None,
    event_id: str | None,
    as_json: bool,
) -> None:
    """Show whether a filter matches an event, and if not, why."""
    if (endpoint_id is None) is (filter_text is None):
        raise Misuse(
            "Specify either an endpoint, whose filter is tried, or a filter with --filter."
        )
    access = current_access()
    if filter_text is not None:
        filter = parse_json(filter_text, "--filter")
    else:
        assert endpoint_id is not None
        filter = queries.get_endpoint(access, endpoint_id).endpoint.filter
    trial = queries.try_filter(
        access,
        filter,
        event_type=event_type,
        data=None if data_text is None else parse_object(data_text, "--data"),
        event_id=event_id,
    )
    if as_json:
        print_json(FilterTrialObject.serialize(trial))
        return
    name = trial.event_id or trial.event_type
    if trial.matches:
        say(f"{name} would be sent.")
        return
    say(f"{name} would not be sent:")
    for failed in trial.failed:
        say(f"  {plain(failed_text(failed))}")
    if all(failed.alternative for failed in trial.failed):
        say("One of these would have been enough.")
