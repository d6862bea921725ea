"""Commands about formats: show examples, and import endpoints of another service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TextIO

import click

from .. import actions, queries
from ..access import Access
from ..models import Endpoint, EndpointState
from . import completion
from .failures import CommandFailure, Misuse, reports_errors
from .output import first_line, plain, say
from .parsing import (
    current_access,
    note_of_tenant,
    parse_json,
    parse_object,
    parse_options,
    read_text,
)

#: Members in which services export the list of endpoints.
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
@click.option(
    "--data",
    "data_file",
    type=click.File("r", encoding="utf-8"),
    help="JSON; default: the example.",
)
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the format."
)
@click.option(
    "--data-version",
    metavar="DATE",
    help="Version of the data, or initial; default: the newest.",
    shell_complete=completion.data_versions,
)
@click.option("--headers", "with_headers", is_flag=True, help="Print the whole request.")
@reports_errors
def render(
    event_type: str | None,
    format_: str,
    data_file: TextIO | None,
    options: tuple[str, ...],
    data_version: str | None,
    with_headers: bool,
) -> None:
    """Print the request for an event type in a format; without an event type, for its test event."""
    example = queries.example(
        current_access(),
        format_,
        event_type,
        data=None if data_file is None else parse_object(read_text(data_file), "--data"),
        options=parse_options(options) or None,
        data_version=data_version,
    )
    if with_headers:
        say(f"POST {plain(example.url)}")
        for name, value in example.headers.items():
            say(f"{name}: {plain(value)}")
        say()
    say(example.pretty_body)


@click.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option(
    "--format",
    "format_",
    metavar="NAME",
    help="Format of the service that it comes from; default: detected from the event types.",
    shell_complete=completion.formats,
)
@click.option(
    "--tenant",
    help="Tenant of the endpoints; default: that of each entry (appId), else the whole server.",
    shell_complete=completion.tenants,
)
@click.option("--dry-run", is_flag=True, help="Only show what would be imported.")
@reports_errors
def import_endpoints(file: TextIO, format_: str | None, tenant: str | None, dry_run: bool) -> None:
    """Import endpoints from a JSON export of another service; - reads standard input.

    Exits with status 1 if an endpoint was not imported. The command can be repeated: imported endpoints are kept.
    """
    access = current_access()
    _check_service(access, format_)
    entries = _entries(read_text(file))
    items = [entry.item for entry in entries]
    note_of_tenant(access, tenant)
    format_ = format_ or _guessed(access, items)
    missed = []
    for done in actions.import_endpoints(
        access, items, format=format_, tenant=tenant, dry_run=dry_run
    ):
        entry = entries[done.number - 1]
        name = f"{entry.number}. {plain(done.label)}".rstrip()
        if done.unchanged is not None:
            same = (
                f"it is {done.unchanged.id} already"
                if done.same_as is None
                else f"the same as {entries[done.same_as - 1].number}"
            )
            more = ", with another secret" if done.other_secret else ""
            say(f"{name}: unchanged: {same}{more}")
        elif done.endpoint is None:
            missed.append(entry.number)
            say(f"{name}: not imported: {plain(entry.problem or done.problem or '')}")
        else:
            verb = "would be imported" if dry_run else f"imported as {done.endpoint.id}"
            say(f"{name}: {verb} ({_shown(done.endpoint, tenant)})")
            if done.new_secret is not None:
                say(f"   The export has no secret. A new one, only shown once: {done.new_secret}")
    if missed:
        raise CommandFailure(
            f"{len(missed)} of {len(items)} endpoints were not imported: {_numbers(missed)}."
        )


def _shown(endpoint: Endpoint, tenant: str | None) -> str:
    """Return the settings of an imported endpoint."""
    parts = [endpoint.format]
    if tenant is None:
        # An entry without a tenant gets the events of all tenants.
        owner = endpoint.tenant
        parts.append("whole server" if owner is None else f"tenant {plain(owner)}")
    if endpoint.state != EndpointState.ACTIVE:
        parts.append(endpoint.state)
    return ", ".join(parts)


def _numbers(numbers: list[int]) -> str:
    most = 20
    more = "" if len(numbers) <= most else " and others"
    return ", ".join(map(str, numbers[:most])) + more


def _guessed(access: Access, items: list[Any]) -> str:
    """Return the format that fits the event types of an export; print it if it is not the default."""
    possible = actions.possible_formats(access.state, items)
    if not possible:
        raise CommandFailure(
            "No format has all of these event types. Write the endpoints of each service to a separate file, and name "
            "the format with --format."
        )
    if len(possible) > 1:
        choices = " or ".join(f"--format {style.name}" for style in possible)
        raise CommandFailure(
            f"Its event types fit an export of {' or '.join(style.label for style in possible)}. Add {choices}."
        )
    [style] = possible
    if style.name != access.state.settings.default_format:
        say(f"Read as an export of {style.label}; --format names another service.", err=True)
    return style.name


def _check_service(access: Access, name: str | None) -> None:
    """Refuse an unknown format before the file is read."""
    formats = access.state.formats
    if name is not None and name not in formats:
        close = formats.close_to(name)
        hint = "" if close is None else f" Did you mean {close!r}?"
        raise CommandFailure(
            f"There is no format {plain(repr(name))}.{hint} --format names the service that the export comes from: "
            f"{', '.join(item.name for item in formats)}. Leave it out to detect the format from the event types."
        )


@dataclass(frozen=True)
class _Entry:
    """An entry of a file, with its position, or its line in a file with one entry per line."""

    number: int
    item: Any
    #: Why it is not JSON.
    problem: str | None = None


def _entries(text: str) -> list[_Entry]:
    """Return the endpoints of an export: a JSON list, an object that contains one, one object, or one per line."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # Not `splitlines`: strings in JSON may contain other line separators, such as U+2028.
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) >= 2 and all(line.lstrip().startswith("{") for _, line in lines):
            return [_line(number, line) for number, line in lines]
        document = parse_json(text, "The file", _EXAMPLE)
    if isinstance(document, dict):
        lists = (document[name] for name in _LISTS if isinstance(document.get(name), list))
        document = next(lists, [document])
    if not isinstance(document, list):
        raise Misuse(
            f"The file must contain a list of endpoints, as JSON objects, such as {_EXAMPLE}."
        )
    return [_Entry(number, item) for number, item in enumerate(document, 1)]


def _line(number: int, text: str) -> _Entry:
    try:
        return _Entry(number, json.loads(text))
    except (ValueError, RecursionError) as error:
        return _Entry(number, None, f"It is not JSON ({first_line(error)}).")
