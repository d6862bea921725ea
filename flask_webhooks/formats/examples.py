"""Examples of event types in formats, for pages, documentation and commands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..catalog.registry import Catalog, EventType
from ..encoding import encode_data
from ..errors import InvalidSecret
from . import Format, Formats, OutgoingEvent, Target

#: The public secret with which examples are signed.
EXAMPLE_SECRET = "whsec_ZXhhbXBsZSBzZWNyZXQgb2YgdGhlIGRvY3VtZW50YXRpb24="
EXAMPLE_TENANT = "app_1"
#: The largest data of an example, in bytes.
MAX_DATA_BYTES = 256 * 1024

_OCCURRED = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
_ATTEMPTED = _OCCURRED + timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Example:
    """An example request, which is always the same."""

    format: str
    event_type: str
    #: The URL for display.
    url: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    #: Lower-case names of headers with values that look like secrets.
    secret_headers: frozenset[str] = frozenset()

    @property
    def pretty_body(self) -> str:
        """The body with line breaks, for people; signatures cover `body`."""
        text = self.body.decode(errors="replace")
        try:
            return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
        except (ValueError, RecursionError):
            # Bodies of custom formats need not be JSON.
            return text


def sample_data(event_type: EventType, product_name: str) -> Mapping[str, Any]:
    """Return the data of a test event."""
    if event_type.name == "test":
        return {"message": f"This is a test ping from {product_name}"}
    return event_type.example


def render_example(
    style: Format,
    event_type: EventType,
    *,
    product_name: str,
    data: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    url: str | None = None,
    tenant: str | None = EXAMPLE_TENANT,
) -> Example:
    """Render the example of an event type, or other data, in a format.

    :param options: options of the format; by default those of its example.
    :param url: a checked URL; by default that of its example.
    :raises InvalidInput: the data or the options are invalid.
    """
    if data is None:
        data = sample_data(event_type, product_name)
    whole_url = style.example_url if url is None else url
    event = OutgoingEvent(
        id="evt_example",
        type=event_type.name,
        tenant=tenant,
        occurred_at=_OCCURRED,
        data_json=encode_data(data, MAX_DATA_BYTES),
        tenant_name=tenant,
    )
    target = Target(
        id="ep_01kg3t9q007z9k4m2w8r5h1c3v",
        tenant=tenant,
        url=whole_url,
        url_shown=style.mask_url(whole_url),
        format=style.name,
        secrets=_secrets(style),
        headers={},
        user_agent=None,
        version=1,
        options=style.check_options(
            style.example_options if options is None else options, whole_url
        ),
        product_name=product_name,
    )
    rendered = style.render(event, target, _ATTEMPTED)
    headers = dict(rendered.headers)
    if not any(name.lower() == "content-type" for name in headers):
        headers = {"Content-Type": "application/json", **headers}
    return Example(
        style.name,
        event_type.name,
        target.url_shown,
        headers,
        rendered.body,
        rendered.secret_headers,
    )


def render_examples(formats: Formats, catalog: Catalog, *, product_name: str) -> Iterator[Example]:
    """Render all event types in all formats."""
    for style in formats:
        for event_type in catalog:
            yield render_example(style, event_type, product_name=product_name)


def _secrets(style: Format) -> tuple[str, ...]:
    if not style.signed:
        return ()
    try:
        return (style.check_secret(EXAMPLE_SECRET),)
    except (InvalidSecret, NotImplementedError):
        # A custom format may have other rules.
        return tuple(filter(None, [style.generate_secret()]))
