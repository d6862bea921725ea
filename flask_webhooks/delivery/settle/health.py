"""The effect of consecutive failures on an endpoint.

Pure: the caller passes the time and stores the result. After some consecutive failures an endpoint is *failing*:
it gets one probe at a time, at growing intervals, while its backlog waits. One success ends this. Failures over
days, at least two of them far enough apart, disable it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

#: Response time in milliseconds above which an endpoint is slow, until it is below half of that.
SLOW_MS = 1000.0


class Change(enum.StrEnum):
    """Changes of an endpoint that are announced to the host and the customer."""

    FAILING = "failing"
    RECOVERED = "recovered"
    WARNED = "warned"
    DISABLED = "disabled"


class Hold(enum.StrEnum):
    """Why nothing is sent to an endpoint for a while; stored in `EndpointHealth.hold_reason`."""

    #: It is failing, and is probed occasionally.
    FAILING = "failing"
    #: The receiver asked for it.
    RETRY_AFTER = "retry_after"
    #: No configured key decrypts its secret, headers or URL.
    UNREADABLE_SECRET = "unreadable_secret"
    #: The host no longer has its format.
    UNKNOWN_FORMAT = "unknown_format"
    #: A function of the host cannot convert the data of an event to the version of the endpoint.
    VERSION_FAILED = "version_failed"
    #: No name can be resolved.
    NO_DNS = "no_dns"
    #: There are no CA certificates.
    NO_CERTIFICATES = "no_certificates"
    #: The worker can open no more files and sockets.
    NO_DESCRIPTORS = "no_descriptors"
    #: The machine has no route to any network.
    NO_ROUTE = "no_route"
    #: The operator's proxy cannot be reached, or opens no connection.
    NO_PROXY = "no_proxy"


#: Local problems, which operators have to solve.
OURS = (
    Hold.NO_DNS,
    Hold.NO_CERTIFICATES,
    Hold.NO_DESCRIPTORS,
    Hold.NO_ROUTE,
    Hold.NO_PROXY,
    Hold.VERSION_FAILED,
)


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """The parameters of the rules. Times are in seconds."""

    failing_after: int
    probe_interval: float
    max_probe_interval: float
    disable_after: float
    disable_evidence: float


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one endpoint, as in its `EndpointHealth` row."""

    consecutive_failures: int = 0
    failing_since: datetime | None = None
    last_failure_at: datetime | None = None
    last_success_at: datetime | None = None
    probe_interval: float | None = None
    hold_until: datetime | None = None
    hold_reason: str | None = None
    warned: int = 0
    slow: bool = False

    @property
    def failing(self) -> bool:
        return self.probe_interval is not None


def after_success(health: Health, now: datetime) -> tuple[Health, list[Change]]:
    """Return the health after a success, which clears everything except a pause that the receiver requested."""
    held = health.hold_reason == Hold.RETRY_AFTER
    if (
        health.last_success_at == now
        and not health.consecutive_failures
        and (health.hold_until is None or held)
    ):
        # A further success in the same batch, the common case.
        return health, []
    recovered = replace(
        health,
        consecutive_failures=0,
        failing_since=None,
        last_success_at=now,
        probe_interval=None,
        hold_until=health.hold_until if held else None,
        hold_reason=health.hold_reason if held else None,
        warned=0,
    )
    return recovered, [Change.RECOVERED] if health.failing else []


def after_failure(
    health: Health, now: datetime, policy: HealthPolicy
) -> tuple[Health, list[Change]]:
    """Return the health after a failure: count it, start or slow down probing, warn, and finally disable.

    :return: the new health, and the change. After `Change.DISABLED` the caller disables the endpoint.
    """
    changes: list[Change] = []
    failures = health.consecutive_failures + 1
    since = health.failing_since or now
    probe_interval, hold_until, hold_reason = (
        health.probe_interval,
        health.hold_until,
        health.hold_reason,
    )
    if failures >= policy.failing_after:
        if probe_interval is None:
            changes.append(Change.FAILING)
            probe_interval = policy.probe_interval
            hold_until, hold_reason = _later(
                health, now + timedelta(seconds=probe_interval), Hold.FAILING
            )
        elif hold_until is None or hold_until <= now:
            # Only a probe extends the pause, not requests that were in flight when it began.
            probe_interval = min(probe_interval * 2, policy.max_probe_interval)
            hold_until, hold_reason = now + timedelta(seconds=probe_interval), Hold.FAILING
    warned = health.warned
    evidence = health.last_failure_at is not None and (
        now - since >= timedelta(seconds=policy.disable_evidence)
    )
    share = (now - since) / timedelta(seconds=policy.disable_after)
    if share >= 1 and evidence:
        changes.append(Change.DISABLED)
    else:
        for mark in (90, 50):
            if share * 100 >= mark > warned:
                changes.append(Change.WARNED)
                warned = mark
                break
    return (
        replace(
            health,
            consecutive_failures=failures,
            failing_since=since,
            last_failure_at=now,
            probe_interval=probe_interval,
            hold_until=hold_until,
            hold_reason=hold_reason,
            warned=warned,
        ),
        changes,
    )


def after_neither(health: Health, now: datetime) -> Health:
    """Return the health after a refusal by a healthy receiver, which counts neither as a failure nor as a success."""
    return replace(health, last_failure_at=now)


def hold(health: Health, until: datetime, reason: str) -> Health:
    """Send nothing before `until`; a later existing pause is kept."""
    until, reason = _later(health, until, reason)
    return replace(health, hold_until=until, hold_reason=reason)


def paced(health: Health, duration_ms: float) -> Health:
    """Record the response time, with hysteresis."""
    slow = duration_ms > (SLOW_MS / 2 if health.slow else SLOW_MS)
    return health if slow == health.slow else replace(health, slow=slow)


def _later(health: Health, until: datetime, reason: str) -> tuple[datetime, str]:
    if health.hold_until is not None and health.hold_until > until:
        return health.hold_until, health.hold_reason or reason
    return until, reason
