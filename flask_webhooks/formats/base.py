"""What a format is: how an event becomes a request, and what the answer to it means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

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
    #: Whether the URL itself is a secret and shown masked only.
    secret_url: ClassVar[bool] = False

    def generate_secret(self) -> str | None:
        """A new secret for an endpoint; ``None`` for a format that does not sign."""
        raise NotImplementedError

    def check_secret(self, secret: str) -> str:
        """Check a secret that a customer brings.

        :raises InvalidSecret: says what to write instead.
        """
        raise NotImplementedError

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        """The request for one attempt. The same event and target render the same body each time."""
        raise NotImplementedError

    def succeeded(self, answer: Answer) -> bool:
        """Whether this answer means that the receiver has the event."""
        return 200 <= answer.status < 300

    def retry_after(self, answer: Answer, now: datetime, longest: float) -> float | None:
        """Seconds for which the receiver wants nothing more, or ``None``."""
        if answer.status not in HOLDING_STATUSES:
            return None
        return parse_retry_after(answer.headers.get("retry-after"), now, longest)

    def mask_url(self, url: str) -> str:
        """The URL as it may be shown."""
        return url
