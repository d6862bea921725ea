"""The tables, as typed mixins from which the ORM classes of a host's database are built once.

`build_models` puts concrete classes on a private declarative base over the host's own metadata, so that
`db.create_all()`, Flask-Migrate, the host's schema, naming convention and binds all apply to them.

Long, since all tables and their relations are in one place.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.util import OrderedSet

from . import ids
from .attempt_errors import stored_error
from .columns import (
    JsonText,
    LongText,
    SealedText,
    TenantId,
    UtcDateTime,
    utc_now,
)
from .errors import ConfigurationError
from .security.vault import Sealed

_ID = String(ids.MAX_LENGTH)
_TENANT = TenantId
_ACTOR = String(255)


class Row:
    """The common base of all tables."""

    if TYPE_CHECKING:
        # SQLAlchemy gives the concrete classes a constructor that takes the columns by name.
        def __init__(self, **values: Any) -> None: ...


class EndpointState(enum.StrEnum):
    """Whether an endpoint gets deliveries."""

    ACTIVE = "active"
    #: Its receiver has to echo a challenge first; see `delivery.echo`.
    UNVERIFIED = "unverified"
    PAUSED = "paused"
    DISABLED = "disabled"


class DeliveryState(enum.StrEnum):
    """The state of a delivery. The last four are at rest."""

    PENDING = "pending"
    SENDING = "sending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    HELD = "held"


AT_REST = frozenset(
    {
        DeliveryState.SUCCEEDED,
        DeliveryState.FAILED,
        DeliveryState.CANCELLED,
        DeliveryState.HELD,
    }
)


class Trigger(enum.StrEnum):
    """Why an attempt was made."""

    EVENT = "event"
    RETRY = "retry"
    #: A bulk request of a person. They wait for a paused or failing endpoint, like events.
    REPLAY = "replay"
    MANUAL = "manual"
    TEST = "test"


#: A manual request for this delivery, which is sent whatever the state of the endpoint.
ON_DEMAND = (Trigger.MANUAL, Trigger.TEST)


class TaskKind(enum.StrEnum):
    """What a task does to the selected deliveries, or with `REPLAY`, `PRUNE` and `ERASE` to events."""

    #: Resend failed deliveries.
    RECOVER = "recover"
    #: Send events that the endpoint subscribes to and never got.
    REPLAY = "replay"
    #: Resend deliveries in any state.
    RESEND = "resend"
    #: Cancel pending and held deliveries.
    CANCEL = "cancel"
    #: Send deliveries that were kept held when the endpoint was resumed.
    RELEASE = "release"
    #: Cancel held deliveries.
    DISCARD = "discard"
    #: Remove events that are older than their retention time, with their deliveries and attempts.
    PRUNE = "prune"
    #: Erase the data of one person from events and attempts.
    ERASE = "erase"


class TaskState(enum.StrEnum):
    """The state of a task. The last three are final."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


#: States of an unfinished task.
UNFINISHED = (TaskState.WAITING, TaskState.RUNNING)


class Endpoint(Row):
    """A URL with its subscribed event types, format, secrets and state."""

    __tablename__ = "webhooks_endpoint"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("ep"))
    #: The host's application, project or product id; ``None`` is the whole server.
    tenant: Mapped[str | None] = mapped_column(_TENANT)
    name: Mapped[str] = mapped_column(String(200), default="")
    description: Mapped[str] = mapped_column(String(2000), default="")
    #: The URL for display: masked if it contains a secret.
    url_shown: Mapped[str] = mapped_column(String(2048))
    #: The complete URL if it contains a secret, else ``None``.
    url_sealed: Mapped[Sealed | None] = mapped_column(SealedText)
    format: Mapped[str] = mapped_column(String(64))
    #: Subscribed names and ``license.*`` patterns; ``None`` is all types, including future ones.
    events: Mapped[list[str] | None] = mapped_column(JsonText)
    #: Conditions on the data of events, in the notation of `filters`; ``None`` matches everything.
    filter: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    #: Event types of which it gets one event per key in an interval; see `filters.coalescing`.
    coalesce: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    #: The version date of its event data; ``None`` is before the first version.
    data_version: Mapped[str | None] = mapped_column(String(10))
    #: JSON list of ``{"secret", "expires_at"}``, newest first; ``expires_at`` is a Unix time or null.
    secrets_sealed: Mapped[Sealed | None] = mapped_column(SealedText)
    #: JSON object of custom header names and values.
    headers_sealed: Mapped[Sealed | None] = mapped_column(SealedText)
    #: JSON object with ``certificate`` and ``key`` of the client in PEM.
    certificate_sealed: Mapped[Sealed | None] = mapped_column(SealedText)
    #: Their public properties: ``subject``, ``expires_at`` and ``fingerprint``.
    client_certificate: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    user_agent: Mapped[str | None] = mapped_column(String(256))
    #: The e-mail address of the person responsible for the receiver, for `@webhooks.notify`.
    contact: Mapped[str | None] = mapped_column(String(254))
    #: The checked options of the format, which never contain a secret.
    options: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    #: Timeout of a whole request in seconds; ``None`` is that of the format or ``WEBHOOKS_TIMEOUT``.
    timeout: Mapped[float | None] = mapped_column()
    #: Requests per second, across all workers; ``None`` is unlimited.
    rate_limit: Mapped[float | None] = mapped_column()
    #: Digest of the destination that it shares with other endpoints of one service, and so a limit.
    bucket: Mapped[str | None] = mapped_column(String(64))
    #: Deliveries are sent one after another, in the order of ids.
    ordered: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(16), default=EndpointState.ACTIVE)
    #: Why it is paused or disabled, for people, and by whom.
    state_reason: Mapped[str | None] = mapped_column(String(500))
    #: A worker's reason as a code of `state_reasons` with parameters.
    state_reason_code: Mapped[str | None] = mapped_column(String(32))
    state_reason_params: Mapped[dict[str, str] | None] = mapped_column(JsonText)
    state_actor: Mapped[str | None] = mapped_column(_ACTOR)
    state_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Digest of the token that its receiver must echo first; ``None`` if this is not required.
    challenge: Mapped[str | None] = mapped_column(String(64))
    #: Digests of tenant and idempotency key, and of the request.
    idempotency_digest: Mapped[str | None] = mapped_column(String(64))
    idempotency_request: Mapped[str | None] = mapped_column(String(64))
    #: Incremented with every change, so that workers can detect outdated copies.
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            UniqueConstraint("idempotency_digest", name="uq_webhooks_endpoint_idempotency"),
            Index("ix_webhooks_endpoint_tenant", "tenant", "id"),
            Index("ix_webhooks_endpoint_deleted", "deleted_at"),
            Index("ix_webhooks_endpoint_bucket", "bucket"),
        )


class EndpointHealth(Row):
    """The health of an endpoint. Separate from `Endpoint`, because workers lock and write it."""

    __tablename__ = "webhooks_endpoint_health"

    endpoint_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks_endpoint.id", ondelete="CASCADE"), primary_key=True
    )
    consecutive_failures: Mapped[int] = mapped_column(default=0)
    #: The first failure since the last success.
    failing_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_failure_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_success_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The pause before the next probe, in seconds; ``None`` while the endpoint is not failing.
    probe_interval: Mapped[float | None] = mapped_column()
    #: Nothing is sent before this time, except on demand.
    hold_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    hold_reason: Mapped[str | None] = mapped_column(String(64))
    #: The last warning before it is disabled: 0, 50 or 90 percent.
    warned: Mapped[int] = mapped_column(default=0)
    #: Its last responses were slow, so more slots are reserved for others.
    slow: Mapped[bool] = mapped_column(default=False)
    #: Not later than the first due time of its deliveries that are `Delivery.noticed`.
    look_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Its rate limit, or that of its bucket, allows no request before this time.
    wait_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The highest assigned `Delivery.sequence`, which never decreases.
    last_sequence: Mapped[int] = mapped_column(sa.BigInteger(), default=0, server_default="0")

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (Index("ix_webhooks_endpoint_health_look_at", "look_at"),)


class Bucket(Row):
    """A limit on requests, of one endpoint or of all that share a destination. Claims lock and write it."""

    __tablename__ = "webhooks_bucket"

    #: `Endpoint.bucket`, or the id of its only endpoint.
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: The next free slot.
    free_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Event(Row):
    """One occurrence of an event type. `id` goes out as ``webhook-id``."""

    __tablename__ = "webhooks_event"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("evt"))
    type: Mapped[str] = mapped_column(String(100))
    tenant: Mapped[str | None] = mapped_column(_TENANT)
    data: Mapped[Any] = mapped_column(JsonText)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    #: The number of consecutive webhooks that have led to it; see `hops`.
    hops: Mapped[int] = mapped_column(default=0, server_default="0")
    #: The ``traceparent`` of the span that emitted it; see `tracing`.
    trace_context: Mapped[str | None] = mapped_column(String(55))
    #: The version of its data; ``None`` is before the first version.
    data_version: Mapped[str | None] = mapped_column(String(10))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    #: Digest of tenant and key, because NULL tenants are not equal in a unique constraint.
    idempotency_digest: Mapped[str | None] = mapped_column(String(64))
    #: When its data was erased, after which it is empty.
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The batch that a pull has assigned after the commit; ``None`` before that.
    batch: Mapped[int | None] = mapped_column(sa.BigInteger())

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        def partial(name: str, condition: str, full: str, *columns: str) -> Index:
            if not getattr(cls, "partial_indexes", True):
                return Index(f"ix_webhooks_event_{name}", *full.split())
            where = sa.text(condition)
            options: Any = {"postgresql_where": where, "sqlite_where": where}
            return Index(f"ix_webhooks_event_{name}", *columns, **options)

        numbered = "batch IS NOT NULL"
        unnumbered = [partial("unnumbered", "batch IS NULL", "", "id")]
        if not getattr(cls, "partial_indexes", True):
            # The index of all batches begins with it.
            unnumbered = []
        return (
            UniqueConstraint("idempotency_digest", name="uq_webhooks_event_idempotency"),
            Index("ix_webhooks_event_tenant", "tenant", "id"),
            Index("ix_webhooks_event_type", "type", "id"),
            # A new event is only in one of these, at its end, so that `emit` stays cheap.
            *unnumbered,
            partial("batch", numbered, "batch id", "batch", "id"),
            partial("tenant_batch", numbered, "tenant batch id", "tenant", "batch", "id"),
        )


class ScheduledEvent(Row):
    """An event that is to be recorded at a time ahead. The row is gone once it is, or once it was cancelled."""

    __tablename__ = "webhooks_scheduled"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("sch"))
    type: Mapped[str] = mapped_column(String(100))
    tenant: Mapped[str | None] = mapped_column(_TENANT)
    data: Mapped[Any] = mapped_column(JsonText)
    #: When it becomes an event, for the subscribers at that time.
    deliver_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: The time that the event will have.
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: When it was scheduled, or replaced another one.
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    #: The host's name for it, with which it is replaced and cancelled.
    key: Mapped[str | None] = mapped_column(String(255))
    #: Digest of tenant and key; see `Event.idempotency_digest`.
    key_digest: Mapped[str | None] = mapped_column(String(64))
    hops: Mapped[int] = mapped_column(default=0, server_default="0")
    trace_context: Mapped[str | None] = mapped_column(String(55))
    data_version: Mapped[str | None] = mapped_column(String(10))

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            UniqueConstraint("key_digest", name="uq_webhooks_scheduled_key"),
            Index("ix_webhooks_scheduled_due", "deliver_at", "id"),
            Index("ix_webhooks_scheduled_tenant", "tenant", "id"),
        )


class Delivery(Row):
    """One event to be delivered to one endpoint."""

    __tablename__ = "webhooks_delivery"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("dlv"))
    event_id: Mapped[str] = mapped_column(ForeignKey("webhooks_event.id", ondelete="CASCADE"))
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhooks_endpoint.id", ondelete="CASCADE"))
    #: The endpoint's tenant and the event's type, so that lists need no join to filter.
    tenant: Mapped[str | None] = mapped_column(_TENANT)
    event_type: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16), default=DeliveryState.PENDING)
    #: Why it failed or was cancelled: ``exhausted``, ``gone``, ``blocked``, ``interrupted`` …
    reason: Mapped[str | None] = mapped_column(String(64))
    #: Why the next attempt (or at rest, the last) is made, and the person who requested it.
    trigger: Mapped[str] = mapped_column(String(16), default=Trigger.EVENT)
    actor: Mapped[str | None] = mapped_column(_ACTOR)
    #: When the next attempt is due; ``None`` unless pending.
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: While pending: the endpoint's `look_at` covers it. Claims find others directly.
    noticed: Mapped[bool | None] = mapped_column()
    #: The fencing token of its claim, and the end of the lease.
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The total number of attempts, and failures of the current retry schedule.
    attempt_count: Mapped[int] = mapped_column(default=0)
    failure_count: Mapped[int] = mapped_column(default=0)
    interruption_count: Mapped[int] = mapped_column(default=0)
    #: The number of others with its key that were coalesced since the previous one; ``None``: not decided.
    coalesced: Mapped[int | None] = mapped_column()
    #: 1, 2, 3 … for each endpoint, assigned at the first claim; ``None`` before that, and for tests.
    sequence: Mapped[int | None] = mapped_column(sa.BigInteger())
    #: The version of its data that was chosen for a test; ``None`` is that of its endpoint.
    data_version: Mapped[str | None] = mapped_column(String(10))
    last_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_status: Mapped[int | None] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        def index(name: str, condition: str, full: str, partial: str) -> Index:
            # Partial where the database can: the queue stays small however long the history is. Then
            # without what the condition says already: PostgreSQL does not compare that any more, and
            # as a first column it would make each look into the index a scan of all of it.
            if not getattr(cls, "partial_indexes", True):
                return Index(f"ix_webhooks_delivery_{name}", *full.split())
            where = sa.text(condition)
            options: Any = {"postgresql_where": where, "sqlite_where": where}
            return Index(f"ix_webhooks_delivery_{name}", *partial.split(), **options)

        def only(name: str, state: DeliveryState, columns: str) -> Index:
            return index(name, f"state = '{state}'", f"state {columns}", columns)

        return (
            UniqueConstraint("event_id", "endpoint_id", name="uq_webhooks_delivery_event"),
            only("due", DeliveryState.PENDING, "endpoint_id due_at id"),
            index(
                "fresh",
                "state = 'pending' AND noticed IS NULL",
                "state noticed endpoint_id id",
                "endpoint_id id",
            ),
            index(
                "on_demand",
                "state = 'pending' AND \"trigger\" IN ('manual', 'test')",
                "state trigger endpoint_id",
                # With the id, because SQLite would otherwise prefer reading all due rows in order.
                "endpoint_id due_at id",
            ),
            only("held", DeliveryState.HELD, "endpoint_id"),
            only("lease", DeliveryState.SENDING, "endpoint_id lease_until"),
            only("failed", DeliveryState.FAILED, "endpoint_id id"),
            only("failures", DeliveryState.FAILED, "id"),
            only("failures_tenant", DeliveryState.FAILED, "tenant id"),
            # By their names these come before the partial ones, and "due" before those that hold less
            # of what is pending: see `_in_order_of_names`.
            Index("ix_webhooks_delivery_all_type", "event_type", "id"),
            Index("ix_webhooks_delivery_all_endpoint", "endpoint_id", "id"),
            Index("ix_webhooks_delivery_all_tenant", "tenant", "id"),
            # Rows enter it at the claim, so that it costs the host's transactions nothing.
            index(
                "sequence",
                "sequence IS NOT NULL",
                "endpoint_id sequence",
                "endpoint_id sequence",
            ),
        )


class CoalescingKey(Row):
    """The last sent delivery of one key to an endpoint. Claims write it, under the endpoint's lock."""

    __tablename__ = "webhooks_coalescing"

    endpoint_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks_endpoint.id", ondelete="CASCADE"), primary_key=True
    )
    #: Digest of the event type and the member's value.
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: When the last one was sent.
    passed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Deliveries that were coalesced since then.
    skipped: Mapped[int] = mapped_column(default=0)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (Index("ix_webhooks_coalescing_passed", "passed_at"),)


class Attempt(Row):
    """One HTTP request of a delivery, with its response."""

    __tablename__ = "webhooks_attempt"

    delivery_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks_delivery.id", ondelete="CASCADE"), primary_key=True
    )
    #: 1, 2, 3 … over all replays.
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    endpoint_id: Mapped[str] = mapped_column(_ID)
    trigger: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str | None] = mapped_column(_ACTOR)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    duration_ms: Mapped[float | None] = mapped_column()
    #: An `Outcome` of `delivery.outcome`.
    outcome: Mapped[str] = mapped_column(String(32))
    status: Mapped[int | None] = mapped_column()
    #: The error, as a code of `attempt_errors` with parameters; never contains a secret.
    error_code: Mapped[str | None] = mapped_column(String(32))
    error_params: Mapped[dict[str, str] | None] = mapped_column(JsonText)
    #: The sentence, if a worker without codes wrote it.
    error_stored: Mapped[str | None] = mapped_column("error", String(500))
    #: The URL for display, and the address of the connection.
    url: Mapped[str] = mapped_column(String(2048))
    address: Mapped[str | None] = mapped_column(String(64))
    #: Lists of [name, value]; secret values are masked.
    request_headers: Mapped[list[list[str]] | None] = mapped_column(JsonText)
    request_body: Mapped[str | None] = mapped_column(LongText)
    response_headers: Mapped[list[list[str]] | None] = mapped_column(JsonText)
    response_body: Mapped[str | None] = mapped_column(LongText)
    #: The body was longer than the stored part.
    response_cut: Mapped[bool] = mapped_column(default=False)
    #: The fingerprint of the key of the bodies; ``None`` if they are not encrypted. See `security.bodies`.
    body_key: Mapped[str | None] = mapped_column(String(32))
    #: Milliseconds by phase (``connect``, ``wait``, ``read``), where they were measured.
    timings: Mapped[dict[str, float] | None] = mapped_column(JsonText)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        # Only of encrypted ones, if the database supports it; elsewhere each attempt has an entry.
        encrypted = sa.text("body_key IS NOT NULL")
        options: Any = {"postgresql_where": encrypted, "sqlite_where": encrypted}
        if not getattr(cls, "partial_indexes", True):
            options = {}
        return (Index("ix_webhooks_attempt_body_key", "body_key", "delivery_id", **options),)

    @property
    def missing(self) -> dict[str, str]:
        """Reasons of missing bodies by column: a `queries.Missing`, set by `queries`."""
        found: dict[str, str] = self.__dict__.setdefault("_missing", {})
        return found

    @property
    def error(self) -> str | None:
        """The error in English; a `Text` if it can be translated."""
        return stored_error(self.error_code, self.error_params, self.error_stored)


#: Upper bounds in milliseconds of the response time buckets; slower ones go to the last bucket.
BUCKETS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
BUCKET_COLUMNS = (*(f"ms_{bound}" for bound in BUCKETS), "ms_more")


class Statistic(Row):
    """Attempts of one endpoint in one hour, counted as they are settled. The charts read this."""

    __tablename__ = "webhooks_statistic"

    endpoint_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks_endpoint.id", ondelete="CASCADE"), primary_key=True
    )
    #: The start of the hour.
    hour: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    succeeded: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    duration_ms: Mapped[float] = mapped_column(default=0.0)
    ms_10: Mapped[int] = mapped_column(default=0)
    ms_25: Mapped[int] = mapped_column(default=0)
    ms_50: Mapped[int] = mapped_column(default=0)
    ms_100: Mapped[int] = mapped_column(default=0)
    ms_250: Mapped[int] = mapped_column(default=0)
    ms_500: Mapped[int] = mapped_column(default=0)
    ms_1000: Mapped[int] = mapped_column(default=0)
    ms_2500: Mapped[int] = mapped_column(default=0)
    ms_5000: Mapped[int] = mapped_column(default=0)
    ms_10000: Mapped[int] = mapped_column(default=0)
    ms_more: Mapped[int] = mapped_column(default=0)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (Index("ix_webhooks_statistic_hour", "hour"),)


class Metric(Row):
    """A part of a cumulative counter. It never decreases, and retention does not remove it; `counters` adds to it."""

    __tablename__ = "webhooks_metric"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: A JSON object of text: the labels, and in a histogram the bucket.
    labels: Mapped[str] = mapped_column(String(255), primary_key=True)
    #: A counter is the sum of its slots, so that workers rarely wait for each other.
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[float] = mapped_column(sa.Double(), default=0.0)


class Mark(Row):
    """The position of periodic work in a table; see `delivery.walks`."""

    __tablename__ = "webhooks_mark"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    #: The id of the last examined row.
    front: Mapped[str] = mapped_column(_ID)
    #: The same of the round that looks at those rows again, empty between two of them; and when the last one began.
    again: Mapped[str] = mapped_column(_ID)
    again_since: Mapped[datetime] = mapped_column(UtcDateTime)


class Numbering(Row):
    """The last assigned number in the order of commits. Assigning the next one locks the row."""

    __tablename__ = "webhooks_numbering"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    last: Mapped[int] = mapped_column(sa.BigInteger(), default=0)


class Heartbeat(Row):
    """A heartbeat of a worker or of a drain."""

    __tablename__ = "webhooks_heartbeat"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    #: ``worker`` or ``drain``, or ``stopped`` for the last one that ended normally.
    kind: Mapped[str] = mapped_column(String(16))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column()
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Seconds by which the clock of its machine is ahead of the database's.
    clock_skew: Mapped[float | None] = mapped_column()


class Activity(Row):
    """An entry of the audit log, which never contains a secret."""

    __tablename__ = "webhooks_activity"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("act"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    actor: Mapped[str] = mapped_column(_ACTOR)
    #: ``endpoint.created``, ``endpoint.deleted``, ``delivery.resent`` …
    action: Mapped[str] = mapped_column(String(64))
    tenant: Mapped[str | None] = mapped_column(_TENANT)
    endpoint_id: Mapped[str | None] = mapped_column(_ID)
    delivery_id: Mapped[str | None] = mapped_column(_ID)
    #: What changed: ``{"name": ["old", "new"]}``.
    changes: Mapped[dict[str, Any] | None] = mapped_column(JsonText)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            Index("ix_webhooks_activity_tenant", "tenant", "id"),
            Index("ix_webhooks_activity_endpoint", "endpoint_id", "id"),
        )


class Task(Row):
    """A task over many deliveries or events, which is processed in small batches."""

    __tablename__ = "webhooks_task"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("task"))
    kind: Mapped[str] = mapped_column(String(16))
    #: ``None``: all endpoints in the scope of the user who started it.
    endpoint_id: Mapped[str | None] = mapped_column(_ID)
    #: The endpoint's tenant, else the scope; ``None`` without an endpoint is all tenants.
    tenant: Mapped[str | None] = mapped_column(_TENANT)
    #: Its selection; see `bulk.selection.Selection`.
    filter: Mapped[dict[str, Any]] = mapped_column(JsonText)
    #: For an unfinished erasure: members and the searched values, of which `filter` has digests.
    input_sealed: Mapped[Sealed | None] = mapped_column(SealedText)
    actor: Mapped[str] = mapped_column(_ACTOR)
    state: Mapped[str] = mapped_column(String(16), default=TaskState.WAITING)
    #: The total number of rows; ``None`` until they were counted.
    total: Mapped[int | None] = mapped_column()
    done: Mapped[int] = mapped_column(default=0)
    #: For an erasure: how many of the examined events were erased.
    changed: Mapped[int | None] = mapped_column()
    #: The last examined delivery or event, and the end; both exclusive.
    cursor: Mapped[str] = mapped_column(_ID)
    bound: Mapped[str] = mapped_column(_ID)
    #: The fencing token of its worker, and the end of the lease.
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: When it was last processed: tasks alternate.
    touched_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Why it failed, or who stopped it, for people.
    error: Mapped[str | None] = mapped_column(String(500))

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            Index("ix_webhooks_task_state", "state", "touched_at"),
            Index("ix_webhooks_task_tenant", "tenant", "id"),
            Index("ix_webhooks_task_endpoint", "endpoint_id", "id"),
            Index("ix_webhooks_task_kind", "kind", "id"),
        )


class NotificationState(enum.StrEnum):
    """The state of a notification. All but the first are final."""

    PENDING = "pending"
    SENT = "sent"
    #: The host's function refused to send it, or the endpoint was deleted meanwhile.
    SKIPPED = "skipped"
    FAILED = "failed"


class Notification(Row):
    """A notification to the owner of an endpoint, by the host's `@webhooks.notify`, once for each incident and
    stage.
    """

    __tablename__ = "webhooks_notification"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("ntf"))
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhooks_endpoint.id", ondelete="CASCADE"))
    #: Identifies the incident of the endpoint: a time, such as that of the first failure.
    incident: Mapped[str] = mapped_column(String(40))
    #: A `notifications.Stage`.
    stage: Mapped[str] = mapped_column(String(16))
    #: The facts when it was recorded; see `notifications.Incident`.
    facts: Mapped[dict[str, Any]] = mapped_column(JsonText)
    #: The number of deliveries that it reports.
    count: Mapped[int] = mapped_column(default=0, server_default="0")
    state: Mapped[str] = mapped_column(String(16), default=NotificationState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    #: When it is tried next, or the end of the lease of its worker; ``None`` at the end.
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The fencing token of its worker.
    lease_token: Mapped[str | None] = mapped_column(String(32))
    #: The endpoint's address at the last attempt.
    contact: Mapped[str | None] = mapped_column(String(254))
    #: Why the last attempt failed: a code of `notifications` with parameters.
    error_code: Mapped[str | None] = mapped_column(String(32))
    error_detail: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            UniqueConstraint(
                "endpoint_id", "incident", "stage", name="uq_webhooks_notification_incident"
            ),
            Index("ix_webhooks_notification_due", "due_at"),
            Index("ix_webhooks_notification_endpoint", "endpoint_id", "id"),
        )


class Token(Row):
    """An API token with its permissions. The token itself is not stored."""

    __tablename__ = "webhooks_token"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("tok"))
    name: Mapped[str] = mapped_column(String(100))
    #: SHA-256 of the whole token.
    digest: Mapped[str] = mapped_column(String(64))
    #: The last characters of the token, to recognise it.
    ending: Mapped[str] = mapped_column(String(8))
    #: The tenant whose endpoints it sees; ``None`` is all tenants and the whole server.
    tenant: Mapped[str | None] = mapped_column(_TENANT)
    #: Permissions, from `access.ACTIONS`.
    actions: Mapped[list[str]] = mapped_column(JsonText)
    created_by: Mapped[str] = mapped_column(_ACTOR)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Written once a minute at most.
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_by: Mapped[str | None] = mapped_column(_ACTOR)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            UniqueConstraint("digest", name="uq_webhooks_token_digest"),
            Index("ix_webhooks_token_tenant", "tenant", "id"),
        )


class PortalLink(Row):
    """A link that opens the pages for one tenant without a login of the host. The link itself is not stored."""

    __tablename__ = "webhooks_portal_link"

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: ids.new_id("plk"))
    tenant: Mapped[str] = mapped_column(_TENANT)
    #: The user who opens it, for the audit log.
    actor: Mapped[str] = mapped_column(String(200))
    #: Permissions, from `access.ACTIONS`.
    actions: Mapped[list[str]] = mapped_column(JsonText)
    created_by: Mapped[str] = mapped_column(_ACTOR)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now())
    #: When the link and its session expire.
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_by: Mapped[str | None] = mapped_column(_ACTOR)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            Index("ix_webhooks_portal_link_tenant", "tenant", "id"),
            Index("ix_webhooks_portal_link_expires", "expires_at"),
        )


@dataclass(frozen=True, slots=True)
class Models:
    """The concrete ORM classes of one database."""

    Endpoint: type[Endpoint]
    EndpointHealth: type[EndpointHealth]
    Bucket: type[Bucket]
    Event: type[Event]
    ScheduledEvent: type[ScheduledEvent]
    Delivery: type[Delivery]
    CoalescingKey: type[CoalescingKey]
    Attempt: type[Attempt]
    Statistic: type[Statistic]
    Metric: type[Metric]
    Mark: type[Mark]
    Numbering: type[Numbering]
    Heartbeat: type[Heartbeat]
    Activity: type[Activity]
    Task: type[Task]
    Notification: type[Notification]
    Token: type[Token]
    PortalLink: type[PortalLink]

    @property
    def metadata(self) -> sa.MetaData:
        return self.table("Endpoint").metadata

    def table(self, name: str) -> sa.Table:
        """Return the `Table` of a class by the name of the class."""
        return cast(sa.Table, getattr(self, name).__table__)

    def tables(self) -> list[sa.Table]:
        """All tables, referenced ones first."""
        return [self.table(mixin.__name__) for mixin in _MIXINS]


_MIXINS = (
    Endpoint,
    EndpointHealth,
    Bucket,
    Event,
    ScheduledEvent,
    Delivery,
    CoalescingKey,
    Attempt,
    Statistic,
    Metric,
    Mark,
    Numbering,
    Heartbeat,
    Activity,
    Task,
    Notification,
    Token,
    PortalLink,
)

_INFO_KEY = "flask_webhooks"

_MYSQL_OPTIONS = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


def build_models(metadata: sa.MetaData, *, partial_indexes: bool = True) -> Models:
    """Build the classes on a metadata, or return existing ones.

    :param partial_indexes: whether the database has partial indexes; MySQL has none.
    :raises ConfigurationError: the host has another table with one of our names.
    """
    known: Models | None = metadata.info.get(_INFO_KEY)
    if known is not None:
        return known
    prefix = f"{metadata.schema}." if metadata.schema else ""
    for mixin in _MIXINS:
        name = mixin.__tablename__
        if prefix + name in metadata.tables:
            raise ConfigurationError(
                f"The application already defines a table {name!r}, which Flask-Webhooks needs. Rename that table, or "
                "give Flask-Webhooks another database with WEBHOOKS_BIND_KEY."
            )
    base = type(
        "Base",
        (DeclarativeBase,),
        {"metadata": metadata, "partial_indexes": partial_indexes, "__module__": __name__},
    )
    classes = {
        mixin.__name__: type(mixin.__name__, (mixin, base), {"__module__": __name__})
        for mixin in _MIXINS
    }
    models = Models(**cast(Any, classes))
    for name in classes:
        _in_order_of_names(models.table(name))
        # A database may have another character set for tables that do not name one.
        models.table(name).kwargs.update(_MYSQL_OPTIONS)
    metadata.info[_INFO_KEY] = models
    return models


def _in_order_of_names(table: sa.Table) -> None:
    """Create the indexes of a table in the order of their names, as Alembic does, because SQLAlchemy creates them
    in arbitrary order.

    Of two equally suitable indexes, SQLite uses the newest, and it does not distinguish the index of all
    deliveries of an endpoint from that of the few pending ones.
    """
    table.indexes = OrderedSet(sorted(table.indexes, key=lambda index: str(index.name)))
