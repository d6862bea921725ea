"""Tasks, health, statistics and the audit log."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any

from ..models import NotificationState, TaskKind, TaskState
from ..notifications import Stage
from ..queries import MOST_COUNTED, PERIODS, AttemptCounts
from .base import Count, Identifier, JsonObject, Share, Tenant, member, one_of
from .endpoints import EndpointLabelObject


class _StoredTask(JsonObject):
    id: Identifier
    kind: Annotated[str, one_of(TaskKind)]
    endpoint_id: str | None = member("Null: all endpoints in scope.")
    tenant: Tenant
    filter: dict[str, Any] = member(
        "The selected deliveries; for a replay, a prune and an erasure, the selected "
        "events. An erasure only shows digests of the values that it searches for."
    )
    actor: str
    state: Annotated[str, one_of(TaskState)]
    total: int | None = member("Null until they were counted.")
    done: Count = member("Of an erasure: events that it has examined.")
    changed: int | None = member("Of an erasure: events among those that were erased.")
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskObject(_StoredTask, part="task"):
    ended: bool = member("It has ended.")
    progress: Share


class PreviewObject(JsonObject):
    kind: Annotated[str, one_of(TaskKind)]
    endpoint_id: str | None = member(
        source=lambda preview: preview.endpoint and preview.endpoint.id
    )
    count: Count = member("Number of deliveries; for a replay, a prune and an erasure, of events.")
    more: bool = member("There may be more than were counted.")
    states: dict[str, Count] = member("Deliveries by state; empty of events.")
    oldest: datetime | None
    newest: datetime | None
    history_since: datetime | None = member("Of a replay: the time of the first event.")


class BucketObject(JsonObject):
    start: datetime
    succeeded: Count = member("Attempts.")
    failed: Count
    success_rate: Share
    mean_ms: float | None
    p50_ms: float | None = member(
        "Null without attempts, and beyond 10 seconds.",
        source=lambda bucket: _percentile(bucket, 0.5),
    )
    p95_ms: float | None = member(source=lambda bucket: _percentile(bucket, 0.95))


def _percentile(bucket: AttemptCounts, share: float) -> float | None:
    """Return the percentile if it is known: beyond the largest bucket it is infinite."""
    found = bucket.percentile(share)
    return found if found is not None and math.isfinite(found) else None


class StatisticsObject(JsonObject):
    period: Annotated[str, one_of(PERIODS)] = member(source="period.name")
    total: BucketObject
    buckets: list[BucketObject] = member("Oldest first.")


class FailingObject(JsonObject):
    endpoint: EndpointLabelObject
    succeeded_24h: Count = member(source="succeeded")
    failed_24h: Count = member(source="failed")


class HeartbeatObject(JsonObject):
    name: str
    kind: str = member("`worker`, `drain`, or `stopped`: the last one that ended.")
    host: str
    pid: Count
    started_at: datetime
    seen_at: datetime


class QueueObject(JsonObject):
    name: str = member(source="queue")
    reachable: bool = member("Redis responds.")
    trouble: str | None = member(
        "Why Redis cannot be used.",
        source=lambda engine: None if engine.trouble is None else str(engine.trouble),
    )
    suspended: bool = member("Workers take no jobs.")
    scheduler: bool = member("A worker runs RQ's scheduler for it.")
    workers: Count
    waiting: Count = member("Jobs: delivery runs.")
    scheduled: Count
    failed: Count


#: `serialize` is given the `queue`.
class HealthObject(JsonObject):
    now: datetime = member("By the database's clock.")
    last_seen_at: datetime | None = member(
        "The latest heartbeat of any worker, including stopped ones."
    )
    due: Count = member("Deliveries that are due and not delayed for another reason.")
    oldest_due_at: datetime | None
    pending: Count
    sending: Count
    held: Count
    most_counted: Count = member("The maximum that is counted.", source=lambda report: MOST_COUNTED)
    history_since: datetime | None = member(
        "When the oldest stored event was recorded; for operators only."
    )
    heartbeats: list[HeartbeatObject] = member("Processes of workers; for operators only.")
    queue: QueueObject | None = member("For operators only.")


class ActivityObject(JsonObject):
    id: Identifier
    at: datetime
    actor: str
    action: str
    tenant: Tenant
    endpoint_id: str | None
    delivery_id: str | None
    changes: dict[str, Any] | None = member("Old and new values; never a secret.")


class NotificationObject(JsonObject):
    id: Identifier = member(source="notification.id")
    incident: str = member("The same for each stage of one incident.", source="incident.id")
    stage: Annotated[str, one_of(Stage)] = member(source="incident.stage")
    since: datetime = member("Of the incident, or the hour of a digest.", source="incident.since")
    count: Count = member("Consecutive failures, or failed deliveries.", source="incident.count")
    state: Annotated[str, one_of(NotificationState)] = member(source="notification.state")
    contact: str | None = member("The address at the last attempt.", source="notification.contact")
    attempts: Count = member(source="notification.attempts")
    due_at: datetime | None = member(
        "When it is tried next, while it is pending.", source="notification.due_at"
    )
    error: str | None = member("Why the last attempt failed.")
    created_at: datetime = member(source="notification.created_at")
    ended_at: datetime | None = member(source="notification.ended_at")


class TokenObject(JsonObject):
    id: Identifier = member(source="token.id")
    name: str = member("For people.", source="token.name")
    ending: str = member("Its last characters, to recognise it.", source="token.ending")
    tenant: str | None = member(
        "The tenant whose endpoints it sees; null is all tenants and the whole server.",
        source="token.tenant",
    )
    actions: list[str] = member("Permissions.", source="token.actions")
    condition: Annotated[str, one_of(("active", "expired", "revoked"))]
    created_by: str = member(source="token.created_by")
    created_at: datetime = member(source="token.created_at")
    expires_at: datetime | None = member("Null: never.", source="token.expires_at")
    last_used_at: datetime | None = member(
        "To the minute; null before its first use.", source="token.last_used_at"
    )
    revoked_at: datetime | None = member(source="token.revoked_at")
    revoked_by: str | None = member(source="token.revoked_by")


class PortalLinkObject(JsonObject):
    id: Identifier = member(source="link.id")
    tenant: str = member("The tenant whose webhooks it opens.", source="link.tenant")
    actor: str = member("Name of the user, for the audit log.", source="link.actor")
    actions: list[str] = member("Permissions.", source="link.actions")
    condition: Annotated[str, one_of(("active", "expired", "revoked"))]
    created_by: str = member(source="link.created_by")
    created_at: datetime = member(source="link.created_at")
    expires_at: datetime = member(source="link.expires_at")
    revoked_at: datetime | None = member(source="link.revoked_at")
    revoked_by: str | None = member(source="link.revoked_by")


class CreatedPortalLinkObject(PortalLinkObject, part="row"):
    url: str = member("Only shown once. Anyone who has it can use it.")


class CreatedTokenObject(TokenObject, part="row"):
    secret: str = member(
        "The token, only shown once. Send it in the header `Authorization: Bearer whtok_…`."
    )
