"""The digest under which a request or an event with an idempotency key is found again."""

from __future__ import annotations

import hashlib

MAX_KEY_LENGTH = 255


def is_key(value: object) -> bool:
    """Return whether a value can be an idempotency key."""
    return isinstance(value, str) and 0 < len(value) <= MAX_KEY_LENGTH and value.isprintable()


def key_digest(tenant: str | None, key: str) -> str:
    """Return the digest of a tenant and its key: NULL tenants would not be equal in a unique constraint."""
    scope = "" if tenant is None else f"={tenant}"
    return hashlib.sha256(f"{scope}\0{key}".encode()).hexdigest()
