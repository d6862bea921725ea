"""What programs are shown of each thing, by the API and by commands, as members of JSON objects.

Nothing here is a secret: those are only in answers that make one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from . import queries
from .formats.standard import iso_milliseconds
from .models import Activity, Attempt, Delivery, Endpoint, Event


def iso(moment: datetime | None) -> str | None:
    """``2026-01-31T12:00:00.250Z``, as in payloads."""
    return None if moment is None else iso_milliseconds(moment)


def finite(value: float | None) -> float | None:
    """A number that JSON has; ``None`` for the others."""
    return value if value is None or math.isfinite(value) else None


def endpoint_members(endpoint: Endpoint) -> dict[str, Any]:
    """What is set of an endpoint."""
    return {
        "id": endpoint.id,
        "tenant": endpoint.tenant,
        "name": endpoint.name,
        "description": endpoint.description,
        "url": endpoint.url_shown,
        "url_masked": endpoint.url_sealed is not None,
        "format": endpoint.format,
        "options": endpoint.options or {},
        "events": endpoint.events,
        "user_agent": endpoint.user_agent,
        "timeout": endpoint.timeout,
        "rate_limit": endpoint.rate_limit,
        "ordered": endpoint.ordered,
        "state": endpoint.state,
        "state_reason": endpoint.state_reason,
        "state_actor": endpoint.state_actor,
        "state_since": iso(endpoint.state_since),
        "created_at": iso(endpoint.created_at),
        "updated_at": iso(endpoint.updated_at),
    }


def endpoint_row_members(row: queries.EndpointRow) -> dict[str, Any]:
    """An endpoint, and how it is doing."""
    health = row.health
    return {
        **endpoint_members(row.endpoint),
        "success_rate_24h": row.success_rate,
        "succeeded_24h": row.succeeded,
        "failed_24h": row.failed,
        "last_delivery_at": iso(row.last_delivery_at),
        "pending": row.pending,
        "held": row.held,
        "health": {
            "failing": health.probe_interval is not None,
            "failing_since": iso(health.failing_since),
            "consecutive_failures": health.consecutive_failures,
            "last_success_at": iso(health.last_success_at),
            "last_failure_at": iso(health.last_failure_at),
            "hold_until": iso(health.hold_until),
            "hold_reason": health.hold_reason,
        },
    }


def endpoint_detail_members(
    detail: queries.EndpointDetail, keys: Sequence[queries.PublicKey]
) -> dict[str, Any]:
    """An endpoint with what there is of secrets and headers, but not their values."""
    return {
        **endpoint_row_members(detail),
        **({} if detail.url is None else {"url": detail.url, "url_masked": False}),
        "header_names": None if detail.header_names is None else list(detail.header_names),
        "secrets": [{"expires_at": iso(end)} for end in detail.secrets_until],
        "public_keys": [{"key": key.text, "expires_at": iso(key.expires_at)} for key in keys],
        "unreadable": detail.unreadable,
        "wait": None
        if detail.wait is None
        else {"until": iso(detail.wait.until), "limit": str(detail.wait.limit)},
    }


def delivery_members(delivery: Delivery) -> dict[str, Any]:
    """A delivery."""
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "endpoint_id": delivery.endpoint_id,
        "tenant": delivery.tenant,
        "state": delivery.state,
        "reason": delivery.reason,
        "trigger": delivery.trigger,
        "actor": delivery.actor,
        "due_at": iso(delivery.due_at),
        "attempt_count": delivery.attempt_count,
        "last_attempt_at": iso(delivery.last_attempt_at),
        "last_status": delivery.last_status,
        "created_at": iso(delivery.created_at),
        "completed_at": iso(delivery.completed_at),
    }


def delivery_row_members(row: queries.DeliveryRow) -> dict[str, Any]:
    """A delivery, and where it goes."""
    return {**delivery_members(row.delivery), "endpoint": endpoint_label(row.endpoint)}


def delivery_detail_members(detail: queries.DeliveryDetail) -> dict[str, Any]:
    """A delivery with its event and its newest attempts."""
    return {
        **delivery_members(detail.delivery),
        "endpoint": endpoint_label(detail.endpoint),
        "payload_visible": detail.payload_visible,
        "event": {**event_members(detail.event), "data": detail.event.data},
        "attempts": [attempt_members(attempt) for attempt in detail.attempts],
        "more": detail.older_attempts > 0,
    }


def endpoint_label(endpoint: Endpoint) -> dict[str, Any]:
    """Which endpoint it is, in a few words."""
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url_shown,
        "format": endpoint.format,
        "deleted": endpoint.deleted_at is not None,
    }


def attempt_members(attempt: Attempt) -> dict[str, Any]:
    """One request and its answer."""
    return {
        "number": attempt.number,
        "trigger": attempt.trigger,
        "actor": attempt.actor,
        "started_at": iso(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "timings": attempt.timings,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "error": attempt.error,
        "error_code": attempt.error_code,
        "url": attempt.url,
        "address": attempt.address,
        "request_headers": attempt.request_headers,
        "request_body": attempt.request_body,
        "response_headers": attempt.response_headers,
        "response_body": attempt.response_body,
        "response_cut": attempt.response_cut,
    }


def event_members(event: Event) -> dict[str, Any]:
    """An event without its data."""
    return {
        "id": event.id,
        "type": event.type,
        "tenant": event.tenant,
        "occurred_at": iso(event.occurred_at),
        "created_at": iso(event.created_at),
    }


def event_row_members(row: queries.EventRow) -> dict[str, Any]:
    """An event, and what became of it."""
    return {**event_members(row.event), "deliveries": row.deliveries}


def event_detail_members(detail: queries.EventDetail) -> dict[str, Any]:
    """An event, its data and who it went to."""
    return {
        **event_members(detail.event),
        "payload_visible": detail.payload_visible,
        "data": detail.event.data,
        "deliveries": [delivery_row_members(row) for row in detail.deliveries],
        "more": detail.more,
    }


def routing_members(routing: queries.Routing) -> dict[str, Any]:
    """Why an endpoint did not get an event."""
    return {
        "endpoint": endpoint_label(routing.endpoint),
        "why": routing.why,
        "events": routing.events,
        "changed_at": None if routing.change is None else iso(routing.change.at),
        "changed_by": None if routing.change is None else routing.change.actor,
    }


def task_members(row: queries.TaskRow) -> dict[str, Any]:
    """A task, and how far it is."""
    task = row.task
    return {
        "id": task.id,
        "kind": task.kind,
        "endpoint_id": task.endpoint_id,
        "tenant": task.tenant,
        "filter": task.filter,
        "actor": task.actor,
        "state": task.state,
        "ended": row.ended,
        "total": task.total,
        "done": task.done,
        "progress": row.progress,
        "error": task.error,
        "created_at": iso(task.created_at),
        "started_at": iso(task.started_at),
        "finished_at": iso(task.finished_at),
    }


def preview_members(preview: queries.Preview) -> dict[str, Any]:
    """What a task would be about."""
    return {
        "kind": preview.kind,
        "endpoint_id": None if preview.endpoint is None else preview.endpoint.id,
        "count": preview.count,
        "more": preview.more,
        "states": preview.states,
        "oldest": iso(preview.oldest),
        "newest": iso(preview.newest),
        "history_since": iso(preview.history_since),
    }


def bucket_members(bucket: queries.Bucket) -> dict[str, Any]:
    """Attempts of a span of time."""
    return {
        "start": iso(bucket.start),
        "succeeded": bucket.succeeded,
        "failed": bucket.failed,
        "success_rate": bucket.success_rate,
        "mean_ms": bucket.mean_ms,
        # Infinite beyond what is counted apart: then it is not known.
        "p50_ms": finite(bucket.percentile(0.5)),
        "p95_ms": finite(bucket.percentile(0.95)),
    }


def failing_members(failing: queries.Failing) -> dict[str, Any]:
    """An endpoint with failures."""
    return {
        "endpoint": endpoint_label(failing.endpoint),
        "succeeded_24h": failing.succeeded,
        "failed_24h": failing.failed,
    }


def health_members(
    report: queries.HealthReport, engine: queries.EngineReport | None
) -> dict[str, Any]:
    """Backlog and workers; `engine` is for operators."""
    return {
        "now": iso(report.now),
        "last_seen_at": iso(report.last_seen_at),
        "due": report.due,
        "oldest_due_at": iso(report.oldest_due_at),
        "pending": report.pending,
        "sending": report.sending,
        "held": report.held,
        "most_counted": queries.MOST_COUNTED,
        "history_since": iso(report.history_since),
        "heartbeats": [
            {
                "name": beat.name,
                "kind": beat.kind,
                "host": beat.host,
                "pid": beat.pid,
                "started_at": iso(beat.started_at),
                "seen_at": iso(beat.seen_at),
            }
            for beat in report.heartbeats
        ],
        "queue": engine
        and {
            "name": engine.queue,
            "reachable": engine.reachable,
            "trouble": None if engine.trouble is None else str(engine.trouble),
            "suspended": engine.suspended,
            "scheduler": engine.scheduler,
            "workers": engine.workers,
            "waiting": engine.waiting,
            "scheduled": engine.scheduled,
            "failed": engine.failed,
        },
    }


def activity_members(activity: Activity) -> dict[str, Any]:
    """Who did what."""
    return {
        "id": activity.id,
        "at": iso(activity.at),
        "actor": activity.actor,
        "action": activity.action,
        "tenant": activity.tenant,
        "endpoint_id": activity.endpoint_id,
        "delivery_id": activity.delivery_id,
        "changes": activity.changes,
    }
