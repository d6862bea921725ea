"""Names of actions in the audit log."""

from __future__ import annotations

from typing import Final

AUDITED: Final = (
    "endpoint.created",
    "endpoint.updated",
    "endpoint.deleted",
    "endpoint.paused",
    "endpoint.resumed",
    "endpoint.tested",
    "endpoint.challenged",
    "endpoint.verified",
    "endpoint.secret_rotated",
    "endpoint.overlap_ended",
    "endpoint.secret_removed",
    "endpoint.disabled",
    "delivery.resent",
    "endpoints.reencrypted",
    "event.replayed",
    "delivery.cancelled",
    "scheduled.cancelled",
    "task.started",
    "task.stopped",
    "task.finished",
    "task.failed",
    "token.created",
    "token.revoked",
    "portal_link.created",
    "portal_link.revoked",
)
