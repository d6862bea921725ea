"""Endpoints, in lists, by themselves and as a label on what belongs to them."""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any

from ..catalog.versions import INITIAL
from ..models import EndpointState
from ..queries import MOST_COUNTED, Limit
from ..security.client_certificates import certificate_expiry
from .base import (
    Count,
    Identifier,
    JsonObject,
    Member,
    Share,
    Tenant,
    member,
    one_of,
)

Url = Annotated[
    str,
    Member(
        "Masked if it contains a secret: always for chats, otherwise parts that look "
        "random, unless the action `secret` is allowed. Lists always show the masked "
        "form."
    ),
]
UrlMasked = Annotated[bool, Member("Whether `url` is masked.")]
Patterns = Annotated[
    list[str] | None,
    Member("Names and `license.*` patterns; null is everything, including future types."),
]


class EndpointLabelObject(JsonObject):
    id: Identifier
    name: str
    url: str = member(source="url_shown")
    format: str
    deleted: bool = member(
        "Its history is kept until retention removes it.",
        source=lambda endpoint: endpoint.deleted_at is not None,
    )


class ClientCertificateObject(JsonObject):
    subject: str = member(source=itemgetter("subject"))
    expires_at: datetime = member(source=certificate_expiry)
    fingerprint: str = member("SHA-256, in hexadecimal.", source=itemgetter("fingerprint"))


class EndpointObject(JsonObject):
    id: Identifier
    tenant: Tenant
    name: str
    description: str
    url: Url = member(source="url_shown")
    url_masked: UrlMasked = member(source=lambda endpoint: endpoint.url_sealed is not None)
    format: str = member("Chosen, or detected from the URL when the endpoint was created.")
    options: dict[str, Any] = member(
        "Options of the format.", source=lambda endpoint: endpoint.options or {}
    )
    events: Patterns
    filter: dict[str, Any] | None = member(
        "Conditions that an event must match; null matches everything."
    )
    coalesce: dict[str, Any] | None = member(
        "By event type: a member and seconds; of events with the same value of it, at "
        "most one is sent in that time. Null sends all."
    )
    data_version: str = member(
        "The version date of the event data that it gets; `initial` is before the first version.",
        source=lambda endpoint: endpoint.data_version or INITIAL,
    )
    user_agent: str | None = member("Null is the server's own.")
    contact: str | None = member("The e-mail address of the person responsible for the receiver.")
    client_certificate: ClientCertificateObject | None = member(
        "For mutual TLS. Its key is never shown."
    )
    timeout: float | None = member("Seconds for a whole request; null is that of the format.")
    rate_limit: float | None = member("Requests per second; null is unlimited.")
    ordered: bool = member("Deliveries go one after another, in the order of their events.")
    state: Annotated[str, one_of(EndpointState)]
    verified: bool = member(
        "False: only challenges are sent until its receiver has echoed one, or only tests until one is answered "
        "with 2xx.",
        source=lambda endpoint: endpoint.challenge is None,
    )
    state_reason: str | None = member("Why it is paused or disabled, as a sentence.")
    state_actor: str | None = member("Who or what did that.")
    state_since: datetime | None
    created_at: datetime
    updated_at: datetime


class EndpointHealthObject(JsonObject):
    failing: bool = member(
        "One probe at a time is sent; other deliveries wait.",
        source=lambda health: health.probe_interval is not None,
    )
    failing_since: datetime | None = member("The first failure since the last success.")
    consecutive_failures: Count
    last_success_at: datetime | None
    last_failure_at: datetime | None
    hold_until: datetime | None = member("Nothing is sent before this time, except on demand.")
    hold_reason: str | None


class EndpointRowObject(EndpointObject, part="endpoint"):
    success_rate_24h: Share = member(source="success_rate")
    succeeded_24h: Count = member("Attempts of the last 24 hours.", source="succeeded")
    failed_24h: Count = member(source="failed")
    last_delivery_at: datetime | None = member("When an attempt last ended, successful or not.")
    last_delivery_succeeded: bool | None = member("Null: there was none.")
    pending: Count = member(f"Deliveries that wait now, counted up to {MOST_COUNTED}.")
    held: Count = member(
        f"Deliveries that wait until the endpoint is resumed, counted up to {MOST_COUNTED}."
    )
    health: EndpointHealthObject


class SecretObject(JsonObject):
    label: str
    expires_at: datetime | None = member("Null: until it is rotated.")
    created_at: datetime | None = member("Null if it is older than this member.")
    last_four: str | None = member(
        "Its last characters, or those of the public key; null for a short one, and for those who may not change it."
    )
    last_used_at: datetime | None = member("When a request that it signed last ended.")


class PublicKeyObject(JsonObject):
    key: str = member(source="text")
    expires_at: datetime | None


class WaitObject(JsonObject):
    until: datetime
    limit: Annotated[str, one_of(Limit)]


#: `serialize` is given the `public_keys`.
class EndpointDetailObject(EndpointRowObject):
    url: Url = member(
        source=lambda detail: detail.endpoint.url_shown if detail.url is None else detail.url
    )
    url_masked: UrlMasked = member(
        source=lambda detail: detail.url is None and detail.endpoint.url_sealed is not None
    )
    header_names: list[str] | None = member(
        "Names of the custom headers; null if they cannot be decrypted."
    )
    secrets: list[SecretObject] = member(
        "The secrets in use, newest first. The secrets themselves are never shown.",
    )
    public_keys: list[PublicKeyObject]
    unreadable: bool = member(
        "A stored value was encrypted with a key that is missing, so nothing can be sent."
    )
    wait: WaitObject | None = member(
        "Why an otherwise healthy endpoint has to wait: its rate limit, or the rate "
        "limit or pause of a destination that it shares with other endpoints of its "
        "tenant."
    )


Secret = Annotated[str | None, Member("Only shown once. Null if there is none.")]
PublicKeyMember = Annotated[
    str | None, Member("The public key for the receiver, if it signs with a key pair.")
]


class CreatedEndpointObject(EndpointObject, part="endpoint"):
    secret: Secret
    public_key: PublicKeyMember


class RotatedObject(JsonObject):
    secret: Secret
    public_key: PublicKeyMember


class EndedOverlapObject(JsonObject):
    ended: Count = member(
        "Older secrets that are no longer used to sign.", source=lambda number: number
    )


class DeletedObject(JsonObject):
    deleted: Count = member("How many.", source=lambda number: number)


class QuotaObject(JsonObject):
    used: Count = member(source=itemgetter(0))
    limit: int | None = member("Null: no limit.", source=itemgetter(1))
