"""What can be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...actions.checks import (
    MAX_DESCRIPTION_LENGTH,
    MAX_NAME_LENGTH,
    MAX_RATE_LIMIT,
    MAX_REASON_LENGTH,
    MAX_TENANT_LENGTH,
    MAX_USER_AGENT_LENGTH,
    MIN_RATE_LIMIT,
    MIN_TIMEOUT,
)
from ...actions.secrets import DAY, MAX_OVERLAP_SECONDS
from ...actions.switches import HELD_CHOICES
from ...models import DeliveryState, TaskKind
from .parts import (
    Schema,
    body,
    flag,
    nullable,
    one_of,
    optional_text,
    optional_time,
    text,
    value,
)

_TENANT: Final = optional_text("Only this tenant's.", maxLength=MAX_TENANT_LENGTH)

_ALLOW_DUPLICATE: Final = flag(
    "Take it though another endpoint has the same URL, format, options and event types."
)

_ALL_TENANTS: Final = flag(
    "Everybody's, and the whole server's. Who sees all tenants has to say so, or name a tenant; a preview and what "
    "is about one endpoint need neither."
)


def bodies(formats: Sequence[str]) -> dict[str, Schema]:
    """The schemas of the bodies.

    :param formats: names of those that there are.
    """
    settings = _settings(formats)
    return {
        "NewEndpoint": body(
            {
                **settings,
                "tenant": optional_text(
                    "Whose it is; null is the whole server, or the only tenant in scope.",
                    maxLength=MAX_TENANT_LENGTH,
                ),
                "secret": {
                    "anyOf": [{"type": "string"}, {"type": "null"}, {"const": False}],
                    "description": "The receiver's own; null for a new one, false for none where the format "
                    "allows that.",
                },
                "key_pair": flag("Sign by a new ed25519 key pair, where the format can."),
                "active": flag("False: it is paused from the start."),
                "allow_duplicate": _ALLOW_DUPLICATE,
            },
            "url",
        ),
        "EndpointChanges": body({**settings, "allow_duplicate": _ALLOW_DUPLICATE}),
        "Pause": body(
            {"reason": optional_text("For people.", maxLength=MAX_REASON_LENGTH)},
        ),
        "Resume": body(
            {"held": one_of(HELD_CHOICES, "What becomes of held deliveries; `send` by default.")}
        ),
        "Rotation": body(
            {
                "overlap_seconds": value(
                    "number",
                    f"For how long the old secret goes on signing; {DAY} by default.",
                    minimum=0,
                    maximum=MAX_OVERLAP_SECONDS,
                ),
                "secret": optional_text("The receiver's own; null for a new one."),
                "key_pair": flag("Make a new key pair, where the format can."),
            }
        ),
        "Test": body(
            {
                "event_type": optional_text(
                    "Of the catalogue; null for what the format is tested with."
                ),
                "data": value("object?", "Null for the example of the type."),
            }
        ),
        "DeleteAll": body({"tenant": _TENANT, "all_tenants": _ALL_TENANTS}),
        "TaskWish": body(
            {
                "kind": one_of(
                    TaskKind,
                    "`recover`: send again what has failed. `replay`: send events that the endpoint subscribes to "
                    "and never got. `resend`: send again, whatever became of it. `cancel`: give up what is pending "
                    "or held. `release`: send what was left held. `discard`: give up what is held. `prune`: remove "
                    "events that are older than they are kept; needs `delete_all`, and takes nothing but "
                    "`all_tenants`.",
                ),
                "endpoint_id": optional_text(
                    "Null: all endpoints in scope. A replay needs one.",
                ),
                "tenant": _TENANT,
                "all_tenants": _ALL_TENANTS,
                "since": optional_time(
                    "`recover`: failed at this time or later. Else: created then. `recover` and `replay` need it."
                ),
                "until": optional_time("Only from before it."),
                "state": nullable(
                    one_of(DeliveryState, "Only `resend` and `cancel` leave a choice.")
                ),
                "event_type": optional_text(),
                "status": optional_text("The last answer: `503`, `5xx` or `none`."),
                "event_id": optional_text("The event (the `webhook-id`) that was sent."),
            },
            "kind",
        ),
        "Nothing": body({}),
    }


def _settings(formats: Sequence[str]) -> dict[str, Schema]:
    return {
        "url": text("Where to send.", maxLength=2048),
        "events": value(
            "array?",
            "Names and `license.*` patterns; null is everything, also future types. Stored and answered as ours.",
            items=text(),
            minItems=1,
        ),
        "dialect": nullable(
            one_of(
                formats,
                "The format in whose names `events` are given; what it has no name for is read as ours. Null: "
                "ours. Left out of a change: ours; of a new endpoint: its `format`, but a name that means "
                "something else as ours is refused then.",
            )
        ),
        "format": nullable(
            one_of(formats, "Null or left out: recognised from the URL, else the default.")
        ),
        "name": optional_text("For people.", maxLength=MAX_NAME_LENGTH),
        "description": optional_text(maxLength=MAX_DESCRIPTION_LENGTH),
        "headers": value(
            "object?",
            "All custom headers. In a change, the value null keeps the one that is stored.",
            additionalProperties={"type": ["string", "null"]},
        ),
        "user_agent": optional_text("Null is the server's own.", maxLength=MAX_USER_AGENT_LENGTH),
        "options": value(
            "object?", "All that is set of the format, such as the `template` of `custom`."
        ),
        "timeout": value("number?", "Seconds for a whole request.", minimum=MIN_TIMEOUT),
        "rate_limit": value(
            "number?", "Requests a second.", minimum=MIN_RATE_LIMIT, maximum=MAX_RATE_LIMIT
        ),
        "ordered": flag("Deliveries go one after another, in the order of their events."),
    }
