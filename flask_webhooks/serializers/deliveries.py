"""Events, their deliveries and attempts, and why an endpoint has no delivery."""

from datetime import datetime
from typing import Annotated, Any

from ..delivery.outcome import Outcome
from ..models import DeliveryState, Trigger
from ..queries import MAX_LIMIT, MOST_ATTEMPTS, Why
from .base import (
    IS_VISIBLE,
    Count,
    Identifier,
    JsonObject,
    Member,
    Tenant,
    one_of,
)
from .endpoints import EndpointLabelObject, Patterns

Data = Annotated[dict[str, Any] | None, Member("Null for those who may not `view_payload`.")]
Headers = Annotated[
    list[list[str]] | None,
    Member("Pairs of name and value; values that are secrets are masked."),
]


class DeliveryObject(JsonObject):
    id: Identifier
    event_id: Annotated[Identifier, Member("Sent as `webhook-id`.")]
    event_type: str
    endpoint_id: Identifier
    tenant: Tenant
    state: Annotated[str, one_of(DeliveryState)]
    reason: Annotated[str | None, Member("Why it failed, is held or was cancelled.")]
    trigger: Annotated[str, one_of(Trigger, "Why the next attempt is made, at rest the last one.")]
    actor: Annotated[str | None, Member("Who asked for it.")]
    due_at: Annotated[datetime | None, Member("When the next attempt is due.")]
    attempt_count: Count
    last_attempt_at: datetime | None
    last_status: int | None
    created_at: datetime
    completed_at: datetime | None


class DeliveryRowObject(DeliveryObject, part="delivery"):
    endpoint: EndpointLabelObject


class AttemptObject(JsonObject):
    number: Annotated[int, Member(minimum=1)]
    trigger: Annotated[str, one_of(Trigger)]
    actor: str | None
    started_at: datetime
    duration_ms: float | None
    timings: Annotated[dict[str, float] | None, Member("Milliseconds by phase.")]
    outcome: Annotated[str, one_of(Outcome)]
    status: int | None
    error: Annotated[str | None, Member("What went wrong, for people.")]
    error_code: Annotated[
        str | None,
        Member(
            "The same for programs; null after a success, and where an earlier version made the attempt."
        ),
    ]
    url: str
    address: Annotated[
        str | None,
        Member(
            "That the connection went to. A refused one is shown to those who see all tenants only."
        ),
    ]
    request_headers: Headers
    request_body: str | None
    response_headers: Headers
    response_body: str | None
    response_cut: Annotated[bool, Member("The answer went on after what was kept.")]


class EventObject(JsonObject):
    id: Annotated[Identifier, Member("Sent as `webhook-id`.")]
    type: str
    tenant: Tenant
    occurred_at: datetime
    created_at: datetime


class EventRowObject(EventObject, part="event"):
    deliveries: Annotated[dict[str, Count], Member("How many are in each state.")]


class EventWithDataObject(EventObject):
    data: Data


class EventDetailObject(EventObject, part="event"):
    payload_visible: Annotated[bool, IS_VISIBLE]
    data: Annotated[Data, Member(source="event.data")]
    deliveries: Annotated[list[DeliveryRowObject], Member(f"At most {MAX_LIMIT}, newest first.")]
    more: Annotated[
        bool, Member("There may be more: `GET /deliveries` lists them all by the event's `id`.")
    ]


class DeliveryDetailObject(DeliveryRowObject):
    payload_visible: Annotated[bool, IS_VISIBLE]
    event: EventWithDataObject
    attempts: Annotated[
        list[AttemptObject],
        Member(f"The newest {MOST_ATTEMPTS}, in the order in which they were made."),
    ]
    more: Annotated[
        bool,
        Member(
            "There are older attempts, which are left out.",
            source=lambda detail: detail.older_attempts > 0,
        ),
    ]


class RoutingObject(JsonObject):
    endpoint: EndpointLabelObject
    why: Annotated[
        str,
        one_of(
            Why,
            "`test`: a test goes to one endpoint only. `other_tenant`, `without_tenant`: the event is not of the "
            "endpoint's tenant. `added_later`, `deleted`: there was no such endpoint. `not_subscribed`, "
            "`subscribed_later`: it did not want the type then. `removed`: there was a delivery. `owed`: there is "
            "one.",
        ),
    ]
    events: Patterns
    changed_at: Annotated[
        datetime | None,
        Member(
            "When a later change of the event types explains it.",
            source=lambda routing: routing.change and routing.change.at,
        ),
    ]
    changed_by: Annotated[
        str | None, Member(source=lambda routing: routing.change and routing.change.actor)
    ]
