"""Formats, event types, and what a format makes of an event type."""

from typing import Annotated, Any

from .base import JsonObject, Member


#: `serialize` is given the `default`.
class FormatObject(JsonObject):
    name: str
    title: Annotated[str, Member("For people.", source="label")]
    default: Annotated[bool, Member("What an endpoint gets whose URL does not tell.")]
    recognised_by_url: Annotated[
        bool,
        Member(
            "URLs like `example_url` get it where none is chosen.",
            source=lambda item: item.matches(item.example_url),
        ),
    ]
    example_url: str
    url_secret: Annotated[
        bool, Member("The URL itself is a secret, and shown masked.", source="secret_url")
    ]
    signed: Annotated[bool, Member("Endpoints get a secret.")]
    secret_optional: Annotated[bool, Member("An endpoint may do without one.")]
    test_event: Annotated[str, Member("What a test sends where nobody chooses a type.")]
    timeout: Annotated[float | None, Member("Seconds; null is the server's.")]
    event_names: Annotated[
        dict[str, str],
        Member(
            "Our event types and the names that they go out under; the others keep ours.",
            source=lambda item: dict(item.event_names),
        ),
    ]
    example_options: Annotated[
        dict[str, Any], Member(source=lambda item: dict(item.example_options))
    ]


class EventTypeObject(JsonObject):
    name: str
    group: str
    description: Annotated[str, Member("When it is sent.")]
    schema: Annotated[dict[str, Any], Member("JSON Schema of the data.")]
    example: dict[str, Any]
    transactional: Annotated[bool, Member("Exists only if the application's transaction commits.")]
    high_volume: Annotated[bool, Member("May come with every request of a client.")]
    operational: Annotated[bool, Member("Sent by Flask-Webhooks about endpoints.")]
    subscribable: Annotated[bool, Member("Endpoints may name it.")]


class ExampleObject(JsonObject):
    format: str
    event_type: str
    url: str
    headers: dict[str, str]
    body: Annotated[str, Member(source=lambda example: example.body.decode(errors="replace"))]
