"""Commands for endpoints: list, show, pause, resume, remove and test them, and rotate secrets.

Long, since a command has its options, its help and its output.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from .. import actions, queries
from ..access import Access
from ..app_state import state_of
from ..catalog.versions import INITIAL
from ..columns import compact_json
from ..models import AT_REST, DeliveryState
from ..notifications import stage_words
from ..queries.explanations import hold_text
from ..security.client_certificates import certificate_expiry
from ..serializers import (
    EndpointDetailObject,
    EndpointRowObject,
    NotificationObject,
    PublicKeyObject,
)
from . import completion
from .failures import CommandFailure, reports_errors
from .options import (
    ENDPOINT_ARGUMENT,
    ENDPOINT_STATE,
    HEALTH,
    JSON,
    LIMIT,
    SINCE,
    TENANT,
    UNTIL,
    YES,
)
from .output import (
    counted,
    maybe_time,
    plain,
    print_fields,
    print_json,
    print_table,
    say,
    shortened,
    shown_time,
    tell_of_more,
)
from .parsing import current_access, parse_json, within_tenant

endpoints = AppGroup("endpoints", help="Manage endpoints.")


@endpoints.command("list")
@click.option("--search", help="Part of the name, description or URL.")
@TENANT
@ENDPOINT_STATE
@HEALTH
@click.option(
    "--type",
    "event_type",
    metavar="NAME",
    help="Only those subscribed to this event type: a name, or license.*.",
    shell_complete=completion.event_types,
)
@SINCE
@UNTIL
@JSON
@reports_errors
def list_endpoints(
    search: str | None,
    tenant: str | None,
    state: str | None,
    health: str | None,
    event_type: str | None,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    """List the endpoints, newest first."""
    access = within_tenant(current_access(), tenant)
    rows = queries.list_endpoints(
        access,
        search,
        state=state,
        health=health,
        event_type=event_type,
        since=since,
        until=until,
    )
    if as_json:
        print_json(EndpointRowObject.serialize(row) for row in rows)
        return
    filtered = any((search, tenant, state, health, event_type, since, until))
    print_table(
        ("ID", "TENANT", "STATE", "FORMAT", "URL", "24 H", "PENDING", "HELD", "NAME"),
        [
            (
                row.endpoint.id,
                row.endpoint.tenant or "-",
                row.condition,
                row.endpoint.format,
                row.endpoint.url_shown,
                "-" if row.success_rate is None else f"{row.success_rate:.0%}",
                counted(row.pending),
                counted(row.held),
                row.endpoint.name,
            )
            for row in rows
        ],
        "No endpoints match."
        if filtered
        else "There are no endpoints. Add one with: flask webhooks endpoints add URL",
    )


@endpoints.command("show")
@ENDPOINT_ARGUMENT
@JSON
@reports_errors
def show_endpoint(endpoint_id: str, as_json: bool) -> None:
    """Show the settings, health and last error of an endpoint."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    keys = queries.public_keys(access, detail.endpoint)
    if as_json:
        print_json(
            EndpointDetailObject.serialize(
                detail, public_keys=[PublicKeyObject.serialize(key) for key in keys]
            )
        )
        return
    _print_settings(detail, keys)
    say()
    _print_health(access, detail)


def _certificate(shown: dict[str, Any] | None) -> str | None:
    expires_at = certificate_expiry(shown)
    if shown is None or expires_at is None:
        return None
    expired = expires_at <= datetime.now(UTC)
    until = f"{'EXPIRED' if expired else 'until'} {shown['expires_at'][:10]}"
    return f"{shown['subject']}, {until}, SHA-256 {shown['fingerprint']}"


def _initial() -> str | None:
    """Return the version of endpoints without one; ``None`` if the application has no versions."""
    return INITIAL if state_of().catalog.versions.dates else None


def _print_settings(detail: queries.EndpointDetail, keys: tuple[queries.PublicKey, ...]) -> None:
    endpoint = detail.endpoint
    headers = (
        "cannot be decrypted" if detail.header_names is None else ", ".join(detail.header_names)
    )
    print_fields(
        [
            ("Id", endpoint.id),
            ("Name", endpoint.name),
            ("Description", endpoint.description),
            ("Tenant", endpoint.tenant or "the whole server"),
            ("URL", detail.url or endpoint.url_shown),
            ("Format", endpoint.format),
            *((f"Option {name}", value) for name, value in (endpoint.options or {}).items()),
            ("Events", "all" if endpoint.events is None else ", ".join(endpoint.events)),
            ("Filter", None if endpoint.filter is None else compact_json(endpoint.filter)),
            ("Coalesce", None if endpoint.coalesce is None else compact_json(endpoint.coalesce)),
            ("Data version", endpoint.data_version or _initial()),
            ("Headers", headers),
            ("User agent", endpoint.user_agent),
            ("Contact", endpoint.contact),
            ("Client certificate", _certificate(endpoint.client_certificate)),
            ("Timeout", None if endpoint.timeout is None else f"{endpoint.timeout:g} s"),
            (
                "Rate limit",
                None if endpoint.rate_limit is None else f"{endpoint.rate_limit:g} a second",
            ),
            ("Order", "one after another" if endpoint.ordered else None),
            *(("Secret", _secret(secret)) for secret in detail.secrets),
            *(("Public key", key.text) for key in keys),
            ("Created", shown_time(endpoint.created_at)),
            ("Changed", shown_time(endpoint.updated_at)),
        ]
    )


def _print_health(access: Access, detail: queries.EndpointDetail) -> None:
    endpoint, health = detail.endpoint, detail.health
    rate = "no attempts" if detail.success_rate is None else f"{detail.success_rate:.1%} succeeded"
    unreadable = "A secret, a header or the URL cannot be decrypted: see flask webhooks doctor"
    print_fields(
        [
            ("State", detail.condition),
            ("Since", maybe_time(endpoint.state_since)),
            ("Reason", endpoint.state_reason),
            ("By", endpoint.state_actor),
            ("Trouble", unreadable if detail.unreadable else None),
            ("Last 24 h", rate),
            ("Pending", counted(detail.pending)),
            ("Held", counted(detail.held)),
            ("Last success", maybe_time(health.last_success_at)),
            ("Last failure", maybe_time(health.last_failure_at)),
            ("Failures in a row", health.consecutive_failures or None),
            ("Failing since", maybe_time(health.failing_since)),
            ("Waits", hold_text(health.hold_reason) if health.hold_until else None),
            ("Waits until", maybe_time(health.hold_until)),
            ("Last error", _last_error(access, detail)),
        ]
    )


def _last_error(access: Access, detail: queries.EndpointDetail) -> str | None:
    """Return the error of the newest failed attempt; ``None`` if the endpoint is healthy."""
    if not detail.health.consecutive_failures:
        return None
    rows = queries.list_deliveries(access, detail.endpoint.id).items
    errors = queries.last_errors(access, [row.delivery for row in rows])
    tried = [row.delivery for row in rows if row.delivery.id in errors]
    tried.sort(key=lambda delivery: delivery.last_attempt_at or delivery.created_at)
    return errors[tried[-1].id] if tried else None


def _secret(secret: queries.SecretRow) -> str:
    end = secret.expires_at
    parts = [secret.label] if secret.label else []
    if secret.last_four is not None:
        parts.append(f"…{secret.last_four}")
    parts.append("signs" if end is None else f"signs until {shown_time(end)}")
    if secret.created_at is not None:
        parts.append(f"created {shown_time(secret.created_at)}")
    used = secret.last_used_at
    parts.append("not used yet" if used is None else f"last used {shown_time(used)}")
    return ", ".join(parts)


@endpoints.command("notifications")
@ENDPOINT_ARGUMENT
@LIMIT
@JSON
@reports_errors
def list_notifications(endpoint_id: str, limit: int, as_json: bool) -> None:
    """List sent and pending notifications to the owner of an endpoint, newest first."""
    page = queries.list_notifications(current_access(), endpoint_id, limit=limit)
    if as_json:
        print_json(NotificationObject.serialize(row) for row in page.items)
        return
    print_table(
        ("ID", "WHAT", "SINCE", "STATE", "ATTEMPTS", "NEXT TRY", "TO", "ERROR"),
        [
            (
                row.notification.id,
                str(stage_words()[row.incident.stage]),
                shown_time(row.incident.since),
                row.notification.state,
                row.notification.attempts,
                maybe_time(row.notification.due_at) or "-",
                row.notification.contact or "-",
                row.error or "-",
            )
            for row in page.items
        ],
        "There are none. An application notifies owners with @webhooks.notify.",
    )
    tell_of_more(page)


@endpoints.command("rotate")
@ENDPOINT_ARGUMENT
@click.option(
    "--overlap",
    type=float,
    default=24,
    show_default=True,
    metavar="HOURS",
    help="Hours that the old secret stays valid, up to 168.",
)
@click.option("--secret", help="An existing secret; default: a new one, printed once.")
@click.option("--key-pair", is_flag=True, help="Sign with a new key pair; prints the public key.")
@click.option("--label", help="A label to tell it apart.")
@reports_errors
def rotate_secret(
    endpoint_id: str, overlap: float, secret: str | None, key_pair: bool, label: str | None
) -> None:
    """Give an endpoint a new secret, and print it once."""
    new = actions.rotate_secret(
        current_access(),
        endpoint_id,
        overlap_seconds=overlap * 3600,
        secret=secret,
        key_pair=key_pair,
        label=label,
    )
    say(f"Public key, for the receiver: {new}" if key_pair else f"Secret, only shown once: {new}")


@endpoints.command("end-overlap")
@ENDPOINT_ARGUMENT
@reports_errors
def end_overlap(endpoint_id: str) -> None:
    """Sign with the newest secret only, once the receiver has it."""
    ended = actions.end_overlap(current_access(), endpoint_id)
    say("Only the newest secret signs now." if ended else "There was no overlap to end.")


@endpoints.command("keys")
@ENDPOINT_ARGUMENT
@reports_errors
def public_keys(endpoint_id: str) -> None:
    """Print the public keys for the receiver of an endpoint."""
    found = queries.public_keys(current_access(), endpoint_id)
    for key in found:
        until = "" if key.expires_at is None else f"  until {shown_time(key.expires_at)}"
        say(f"{key.text}{until}")
    if not found:
        say("This endpoint signs with a shared secret; there is no public key.")


@endpoints.command("pause")
@ENDPOINT_ARGUMENT
@click.option("--reason", default="", help="For people.")
@reports_errors
def pause(endpoint_id: str, reason: str) -> None:
    """Send nothing until it is resumed; new events are held."""
    endpoint = actions.pause_endpoint(current_access(), endpoint_id, reason)
    say(f"Paused {endpoint.id}. New events are held until: flask webhooks endpoints resume")


@endpoints.command("resume")
@ENDPOINT_ARGUMENT
@click.option(
    "--held",
    type=click.Choice(["send", "discard", "keep"]),
    default="send",
    show_default=True,
    help="What to do with held deliveries.",
)
@reports_errors
def resume(endpoint_id: str, held: str) -> None:
    """Make a paused or disabled endpoint active again."""
    endpoint = actions.resume_endpoint(current_access(), endpoint_id, held)
    say(f"Resumed {endpoint.id}.")


@endpoints.command("challenge")
@ENDPOINT_ARGUMENT
@reports_errors
def challenge(endpoint_id: str) -> None:
    """Send an unverified endpoint another challenge to echo."""
    delivery = actions.send_challenge(current_access(), endpoint_id)
    say(f"Queued {delivery.id}. Only this challenge counts from now on.")


@endpoints.command("remove")
@ENDPOINT_ARGUMENT
@YES
@reports_errors
def remove(endpoint_id: str, yes: bool) -> None:
    """Delete an endpoint and its secret; its history is kept."""
    access = current_access()
    endpoint = queries.get_endpoint(access, endpoint_id).endpoint
    name = plain(endpoint.name or endpoint.url_shown)
    if not yes and not click.confirm(f"Delete {name}? Undelivered events are cancelled."):
        return
    actions.delete_endpoint(access, endpoint_id)
    say(f"Deleted {endpoint_id}.")


@endpoints.command("test")
@ENDPOINT_ARGUMENT
@click.option(
    "--type",
    "event_type",
    help="An event type of the catalogue; default: the test event of the format.",
    shell_complete=completion.event_types,
)
@click.option("--data", "data_text", metavar="JSON", help="Default: the example of the type.")
@click.option(
    "--data-version",
    metavar="DATE",
    help="The version to send the data in, or initial; default: that of the endpoint.",
    shell_complete=completion.data_versions,
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait for the response; exits with status 1 unless it succeeds.",
)
@reports_errors
def send_test(
    endpoint_id: str,
    event_type: str | None,
    data_text: str | None,
    data_version: str | None,
    wait: float | None,
) -> None:
    """Send a test event to one endpoint."""
    access = current_access()
    data = None if data_text is None else parse_json(data_text, "--data")
    delivery = actions.send_test(access, endpoint_id, event_type, data, data_version=data_version)
    say(f"Queued {delivery.id} ({delivery.event_type}).")
    if wait is not None:
        _wait_for(access, delivery.id, wait)


def _wait_for(access: Access, delivery_id: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        detail = queries.get_delivery(access, delivery_id)
        if detail.delivery.state in AT_REST:
            break
        if time.monotonic() >= end:
            raise CommandFailure(
                f"No response within {seconds:g} s: the delivery is {detail.delivery.state}. Is a worker "
                "running? Start one with: flask webhooks worker"
            )
        time.sleep(min(0.1, max(end - time.monotonic(), 0)))
    if detail.delivery.state != DeliveryState.SUCCEEDED:
        last = detail.attempts[-1] if detail.attempts else None
        why = (last and last.error) or detail.delivery.reason or "no attempt was made"
        answer = " ".join(((last and last.response_body) or "").split())
        said = f" It said: {shortened(answer)}" if answer else ""
        raise CommandFailure(f"The delivery {detail.delivery.state}: {plain(why)}{said}")
    last = detail.attempts[-1]
    say(f"Delivered: status {last.status} in {last.duration_ms or 0:.0f} ms.")
