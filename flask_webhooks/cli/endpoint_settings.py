"""Commands that add an endpoint and change its settings. Long, since each setting has an option in both."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup, with_appcontext

from .. import actions, queries
from ..access import Access
from ..actions.settings import EndpointChanges
from ..app_state import state_of
from ..errors import DuplicateEndpoint
from ..models import EndpointState
from ..queries import EndpointDetail
from ..serializers import EndpointObject
from . import completion
from .failures import CommandFailure, Misuse, reports_errors
from .options import ENDPOINT_ARGUMENT, FORMAT, Option
from .output import say
from .parsing import (
    current_access,
    note_of_tenant,
    parse_headers,
    parse_json,
    parse_options,
    read_file,
)

#: Options that `edit` can reset, with their names in the action.
_DEFAULTS: dict[str, Any] = {
    "events": None,
    "filter": None,
    "coalesce": None,
    "data-version": None,
    "user-agent": None,
    "contact": None,
    "client-certificate": None,
    "options": None,
    "timeout": None,
    "rate-limit": None,
    "headers": None,
}

_events: Option[Any] = click.option(
    "--event",
    "events",
    multiple=True,
    help="license.created, license.* …; default: every event.",
    shell_complete=completion.event_types,
)
_filter: Option[Any] = click.option(
    "--filter",
    "filter_text",
    metavar="JSON",
    help='Only events that match it: \'{"data": {"amount": {"$gte": 100}}}\'.',
)
_coalesce: Option[Any] = click.option(
    "--coalesce",
    "coalesce_text",
    metavar="JSON",
    help='Send at most one event per key: \'{"license.validated": {"by": "data.license_key", "seconds": 60}}\'.',
)
_data_version: Option[Any] = click.option(
    "--data-version",
    metavar="DATE",
    help="Version of the event data that it gets, or initial; default: the newest.",
    shell_complete=completion.data_versions,
)
_options: Option[Any] = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the format; NAME=@FILE reads it from a file.",
)
_contact: Option[Any] = click.option(
    "--contact", metavar="ADDRESS", help="E-mail address to notify when it fails."
)
_certificate: Option[Any] = click.option(
    "--client-certificate",
    metavar="FILE",
    help="Client certificate and private key in PEM, for mutual TLS.",
)
_timeout: Option[Any] = click.option(
    "--timeout", type=float, metavar="SECONDS", help="Timeout of a whole request."
)
_rate_limit: Option[Any] = click.option(
    "--rate-limit", type=float, metavar="NUMBER", help="Maximum number of requests per second."
)
_force: Option[Any] = click.option(
    "--force",
    is_flag=True,
    help="Add it even if there is an equal endpoint: each event is then sent twice.",
)


def add_to(endpoints: AppGroup) -> None:
    """Add the commands to their group."""
    endpoints.add_command(add)
    endpoints.add_command(edit)


@click.command()
@click.argument("url")
@_events
@click.option(
    "--tenant",
    help="The tenant of the endpoint; default: the whole server.",
    shell_complete=completion.tenants,
)
@FORMAT
@click.option("--name", default="", help="For people.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent along.")
@click.option("--user-agent", help="User-Agent to send instead of the default.")
@click.option("--secret", help="An existing secret; default: a new one, printed once.")
@click.option("--no-secret", is_flag=True, help="No secret, if the format allows that.")
@click.option("--key-pair", is_flag=True, help="Sign with a new key pair; prints the public key.")
@_filter
@_coalesce
@_data_version
@_contact
@_certificate
@_options
@_timeout
@_rate_limit
@click.option("--ordered", is_flag=True, help="Send one at a time, in the order of the events.")
@click.option(
    "--test-first",
    is_flag=True,
    help="Send a test; hold everything else until one is answered with 2xx.",
)
@_force
@with_appcontext
@reports_errors
def add(
    url: str,
    events: tuple[str, ...],
    tenant: str | None,
    format_: str | None,
    name: str,
    headers: tuple[str, ...],
    user_agent: str | None,
    secret: str | None,
    no_secret: bool,
    key_pair: bool,
    contact: str | None,
    client_certificate: str | None,
    options: tuple[str, ...],
    timeout: float | None,
    rate_limit: float | None,
    ordered: bool,
    filter_text: str | None,
    coalesce_text: str | None,
    data_version: str | None,
    test_first: bool,
    force: bool,
) -> None:
    """Add an endpoint and print its secret once."""
    if no_secret and secret is not None:
        raise Misuse("Give either --secret or --no-secret.")
    access = current_access()
    note_of_tenant(access, tenant)
    try:
        created = actions.create_endpoint(
            access,
            url,
            events=events or None,
            dialect=format_ or state_of().settings.default_format,
            tenant=tenant,
            format=format_,
            name=name,
            headers=parse_headers(headers),
            user_agent=user_agent,
            secret=False if no_secret else secret,
            key_pair=key_pair,
            contact=contact,
            client_certificate=None
            if client_certificate is None
            else read_file(client_certificate),
            options=parse_options(options),
            timeout=timeout,
            rate_limit=rate_limit,
            ordered=ordered,
            filter=None if filter_text is None else parse_json(filter_text, "--filter"),
            coalesce=None if coalesce_text is None else parse_json(coalesce_text, "--coalesce"),
            data_version=data_version,
            test_first=test_first,
            allow_duplicate=force,
        )
    except DuplicateEndpoint as error:
        raise _equal(error) from error
    endpoint = created.endpoint
    say(f"Added {endpoint.id} ({endpoint.format}): {endpoint.url_shown}")
    if created.secret is not None:
        say(f"Secret, only shown once: {created.secret}")
    if created.public_key is not None:
        say(f"Public key, for the receiver: {created.public_key}")
    if endpoint.state == EndpointState.UNVERIFIED:
        say("It is not live yet: everything else is held until its receiver has answered the test.")


@click.command()
@ENDPOINT_ARGUMENT
@click.option("--url", help="The URL that receives the requests.")
@click.option(
    "--event",
    "events",
    multiple=True,
    help="Replace its event types: license.created, license.* ….",
    shell_complete=completion.event_types,
)
@click.option(
    "--format",
    "format_",
    metavar="NAME",
    help="Timeout of a whole request.",
    shell_complete=completion.formats,
)
@click.option("--name", help="For people.")
@click.option("--description", help="For people.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Add a header.",
)
@click.option("--remove-header", "removed", multiple=True, metavar="NAME", help="Remove a header.")
@click.option("--user-agent", help="User-Agent to send instead of the default.")
@_filter
@_coalesce
@_data_version
@_contact
@_certificate
@_options
@_timeout
@_rate_limit
@click.option(
    "--ordered/--unordered", default=None, help="Send one at a time, in the order of the events."
)
@click.option(
    "--reset",
    "resets",
    multiple=True,
    type=click.Choice(list(_DEFAULTS)),
    help="Reset a setting to its default.",
)
@_force
@with_appcontext
@reports_errors
def edit(
    endpoint_id: str,
    headers: tuple[str, ...],
    removed: tuple[str, ...],
    client_certificate: str | None,
    options: tuple[str, ...],
    filter_text: str | None,
    coalesce_text: str | None,
    resets: tuple[str, ...],
    force: bool,
    **given: Any,
) -> None:
    """Change the settings of an endpoint; others are kept.

    To change the secret, use: flask webhooks endpoints rotate
    """
    access = current_access()
    before = queries.get_endpoint(access, endpoint_id)
    if filter_text is not None:
        given["filter"] = parse_json(filter_text, "--filter")
    if coalesce_text is not None:
        given["coalesce"] = parse_json(coalesce_text, "--coalesce")
    changes = _plain_changes(given, resets)
    if headers or removed:
        changes["headers"] = _changed_headers(before, headers, removed)
    if client_certificate is not None:
        changes["client_certificate"] = read_file(client_certificate)
    if options:
        changes["options"] = {**(before.endpoint.options or {}), **parse_options(options)}
    if not changes:
        raise Misuse("Specify what to change, such as --url or --event; --help lists all options.")
    changes["dialect"] = changes.get("format") or before.endpoint.format
    _update(access, before, changes, force)


def _plain_changes(given: dict[str, Any], resets: tuple[str, ...]) -> EndpointChanges:
    """Return the changed settings by their names in the action."""
    changes: Any = {
        "format" if name == "format_" else name: value
        for name, value in given.items()
        if value not in (None, ())
    }
    for name in resets:
        if name.replace("-", "_") in changes:
            raise Misuse(f"Give either --reset {name} or a value for it.")
        changes[name.replace("-", "_")] = _DEFAULTS[name]
    return changes  # type: ignore[no-any-return]


def _changed_headers(
    before: EndpointDetail, given: tuple[str, ...], removed: tuple[str, ...]
) -> dict[str, str | None]:
    """Return all headers after the change; ``None`` keeps the value of a header."""
    new = parse_headers(given)
    known = {name.lower(): name for name in before.header_names or ()}
    unknown = [name for name in removed if name.lower() not in known]
    if unknown:
        raise Misuse(f"It has no header {unknown[0]} to remove.")
    replaced = {name.lower() for name in (*new, *removed)}
    kept = {name: None for lower, name in known.items() if lower not in replaced}
    return {**kept, **new}


def _update(
    access: Access, before: EndpointDetail, changes: EndpointChanges, allow_duplicate: bool
) -> None:
    try:
        endpoint = actions.update_endpoint(
            access, before.endpoint.id, allow_duplicate=allow_duplicate, **changes
        )
    except DuplicateEndpoint as error:
        raise _equal(error) from error
    was, now = EndpointObject.serialize(before.endpoint), EndpointObject.serialize(endpoint)
    names = [name for name in was if was[name] != now[name] and name != "updated_at"]
    if before.endpoint.headers_sealed != endpoint.headers_sealed:
        names.append("headers")
    if not names:
        say(f"{endpoint.id} already has these settings: nothing was changed.")
        return
    say(f"Changed {endpoint.id}: {', '.join(names)}.")


def _equal(error: DuplicateEndpoint) -> CommandFailure:
    return CommandFailure(
        f"The endpoint {error.endpoint_id} has the same URL, format and event types, so each event would arrive there "
        "twice. Add --force to keep both."
    )
