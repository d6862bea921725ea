"""Aureva: an optional secret; the signature is the hex HMAC-SHA256 of the body."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping


def accepts(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    if not secret:
        return True
    given = headers.get("X-Webhook-Signature") or ""
    wanted = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given, wanted)
