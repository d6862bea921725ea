"""AuthForge: the hex HMAC-SHA256 of the raw body; the licence key and the headers are then read."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping


def accepts(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    wanted = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(headers.get("X-AuthForge-Signature") or "", wanted):
        return False
    message = json.loads(body)
    assert message["data"]["licenseKey"]
    assert message["event"] == headers["X-AuthForge-Event"]
    assert message["timestamp"] == headers["X-AuthForge-Timestamp"]
    return True
