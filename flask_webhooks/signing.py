"""Signatures over bytes, by the Standard Webhooks specification and in the vendors' hex form.

Own code, because the specification's Python package signs only text and mangles times that are not UTC.
Source of the rules: Standard Webhooks 1.0, "Signature scheme".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from .errors import InvalidSecret

SECRET_PREFIX = "whsec_"
PRIVATE_KEY_PREFIX = "whsk_"
PUBLIC_KEY_PREFIX = "whpk_"
#: The specification asks for 24 to 64 random bytes.
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64


def generate_secret() -> str:
    """A new ``whsec_…`` secret of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def standard_key(secret: str) -> bytes:
    """The key bytes of a ``whsec_…`` secret: the base 64 part, decoded.

    :raises InvalidSecret: it is not of that form, or shorter or longer than the specification allows.
    """
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSecret(
            "The secret must be 'whsec_' followed by base 64 text. Leave it empty to get a new one."
        ) from None
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise InvalidSecret(
            f"The secret must hold {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes after 'whsec_', not {len(key)}. "
            "Leave it empty to get a new one."
        )
    return key


def sign_standard(message_id: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> str:
    """The ``webhook-signature`` header: one ``v1,<base64>`` for each key, separated by spaces.

    :param timestamp: Unix seconds, as sent in ``webhook-timestamp``.
    """
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys
    )


def sign_hex(body: bytes, key: bytes) -> str:
    """HMAC-SHA256 of the body in lower-case hex, as most of the five services send it."""
    return hmac.digest(key, body, hashlib.sha256).hex()
