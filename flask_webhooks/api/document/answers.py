"""What comes back."""

from __future__ import annotations

from typing import Final

from ...delivery.outcome import Outcome
from ...models import DeliveryState, EndpointState, Trigger
from ...queries import MAX_LIMIT, MOST_ATTEMPTS, MOST_COUNTED, Limit, Why
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

TENANT: Final = optional_text("Whose it is; null is the whole server.")
SHARE: Final = value("number?", "From 0 to 1; null without attempts.", minimum=0, maximum=1)
_PATTERNS: Final = value(
    "array?", "Names and `license.*` patterns; null is everything, also future types.", items=text()
)
_HEADERS: Final = value(
    "array?",
    "Pairs of name and value; values that are secrets are masked.",
    items=list_of(text()),
)

_ENDPOINT: Final[dict[str, Schema]] = {
    "id": identifier(),
    "tenant": TENANT,
    "name": text(),
    "description": text(),
    "url": text(
        "Masked where it holds a secret: always for chats, else what looks random, for those who may not `secret`. "
        "Lists show the masked form to everyone."
    ),
    "url_masked": flag("Whether `url` is masked."),
    "format": text("Chosen, or recognised from the URL when the endpoint was created."),
    "options": value("object", "What is set of the format."),
    "events": _PATTERNS,
    "user_agent": optional_text("Null is the server's own."),
    "timeout": value("number?", "Seconds for a whole request; null is that of the format."),
    "rate_limit": value("number?", "Requests a second; null is as many as it takes."),
    "ordered": flag("Deliveries go one after another, in the order of their events."),
    "state": one_of(EndpointState),
    "state_reason": optional_text("Why it is paused or disabled, for people."),
    "state_actor": optional_text("Who or what did that."),
    "state_since": optional_time(),
    "created_at": time(),
    "updated_at": time(),
}
_DOING: Final[dict[str, Schema]] = {
    "success_rate_24h": SHARE,
    "succeeded_24h": whole("Attempts of the last 24 hours."),
    "failed_24h": whole(),
    "last_delivery_at": optional_time("When an attempt last ended, whatever came of it."),
    "pending": whole(f"Deliveries that wait now, counted up to {MOST_COUNTED}."),
    "held": whole(
        f"Deliveries that wait until the endpoint is resumed, counted up to {MOST_COUNTED}."
    ),
    "health": members(
        {
            "failing": flag("It gets one probe at a time; the rest waits."),
            "failing_since": optional_time("The first failure since the last success."),
            "consecutive_failures": whole(),
            "last_success_at": optional_time(),
            "last_failure_at": optional_time(),
            "hold_until": optional_time("Nothing is sent before, except on demand."),
            "hold_reason": optional_text(),
        }
    ),
}
_OPENED: Final[dict[str, Schema]] = {
    "header_names": value(
        "array?", "Of the custom headers; null if they cannot be decrypted.", items=text()
    ),
    "secrets": list_of(
        members({"expires_at": optional_time("Null: until it is rotated.")}),
        "Those that sign now, newest first. What they are is never shown.",
    ),
    "public_keys": list_of(members({"key": text(), "expires_at": optional_time()})),
    "unreadable": flag("Something was encrypted with a key that is gone: nothing can be sent."),
    "wait": nullable(
        members(
            {"until": time(), "limit": one_of(Limit)},
            "What the endpoint waits for though nothing holds it by itself: its rate limit, or the rate limit "
            "or the pause of a destination that it shares with other endpoints of its tenant.",
        )
    ),
}
_GIVEN: Final[dict[str, Schema]] = {
    "secret": optional_text("Shown this once. Null where there is none to be shown."),
    "public_key": optional_text("What the receiver verifies by, of a key pair."),
}
_LABEL: Final = members(
    {
        "id": identifier(),
        "name": text(),
        "url": text(),
        "format": text(),
        "deleted": flag("Its history stays until retention removes it."),
    }
)
_DELIVERY: Final[dict[str, Schema]] = {
    "id": identifier(),
    "event_id": identifier("Sent as `webhook-id`."),
    "event_type": text(),
    "endpoint_id": identifier(),
    "tenant": TENANT,
    "state": one_of(DeliveryState),
    "reason": optional_text("Why it failed, is held or was cancelled."),
    "trigger": one_of(Trigger, "Why the next attempt is made, at rest the last one."),
    "actor": optional_text("Who asked for it."),
    "due_at": optional_time("When the next attempt is due."),
    "attempt_count": whole(),
    "last_attempt_at": optional_time(),
    "last_status": value("integer?"),
    "created_at": time(),
    "completed_at": optional_time(),
}
_EVENT: Final[dict[str, Schema]] = {
    "id": identifier("Sent as `webhook-id`."),
    "type": text(),
    "tenant": TENANT,
    "occurred_at": time(),
    "created_at": time(),
}
_DATA: Final = value("object?", "Null for those who may not `view_payload`.")
_VISIBLE: Final = flag("Whether data and bodies are there: the action `view_payload` is allowed.")
SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": {
        **members(
            {
                "type": text(),
                "title": text(),
                "status": whole(minimum=400),
                "detail": text("What to write or do instead."),
                "code": text("A word for programs, such as `invalid_url`."),
            },
            "Problem details, RFC 9457.",
        )
    },
    "Refusal": {
        **members(
            {
                "type": text(),
                "title": text(),
                "status": whole(minimum=422, maximum=422),
                "detail": text("What to write or do instead, of the first of `errors`."),
                "code": text("Of the first of `errors`."),
                "errors": list_of(
                    members(
                        {
                            "field": optional_text("The member, parameter or option at fault."),
                            "detail": text("What to write or do instead."),
                        }
                    ),
                    "All that is wrong.",
                ),
            },
            "Problem details, RFC 9457, of values that cannot be accepted.",
        )
    },
    "Format": members(
        {
            "name": text(),
            "title": text("For people."),
            "default": flag("What an endpoint gets whose URL does not tell."),
            "recognised_by_url": flag("URLs like `example_url` get it where none is chosen."),
            "example_url": text(),
            "url_secret": flag("The URL itself is a secret, and shown masked."),
            "signed": flag("Endpoints get a secret."),
            "secret_optional": flag("An endpoint may do without one."),
            "test_event": text("What a test sends where nobody chooses a type."),
            "timeout": value("number?", "Seconds; null is the server's."),
            "event_names": value(
                "object",
                "Our event types and the names that they go out under; the others keep ours.",
                additionalProperties=text(),
            ),
            "example_options": value("object"),
        }
    ),
    "EventType": members(
        {
            "name": text(),
            "group": text(),
            "description": text("When it is sent."),
            "schema": value("object", "JSON Schema of the data."),
            "example": value("object"),
            "transactional": flag("Exists only if the application's transaction commits."),
            "high_volume": flag("May come with every request of a client."),
            "operational": flag("Sent by Flask-Webhooks about endpoints."),
            "subscribable": flag("Endpoints may name it."),
        }
    ),
    "Example": members(
        {
            "format": text(),
            "event_type": text(),
            "url": text(),
            "headers": value("object", additionalProperties=text()),
            "body": text(),
        }
    ),
    "Endpoint": members(_ENDPOINT),
    "EndpointRow": members({**_ENDPOINT, **_DOING}),
    "EndpointDetail": members({**_ENDPOINT, **_DOING, **_OPENED}),
    "CreatedEndpoint": members({**_ENDPOINT, **_GIVEN}),
    "Rotated": members(_GIVEN),
    "Quota": members({"used": whole(), "limit": value("integer?", "Null: no limit.")}),
    "EndpointLabel": _LABEL,
    "Delivery": members(_DELIVERY),
    "DeliveryRow": members({**_DELIVERY, "endpoint": reference("EndpointLabel")}),
    "Attempt": members(
        {
            "number": whole(minimum=1),
            "trigger": one_of(Trigger),
            "actor": optional_text(),
            "started_at": time(),
            "duration_ms": value("number?"),
            "timings": value(
                "object?", "Milliseconds by phase.", additionalProperties=value("number")
            ),
            "outcome": one_of(Outcome),
            "status": value("integer?"),
            "error": optional_text("What went wrong, for people."),
            "error_code": optional_text(
                "The same for programs; null after a success, and where an earlier version made the attempt."
            ),
            "url": text(),
            "address": optional_text(
                "That the connection went to. A refused one is shown to those who see all tenants only."
            ),
            "request_headers": _HEADERS,
            "request_body": optional_text(),
            "response_headers": _HEADERS,
            "response_body": optional_text(),
            "response_cut": flag("The answer went on after what was kept."),
        }
    ),
    "DeliveryDetail": members(
        {
            **_DELIVERY,
            "endpoint": reference("EndpointLabel"),
            "payload_visible": _VISIBLE,
            "event": members({**_EVENT, "data": _DATA}),
            "attempts": list_of(
                reference("Attempt"),
                f"The newest {MOST_ATTEMPTS}, in the order in which they were made.",
            ),
            "more": flag("There are older attempts, which are left out."),
        }
    ),
    "EventRow": members(
        {
            **_EVENT,
            "deliveries": value(
                "object", "How many are in each state.", additionalProperties=whole()
            ),
        }
    ),
    "EventDetail": members(
        {
            **_EVENT,
            "payload_visible": _VISIBLE,
            "data": _DATA,
            "deliveries": list_of(reference("DeliveryRow"), f"At most {MAX_LIMIT}, newest first."),
            "more": flag(
                "There may be more: `GET /deliveries` lists them all by the event's `id`."
            ),
        }
    ),
    "Routing": members(
        {
            "endpoint": reference("EndpointLabel"),
            "why": one_of(
                Why,
                "`test`: a test goes to one endpoint only. `other_tenant`, `without_tenant`: the event is not of "
                "the endpoint's tenant. `added_later`, `deleted`: there was no such endpoint. `not_subscribed`, "
                "`subscribed_later`: it did not want the type then. `removed`: there was a delivery. `owed`: "
                "there is one.",
            ),
            "events": _PATTERNS,
            "changed_at": optional_time("When a later change of the event types explains it."),
            "changed_by": optional_text(),
        }
    ),
}
