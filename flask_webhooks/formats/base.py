"""What a format is: how an event becomes a request, and what the answer to it means.

Long, since it documents all that a format can decide.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, TypedDict

from ..errors import (
    InvalidEndpoint,
    InvalidSecret,
    InvalidSubscription,
    InvalidURL,
)
from ..security.redaction import Redactor, secrets_of
from .retry_after import HOLDING_STATUSES, parse_retry_after
from .url_masks import mask_secrets


@dataclass(frozen=True)
class OutgoingEvent:
    """An event as a format sees it."""

    id: str
    type: str
    tenant: str | None
    occurred_at: datetime
    #: The data as compact JSON text, just as it was stored.
    data_json: str = field(repr=False)
    #: The tenant's name for people, from the host's hook; its id where there is none.
    tenant_name: str | None = None
    #: Webhooks in a row that have led to it.
    hops: int = 0
    #: The ``traceparent`` of the span in which it was emitted.
    trace_context: str | None = None
    #: The version of its type that its data is in; ``None`` is data of before the first one.
    data_version: str | None = None

    @cached_property
    def data(self) -> Any:
        return json.loads(self.data_json)


@dataclass(frozen=True)
class Target:
    """An endpoint as a format sees it, with everything decrypted."""

    id: str
    tenant: str | None
    url: str
    url_shown: str
    format: str
    #: Live secrets, newest first; empty where the format needs none.
    secrets: tuple[str, ...]
    headers: Mapping[str, str]
    user_agent: str | None
    version: int
    #: What this endpoint has set of its format, as `Format.check_options` returned it.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: ``WEBHOOKS_PRODUCT_NAME``.
    product_name: str = "Flask-Webhooks"
    #: Seconds for a whole request; ``None`` leaves it to the format and ``WEBHOOKS_TIMEOUT``.
    timeout: float | None = None
    #: ``certificate`` and ``key`` in PEM, which no request holds.
    client_certificate: Mapping[str, str] | None = None
    #: The version of event data that it gets; ``None`` is data as it was before the first one.
    data_version: str | None = None

    def __repr__(self) -> str:
        return f"<Target {self.id}>"

    @cached_property
    def redactor(self) -> Redactor:
        """What masks this endpoint's secrets in text that others wrote."""
        return Redactor(secrets_of(self.secrets, self.headers, self.url, self.url_shown))


@dataclass(frozen=True, slots=True)
class Rendered:
    """The request to make. The body is what is signed, and what is sent."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: Lower-case names of headers whose values must not be shown.
    secret_headers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    #: Names in lower case; of a repeated name the last value.
    headers: Mapping[str, str] = field(repr=False)
    #: The first part of the body.
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an answer that is no success means beyond its status."""

    #: The pause that it asks for holds for everything at this server, not only for the bucket of the endpoint.
    whole_server: bool = False
    #: No request can succeed before a person changes something at the receiver or at the endpoint.
    permanent: bool = False
    #: Where the receiver says that events are to go from now on; see `Format.moved`.
    moved_to: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """What a receiver that has moved makes of an endpoint."""

    url: str = field(repr=False)
    options: Mapping[str, Any]
    #: For the audit log: ``{"chat_id": [old, new]}``.
    changes: Mapping[str, list[Any]]


class ExportedEndpoint(TypedDict, total=False):
    """What `Format.read_export` found; all but `url` may be missing."""

    url: str
    #: Names in the format's own dialect or in ours, or patterns; ``None`` is everything.
    events: list[str] | None
    #: The one that the receiver has; ``None`` where the export does not tell.
    secret: str | None
    active: bool
    name: str
    description: str
    user_agent: str | None
    #: The id of whose it is; checked later.
    tenant: object


class Format:
    """Base of all formats. A subclass sets the class attributes and renders; the rest has sane defaults."""

    #: Name in configuration, API and database.
    name: ClassVar[str]
    #: Name for people.
    label: ClassVar[str]
    #: Whether endpoints of this format get a secret.
    signed: ClassVar[bool] = True
    #: Whether an endpoint of this format may do without one.
    secret_optional: ClassVar[bool] = False
    #: Whether the URL itself is a secret and shown masked only.
    secret_url: ClassVar[bool] = False
    #: Whether its receivers can answer with a body that they choose, and so echo a challenge.
    can_echo: ClassVar[bool] = True
    #: What an export of the service calls the URL; the first is the one that errors name.
    url_members: ClassVar[tuple[str, ...]] = ("url",)
    #: What an export of the service calls the id of whose endpoint it is; the first that is there counts.
    tenant_members: ClassVar[tuple[str, ...]] = ("appId", "tenant")
    #: Seconds that its receivers are given for a whole request; ``None`` is ``WEBHOOKS_TIMEOUT``.
    timeout: ClassVar[float | None] = None
    #: The event type that a test sends if none was chosen.
    test_event: ClassVar[str] = "test"
    #: Our event types and the names that they go out under; the rest keep ours.
    event_names: ClassVar[Mapping[str, str]] = {}
    #: A URL and options of the kind that its endpoints have, for examples in pages and commands.
    example_url: ClassVar[str] = "https://shop.example/webhooks"
    example_options: ClassVar[Mapping[str, Any]] = {}

    def matches(self, url: str) -> bool:
        """Whether a checked URL can only be meant for this format."""
        return False

    def event_name(self, event_type: str) -> str:
        """The name that an event type goes out under: the vendor's, else ours.

        A name of ours, or of the host's, never goes out where the vendor uses that string for something
        else: it is then sent with ``other.`` before it.
        """
        known = self.event_names.get(event_type)
        if known is not None:
            return known
        return f"other.{event_type}" if event_type in self.event_names.values() else event_type

    def event_types(self, name: str) -> tuple[str, ...]:
        """The event types of ours that this format's name stands for; empty where it is no name of it."""
        return tuple(ours for ours, theirs in self.event_names.items() if theirs == name)

    def generate_secret(self) -> str | None:
        """A new secret for an endpoint; ``None`` for a format that does not sign."""
        raise NotImplementedError

    def check_secret(self, secret: str) -> str:
        """Check a secret that a customer brings.

        :raises InvalidSecret: says what to write instead.
        """
        raise NotImplementedError

    def generate_key_pair(self) -> str:
        """A new private key, to stand among the secrets, for endpoints that want a public key to verify by.

        :raises InvalidSecret: the format has only secrets that both sides know.
        """
        raise InvalidSecret(
            "%(format)s signs with a shared secret only, not with a key pair.", format=self.label
        )

    def public_key(self, secret: str) -> str | None:
        """What the receiver verifies by, of a key pair; ``None`` of a shared secret."""
        return None

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        """Check what an endpoint sets of this format; returns what is stored.

        :param url: the endpoint's, checked already.
        :raises InvalidEndpoint: says what to write instead; its `field` is the option's name.
        """
        if options:
            raise InvalidEndpoint(
                "Leave out %(names)s: %(format)s has no such options.",
                names=textwrap.shorten(", ".join(sorted(options)), 200, placeholder=" …"),
                format=self.label,
                field=min(options)[:100],
            )
        return {}

    def bucket(self, url: str) -> str | None:
        """What endpoints share a limit of the receiving service: one bot, one channel's webhook.

        Only endpoints of one tenant, with one scheme, host and port, ever share a limit. The text may hold
        secrets; only a digest of it is stored.
        """
        return None

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        """The request for one attempt. The same event and target render the same body each time."""
        raise NotImplementedError

    def succeeded(self, answer: Answer) -> bool:
        """Whether this answer means that the receiver has the event."""
        return 200 <= answer.status < 300

    def explanation(self, answer: Answer) -> str | None:
        """What the receiver says is wrong, where its service has a place for that; asked of refusals.

        It stands beside the status wherever the attempt is shown, to those who may not see bodies too.
        """
        return None

    def retry_after(self, answer: Answer, now: datetime, longest: float) -> float | None:
        """Seconds for which the receiver wants nothing more, or ``None``. Asked of successes too."""
        if answer.status not in HOLDING_STATUSES:
            return None
        return parse_retry_after(answer.headers.get("retry-after"), now, longest)

    def refusal(self, answer: Answer) -> Refusal:
        """What an answer that is no success means beyond its status."""
        return Refusal()

    def moved(self, url: str, options: Mapping[str, Any], moved_to: int) -> Move | None:
        """The endpoint after a `Refusal` with `moved_to`; ``None`` where it stays as it is."""
        return None

    def read_export(self, item: Mapping[str, Any]) -> ExportedEndpoint:
        """Read an endpoint from an export of the service whose format this is.

        :param item: one JSON object of the export. The members read here are ours and those that most
            services share: ``url``, ``events``, ``secret``, ``active`` (``is_active``, ``enabled``),
            ``name``, ``description``, ``user_agent``, ``appId`` (``tenant``). What the values may be is checked
            later.
        :raises InvalidInput: it cannot be read; says why.
        """
        exported = read_common_export(item)
        exported.update(self.exported_tenant(item))
        return exported

    def exported_tenant(self, item: Mapping[str, Any]) -> ExportedEndpoint:
        """The member ``tenant`` of an entry of an export, by `tenant_members`; nothing where there is none."""
        for name in self.tenant_members:
            if item.get(name) not in (None, ""):
                return {"tenant": item[name]}
        return {}

    def mask_url(self, url: str) -> str:
        """The URL as it may be shown. What this leaves out of it is stored encrypted."""
        return mask_secrets(url)


_ACTIVE_MEMBERS = ("active", "is_active", "enabled")


def read_common_export(item: Mapping[str, Any]) -> ExportedEndpoint:
    """Read the members that the exports of most services share; see `Format.read_export`.

    :raises InvalidInput: one of them is not of the kind that it has to be.
    """
    url = item.get("url")
    if not isinstance(url, str) or not url:
        raise InvalidURL('It has no "url".')
    events = item.get("events")
    if isinstance(events, str):
        # A column that holds a JSON array.
        try:
            events = json.loads(events)
        except (ValueError, RecursionError):
            events = [events]
    if events is not None and not (
        isinstance(events, list) and all(isinstance(name, str) for name in events)
    ):
        raise InvalidSubscription('Its "events" is not a list of names.')
    exported = ExportedEndpoint(url=url, events=events)
    for member in _ACTIVE_MEMBERS:
        if item.get(member) is not None:
            if item[member] not in (True, False):
                raise InvalidEndpoint(
                    'Its "%(member)s" is neither true nor false.', member=member, field=member
                )
            exported["active"] = bool(item[member])
    secret = item.get("secret")
    if secret is not None and not isinstance(secret, str):
        raise InvalidSecret('Its "secret" is not text.')
    exported["secret"] = secret or None
    for key in ("name", "description", "user_agent"):
        value = item.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidEndpoint('Its "%(member)s" is not text.', member=key, field=key)
        exported[key] = value
    return exported
