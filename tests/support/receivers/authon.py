"""Authon: the secret itself is in a header; the event is in the body, and in a header as well."""

from __future__ import annotations

import json
from collections.abc import Mapping


def accepts(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    if headers.get("X-Webhook-Secret") != secret:
        return False
    message = json.loads(body)
    assert message["event"] == headers["X-Webhook-Event"]
    assert isinstance(message["data"], dict)
    return True
