"""AkuWorks: ``sha256=`` and the hex HMAC-SHA256 of the raw body as UTF-8 text."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping


def accepts(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    text = body.decode("utf-8")
    digest = hmac.new(secret.encode(), text.encode("utf-8"), hashlib.sha256).hexdigest()
    return headers.get("X-Webhook-Signature") == f"sha256={digest}"
