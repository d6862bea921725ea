"""The types of request bodies, which `request_reader` and the OpenAPI document use.

Members without validation are checked by the action, with the same message as on the pages.

Long, since each member is described.
"""

# Without `from __future__ import annotations`: as text, `Required` is not recognised.

from typing import Annotated, Any, Required

from pydantic import SkipValidation
from typing_extensions import TypedDict

from ..actions.checks import (
    MAX_CONTACT_LENGTH,
    MAX_DESCRIPTION_LENGTH,
    MAX_NAME_LENGTH,
    MAX_RATE_LIMIT,
    MAX_REASON_LENGTH,
    MAX_TENANT_LENGTH,
    MAX_USER_AGENT_LENGTH,
    MIN_RATE_LIMIT,
    MIN_TIMEOUT,
)
from ..actions.secrets import DAY, MAX_LABEL_LENGTH, MAX_OVERLAP_SECONDS
from ..actions.switches import HELD_CHOICES
from ..models import DeliveryState, TaskKind
from ..security.client_certificates import MAX_PEM_LENGTH
from ..serializers import Member, one_of
from ..token_access import GRANTABLE
from .scalars import Boolean, FormatName, Moment, Number, TextOrFalse

OnlyTenant = Annotated[str | None, Member("Only this tenant's.", maxLength=MAX_TENANT_LENGTH)]
ForAllTenants = Annotated[
    Boolean,
    Member(
        "All tenants and the whole server. Callers that see all tenants must send this or name a tenant, except for a "
        "preview or a single endpoint."
    ),
]


class NothingBody(TypedDict, total=False):
    pass


class _Settings(TypedDict, total=False):
    events: SkipValidation[
        Annotated[
            Annotated[list[str], Member(minItems=1)] | None,
            Member(
                "Names and `license.*` patterns; null is everything, including future types. Stored and returned "
                "under our names."
            ),
        ]
    ]
    dialect: Annotated[
        FormatName | None,
        Member(
            "The format whose event type names `events` uses; names that it lacks are read "
            "as ours. Null: ours. If left out: ours in a change; for a new endpoint its "
            "`format`, but names with another meaning in our catalogue are refused."
        ),
    ]
    filter: SkipValidation[
        Annotated[
            dict[str, Any] | None,
            Member(
                'Conditions that an event must match, such as `{"data": {"amount": {"$gte": 100}}}`; null or empty '
                "matches everything."
            ),
        ]
    ]
    coalesce: SkipValidation[
        Annotated[
            dict[str, Any] | None,
            Member('By event type: `{"by": "data.license_key", "seconds": 60}`; null sends all.'),
        ]
    ]
    data_version: SkipValidation[
        Annotated[
            str | None,
            Member(
                "The date of a version of event data, or `initial` for data before the first "
                "version; null, and the default of a new endpoint, is the newest version."
            ),
        ]
    ]
    format: SkipValidation[
        Annotated[
            FormatName | None,
            Member("Null or left out: detected from the URL, else the default."),
        ]
    ]
    name: SkipValidation[Annotated[str | None, Member("For people.", maxLength=MAX_NAME_LENGTH)]]
    description: SkipValidation[Annotated[str | None, Member(maxLength=MAX_DESCRIPTION_LENGTH)]]
    headers: SkipValidation[
        Annotated[
            dict[str, str | None] | None,
            Member("All custom headers. In a change, the value null keeps the one that is stored."),
        ]
    ]
    user_agent: SkipValidation[
        Annotated[str | None, Member("Null is the server's own.", maxLength=MAX_USER_AGENT_LENGTH)]
    ]
    contact: SkipValidation[
        Annotated[
            str | None,
            Member(
                "The e-mail address of the person responsible for the receiver; null is none.",
                maxLength=MAX_CONTACT_LENGTH,
            ),
        ]
    ]
    client_certificate: SkipValidation[
        Annotated[
            str | None,
            Member(
                "A client certificate and its private key in PEM, for mutual TLS; null is none. Responses show the "
                "subject, and never the key.",
                maxLength=MAX_PEM_LENGTH,
            ),
        ]
    ]
    options: SkipValidation[
        Annotated[
            dict[str, Any] | None,
            Member("All options of the format, such as the `template` of `custom`."),
        ]
    ]
    timeout: SkipValidation[
        Annotated[float | None, Member("Seconds for a whole request.", minimum=MIN_TIMEOUT)]
    ]
    rate_limit: SkipValidation[
        Annotated[
            float | None,
            Member("Requests a second.", minimum=MIN_RATE_LIMIT, maximum=MAX_RATE_LIMIT),
        ]
    ]
    ordered: SkipValidation[
        Annotated[bool, Member("Deliveries go one after another, in the order of their events.")]
    ]
    allow_duplicate: Annotated[
        Boolean,
        Member(
            "Accept it even if another endpoint has the same URL, format, options and event types."
        ),
    ]


GivenUrl = SkipValidation[
    Annotated[str, Member("The URL that receives the requests.", maxLength=2048)]
]


class EndpointChangesBody(_Settings, total=False):
    url: GivenUrl


class NewEndpointBody(_Settings, total=False):
    url: Required[GivenUrl]
    tenant: Annotated[
        str | None,
        Member(
            "The tenant that it belongs to; null is the whole server, or the only tenant in scope.",
            maxLength=MAX_TENANT_LENGTH,
        ),
    ]
    secret: Annotated[
        TextOrFalse,
        Member("An existing secret; null for a new one, false for none if the format allows that."),
    ]
    key_pair: Annotated[
        Boolean, Member("Sign with a new ed25519 key pair, if the format supports it.")
    ]
    active: Annotated[Boolean, Member("False: it starts paused.")]
    test_first: Annotated[
        Boolean,
        Member("Send a test at once, and hold everything else until a test is answered with 2xx."),
    ]


class PauseBody(TypedDict, total=False):
    reason: SkipValidation[
        Annotated[str | None, Member("For people.", maxLength=MAX_REASON_LENGTH)]
    ]


class ResumeBody(TypedDict, total=False):
    held: SkipValidation[
        Annotated[str, one_of(HELD_CHOICES, "What happens to held deliveries; `send` by default.")]
    ]


class RotationBody(TypedDict, total=False):
    overlap_seconds: Annotated[
        Number,
        Member(
            f"How long the old secret stays valid; {DAY} by default.",
            minimum=0,
            maximum=MAX_OVERLAP_SECONDS,
        ),
    ]
    secret: Annotated[str | None, Member("An existing secret; null for a new one.")]
    key_pair: Annotated[Boolean, Member("Generate a new key pair, if the format supports it.")]
    label: SkipValidation[
        Annotated[
            str | None,
            Member("A label to tell it apart.", maxLength=MAX_LABEL_LENGTH),
        ]
    ]


class TestBody(TypedDict, total=False):
    event_type: Annotated[
        str | None, Member("An event type of the catalogue; null for the test event of the format.")
    ]
    data: Annotated[dict[str, Any] | None, Member("Null for the example of the type.")]
    data_version: SkipValidation[
        Annotated[
            str | None,
            Member(
                "The version to send it in: a date, or `initial`; null for that of the endpoint."
            ),
        ]
    ]


class FilterTestBody(TypedDict, total=False):
    filter: SkipValidation[
        Annotated[
            dict[str, Any] | None,
            Member("A filter as on an endpoint; null matches everything."),
        ]
    ]
    event_type: Annotated[
        str | None,
        Member("Event type of the example; null for `license.created`, or with an event."),
    ]
    data: Annotated[dict[str, Any] | None, Member("Null for the example of the type.")]
    event_id: Annotated[
        str | None, Member("A recorded event to try it with, instead of an example.")
    ]


class NewTokenBody(TypedDict, total=False):
    name: Required[
        SkipValidation[Annotated[str, Member("For people.", minLength=1, maxLength=100)]]
    ]
    actions: Required[
        SkipValidation[
            Annotated[
                list[Annotated[str, one_of(GRANTABLE)]],
                Member("Permissions. The creator must have each of them.", minItems=1),
            ]
        ]
    ]
    tenant: Annotated[
        str | None,
        Member(
            "The tenant whose endpoints it sees; null is all tenants, or the only tenant in scope.",
            maxLength=MAX_TENANT_LENGTH,
        ),
    ]
    expires_at: Annotated[Moment | None, Member("Null: never.")]


class NewPortalLinkBody(TypedDict, total=False):
    tenant: Annotated[
        str | None,
        Member(
            "The tenant whose webhooks it opens; null is the only tenant in scope.",
            maxLength=MAX_TENANT_LENGTH,
        ),
    ]
    actor: Required[
        SkipValidation[
            Annotated[
                str, Member("Name of the user, for the audit log.", minLength=1, maxLength=200)
            ]
        ]
    ]
    expires_in: SkipValidation[
        Annotated[float, Member("Seconds; an hour by default.", minimum=60, maximum=2_592_000)]
    ]
    actions: SkipValidation[
        Annotated[
            list[Annotated[str, one_of(GRANTABLE)]],
            Member(
                "Permissions; `view` by default. The creator must have each of them.",
                minItems=1,
            ),
        ]
    ]


class DeleteAllBody(TypedDict, total=False):
    tenant: OnlyTenant
    all_tenants: ForAllTenants


class NewTaskBody(TypedDict, total=False):
    kind: Required[
        Annotated[
            SkipValidation[str],
            one_of(
                TaskKind,
                "`recover`: resend failed deliveries. `replay`: send events that the endpoint subscribes to and "
                "never got. `resend`: resend deliveries in any state. `cancel`: cancel pending and held deliveries. "
                "`release`: send deliveries that were left held. `discard`: cancel held deliveries. `prune`: remove "
                "events that are past their retention; needs `delete_all`, and only takes `all_tenants`. `erase`: "
                "erase one person's data, found by `where`; needs `delete_all`, and also takes `tenant` or "
                "`all_tenants`.",
            ),
        ]
    ]
    endpoint_id: Annotated[str | None, Member("Null: all endpoints in scope. A replay needs one.")]
    tenant: OnlyTenant
    all_tenants: ForAllTenants
    since: Annotated[
        Moment | None,
        Member(
            "`recover`: failed at this time or later. Otherwise: created at this time or later. Required by `recover` "
            "and `replay`."
        ),
    ]
    until: Annotated[Moment | None, Member("Only what is older.")]
    state: Annotated[
        Annotated[str, one_of(DeliveryState)] | None,
        Member("Only for `resend` and `cancel`."),
    ]
    event_type: str | None
    status: Annotated[str | None, Member("Status of the last response: `503`, `5xx` or `none`.")]
    event_id: Annotated[str | None, Member("The event (the `webhook-id`) that was sent.")]
    where: SkipValidation[
        Annotated[
            dict[str, str | int] | None,
            Member(
                "Whose data to erase: members and their values, all of which an event must have. A name may be "
                "anywhere in the data, or be a path such as `user.id`."
            ),
        ]
    ]
