"""Record notifications for owners of endpoints, in the transaction of the incident."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState, prepared
from ..db.upsert import insert_missing, insert_or_add
from ..models import NotificationState
from ..notifications import Stage, incident_key
from .outcome import Decision
from .settle.health import Change, Health

#: How long a digest waits after its hour for settlements that are still being committed.
DIGEST_MARGIN: Final = timedelta(minutes=1)

_UNIQUE: Final = ("endpoint_id", "incident", "stage")


def record_incidents(
    state: AppState,
    connection: sa.Connection,
    changes: Sequence[tuple[str, Change, Health, Decision | None]],
    failed: Sequence[Decision],
    now: datetime,
) -> bool:
    """Record notifications within the settling transaction; existing ones are kept.

    :param changes: endpoint id, change, new health, and the last failure.
    :param failed: failed deliveries.
    :return: whether one is due at once.
    """
    rows = [_row(state, *change, now) for change in changes]
    if rows:
        connection.execute(_insert_missing(state), rows)
    if failed:
        connection.execute(_insert_or_add(state), _digests(failed, now))
    return bool(rows)


def record_overlap_end(
    state: AppState, connection: sa.Connection, endpoint_id: str, ends_at: datetime
) -> None:
    """Record a notification for the end of an overlap of secrets, within the transaction of the rotation."""
    row = _new(endpoint_id, Stage.OVERLAP_ENDED, ends_at, ends_at, {}, 0)
    connection.execute(_insert_missing(state), [row])


def end_overlaps(
    state: AppState, connection: sa.Connection, endpoint_id: str, now: datetime
) -> None:
    """Make notifications of an overlap that has ended early due at once."""
    table = state.table("Notification")
    connection.execute(
        sa.update(table)
        .where(*_waiting_overlaps(table, endpoint_id), table.c.due_at > now)
        .values(due_at=now)
    )


def forget_overlaps(state: AppState, connection: sa.Connection, endpoint_id: str) -> None:
    """Remove notifications of overlaps that have not ended yet."""
    table = state.table("Notification")
    connection.execute(sa.delete(table).where(*_waiting_overlaps(table, endpoint_id)))


def _waiting_overlaps(table: sa.Table, endpoint_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.endpoint_id == endpoint_id,
        table.c.stage == Stage.OVERLAP_ENDED,
        table.c.state == NotificationState.PENDING,
        # A worker that is sending it has leased it.
        table.c.attempts == 0,
    )


def _row(
    state: AppState,
    endpoint_id: str,
    change: Change,
    health: Health,
    last: Decision | None,
    now: datetime,
) -> dict[str, Any]:
    since = health.failing_since or now
    facts = {} if change == Change.RECOVERED else _error_facts(last)
    if change in (Change.FAILING, Change.WARNED):
        disable_at = since + timedelta(seconds=state.settings.disable_after)
        facts["disable_at"] = disable_at.isoformat()
    return _new(endpoint_id, _stage(change, health), since, now, facts, health.consecutive_failures)


def _stage(change: Change, health: Health) -> Stage:
    match change:
        case Change.FAILING:
            return Stage.FAILING
        case Change.WARNED:
            return Stage.LAST_WARNING if health.warned >= 90 else Stage.HALF_TIME
        case Change.DISABLED:
            return Stage.DISABLED
        case Change.RECOVERED:
            return Stage.RECOVERED


def _digests(failed: Sequence[Decision], now: datetime) -> list[dict[str, Any]]:
    hour = now.replace(minute=0, second=0, microsecond=0)
    due_at = hour + timedelta(hours=1) + DIGEST_MARGIN
    counts = Counter(item.attempt.endpoint_id for item in failed)
    last = {item.attempt.endpoint_id: item for item in failed}
    return [
        _new(endpoint_id, Stage.GIVEN_UP, hour, due_at, _error_facts(last[endpoint_id]), count)
        for endpoint_id, count in sorted(counts.items())
    ]


def _error_facts(last: Decision | None) -> dict[str, Any]:
    if last is None:
        return {}
    facts: dict[str, Any] = {"last_status": last.attempt.status}
    if last.attempt.error is not None:
        facts["error_code"] = last.attempt.error.code
        facts["error_params"] = last.attempt.error.stored_params()
    return facts


def _new(
    endpoint_id: str,
    stage: Stage,
    since: datetime,
    due_at: datetime,
    facts: dict[str, Any],
    count: int,
) -> dict[str, Any]:
    return {
        "id": ids.new_id("ntf"),
        "endpoint_id": endpoint_id,
        "incident": incident_key(since),
        "stage": stage,
        "facts": facts,
        "count": count,
        "due_at": due_at,
    }


@prepared
def _insert_missing(state: AppState) -> Any:
    table = state.table("Notification")
    return insert_missing(table, state.engine.dialect.name, _UNIQUE)


@prepared
def _insert_or_add(state: AppState) -> Any:
    table = state.table("Notification")
    return insert_or_add(table, state.engine.dialect.name, _UNIQUE, ["count"])
