"""``flask webhooks tail``: show attempts as they are recorded."""

from __future__ import annotations

import time
from datetime import datetime

import click
from flask.cli import with_appcontext

from .. import queries
from ..delivery.outcome import Outcome
from ..queries.following import NewAttempt
from ..serializers import AttemptObject, to_json
from .failures import reports_errors
from .options import ENDPOINT, EVENT, JSON, TENANT, TYPE, MomentOption
from .output import plain, say
from .parsing import current_access, wanted_event, within_tenant

#: Seconds between polls.
_PAUSE = 0.5


@click.command()
@ENDPOINT
@TYPE
@TENANT
@EVENT
@click.option(
    "--since",
    type=MomentOption(),
    metavar="TIME",
    help="Start with attempts since this time, of the newest deliveries: UTC, or 10m, 1h ago.",
)
@click.option("--failed", is_flag=True, help="Only failed attempts.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many.")
@JSON
@with_appcontext
@reports_errors
def tail(
    endpoint_id: str | None,
    event_type: str | None,
    tenant: str | None,
    event_id: str | None,
    since: datetime | None,
    failed: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show each new attempt as it is recorded, until stopped by Ctrl-C.

    --json prints one object per line. Some attempts may be left out when more than a thousand are made at once, or
    when an old backlog is sent.
    """
    access = within_tenant(current_access(), tenant)
    event_id = wanted_event(access, event_id)
    follower = queries.Follower(access, endpoint_id, event_type, event_id=event_id, since=since)
    left = limit
    say("Waiting for attempts. Press Ctrl-C to stop.", err=True)
    try:
        while True:
            for item in follower.look():
                if failed and item.attempt.outcome == Outcome.SUCCEEDED:
                    continue
                say(to_json(_members(item)) if as_json else _line(item))
                if left is not None:
                    left -= 1
                    if not left:
                        return
            time.sleep(_PAUSE)
    except KeyboardInterrupt:
        return


def _line(item: NewAttempt) -> str:
    attempt, delivery, endpoint = item.attempt, item.delivery, item.endpoint
    status = "-" if attempt.status is None else str(attempt.status)
    took = "" if attempt.duration_ms is None else f"{attempt.duration_ms:.0f} ms"
    parts = (
        f"{attempt.started_at:%H:%M:%S}",
        f"{attempt.outcome:10}",
        f"{status:>3}",
        f"{took:>8}",
        f"{delivery.event_type}",
        f"{delivery.id} #{attempt.number}",
        endpoint.name or endpoint.url_shown,
        attempt.error or "",
    )
    return "  ".join(plain(part) for part in parts).rstrip()


def _members(item: NewAttempt) -> dict[str, object]:
    members = AttemptObject.serialize(item.attempt)
    for side in ("request", "response"):
        for name in (f"{side}_headers", f"{side}_body", f"{side}_body_missing"):
            del members[name]
    return {
        "delivery_id": item.delivery.id,
        "event_id": item.delivery.event_id,
        "event_type": item.delivery.event_type,
        "endpoint_id": item.endpoint.id,
        "tenant": item.delivery.tenant,
        **members,
    }
