"""Events, their deliveries and attempts, and why an endpoint has no delivery."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from ..catalog.versions import INITIAL
from ..delivery.outcome import Outcome
from ..models import DeliveryState, Trigger
from ..queries import MAX_LIMIT, MOST_ATTEMPTS, REMOVED, Missing, Why
from .base import (
    IS_VISIBLE,
    Count,
    Identifier,
    JsonObject,
    Member,
    Tenant,
    member,
    one_of,
)
from .endpoints import EndpointLabelObject, Patterns

#: The value in the signed ledger where a webhook has the type of its event.
LEDGER_TYPE: Final = "webhook.ledger"

Data = Annotated[dict[str, Any] | None, Member("Null for those who may not `view_payload`.")]
HeaderPairs = Annotated[
    list[list[str]] | None,
    Member("Pairs of name and value; values that are secrets are masked."),
]


BodyMissing = Annotated[
    Annotated[str, one_of(Missing)] | None,
    Member(
        "Why the body is missing: it was not kept, is no longer kept, or was erased. Null if it is there, or may not "
        "be seen."
    ),
]


class DeliveryObject(JsonObject):
    id: Identifier
    event_id: Identifier = member("Sent as `webhook-id`.")
    event_type: str
    endpoint_id: Identifier
    tenant: Tenant
    state: Annotated[str, one_of(DeliveryState)]
    reason: str | None = member("Why it failed, is held or was cancelled.")
    trigger: Annotated[
        str,
        one_of(Trigger, "Why the next attempt is made; after the end, why the last one was made."),
    ]
    actor: str | None = member("Who requested it.")
    due_at: datetime | None = member("When the next attempt is due.")
    attempt_count: Count
    coalesced: int | None = member(
        "How many others with its key were coalesced since the previous one; null unless the endpoint coalesces."
    )
    sequence: int | None = member(
        "Its number among the deliveries of the endpoint, assigned before the first "
        "attempt; sent as `webhook-sequence`. Null before that, and for tests."
    )
    data_version: str | None = member(
        "The version of its data that was chosen for a test; null is that of the endpoint."
    )
    last_attempt_at: datetime | None
    last_status: int | None
    created_at: datetime
    completed_at: datetime | None


class DeliveryRowObject(DeliveryObject, part="delivery"):
    endpoint: EndpointLabelObject


class AttemptObject(JsonObject):
    number: int = member(minimum=1)
    trigger: Annotated[str, one_of(Trigger)]
    actor: str | None
    started_at: datetime
    duration_ms: float | None
    timings: dict[str, float] | None = member("Milliseconds by phase.")
    outcome: Annotated[str, one_of(Outcome)]
    status: int | None
    error: str | None = member("What went wrong, as a sentence.")
    error_code: str | None = member(
        "The same as a code; null after a success, and if an earlier version made the attempt."
    )
    url: str
    address: str | None = member(
        "The address of the connection. A refused one is only shown to users who see all tenants."
    )
    request_headers: HeaderPairs
    request_body: str | None
    request_body_missing: BodyMissing = member(
        source=lambda attempt: attempt.missing.get("request_body")
    )
    response_headers: HeaderPairs
    response_body: str | None
    response_body_missing: BodyMissing = member(
        source=lambda attempt: attempt.missing.get("response_body")
    )
    response_cut: bool = member("The response was longer than what was stored.")


class EventObject(JsonObject):
    id: Identifier = member("Sent as `webhook-id`.")
    type: str
    tenant: Tenant
    occurred_at: datetime
    created_at: datetime
    erased_at: datetime | None = member("When its data was erased; it has been empty since then.")
    data_version: str = member(
        "The version of its data, the newest at that time; `initial` is before the first version.",
        source=lambda event: event.data_version or INITIAL,
    )


class EventRowObject(EventObject, part="event"):
    deliveries: dict[str, Count] = member("How many are in each state.")


class EventWithDataObject(EventObject):
    data: Data


class PulledEventObject(JsonObject):
    """An event as it is sent in the standard format, with its id."""

    id: Identifier = member("Sent as `webhook-id`, by which receivers recognise it.")
    type: str
    timestamp: datetime = member("When it occurred.")
    data: dict[str, Any] = member("Empty if it was erased.")
    tenant: Tenant
    erased_at: datetime | None


class PulledObject(JsonObject):
    """Events in the order in which they were committed."""

    items: list[PulledEventObject]
    next_after: str = member("Store it, and pass it as `after` to get the events that follow.")
    has_more: bool = member(
        "More can be pulled at once. `items` may be empty even so, if matching events are far apart."
    )


class EventDetailObject(EventObject, part="event"):
    payload_visible: Annotated[bool, IS_VISIBLE]
    data: Data = member(source="event.data")
    deliveries: list[DeliveryRowObject] = member(f"At most {MAX_LIMIT}, newest first.")
    more: bool = member("There may be more: `GET /deliveries` lists them all by the event's `id`.")


class ScheduledObject(JsonObject):
    id: Identifier = member("Valid until it is due; the event gets a different one.")
    type: str
    tenant: Tenant
    key: str | None = member("The application's name for it.")
    deliver_at: datetime = member(
        "When it becomes an event, for the endpoints subscribed at that time."
    )
    occurred_at: datetime = member("The time that the event will have.")
    created_at: datetime = member("When it was scheduled.")


class ScheduledDetailObject(ScheduledObject, part="event"):
    payload_visible: Annotated[bool, IS_VISIBLE]
    data: Data = member(source="event.data")


class DeliveryDetailObject(DeliveryRowObject):
    payload_visible: Annotated[bool, IS_VISIBLE]
    event: EventWithDataObject
    attempts: list[AttemptObject] = member(
        f"The newest {MOST_ATTEMPTS}, in the order in which they were made."
    )
    more: bool = member(
        "There are older attempts, which are not included.",
        source=lambda detail: detail.older_attempts > 0,
    )


class FailedConditionObject(JsonObject):
    path: str = member("Such as `data.amount`; `data.items[].id` of the elements of a list.")
    operator: str = member("`=` if none was written; `$not` for a negated condition.")
    expected: str = member("JSON, shortened if it is long.")
    found: str | None = member(
        "JSON, shortened if it is long; null if there is no such member, or without "
        "permission to see data."
    )
    missing: bool = member("There is no such member.")
    alternative: bool = member("It is part of `$or`: one of several would have been enough.")


class FilterTrialObject(JsonObject):
    event_type: str
    event_id: str | None = member("Null if no recorded event was named.")
    matches: bool = member("The filter matches the event.")
    failed: list[FailedConditionObject] = member(
        "The conditions that the event does not match, at most 10."
    )


class RoutingObject(JsonObject):
    endpoint: EndpointLabelObject
    why: Annotated[
        str,
        one_of(
            Why,
            "`test`: a test is sent to one endpoint only. `other_tenant`, `without_tenant`: the event is not of the "
            "endpoint's tenant. `added_later`, `deleted`: the endpoint did not exist. `not_subscribed`, "
            "`subscribed_later`: it was not subscribed to the type. `filtered`: its filter did not match. `removed`: "
            "its delivery was removed. `owed`: there is a delivery.",
        ),
    ]
    events: Patterns
    changed_at: datetime | None = member(
        "When the event types or the filter were changed, if that explains it.",
        source=lambda routing: routing.change and routing.change.at,
    )
    changed_by: str | None = member(source=lambda routing: routing.change and routing.change.actor)
    filter: dict[str, Any] | None = member("The filter at that time, if that is the reason.")
    failed: list[FailedConditionObject] = member(
        "The conditions in it that the event did not match, at most 10."
    )


class LedgerEntryObject(JsonObject):
    sequence: int = member("Sent as `webhook-sequence`.", minimum=1)
    state: Annotated[
        str,
        one_of(
            [*DeliveryState, REMOVED],
            "`removed`: its delivery was removed by retention, or with its event. Nothing "
            "else is known about it.",
        ),
    ]
    reason: str | None = member("Why it failed, is held or was cancelled.")
    event_id: Identifier | None = member("Sent as `webhook-id`.")
    event_type: str | None
    delivery_id: Identifier | None
    attempt_count: int | None
    last_attempt_at: datetime | None
    completed_at: datetime | None


class LedgerObject(JsonObject):
    type: str = member(
        "Distinguishes this response from a webhook, which is signed with the same secret.",
        source=lambda page: LEDGER_TYPE,
        const=LEDGER_TYPE,
    )
    endpoint_id: Identifier
    last_sequence: Count = member("The highest assigned number.")
    items: list[LedgerEntryObject] = member("Each number from `from` on, in ascending order.")
    next_from: int | None = member("The next `from`; null if all requested numbers are included.")
