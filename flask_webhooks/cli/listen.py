"""``flask webhooks listen``: a receiver for development, which verifies, prints and forwards."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import click
from flask.cli import with_appcontext

from .. import actions
from ..access import Access
from ..app_state import state_of
from ..errors import InvalidInput
from ..receiver import SIGNED_FORMATS
from . import completion
from .failures import CommandFailure, Misuse, reports_errors
from .listener import LocalListener, parse_target
from .output import first_line, say
from .parsing import current_access, note_of_tenant


@click.command()
@click.option(
    "--forward-to", metavar="URL", help="URL of your receiver; its response is passed back."
)
@click.option(
    "--event",
    "events",
    multiple=True,
    help="license.created, license.* …; default: every event.",
    shell_complete=completion.event_types,
)
@click.option(
    "--tenant",
    help="Only events of this tenant; default: all events.",
    shell_complete=completion.tenants,
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(SIGNED_FORMATS),
    help="Default: WEBHOOKS_DEFAULT_FORMAT.",
)
@click.option("--secret", help="The secret of your receiver; default: a new one, which is printed.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option(
    "--no-endpoint",
    is_flag=True,
    help=("Do not add an endpoint: receive webhooks of an existing one, whose secret is --secret."),
)
@click.option("--quiet", is_flag=True, help="Print one line per webhook, without its body.")
@with_appcontext
@reports_errors
def listen(
    forward_to: str | None,
    events: tuple[str, ...],
    tenant: str | None,
    format_: str | None,
    secret: str | None,
    host: str,
    port: int,
    no_endpoint: bool,
    quiet: bool,
) -> None:
    """Receive webhooks on this machine, for development: verify, print and forward them.

    Adds an endpoint while it runs, and removes it at the end. Stop it with Ctrl-C.
    """
    target = None if forward_to is None else parse_target(forward_to)
    if no_endpoint and secret is None:
        raise Misuse(
            "--no-endpoint needs --secret: the secret of the endpoint whose webhooks arrive."
        )
    if no_endpoint and (events or tenant):
        raise Misuse(
            "--event and --tenant configure the endpoint that is added: leave out either them or --no-endpoint."
        )
    state = state_of()
    default = state.settings.default_format
    name = format_ or (default if default in SIGNED_FORMATS else "standard")
    most = 2 * state.settings.max_data_bytes + 1024 * 1024
    try:
        listener = LocalListener(host, port, format=name, target=target, most=most, quiet=quiet)
    except OSError as error:
        raise CommandFailure(
            f"Nothing can listen on {host}:{port} ({first_line(error)}). Choose another --port."
        ) from error
    with listener, contextlib.ExitStack() as stack:
        if no_endpoint:
            assert secret is not None
            _greet(listener.url, name)
            listener.secret = secret
        else:
            access = current_access()
            note_of_tenant(access, tenant)
            listener.secret = stack.enter_context(
                _endpoint(access, listener.url, events, tenant, name, secret)
            )
        _wait_for_the_end()


@contextlib.contextmanager
def _endpoint(
    access: Access,
    url: str,
    events: tuple[str, ...],
    tenant: str | None,
    format: str,
    secret: str | None,
) -> Iterator[str]:
    """Add an endpoint for the duration of the block; yield its secret."""
    try:
        created = actions.create_endpoint(
            access,
            url,
            events=events or None,
            dialect=format,
            tenant=tenant,
            format=format,
            name="flask webhooks listen",
            secret=secret,
        )
    except InvalidInput as error:
        if error.field != "url":
            raise
        raise CommandFailure(
            f"{error.message} For development, let webhooks reach this machine: "
            'WEBHOOKS_ALLOWED_NETWORKS = ["127.0.0.1/32"], WEBHOOKS_REQUIRE_HTTPS = False.'
        ) from error
    endpoint_id = created.endpoint.id
    known = secret if created.secret is None else created.secret
    assert known is not None
    try:
        _greet(url, format)
        say(f"Added {endpoint_id}. Its secret, for your receiver: {known}")
        say("You also need a worker: flask webhooks worker")
        yield known
    finally:
        actions.delete_endpoint(access, endpoint_id)
        say(f"Removed {endpoint_id}.")


def _greet(url: str, format: str) -> None:
    say(f"Listening on {url} ({format}). Press Ctrl-C to stop.")


def _wait_for_the_end() -> None:
    """Return on Ctrl-C or SIGTERM."""

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        say()
    finally:
        signal.signal(signal.SIGTERM, before)
