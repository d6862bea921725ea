"""Formats, event types, and what a format makes of an event type."""

from __future__ import annotations

from typing import Any

from .base import JsonObject, member


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


class EventTypeObject(JsonObject):
    name: str
    group: str
    description: str = member("When it is sent.")
    schema: dict[str, Any] = member("JSON Schema of the data.")
    example: dict[str, Any]
    transactional: bool = member("Exists only if the application's transaction commits.")
    high_volume: bool = member("May occur with every client request.")
    operational: bool = member("Sent by Flask-Webhooks about endpoints.")
    subscribable: bool = member("Endpoints may subscribe to it.")


class ExampleObject(JsonObject):
    format: str
    event_type: str
    url: str
    headers: dict[str, str]
    body: str = member(source=lambda example: example.body.decode(errors="replace"))
