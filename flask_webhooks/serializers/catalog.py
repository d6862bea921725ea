"""Formats, event types, and examples of event types in a format."""

from __future__ import annotations

from typing import Annotated, Any

from ..catalog.differences import DifferenceKind
from ..queries import MOST_SUBSCRIBERS
from .base import Count, JsonObject, member, one_of
from .endpoints import EndpointLabelObject


#: `serialize` is given the `default`.
class FormatObject(JsonObject):
    name: str
    title: str = member("For people.", source="label")
    default: bool = member("The format of an endpoint if its URL does not determine it.")
    recognised_by_url: bool = member(
        "URLs like `example_url` get this format if none is chosen.",
        source=lambda item: item.matches(item.example_url),
    )
    example_url: str
    url_secret: bool = member("The URL itself is a secret, and shown masked.", source="secret_url")
    signed: bool = member("Endpoints get a secret.")
    secret_optional: bool = member("An endpoint may have no secret.")
    test_event: str = member("The event type of a test if none is chosen.")
    timeout: float | None = member("Seconds; null is the server's.")
    event_names: dict[str, str] = member(
        "Our event types and the names they are sent under; others keep our names.",
        source=lambda item: dict(item.event_names),
    )
    example_options: dict[str, Any] = member(source=lambda item: dict(item.example_options))


class DifferenceObject(JsonObject):
    path: str = member("The member, such as `user.email`.")
    kind: Annotated[str, one_of(DifferenceKind)]
    before: Any = member("In the example of the previous version; null if it did not exist.")
    after: Any = member("In the example of this version; null if it no longer exists.")


class DataVersionObject(JsonObject):
    version: str = member(
        "A date, or `initial` for the data before the first version.", source="name"
    )
    changes: list[DifferenceObject] = member("Differences from the previous version.")
    example: dict[str, Any] | None = member(
        "Null if a function of the application fails with the example."
    )


class EventTypeEntryObject(JsonObject):
    name: str
    group: str
    description: str = member("When it is sent.")
    schema: dict[str, Any] = member("JSON Schema of the data.")
    example: dict[str, Any]
    transactional: bool = member("Exists only if the application's transaction commits.")
    high_volume: bool = member("May occur with every client request.")
    operational: bool = member("Sent by Flask-Webhooks about endpoints.")
    subscribable: bool = member("Endpoints may subscribe to it.")
    deprecated: bool = member("It will be removed in the future.")


class EventTypeObject(EventTypeEntryObject, part="kind"):
    data_versions: list[DataVersionObject] = member(
        "Newest first; `schema` and `example` are of the newest. Empty if the data has never changed."
    )


class EventTypeDetailObject(EventTypeObject):
    subscribers: list[EndpointLabelObject] = member(
        f"Endpoints that name it, or a prefix of it; the newest {MOST_SUBSCRIBERS}.",
        source="subscribers.endpoints",
    )
    subscribers_by_name: Count = member("How many those are.", source="subscribers.by_name")
    subscribers_by_everything: Count = member(
        "How many endpoints get it because they get every event type.",
        source="subscribers.by_everything",
    )


class ExampleObject(JsonObject):
    format: str
    event_type: str
    url: str
    headers: dict[str, str]
    body: str = member(source=lambda example: example.body.decode(errors="replace"))
