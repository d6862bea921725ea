"""What a format is: how an event becomes a request, and what the answer to it means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from ..errors import InvalidEndpoint
from ..retry import HOLDING_STATUSES, parse_retry_after


@dataclass(frozen=True)
class OutgoingEvent:
    """An event as a format sees it."""

    id: str
    type: str
    tenant: str | None
    occurred_at: datetime
    #: The data as compact JSON text, just as it was stored.
    data_json: str
    #: The tenant's name for people, from the host's hook; its id where there is none.
    tenant_name: str | None = None

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

    def __repr__(self) -> str:
        return f"<Target {self.id}>"


@dataclass(frozen=True, slots=True)
class Rendered:
    """The request to make. The body is what is signed, and what is sent."""

    url: str
    headers: dict[str, str]
    body: bytes
    #: Lower-case names of headers whose values must not be shown.
    secret_headers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    #: Names in lower case; of a repeated name the last value.
    headers: Mapping[str, str]
    #: The first part of the body.
    body: bytes


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
    #: Seconds that its receivers are given for a whole request; ``None`` is ``WEBHOOKS_TIMEOUT``.
    timeout: ClassVar[float | None] = None
    #: The event type that a test sends where nobody chose one.
    test_event: ClassVar[str] = "test"
    #: Our event types and the names that they go out under; the rest keep ours.
    event_names: ClassVar[Mapping[str, str]] = {}

    def matches(self, url: str) -> bool:
        """Whether a checked URL can only be meant for this format."""
        return False

    def event_name(self, event_type: str) -> str:
        """The name that an event type of ours goes out under."""
        return self.event_names.get(event_type, event_type)

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

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        """Check what an endpoint sets of this format; returns what is stored.

        :param url: the endpoint's, checked already.
        :raises InvalidEndpoint: says what to write instead; its `field` is the option's name.
        """
        if options:
            raise InvalidEndpoint(
                f"Leave out {', '.join(sorted(options))}: {self.label} has no such options.",
                field=min(options),
            )
        return {}

    def bucket(self, url: str) -> str | None:
        """What endpoints share a limit of the receiving service: one bot, one channel's webhook.

        The text may hold secrets; only a digest of it is stored.
        """
        return None

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        """The request for one attempt. The same event and target render the same body each time."""
        raise NotImplementedError

    def succeeded(self, answer: Answer) -> bool:
        """Whether this answer means that the receiver has the event."""
        return 200 <= answer.status < 300

    def retry_after(self, answer: Answer, now: datetime, longest: float) -> float | None:
        """Seconds for which the receiver wants nothing more, or ``None``. Asked of successes too."""
        if answer.status not in HOLDING_STATUSES:
            return None
        return parse_retry_after(answer.headers.get("retry-after"), now, longest)

    def mask_url(self, url: str) -> str:
        """The URL as it may be shown."""
        return url
