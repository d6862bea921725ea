"""What comes back of tasks, statistics and health."""

from __future__ import annotations

from typing import Final

from ...models import TaskKind, TaskState
from ...queries import PERIODS
from .answers import SHARE, TENANT
from .parts import (
    Schema,
    flag,
    identifier,
    list_of,
    members,
    nullable,
    one_of,
    optional_text,
    optional_time,
    reference,
    text,
    time,
    value,
    whole,
)

_BUCKET: Final = members(
    {
        "start": time(),
        "succeeded": whole("Attempts."),
        "failed": whole(),
        "success_rate": SHARE,
        "mean_ms": value("number?"),
        "p50_ms": value("number?", "Null without attempts, and beyond 10 seconds."),
        "p95_ms": value("number?"),
    }
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Task": members(
        {
            "id": identifier(),
            "kind": one_of(TaskKind),
            "endpoint_id": optional_text("Null: all endpoints in scope."),
            "tenant": TENANT,
            "filter": value("object", "Which deliveries; of a replay and a prune which events."),
            "actor": text(),
            "state": one_of(TaskState),
            "ended": flag("Nothing more will change."),
            "total": value("integer?", "Null until they were counted."),
            "done": whole(),
            "progress": SHARE,
            "error": optional_text(),
            "created_at": time(),
            "started_at": optional_time(),
            "finished_at": optional_time(),
        }
    ),
    "Preview": members(
        {
            "kind": one_of(TaskKind),
            "endpoint_id": optional_text(),
            "count": whole("Deliveries; of a replay and a prune events."),
            "more": flag("There may be more than were counted."),
            "states": value(
                "object", "Deliveries by state; empty of events.", additionalProperties=whole()
            ),
            "oldest": optional_time(),
            "newest": optional_time(),
            "history_since": optional_time("Of a replay: from when the first event is."),
        }
    ),
    "Bucket": _BUCKET,
    "Statistics": members(
        {
            "period": one_of(PERIODS),
            "total": reference("Bucket"),
            "buckets": list_of(reference("Bucket"), "Oldest first."),
        }
    ),
    "Failing": members(
        {
            "endpoint": reference("EndpointLabel"),
            "succeeded_24h": whole(),
            "failed_24h": whole(),
        }
    ),
    "Health": members(
        {
            "now": time("By the database's clock."),
            "last_seen_at": optional_time(
                "The latest sign of life of any worker, also of one that has stopped since."
            ),
            "due": whole("Deliveries that are due and that nothing holds back."),
            "oldest_due_at": optional_time(),
            "pending": whole(),
            "sending": whole(),
            "held": whole(),
            "most_counted": whole("Where counting ends."),
            "history_since": optional_time(
                "When the oldest event was recorded that is still there; for operators only."
            ),
            "heartbeats": list_of(
                members(
                    {
                        "name": text(),
                        "kind": text("worker, drain, or stopped: the last of these that ended."),
                        "host": text(),
                        "pid": whole(),
                        "started_at": time(),
                        "seen_at": time(),
                    }
                ),
                "Of workers; for operators only.",
            ),
            "queue": nullable(
                members(
                    {
                        "name": text(),
                        "reachable": flag("Redis answers."),
                        "trouble": optional_text("Why Redis cannot be used as it should."),
                        "suspended": flag("Workers take no jobs."),
                        "scheduler": flag("Somebody runs RQ's scheduler for it."),
                        "workers": whole(),
                        "waiting": whole("Jobs: runs of deliveries."),
                        "scheduled": whole(),
                        "failed": whole(),
                    },
                    "For operators only.",
                )
            ),
        }
    ),
    "Activity": members(
        {
            "id": identifier(),
            "at": time(),
            "actor": text(),
            "action": text(),
            "tenant": TENANT,
            "endpoint_id": optional_text(),
            "delivery_id": optional_text(),
            "changes": value("object?", "From what to what; never with a secret."),
        }
    ),
}
