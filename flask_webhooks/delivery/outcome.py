"""The values that claim, send and settle exchange."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import blinker

from ..attempt_errors import AttemptError
from ..formats import OutgoingEvent, Refusal, Target
from ..models import DeliveryState
from .settle.health import Change, Health


class Outcome(enum.StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    #: A response that is not a success.
    REFUSED = "refused"
    #: A 3xx response; redirects are never followed.
    REDIRECTED = "redirected"
    TIMEOUT = "timeout"
    DNS_FAILED = "dns_failed"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    #: The network policy forbids the address.
    BLOCKED = "blocked"
    #: The connection broke, or the response was not HTTP.
    BROKEN = "broken"
    #: Our worker died or was stopped; the request may have arrived.
    INTERRUPTED = "interrupted"


class Reason(enum.StrEnum):
    """Why a delivery has ended without success."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"
    ENDPOINT_DELETED = "endpoint_deleted"
    #: Another one with the same key was sent shortly before.
    COALESCED = "coalesced"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this worker owns until the lease expires."""

    delivery_id: str
    endpoint_id: str
    event: OutgoingEvent
    #: The number of this attempt: 1, 2, 3 …
    number: int
    trigger: str
    actor: str | None
    failure_count: int
    token: str
    #: By the database's clock.
    lease_until: datetime
    #: The id of the `Bucket` row that its endpoint shares with others.
    bucket: str | None = None
    #: Its slot of a rate limit, by the database's clock; ``None`` is at once.
    not_before: datetime | None = None
    #: The number of coalesced others with its key; see `claim.coalescing`.
    coalesced: int = 0
    #: Its number among the deliveries of the endpoint; ``None`` for a test. See `claim.numbering`.
    sequence: int | None = None
    #: The version of its data; ``None`` is that of its endpoint.
    data_version: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An ended attempt, which becomes a row, and is used by log, traces, metrics and signals."""

    claimed: Claimed
    target: Target
    outcome: Outcome
    started_at: datetime
    #: Milliseconds; ``None`` if its worker was lost before it ended.
    duration_ms: float | None
    status: int | None = None
    error: AttemptError | None = None
    address: str | None = None
    request_headers: list[list[str]] | None = field(default=None, repr=False)
    request_body: str | None = field(default=None, repr=False)
    response_headers: list[list[str]] | None = field(default=None, repr=False)
    response_body: str | None = field(default=None, repr=False)
    response_cut: bool = False
    timings: dict[str, float] | None = None
    #: Seconds for which the receiver asked to wait.
    retry_after: float | None = None
    #: The meaning of an unsuccessful response beyond its status.
    refusal: Refusal = field(default_factory=Refusal)

    @property
    def endpoint_id(self) -> str:
        return self.claimed.endpoint_id

    @property
    def lost(self) -> bool:
        """Whether another worker records it, because its own was lost."""
        return self.duration_ms is None

    @property
    def plain(self) -> bool:
        """Whether it succeeded without a request to wait: its endpoint may get the next one."""
        return self.outcome == Outcome.SUCCEEDED and not self.retry_after


@dataclass(frozen=True, slots=True)
class Decision:
    """The consequences of an attempt for its delivery."""

    attempt: AttemptRecord
    #: The new state of the delivery, and the reason if it is final.
    state: DeliveryState
    reason: Reason | None = None
    #: When a pending delivery is due again.
    due_at: datetime | None = None
    #: Seconds for which nothing is sent to the endpoint and to others that share its rate limit.
    pause: float | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """A claimed delivery that was not sent, and whose attempt does not count."""

    claimed: Claimed
    #: Seconds until it is due again.
    delay: float = 0.0
    #: Set if the endpoint as a whole cannot be served now, for example because of an unreadable secret.
    hold_reason: str | None = None


@dataclass(slots=True)
class Unsettled:
    """Ended attempts of a drain that are not in the database yet."""

    #: Successes by endpoint: their deliveries are still leased, and their requests have ended.
    answered: Counter[str] = field(default_factory=Counter)
    #: Endpoints and buckets for which the settlement decides whether they get more for now.
    troubled: set[str] = field(default_factory=set)

    def concerns(self, endpoint_id: str, bucket: str | None) -> bool:
        """Return whether the settlement may stop further requests to an endpoint."""
        return endpoint_id in self.troubled or bucket in self.troubled


@dataclass(slots=True)
class Settled:
    """The results of a batch, for log, signals and notifications."""

    #: The result of each recorded attempt, in the order in which they ended.
    decisions: list[Decision] = field(default_factory=list)
    #: Endpoint id, change, and new health.
    changes: list[tuple[str, Change, Health]] = field(default_factory=list)
    #: Signals to send once the batch is committed, with their keywords.
    messages: list[tuple[blinker.NamedSignal, dict[str, Any]]] = field(default_factory=list)
    #: Operational events were written, and with them deliveries.
    emitted: bool = False
    #: There are notifications for owners of endpoints.
    notified: bool = False
    #: Attempts whose lease had been taken over.
    stale: int = 0
