"""What endpoints are set to, as keywords of the actions that create and change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

#: Custom headers by name, or as pairs.
GivenHeaders = Mapping[str, str] | Iterable[tuple[str, str]]
ChangedHeaders = Mapping[str, str | None] | Iterable[tuple[str, str | None]]


class EndpointSettings(TypedDict, total=False):
    """What an endpoint has from its creation and what can be changed later, in the same words."""

    #: Names and ``license.*`` patterns; ``None`` is everything, also future types.
    events: Iterable[str] | None
    #: The format in whose names the events are given; what it has no name for is read as ours. They are
    #: stored as ours. ``None``: they are ours.
    dialect: str | None
    #: Conditions on the data of events, in the notation of `filters`; ``None`` or ``{}`` lets everything through.
    filter: Mapping[str, Any] | None
    #: Of which event types at most one event a key is sent in an interval, as `filters.coalescing` reads it.
    coalesce: Mapping[str, Any] | None
    #: The date of a version of event data, or ``initial``; ``None`` is the newest that there is.
    data_version: str | None
    #: ``None`` is what the URL asks for, else ``WEBHOOKS_DEFAULT_FORMAT``.
    format: str | None
    name: str
    description: str
    #: ``None`` is ours.
    user_agent: str | None
    #: The e-mail address of the person who looks after the receiver; ``None`` is none.
    contact: str | None
    #: A certificate and its private key in PEM, by which the receiver knows us; ``None`` is none.
    client_certificate: str | None
    #: All that is set of the format. A new format begins without any.
    options: Mapping[str, Any] | None
    #: Seconds for a whole request; ``None`` leaves it to the format and ``WEBHOOKS_TIMEOUT``.
    timeout: float | None
    #: Requests a second; ``None`` is as many as it takes.
    rate_limit: float | None
    #: Deliveries go one after another, in the order of their events.
    ordered: bool


class NewEndpoint(EndpointSettings, total=False):
    """What `create_endpoint` takes beside the URL."""

    #: Whose it is; ``None`` is the whole server, or the only tenant in scope.
    tenant: object
    #: The customer's own; ``None`` generates one, ``False`` is none, where the format allows that.
    secret: str | Literal[False] | None
    #: Sign by a new key pair; `CreatedEndpoint.public_key` is for the receiver.
    key_pair: bool
    headers: GivenHeaders | None
    #: ``False`` for one that is paused from the start.
    active: bool


class EndpointChanges(EndpointSettings, total=False):
    """What `update_endpoint` can change."""

    url: str
    #: All custom headers, by name or as pairs; the value ``None`` keeps the stored one of that name.
    headers: ChangedHeaders | None


def check_names(given: Mapping[str, Any], known: type[NewEndpoint] | type[EndpointChanges]) -> None:
    """:raises TypeError: a setting has a name that is none."""
    unknown = given.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"an endpoint has no {', '.join(sorted(unknown))} to set here")
