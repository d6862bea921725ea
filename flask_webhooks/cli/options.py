"""Options and arguments that commands share: filters of lists, and options of tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from .. import queries
from ..models import DeliveryState, EndpointState
from . import completion
from .failures import Misuse
from .output import plain

F = TypeVar("F", bound=Callable[..., Any])
Option = Callable[[F], F]

_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class MomentOption(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A time, or how long ago it was."""

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


def options(*wanted: Option[Any]) -> Option[Any]:
    """Decorate a command with options, in this order."""

    def decorate(function: F) -> F:
        for option in reversed(wanted):
            function = option(function)
        return function

    return decorate


ENDPOINT_ARGUMENT: Option[Any] = click.argument(
    "endpoint_id", shell_complete=completion.endpoint_ids
)
ENDPOINT: Option[Any] = click.option(
    "--endpoint",
    "endpoint_id",
    metavar="ID",
    help="Only of this endpoint.",
    shell_complete=completion.endpoint_ids,
)
EVENT: Option[Any] = click.option(
    "--event",
    "event_id",
    metavar="ID",
    help="Only of this event (the webhook-id).",
    shell_complete=completion.event_ids,
)
TENANT: Option[Any] = click.option(
    "--tenant", metavar="ID", help="Only of this tenant.", shell_complete=completion.tenants
)
TYPE: Option[Any] = click.option(
    "--type",
    "event_type",
    metavar="NAME",
    help="Only of this event type: a name, or license.*.",
    shell_complete=completion.event_types,
)
STATUS: Option[Any] = click.option(
    "--status",
    metavar="STATUS",
    help="Status of the last response: 503, a class such as 5xx, or none.",
)
SINCE: Option[Any] = click.option(
    "--since",
    type=MomentOption(),
    metavar="TIME",
    help="Created at this time or later: UTC, or 36h, 3d ago.",
)
UNTIL: Option[Any] = click.option(
    "--until", type=MomentOption(), metavar="TIME", help="Only what is older."
)
DELIVERY_STATE: Option[Any] = click.option(
    "--state", type=click.Choice([str(state) for state in DeliveryState])
)
ENDPOINT_STATE: Option[Any] = click.option(
    "--state", type=click.Choice([str(state) for state in EndpointState])
)
HEALTH: Option[Any] = click.option(
    "--health", type=click.Choice(list(queries.HEALTH)), help="Only those in this state."
)
LIMIT: Option[Any] = click.option(
    "--limit", type=click.IntRange(1, queries.MAX_LIMIT), default=50, show_default=True
)
JSON: Option[Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FORMAT: Option[Any] = click.option(
    "--format",
    "format_",
    metavar="NAME",
    help="Default: detected from the URL.",
    shell_complete=completion.formats,
)
DRY_RUN: Option[Any] = click.option("--dry-run", is_flag=True, help="Only show how many match.")
YES: Option[Any] = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
WAIT: Option[Any] = click.option(
    "--wait",
    is_flag=True,
    help="Show the progress until it ends; exits with status 1 unless it finished.",
)
