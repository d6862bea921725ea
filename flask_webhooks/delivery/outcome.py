"""What passes between claim, send and settle."""

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
    #: An answer that is not success.
    REFUSED = "refused"
    #: A 3xx answer; redirects are never followed.
    REDIRECTED = "redirected"
    TIMEOUT = "timeout"
    DNS_FAILED = "dns_failed"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    #: The network policy forbids the address.
    BLOCKED = "blocked"
    #: The connection broke, or what came was not HTTP.
    BROKEN = "broken"
    #: Our worker died or was stopped; the request may have arrived.
    INTERRUPTED = "interrupted"


class Reason(enum.StrEnum):
    """Why a delivery is at rest without success."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"
    ENDPOINT_DELETED = "endpoint_deleted"
    #: Another one of its key was let through shortly before.
    COALESCED = "coalesced"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours until the lease runs out."""

    delivery_id: str
    endpoint_id: str
    event: OutgoingEvent
    #: Of this attempt: 1, 2, 3 …
    number: int
    trigger: str
    actor: str | None
    failure_count: int
    token: str
    #: By the database's clock.
    lease_until: datetime
    #: The limit that its endpoint shares with others, as a `Bucket` row's id.
    bucket: str | None = None
    #: Its turn under a rate limit, by the database's clock; ``None`` is at once.
    not_before: datetime | None = None
    #: Others of its key that it stands for; see `claim.coalescing`.
    coalesced: int = 0
    #: The number that it has among those of its endpoint; ``None`` is a test. See `claim.numbering`.
    sequence: int | None = None
    #: The version that its data is to be sent in; ``None`` is that of its endpoint.
    data_version: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt, from its end until it is a row; log, traces, metrics and signals read it too."""

    claimed: Claimed
    target: Target
    outcome: Outcome
    started_at: datetime
    #: Milliseconds; ``None`` where its worker was lost before it ended.
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
    #: Seconds for which the receiver wants nothing more.
    retry_after: float | None = None
    #: What the answer means beyond its status, where it is no success.
    refusal: Refusal = field(default_factory=Refusal)

    @property
    def endpoint_id(self) -> str:
        return self.claimed.endpoint_id

    @property
    def lost(self) -> bool:
        """Whether another worker records it, since its own went silent."""
        return self.duration_ms is None

    @property
    def plain(self) -> bool:
        """Whether it succeeded and the receiver asked for nothing: its endpoint may have the next one."""
        return self.outcome == Outcome.SUCCEEDED and not self.retry_after


@dataclass(frozen=True, slots=True)
class Decision:
    """What an attempt means for its delivery."""

    attempt: AttemptRecord
    #: The state that the delivery is left in, and why if that is the end of it.
    state: DeliveryState
    reason: Reason | None = None
    #: When a pending delivery is due again.
    due_at: datetime | None = None
    #: Seconds for which nothing is sent to the endpoint, nor to others that share its rate limit.
    pause: float | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """A claimed delivery that was not sent; its attempt is not counted."""

    claimed: Claimed
    #: Seconds until it is due again.
    delay: float = 0.0
    #: Set when the endpoint as a whole cannot be served now, such as an unreadable secret.
    hold_reason: str | None = None


@dataclass(slots=True)
class Unsettled:
    """What a drain knows of its attempts that have ended, and the database does not yet."""

    #: By endpoint, successes: their deliveries are ours still, and their requests over.
    answered: Counter[str] = field(default_factory=Counter)
    #: Endpoints and buckets of which settling will tell whether they get anything more for now.
    troubled: set[str] = field(default_factory=set)

    def concerns(self, endpoint_id: str, bucket: str | None) -> bool:
        """Return whether settling may keep an endpoint from getting more."""
        return endpoint_id in self.troubled or bucket in self.troubled


@dataclass(slots=True)
class Settled:
    """What a batch came to, for those who want to be told."""

    #: What each attempt that was recorded came to, in the order in which they ended.
    decisions: list[Decision] = field(default_factory=list)
    #: Endpoint id, what changed, and the health that goes with it.
    changes: list[tuple[str, Change, Health]] = field(default_factory=list)
    #: Signals to send once the batch is committed, with their keywords.
    messages: list[tuple[blinker.NamedSignal, dict[str, Any]]] = field(default_factory=list)
    #: Operational events were written, and with them deliveries.
    emitted: bool = False
    #: There is something to tell the owners of endpoints now.
    notified: bool = False
    #: Attempts whose lease had been taken over.
    stale: int = 0
