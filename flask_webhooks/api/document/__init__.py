"""The OpenAPI 3.1 document, kept by hand; tests hold it against the routes and against real answers."""

from __future__ import annotations

from typing import Any, Final

from ... import serializers
from ...formats import Formats
from ..json_schema import components
from ..problems import ProblemObject, RefusalObject
from .paths import paths
from .requests import bodies

__all__ = ["document"]

_OBJECTS: Final = (
    *(
        serializers.__dict__[name]
        for name in serializers.__all__
        if name.endswith("Object") and name != "JsonObject"
    ),
    ProblemObject,
    RefusalObject,
)
#: Of the API: the first number grows when something is taken away or means something else.
VERSION: Final = "1.0"

_DESCRIPTION: Final = """\
Endpoints, deliveries, events and tasks of Flask-Webhooks.

Who may do what, and whose endpoints there are, is decided by the application that this is mounted in.
What belongs to another tenant is 404.

Every request that changes something is sent with `Content-Type: application/json` and a JSON object, `{}` where there
is nothing to say. A DELETE needs neither.

Every error is a problem detail (RFC 9457, `application/problem+json`). `detail` says what to write or do instead,
`code` stays the same, `field` names the member, parameter or option at fault. With 422, `errors` are all that is wrong.

Times are in UTC, `2026-01-31T12:00:00.250Z`. Lists are newest first; pass `next_before` of a page as `before` to get
the next one.
"""


def document(formats: Formats, *, server: str) -> dict[str, Any]:
    """The document of one application.

    :param server: the path that the API is mounted at.
    """
    names = [item.name for item in formats]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Webhooks", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": server or "/"}],
        "paths": paths(names),
        "components": {"schemas": {**components(_OBJECTS), **bodies(names)}},
    }
