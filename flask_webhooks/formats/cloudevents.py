"""CloudEvents 1.0, structured content mode, signed as Standard Webhooks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ..errors import InvalidEndpoint
from .base import OutgoingEvent, Rendered, Target
from .standard import StandardSigned, iso_milliseconds

MAX_SOURCE_LENGTH = 200
#: The characters of a URI reference (RFC 3986), which `source` has to be.
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")


class CloudEvents(StandardSigned):
    """``{"specversion", "id", "source", "type", "time", "datacontenttype", "tenant"?, "data"}``.

    Options: ``source``, a URI reference; by default the product's name.
    """

    name = "cloudevents"
    label = "CloudEvents"
    example_options = {"source": "https://licences.example/webhooks"}  # noqa: RUF012

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        source = options.get("source")
        super().check_options({k: v for k, v in options.items() if k != "source"}, url)
        if source is None or source == "":
            return {}
        if (
            not isinstance(source, str)
            or len(source) > MAX_SOURCE_LENGTH
            or not _URI_REFERENCE.fullmatch(source)
        ):
            raise InvalidEndpoint(
                "Write the source as a URI of at most %(most)s characters, such as "
                "https://licences.example/, or leave it out.",
                most=MAX_SOURCE_LENGTH,
                field="source",
            )
        return {"source": source}

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        attributes = {
            "specversion": "1.0",
            "id": event.id,
            "source": target.options.get("source") or "/" + quote(target.product_name, safe=""),
            "type": event.type,
            "time": iso_milliseconds(event.occurred_at),
            "datacontenttype": "application/json",
        }
        if event.tenant is not None:
            attributes["tenant"] = event.tenant
        head = json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))
        body = f'{head[:-1]},"data":{event.data_json}}}'.encode()
        headers = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            **self.signature_headers(event, target, body, attempted_at),
        }
        return Rendered(url=target.url, headers=headers, body=body)
