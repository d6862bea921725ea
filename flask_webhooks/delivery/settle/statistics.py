"""Hourly counts of attempts for each endpoint, which the charts read: fast at any size of the history."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...app_state import AppState
from ...db.upsert import insert_or_add
from ...models import BUCKET_COLUMNS, BUCKETS
from ..outcome import AttemptRecord, Outcome

_COUNTERS = ("succeeded", "failed", "duration_ms", *BUCKET_COLUMNS)


def count_attempts(
    state: AppState, connection: sa.Connection, attempts: Sequence[AttemptRecord]
) -> None:
    """Add attempts to the counts of the hours in which they began, except interrupted ones."""
    rows: dict[tuple[str, datetime], dict[str, Any]] = {}
    for item in attempts:
        if item.outcome == Outcome.INTERRUPTED or item.duration_ms is None:
            continue
        hour = item.started_at.replace(minute=0, second=0, microsecond=0)
        row = rows.setdefault(
            (item.endpoint_id, hour),
            {"endpoint_id": item.endpoint_id, "hour": hour, **dict.fromkeys(_COUNTERS, 0)},
        )
        row["succeeded" if item.outcome == Outcome.SUCCEEDED else "failed"] += 1
        row["duration_ms"] += item.duration_ms
        row[_bucket(item.duration_ms)] += 1
    if rows:
        statement = _upsert(state.table("Statistic"), connection.dialect.name)
        # Always in the same order, so that two workers cannot deadlock.
        connection.execute(statement, [rows[key] for key in sorted(rows)])


@functools.lru_cache(maxsize=16)
def _upsert(table: sa.Table, dialect: str) -> Any:
    return insert_or_add(table, dialect, ["endpoint_id", "hour"], _COUNTERS)


def _bucket(duration_ms: float) -> str:
    for bound, column in zip(BUCKETS, BUCKET_COLUMNS, strict=False):
        if duration_ms <= bound:
            return column
    return BUCKET_COLUMNS[-1]
