"""The section of the OpenAPI document that describes the requests to receivers, generated from the catalogue."""

from __future__ import annotations

import json
from typing import Any, Final

from ..catalog.registry import Catalog, EventType

_DESCRIPTION: Final = (
    "Sent in this form to endpoints of the format `standard`. "
    "`GET /event-types/{name}/example` shows other formats."
)
_HEADERS: Final = {
    "webhook-id": "Id of the event. It stays the same when the request is sent again: process each id once.",
    "webhook-timestamp": "Unix time of this attempt, in seconds.",
    "webhook-signature": "`v1,` (by a secret) or `v1a,` (by a key pair) and base 64; several are separated by a space.",
}
_ANSWERS: Final = {
    "2XX": "The webhook was accepted.",
    "410": "The receiver wants no more webhooks: the endpoint is disabled.",
    "429": "Too many requests: `Retry-After` says how long to wait.",
    "default": "It is sent again later. Redirects are not followed.",
}


def webhooks(catalog: Catalog) -> dict[str, Any]:
    """Return the event types that endpoints can subscribe to, and ``test``."""
    return {kind.name: {"post": _operation(kind)} for kind in catalog}


def _operation(kind: EventType) -> dict[str, Any]:
    content = {"schema": _schema(kind), "examples": {"example": {"value": _example(kind)}}}
    return {
        **({"deprecated": True} if kind.deprecated else {}),
        "operationId": f"webhook.{kind.name}",
        "summary": kind.description.removesuffix("."),
        "description": _DESCRIPTION,
        "tags": [kind.group],
        # The receiver authenticates requests by their signature.
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": meaning,
                "schema": {"type": "string"},
            }
            for name, meaning in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {status: {"description": meaning} for status, meaning in _ANSWERS.items()},
    }


def _schema(kind: EventType) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "type": {"const": kind.name},
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "description": "When it happened.",
            },
            "data": _data(kind),
            "tenant": {"type": "string", "description": "Left out if the event has no tenant."},
        },
        "required": ["type", "timestamp", "data"],
    }


def _data(kind: EventType) -> dict[str, Any]:
    schema = dict(kind.schema)
    if '"$ref"' in json.dumps(schema):
        # Its references are relative to the schema, not to the document.
        schema.setdefault("$id", f"urn:flask-webhooks:event-type:{kind.name}")
    return schema


def _example(kind: EventType) -> dict[str, Any]:
    return {"type": kind.name, "timestamp": "2026-01-31T12:00:00.250Z", "data": dict(kind.example)}
