"""Base classes of formats, which render events as requests and interpret responses.

Long, since it documents everything that a format can define.
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
    """An event to render."""

    id: str
    type: str
    tenant: str | None
    occurred_at: datetime
    #: The data as compact JSON text, exactly as stored.
    data_json: str = field(repr=False)
    #: The display name of the tenant, from the host's function; by default its id.
    tenant_name: str | None = None
    #: The number of consecutive webhooks that have led to it.
    hops: int = 0
    #: The ``traceparent`` of the span that emitted it.
    trace_context: str | None = None
    #: The version of its data; ``None`` is before the first version.
    data_version: str | None = None

    @cached_property
    def data(self) -> Any:
        return json.loads(self.data_json)


@dataclass(frozen=True)
class Target:
    """A decrypted endpoint."""

    id: str
    tenant: str | None
    url: str
    url_shown: str
    format: str
    #: Active secrets, newest first; empty if the format needs none.
    secrets: tuple[str, ...]
    headers: Mapping[str, str]
    user_agent: str | None
    version: int
    #: The options of the endpoint, as returned by `Format.check_options`.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: ``WEBHOOKS_PRODUCT_NAME``.
    product_name: str = "Flask-Webhooks"
    #: Seconds for a whole request; ``None`` leaves it to the format and ``WEBHOOKS_TIMEOUT``.
    timeout: float | None = None
    #: ``certificate`` and ``key`` of the client in PEM, which are never part of a request.
    client_certificate: Mapping[str, str] | None = None
    #: The version of its event data; ``None`` is before the first version.
    data_version: str | None = None

    def __repr__(self) -> str:
        return f"<Target {self.id}>"

    @cached_property
    def redactor(self) -> Redactor:
        """The function that masks this endpoint's secrets in foreign text."""
        return Redactor(secrets_of(self.secrets, self.headers, self.url, self.url_shown))


@dataclass(frozen=True, slots=True)
class Rendered:
    """The rendered request. The body is signed and sent unchanged."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: Lower-case names of headers whose values must not be shown.
    secret_headers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of a receiver."""

    status: int
    #: Names in lower case; for a repeated name the last value.
    headers: Mapping[str, str] = field(repr=False)
    #: The first part of the body.
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The meaning of an unsuccessful response in addition to its status."""

    #: The requested pause applies to the whole server, not only to the bucket of the endpoint.
    whole_server: bool = False
    #: No request can succeed until a person changes the receiver or the endpoint.
    permanent: bool = False
    #: The new destination according to the receiver; see `Format.moved`.
    moved_to: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """The new values of an endpoint whose receiver has moved."""

    url: str = field(repr=False)
    options: Mapping[str, Any]
    #: For the audit log: ``{"chat_id": [old, new]}``.
    changes: Mapping[str, list[Any]]


class ExportedEndpoint(TypedDict, total=False):
    """The result of `Format.read_export`; all members except `url` may be missing."""

    url: str
    #: Names in the format's dialect or in ours, or patterns; ``None`` is all types.
    events: list[str] | None
    #: The secret of the receiver; ``None`` if the export does not contain it.
    secret: str | None
    active: bool
    name: str
    description: str
    user_agent: str | None
    #: The id of the tenant; checked later.
    tenant: object


class Format:
    """Base of all formats. A subclass sets class attributes and implements `render`; other methods have defaults."""

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
    #: Whether its receivers can choose the body of a response, and so echo a challenge.
    can_echo: ClassVar[bool] = True
    #: Names of the URL in an export of the service; errors mention the first.
    url_members: ClassVar[tuple[str, ...]] = ("url",)
    #: Names of the tenant in an export of the service; the first existing one counts.
    tenant_members: ClassVar[tuple[str, ...]] = ("appId", "tenant")
    #: Timeout of a whole request in seconds; ``None`` is ``WEBHOOKS_TIMEOUT``.
    timeout: ClassVar[float | None] = None
    #: The event type that a test sends if none was chosen.
    test_event: ClassVar[str] = "test"
    #: The sent names of our event types; others keep our names.
    event_names: ClassVar[Mapping[str, str]] = {}
    #: An example URL and example options, for pages and commands.
    example_url: ClassVar[str] = "https://shop.example/webhooks"
    example_options: ClassVar[Mapping[str, Any]] = {}

    def matches(self, url: str) -> bool:
        """Return whether a checked URL can only be meant for this format."""
        return False

    def event_name(self, event_type: str) -> str:
        """Return the sent name of an event type: the vendor's, else ours.

        If the vendor uses the same name with another meaning, it is sent with the prefix ``other.``.
        """
        known = self.event_names.get(event_type)
        if known is not None:
            return known
        return f"other.{event_type}" if event_type in self.event_names.values() else event_type

    def event_types(self, name: str) -> tuple[str, ...]:
        """Return our event types for a name of this format; empty if the format does not have it."""
        return tuple(ours for ours, theirs in self.event_names.items() if theirs == name)

    def generate_secret(self) -> str | None:
        """Return a new secret for an endpoint; ``None`` for a format that does not sign."""
        raise NotImplementedError

    def check_secret(self, secret: str) -> str:
        """Check an existing secret of a customer.

        :raises InvalidSecret: it is invalid; the message says what to write instead.
        """
        raise NotImplementedError

    def generate_key_pair(self) -> str:
        """Return a new private key, which is stored like a secret, for endpoints that verify with a public key.
        :raises InvalidSecret: the format only supports shared secrets.
        """
        raise InvalidSecret(
            "%(format)s signs with a shared secret only, not with a key pair.", format=self.label
        )

    def public_key(self, secret: str) -> str | None:
        """Return the public key of a key pair; ``None`` for a shared secret."""
        return None

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        """Check the options of an endpoint; return their stored form.

        :param url: the checked URL of the endpoint.
        :raises InvalidEndpoint: an option is invalid; `field` is its name.
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
        """Return a text that identifies a shared limit of the receiving service, such as one bot or one channel's
        webhook.

        Only endpoints of one tenant, with the same scheme, host and port, share a limit. The text may contain
        secrets; only a digest of it is stored.
        """
        return None

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        """Return the request of an attempt. The same event and target always render the same body."""
        raise NotImplementedError

    def succeeded(self, answer: Answer) -> bool:
        """Return whether the receiver has accepted the event."""
        return 200 <= answer.status < 300

    def explanation(self, answer: Answer) -> str | None:
        """Return the receiver's error message in a refusal, if its service defines one.

        It is shown next to the status of the attempt, even to people who may not see bodies.
        """
        return None

    def retry_after(self, answer: Answer, now: datetime, longest: float) -> float | None:
        """Return the seconds for which the receiver asks to wait, or ``None``. Also called for successes."""
        if answer.status not in HOLDING_STATUSES:
            return None
        return parse_retry_after(answer.headers.get("retry-after"), now, longest)

    def refusal(self, answer: Answer) -> Refusal:
        """The meaning of an unsuccessful response in addition to its status."""
        return Refusal()

    def moved(self, url: str, options: Mapping[str, Any], moved_to: int) -> Move | None:
        """Return the new values of an endpoint after a `Refusal` with `moved_to`; ``None`` if it does not change."""
        return None

    def read_export(self, item: Mapping[str, Any]) -> ExportedEndpoint:
        """Read an endpoint from an export of the format's service.

        :param item: a JSON object of the export. The default reads our members and those that most services share:
            ``url``, ``events``, ``secret``, ``active`` (``is_active``, ``enabled``), ``name``, ``description``,
            ``user_agent``, ``appId`` (``tenant``). Values are checked later.
        :raises InvalidInput: it cannot be read.
        """
        exported = read_common_export(item)
        exported.update(self.exported_tenant(item))
        return exported

    def exported_tenant(self, item: Mapping[str, Any]) -> ExportedEndpoint:
        """Return the member ``tenant`` of an entry of an export, based on `tenant_members`; empty if there is
        none.
        """
        for name in self.tenant_members:
            if item.get(name) not in (None, ""):
                return {"tenant": item[name]}
        return {}

    def mask_url(self, url: str) -> str:
        """Return the URL for display. If this masks anything, the complete URL is stored encrypted."""
        return mask_secrets(url)


_ACTIVE_MEMBERS = ("active", "is_active", "enabled")


def read_common_export(item: Mapping[str, Any]) -> ExportedEndpoint:
    """Read the members that the exports of most services share; see `Format.read_export`.

    :raises InvalidInput: a member has the wrong type.
    """
    url = item.get("url")
    if not isinstance(url, str) or not url:
        raise InvalidURL('It has no "url".')
    events = item.get("events")
    if isinstance(events, str):
        # A column that contains a JSON array.
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
