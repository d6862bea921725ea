"""Signatures over bytes, by the Standard Webhooks specification and in the vendors' hex form.

Own code, because the specification's Python package signs only text, mangles times that are not UTC, and knows
no key pairs. Source of the rules: Standard Webhooks 1.0, "Signature scheme".
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
import string
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidSecret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SECRET_PREFIX = "whsec_"
PRIVATE_KEY_PREFIX = "whsk_"
PUBLIC_KEY_PREFIX = "whpk_"
_PREFIXES = (SECRET_PREFIX, PRIVATE_KEY_PREFIX, PUBLIC_KEY_PREFIX)
#: The specification asks for 24 to 64 random bytes.
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
#: Of ed25519: a seed, a public key, and both together as most tools write a private key.
_SEED_BYTES = 32
#: Quotation marks that may be copied together with a secret.
_QUOTES = {
    '"': '"',
    "'": "'",
    "`": "`",
    "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}",
}
_BASE64 = frozenset(string.ascii_letters + string.digits + "+/")
_URL_SAFE = str.maketrans("-_", "+/")


def generate_secret() -> str:
    """Return a new ``whsec_…`` secret of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def generate_private_key() -> str:
    """Return a new ed25519 key, ``whsk_`` and the base 64 of its seed and its public key."""
    seed = secrets.token_bytes(_SEED_BYTES)
    return PRIVATE_KEY_PREFIX + base64.b64encode(seed + _public_bytes(seed)).decode()


def pasted(secret: str) -> str:
    """Normalise a pasted secret of Standard Webhooks: remove white space, invisible characters, quotation marks
    and the prefix ``v1,`` of some services, and convert an upper-case prefix and the URL-safe alphabet of base 64.
    """
    visible = (item for item in secret if unicodedata.category(item) != "Cf")
    text = "".join("".join(visible).split())
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1]
    text = re.sub(r"\A(v1,)?(v1a,)?", "", text, flags=re.IGNORECASE)
    if "-----" in text:  # PEM
        return text
    prefix = next((item for item in _PREFIXES if text.lower().startswith(item)), "")
    return prefix + text[len(prefix) :].translate(_URL_SAFE)


def standard_key(secret: str) -> bytes:
    """The key bytes of a ``whsec_…`` secret, as `pasted` returns it: the base 64 part, decoded.

    :raises InvalidSecret: it is not of that form, or shorter or longer than the specification allows.
    """
    encoded = secret.removeprefix(SECRET_PREFIX)
    key = _decoded(encoded)
    if key is None:
        raise _not_a_secret(encoded)
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise InvalidSecret(
            "The secret must hold %(least)s to %(most)s bytes after 'whsec_', not %(length)s.",
            least=MIN_KEY_BYTES,
            most=MAX_KEY_BYTES,
            length=len(key),
        )
    return key


def _not_a_secret(encoded: str) -> InvalidSecret:
    """Return why a text after ``whsec_`` is not base 64."""
    if "-----BEGIN" in encoded:
        return InvalidSecret(
            "The secret is a key in PEM form. Write 'whsec_' followed by base 64 text instead."
        )
    if encoded.startswith(PUBLIC_KEY_PREFIX):
        return InvalidSecret(
            "The secret is a public key ('whpk_…'), which cannot sign. Write 'whsec_' followed by base 64 text, or a "
            "private key ('whsk_…')."
        )
    text = encoded.rstrip("=")
    odd = next((n for n, character in enumerate(text) if character not in _BASE64), None)
    if odd is None:
        return InvalidSecret(
            "The secret must be 'whsec_' followed by base 64 text. This text has %(length)s "
            "characters there, which is too few or too many.",
            length=len(text),
        )
    return InvalidSecret(
        "The secret must be 'whsec_' followed by base 64 text, but character %(position)s after 'whsec_' is "
        "%(character)s.",
        position=odd + 1,
        character=ascii(text[odd]),
    )


def private_key(secret: str) -> Ed25519PrivateKey:
    """The key of a ``whsk_…`` text: a seed of 32 bytes, alone or followed by its public key.

    :raises InvalidSecret: it is neither of them.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    raw = _decoded(secret.removeprefix(PRIVATE_KEY_PREFIX)) or b""
    seed, public = raw[:_SEED_BYTES], raw[_SEED_BYTES:]
    if len(seed) != _SEED_BYTES or (public and public != _public_bytes(seed)):
        raise InvalidSecret(
            "The private key must be 'whsk_' followed by the base 64 of an ed25519 key: 32 bytes, or these and "
            "the 32 bytes of the public key that belongs to them."
        )
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_key(secret: str) -> str:
    """The ``whpk_…`` text of a ``whsk_…`` private key.

    :raises InvalidSecret: it is no such key.
    """
    raw = private_key(secret).public_key().public_bytes_raw()
    return PUBLIC_KEY_PREFIX + base64.b64encode(raw).decode()


def read_public_key(text: str) -> Ed25519PublicKey:
    """The key of a ``whpk_…`` text.

    :raises InvalidSecret: it is no such key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = _decoded(text.removeprefix(PUBLIC_KEY_PREFIX)) or b""
    if len(raw) != _SEED_BYTES:
        raise InvalidSecret(
            "The public key must be 'whpk_' followed by the base 64 of the 32 bytes of an ed25519 key."
        )
    return Ed25519PublicKey.from_public_bytes(raw)


def signed_content(message_id: str, timestamp: str, body: bytes) -> bytes:
    """Return the signed content of Standard Webhooks."""
    return b".".join((message_id.encode(), timestamp.encode(), body))


def sign_standard(message_id: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> str:
    """Return one ``v1,<base64>`` for each key, separated by spaces.

    :param timestamp: Unix seconds, as sent in ``webhook-timestamp``.
    """
    content = signed_content(message_id, str(timestamp), body)
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys
    )


def sign_asymmetric(message_id: str, timestamp: int, body: bytes, key: Ed25519PrivateKey) -> str:
    """``v1a,<base64>``."""
    signature = key.sign(signed_content(message_id, str(timestamp), body))
    return "v1a," + base64.b64encode(signature).decode()


def sign_by_secrets(message_id: str, timestamp: int, body: bytes, secrets: Iterable[str]) -> str:
    """The ``webhook-signature`` header: a signature by each ``whsec_…`` and ``whsk_…``, in their order.

    :raises InvalidSecret: one of them is neither.
    """
    return " ".join(
        sign_asymmetric(message_id, timestamp, body, private_key(secret))
        if secret.startswith(PRIVATE_KEY_PREFIX)
        else sign_standard(message_id, timestamp, body, [standard_key(secret)])
        for secret in secrets
    )


def live_secrets(stored: Iterable[Mapping[str, Any]], now: float) -> list[Any]:
    """Return the active secrets of an endpoint, in order.

    :param stored: the decrypted secrets, each with ``expires_at`` in Unix seconds; ``None`` is never.
    :param now: Unix seconds.
    """
    return [item for item in stored if (end := item.get("expires_at")) is None or end > now]


def sign_hex(body: bytes, key: bytes) -> str:
    """HMAC-SHA256 of the body in lower-case hex, as most of the five services send it."""
    return hmac.digest(key, body, "sha256").hex()


def _public_bytes(seed: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _decoded(text: str) -> bytes | None:
    try:
        # Some tools omit the padding.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
