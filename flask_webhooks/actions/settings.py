"""The settings of endpoints, as keywords of the actions that create and change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

#: Custom headers by name, or as pairs.
GivenHeaders = Mapping[str, str] | Iterable[tuple[str, str]]
ChangedHeaders = Mapping[str, str | None] | Iterable[tuple[str, str | None]]


class EndpointSettings(TypedDict, total=False):
    """The settings that can be given on creation and changed later."""

    #: Names and ``license.*`` patterns; ``None`` is all types, including future ones.
    events: Iterable[str] | None
    #: The format whose names `events` uses; names that it does not have are read as ours. They are stored as ours.
    #: ``None``: ours.
    dialect: str | None
    #: Conditions on the data of events, in the notation of `filters`; ``None`` or ``{}`` matches everything.
    filter: Mapping[str, Any] | None
    #: The event types of which at most one event per key is sent in an interval; see `filters.coalescing`.
    coalesce: Mapping[str, Any] | None
    #: The date of a version of event data, or ``initial``; ``None`` is the newest.
    data_version: str | None
    #: ``None`` is detected from the URL, else ``WEBHOOKS_DEFAULT_FORMAT``.
    format: str | None
    name: str
    description: str
    #: ``None`` is the default.
    user_agent: str | None
    #: The e-mail address of the person responsible for the receiver; ``None`` is none.
    contact: str | None
    #: A client certificate and its private key in PEM, for mutual TLS; ``None`` is none.
    client_certificate: str | None
    #: All options of the format. A new format starts without any.
    options: Mapping[str, Any] | None
    #: Timeout of a whole request in seconds; ``None`` is that of the format or ``WEBHOOKS_TIMEOUT``.
    timeout: float | None
    #: Requests per second; ``None`` is unlimited.
    rate_limit: float | None
    #: Deliveries are sent one after another, in the order of their events.
    ordered: bool


class NewEndpoint(EndpointSettings, total=False):
    """The parameters of `create_endpoint` in addition to the URL."""

    #: The tenant; ``None`` is the whole server, or the only tenant in scope.
    tenant: object
    #: An existing secret; ``None`` generates one, ``False`` is none, if the format allows it.
    secret: str | Literal[False] | None
    #: Sign with a new key pair; `CreatedEndpoint.public_key` is for the receiver.
    key_pair: bool
    headers: GivenHeaders | None
    #: ``False`` pauses it from the start.
    active: bool
    #: Send a test at once, and nothing else until a test is answered with 2xx.
    test_first: bool


class EndpointChanges(EndpointSettings, total=False):
    """The settings that `update_endpoint` can change."""

    url: str
    #: All custom headers, by name or as pairs; the value ``None`` keeps the stored one of that name.
    headers: ChangedHeaders | None


def check_names(given: Mapping[str, Any], known: type[NewEndpoint] | type[EndpointChanges]) -> None:
    """Check the names of settings.

    :raises TypeError: a name is unknown.
    """
    unknown = given.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"an endpoint has no {', '.join(sorted(unknown))} to set here")
