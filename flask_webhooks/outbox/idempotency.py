"""The digest of an idempotency key, with which a request or an event is found."""

from __future__ import annotations

import hashlib

MAX_KEY_LENGTH = 255


def is_key(value: object) -> bool:
    """Return whether a value can be an idempotency key."""
    return isinstance(value, str) and 0 < len(value) <= MAX_KEY_LENGTH and value.isprintable()


def key_digest(tenant: str | None, key: str) -> str:
    """Return the digest of a tenant and a key, because NULL tenants are not equal in a unique constraint."""
    scope = "" if tenant is None else f"={tenant}"
    return hashlib.sha256(f"{scope}\0{key}".encode()).hexdigest()
