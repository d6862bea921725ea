"""Limits of requests on demand of one tenant: tests and resends, each of which reaches a third party at once.

They are counted in the audit log, which has a row for each, and bulk tasks by their progress, so that the limits
apply across all processes. People who see all tenants are not limited.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import ids
from ..access import Access
from ..app_state import AllTenants, AppState
from ..errors import SendLimitReached
from ..formats.custom import MAX_BODY_BYTES
from ..models import UNFINISHED, Endpoint, TaskKind

#: The counted actions of the audit log.
COUNTED = (
    "endpoint.tested",
    "endpoint.challenged",
    "delivery.resent",
    "event.replayed",
    "task.started",
)
#: Tasks that resend or create deliveries. Others only end or release existing deliveries.
SENDING = (TaskKind.RECOVER, TaskKind.REPLAY, TaskKind.RESEND)
#: The member of its `changes` with the size of the data.
BYTES = "bytes"

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request that was counted."""

    at: datetime
    size: int


def lock_name(access: Access, tenant: str | None) -> str | None:
    """Return the name of the lock of a tenant, because two concurrent requests would both find room for one."""
    return f"sends of {tenant}" if _is_limited(access, tenant) else None


def check_sends(session: Session, access: Access, tenant: str | None, size: int = 0) -> None:
    """Check the limits within the transaction of the request.

    :param tenant: the tenant of the endpoint.
    :param size: the size of the data.
    :raises SendLimitReached: a limit is reached; the error says when to try again.
    """
    if not _is_limited(access, tenant):
        return
    settings = access.state.settings
    now = datetime.now(UTC)
    sent = _sent_since(session, access, tenant, now - DAY)
    most = settings.max_sends_per_hour
    if most is not None:
        recent = [item for item in sent if item.at > now - HOUR]
        if len(recent) >= most:
            wait = recent[-most].at + HOUR - now
            raise SendLimitReached(
                "At most %(most)s tests and resends may be sent in an hour. Try again in %(minutes)s min.",
                most=most,
                minutes=_minutes(wait),
                limit=most,
                retry_after=_seconds(wait),
            )
    room = settings.max_send_bytes_per_day
    if room is not None and sum(item.size for item in sent) + size > room:
        wait = _until_room(sent, room - size, now)
        raise SendLimitReached(
            "Tests and resends may send %(most)s KB of data in a day. Try again in %(minutes)s min., or "
            "with less data.",
            most=room // 1024,
            minutes=_minutes(wait),
            limit=room,
            retry_after=_seconds(wait),
        )


def check_task(session: Session, access: Access, tenant: str | None, kind: TaskKind) -> None:
    """Check the limit within the transaction that starts a task.

    One task may exceed the limit, because it may be the only way to send missed events; the next one then has to
    wait.

    :raises SendLimitReached: the limit is reached; the error says when to try again.
    """
    if kind not in SENDING:
        return
    check_sends(session, access, tenant)
    most = access.state.settings.max_bulk_sends_per_day
    if not _is_limited(access, tenant) or most is None:
        return
    now = datetime.now(UTC)
    tasks = _tasks_since(session, access, tenant, now - DAY)
    done = sum(item.size for item in tasks)
    if done >= most:
        wait = _until_room(tasks, most - 1, now)
        raise SendLimitReached(
            "Bulk tasks have resent %(done)s deliveries in 24 hours; the limit is %(most)s. Start another one in "
            "%(minutes)s min.",
            done=done,
            most=most,
            minutes=_minutes(wait),
            limit=most,
            retry_after=_seconds(wait),
        )


def sent_size(endpoint: Endpoint, size: int) -> int:
    """Return the maximum size of a request for event data of a size: a template may repeat it."""
    template = str((endpoint.options or {}).get("template") or "")
    repeated = size * max(template.count("{{"), 1) + len(template)
    return max(size, min(repeated, MAX_BODY_BYTES))


def data_size(session: Session, state: AppState, event_id: str) -> int:
    """Return the approximate size of an event's data in bytes."""
    event = state.table("Event").c
    data = sa.type_coerce(event.data, sa.Text())
    return session.scalar(sa.select(sa.func.length(data)).where(event.id == event_id)) or 0


def _is_limited(access: Access, tenant: str | None) -> bool:
    return tenant is not None and not isinstance(access.tenant, AllTenants)


def _sent_since(
    session: Session, access: Access, tenant: str | None, since: datetime
) -> list[_Sent]:
    """Return the requests since a time, oldest first.

    Ids sort by time, so the index of the tenant's rows finds them.
    """
    row = access.state.table("Activity").c
    found = session.execute(
        sa.select(row.at, row.changes)
        .where(
            row.tenant == tenant,
            row.id >= ids.lowest_id("act", since),
            row.action.in_(COUNTED),
        )
        .order_by(row.id)
    )
    return [
        _Sent(at, (changes or {}).get(BYTES, 0))
        for at, changes in found
        if (changes or {}).get("kind") in (None, *SENDING)
    ]


def _tasks_since(
    session: Session, access: Access, tenant: str | None, since: datetime
) -> list[_Sent]:
    """Return the numbers that sending tasks have done or will do, oldest first."""
    row = access.state.table("Task").c
    found = session.execute(
        sa.select(row.created_at, row.state, row.done, row.total)
        .where(
            row.tenant == tenant,
            row.id >= ids.lowest_id("task", since),
            row.kind.in_([str(kind) for kind in SENDING]),
        )
        .order_by(row.id)
    )
    return [
        _Sent(at, max(done, total or 0) if state in UNFINISHED else done)
        for at, state, done, total in found
    ]


def _until_room(sent: Sequence[_Sent], room: int, now: datetime) -> timedelta:
    """Return the time until the requests of the last day leave enough room."""
    used = sum(item.size for item in sent)
    for item in sent:
        used -= item.size
        if used <= room:
            return item.at + DAY - now
    return DAY


def _seconds(wait: timedelta) -> int:
    return max(math.ceil(wait.total_seconds()), 1)


def _minutes(wait: timedelta) -> int:
    return max(math.ceil(wait.total_seconds() / 60), 1)
