"""Commands about formats: show examples, and take over endpoints of another service."""

from __future__ import annotations

import json
from typing import Any, TextIO

import click

from .. import actions, queries
from ..access import Access
from . import completion
from .failures import Failure, Misuse, reports_errors
from .output import plain, say
from .parsing import (
    current_access,
    note_of_tenant,
    parse_json,
    parse_object,
    parse_options,
    read_text,
)

#: Members under which services put the list of their endpoints.
_LISTS = ("webhooks", "endpoints", "data", "items")
_EXAMPLE = """'[{"url": "https://example.com/webhooks"}]'"""


@click.command()
@click.argument("event_type", required=False, shell_complete=completion.event_types)
@click.option(
    "--format",
    "format_",
    metavar="NAME",
    default="standard",
    show_default=True,
    shell_complete=completion.formats,
)
@click.option("--data", "data_file", type=click.File("r"), help="JSON; default: the example.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the format.")
@click.option("--headers", "with_headers", is_flag=True, help="Print the whole request.")
@reports_errors
def render(
    event_type: str | None,
    format_: str,
    data_file: TextIO | None,
    options: tuple[str, ...],
    with_headers: bool,
) -> None:
    """Print what endpoints of a format get for an event type; without one, its test event."""
    example = queries.example(
        current_access(),
        format_,
        event_type,
        data=None if data_file is None else parse_object(read_text(data_file), "--data"),
        options=parse_options(options) or None,
    )
    if with_headers:
        say(f"POST {plain(example.url)}")
        for name, value in example.headers.items():
            say(f"{name}: {plain(value)}")
        say()
    say(example.pretty_body)


@click.command("import")
@click.argument("file", type=click.File("r"))
@click.option(
    "--format",
    "format_",
    metavar="NAME",
    help="Of the service that it comes from.",
    shell_complete=completion.formats,
)
@click.option("--tenant", help="Whose they become; default: the whole server.")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken.")
@reports_errors
def import_endpoints(file: TextIO, format_: str | None, tenant: str | None, dry_run: bool) -> None:
    """Take over endpoints from a JSON export of another service; - reads standard input.

    Ends with status 1 if an endpoint was not taken. What was taken stays; the command can be repeated.
    """
    access = current_access()
    _check_service(access, format_)
    items = _entries(read_text(file))
    note_of_tenant(access, tenant)
    missed = 0
    for done in actions.import_endpoints(
        access, items, format=format_, tenant=tenant, dry_run=dry_run
    ):
        name = f"{done.number}. {plain(done.label)}".rstrip()
        endpoint = done.endpoint
        if endpoint is None:
            missed += 1
            say(f"{name}: not taken: {plain(done.problem or '')}")
            continue
        verb = "would be taken" if dry_run else f"taken as {endpoint.id}"
        state = "" if endpoint.state == "active" else f", {endpoint.state}"
        say(f"{name}: {verb} ({endpoint.format}{state})")
        if done.new_secret is not None:
            say(f"   The export has no secret. A new one, shown only now: {done.new_secret}")
    if missed:
        raise Failure(f"{missed} of {len(items)} endpoints were not taken.")


def _check_service(access: Access, name: str | None) -> None:
    """Refuse a format that there is not, before the file is looked at."""
    formats = access.state.formats
    if name is not None and name not in formats:
        close = formats.close_to(name)
        hint = "" if close is None else f" Did you mean {close!r}?"
        raise Failure(
            f"There is no format {plain(repr(name))}.{hint} --format names the service that the export comes "
            f"from: {', '.join(item.name for item in formats)}. Leave it out for an export in the format of "
            "WEBHOOKS_DEFAULT_FORMAT."
        )


def _entries(text: str) -> list[Any]:
    """The endpoints of an export: a JSON list, an object that holds one, one object, or one on each line."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
            document = parse_json(text, "The file", _EXAMPLE)
        else:
            return [_line(line) for line in lines]
    if isinstance(document, dict):
        for name in _LISTS:
            if isinstance(document.get(name), list):
                return list(document[name])
        return [document]
    if not isinstance(document, list):
        raise Misuse(
            f"The file must hold a list of endpoints, as JSON objects, such as {_EXAMPLE}."
        )
    return document


def _line(text: str) -> Any:
    """An entry; what is no JSON is reported as an entry that is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
