"""Endpoints, in lists, by themselves and as a label on what belongs to them."""

from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any

from ..models import EndpointState
from ..queries import MOST_COUNTED, Limit
from .base import Count, Identifier, JsonObject, Member, Share, Tenant, one_of

Url = Annotated[
    str,
    Member(
        "Masked where it holds a secret: always for chats, else what looks random, for those who may not `secret`. "
        "Lists show the masked form to everyone."
    ),
]
UrlMasked = Annotated[bool, Member("Whether `url` is masked.")]
Patterns = Annotated[
    list[str] | None,
    Member("Names and `license.*` patterns; null is everything, also future types."),
]


class EndpointLabelObject(JsonObject):
    id: Identifier
    name: str
    url: Annotated[str, Member(source="url_shown")]
    format: str
    deleted: Annotated[
        bool,
        Member(
            "Its history stays until retention removes it.",
            source=lambda endpoint: endpoint.deleted_at is not None,
        ),
    ]


class EndpointObject(JsonObject):
    id: Identifier
    tenant: Tenant
    name: str
    description: str
    url: Annotated[Url, Member(source="url_shown")]
    url_masked: Annotated[
        UrlMasked, Member(source=lambda endpoint: endpoint.url_sealed is not None)
    ]
    format: Annotated[
        str, Member("Chosen, or recognised from the URL when the endpoint was created.")
    ]
    options: Annotated[
        dict[str, Any],
        Member("What is set of the format.", source=lambda endpoint: endpoint.options or {}),
    ]
    events: Patterns
    user_agent: Annotated[str | None, Member("Null is the server's own.")]
    timeout: Annotated[
        float | None, Member("Seconds for a whole request; null is that of the format.")
    ]
    rate_limit: Annotated[float | None, Member("Requests a second; null is as many as it takes.")]
    ordered: Annotated[
        bool, Member("Deliveries go one after another, in the order of their events.")
    ]
    state: Annotated[str, one_of(EndpointState)]
    state_reason: Annotated[str | None, Member("Why it is paused or disabled, for people.")]
    state_actor: Annotated[str | None, Member("Who or what did that.")]
    state_since: datetime | None
    created_at: datetime
    updated_at: datetime


class EndpointHealthObject(JsonObject):
    failing: Annotated[
        bool,
        Member(
            "It gets one probe at a time; the rest waits.",
            source=lambda health: health.probe_interval is not None,
        ),
    ]
    failing_since: Annotated[datetime | None, Member("The first failure since the last success.")]
    consecutive_failures: Count
    last_success_at: datetime | None
    last_failure_at: datetime | None
    hold_until: Annotated[datetime | None, Member("Nothing is sent before, except on demand.")]
    hold_reason: str | None


class EndpointRowObject(EndpointObject, part="endpoint"):
    success_rate_24h: Annotated[Share, Member(source="success_rate")]
    succeeded_24h: Annotated[Count, Member("Attempts of the last 24 hours.", source="succeeded")]
    failed_24h: Annotated[Count, Member(source="failed")]
    last_delivery_at: Annotated[
        datetime | None, Member("When an attempt last ended, whatever came of it.")
    ]
    pending: Annotated[Count, Member(f"Deliveries that wait now, counted up to {MOST_COUNTED}.")]
    held: Annotated[
        Count,
        Member(
            f"Deliveries that wait until the endpoint is resumed, counted up to {MOST_COUNTED}."
        ),
    ]
    health: EndpointHealthObject


class SecretObject(JsonObject):
    expires_at: Annotated[
        datetime | None, Member("Null: until it is rotated.", source=lambda end: end)
    ]


class PublicKeyObject(JsonObject):
    key: Annotated[str, Member(source="text")]
    expires_at: datetime | None


class WaitObject(JsonObject):
    until: datetime
    limit: Annotated[str, one_of(Limit)]


#: `serialize` is given the `public_keys`.
class EndpointDetailObject(EndpointRowObject):
    url: Annotated[
        Url,
        Member(
            source=lambda detail: detail.endpoint.url_shown if detail.url is None else detail.url
        ),
    ]
    url_masked: Annotated[
        UrlMasked,
        Member(source=lambda detail: detail.url is None and detail.endpoint.url_sealed is not None),
    ]
    header_names: Annotated[
        list[str] | None, Member("Of the custom headers; null if they cannot be decrypted.")
    ]
    secrets: Annotated[
        list[SecretObject],
        Member(
            "Those that sign now, newest first. What they are is never shown.",
            source="secrets_until",
        ),
    ]
    public_keys: list[PublicKeyObject]
    unreadable: Annotated[
        bool, Member("Something was encrypted with a key that is gone: nothing can be sent.")
    ]
    wait: Annotated[
        WaitObject | None,
        Member(
            "What the endpoint waits for though nothing holds it by itself: its rate limit, or the rate limit or "
            "the pause of a destination that it shares with other endpoints of its tenant."
        ),
    ]


Secret = Annotated[str | None, Member("Shown this once. Null where there is none to be shown.")]
PublicKey = Annotated[str | None, Member("What the receiver verifies by, of a key pair.")]


class CreatedEndpointObject(EndpointObject, part="endpoint"):
    secret: Secret
    public_key: PublicKey


class RotatedObject(JsonObject):
    secret: Secret
    public_key: PublicKey


class EndedOverlapObject(JsonObject):
    ended: Annotated[
        Count, Member("Older secrets that sign no more.", source=lambda number: number)
    ]


class DeletedObject(JsonObject):
    deleted: Annotated[Count, Member("How many.", source=lambda number: number)]


class QuotaObject(JsonObject):
    used: Annotated[Count, Member(source=itemgetter(0))]
    limit: Annotated[int | None, Member("Null: no limit.", source=itemgetter(1))]
