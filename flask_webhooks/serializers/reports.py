"""Tasks, health, statistics and the audit trail."""

import math
from datetime import datetime
from typing import Annotated, Any

from ..models import TaskKind, TaskState
from ..queries import MOST_COUNTED, PERIODS, Bucket
from .base import Count, Identifier, JsonObject, Member, Share, Tenant, one_of
from .endpoints import EndpointLabelObject


class _StoredTask(JsonObject):
    id: Identifier
    kind: Annotated[str, one_of(TaskKind)]
    endpoint_id: Annotated[str | None, Member("Null: all endpoints in scope.")]
    tenant: Tenant
    filter: Annotated[
        dict[str, Any], Member("Which deliveries; of a replay and a prune which events.")
    ]
    actor: str
    state: Annotated[str, one_of(TaskState)]
    total: Annotated[int | None, Member("Null until they were counted.")]
    done: Count
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskObject(_StoredTask, part="task"):
    ended: Annotated[bool, Member("Nothing more will change.")]
    progress: Share


class PreviewObject(JsonObject):
    kind: Annotated[str, one_of(TaskKind)]
    endpoint_id: Annotated[
        str | None, Member(source=lambda preview: preview.endpoint and preview.endpoint.id)
    ]
    count: Annotated[Count, Member("Deliveries; of a replay and a prune events.")]
    more: Annotated[bool, Member("There may be more than were counted.")]
    states: Annotated[dict[str, Count], Member("Deliveries by state; empty of events.")]
    oldest: datetime | None
    newest: datetime | None
    history_since: Annotated[datetime | None, Member("Of a replay: from when the first event is.")]


class BucketObject(JsonObject):
    start: datetime
    succeeded: Annotated[Count, Member("Attempts.")]
    failed: Count
    success_rate: Share
    mean_ms: float | None
    p50_ms: Annotated[
        float | None,
        Member(
            "Null without attempts, and beyond 10 seconds.",
            source=lambda bucket: _percentile(bucket, 0.5),
        ),
    ]
    p95_ms: Annotated[float | None, Member(source=lambda bucket: _percentile(bucket, 0.95))]


def _percentile(bucket: Bucket, share: float) -> float | None:
    """Return it where it is known: it is infinite beyond what is counted apart."""
    found = bucket.percentile(share)
    return found if found is not None and math.isfinite(found) else None


class StatisticsObject(JsonObject):
    period: Annotated[str, one_of(PERIODS), Member(source="period.name")]
    total: BucketObject
    buckets: Annotated[list[BucketObject], Member("Oldest first.")]


class FailingObject(JsonObject):
    endpoint: EndpointLabelObject
    succeeded_24h: Annotated[Count, Member(source="succeeded")]
    failed_24h: Annotated[Count, Member(source="failed")]


class HeartbeatObject(JsonObject):
    name: str
    kind: Annotated[str, Member("worker, drain, or stopped: the last of these that ended.")]
    host: str
    pid: Count
    started_at: datetime
    seen_at: datetime


class QueueObject(JsonObject):
    name: Annotated[str, Member(source="queue")]
    reachable: Annotated[bool, Member("Redis answers.")]
    trouble: Annotated[
        str | None,
        Member(
            "Why Redis cannot be used as it should.",
            source=lambda engine: None if engine.trouble is None else str(engine.trouble),
        ),
    ]
    suspended: Annotated[bool, Member("Workers take no jobs.")]
    scheduler: Annotated[bool, Member("A worker runs RQ's scheduler for it.")]
    workers: Count
    waiting: Annotated[Count, Member("Jobs: runs of deliveries.")]
    scheduled: Count
    failed: Count


#: `serialize` is given the `queue`.
class HealthObject(JsonObject):
    now: Annotated[datetime, Member("By the database's clock.")]
    last_seen_at: Annotated[
        datetime | None,
        Member("The latest sign of life of any worker, also of one that has stopped since."),
    ]
    due: Annotated[Count, Member("Deliveries that are due and that nothing holds back.")]
    oldest_due_at: datetime | None
    pending: Count
    sending: Count
    held: Count
    most_counted: Annotated[
        Count, Member("Where counting ends.", source=lambda report: MOST_COUNTED)
    ]
    history_since: Annotated[
        datetime | None,
        Member("When the oldest event was recorded that is still there; for operators only."),
    ]
    heartbeats: Annotated[list[HeartbeatObject], Member("Of workers; for operators only.")]
    queue: Annotated[QueueObject | None, Member("For operators only.")]


class ActivityObject(JsonObject):
    id: Identifier
    at: datetime
    actor: str
    action: str
    tenant: Tenant
    endpoint_id: str | None
    delivery_id: str | None
    changes: Annotated[dict[str, Any] | None, Member("From what to what; never with a secret.")]
