"""Encryption of the bodies of attempts: AES-256-GCM, bound to the attempt that a body is of.

Faster and shorter than Fernet, of which `vault` makes the few long-lived secrets. The key is derived from one of the
vault's, anew for the deliveries of each day, so that no key meets so many bodies that a random nonce could repeat.
"""

from __future__ import annotations

import base64
import functools
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from .. import ids
from ..errors import UnreadableSecret
from ..texts import OperatorText

#: Of a nonce, in bytes.
_NONCE = 12
_DAY = 86_400_000


class BodyKeys:
    """Encrypts bodies with the newest key, and decrypts them with all keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        #: By their fingerprints, newest first.
        self._keys = {_fingerprint(key): key for key in keys}
        self.newest = next(iter(self._keys))

    def __contains__(self, key: object) -> bool:
        """Return whether there is a key with this fingerprint."""
        return key in self._keys

    def encrypt(self, body: str, delivery_id: str, number: int, name: str) -> str:
        """Encrypt a body with the newest key.

        :param number: of the attempt.
        :param name: of the column.
        """
        nonce = os.urandom(_NONCE)
        cipher = _cipher(self._keys[self.newest], _day(delivery_id))
        sealed = cipher.encrypt(nonce, body.encode(), _place(delivery_id, number, name))
        return base64.b64encode(nonce + sealed).decode()

    def decrypt(self, stored: str, key: str, delivery_id: str, number: int, name: str) -> str:
        """Decrypt a body.

        :param key: the fingerprint that is stored with it.
        :raises UnreadableSecret: that key is not there any more, or the body is of another attempt, or damaged.
        """
        known = self._keys.get(key)
        if known is None:
            raise UnreadableSecret(
                "This body was encrypted with a key that is no longer configured.%(hint)s",
                hint=OperatorText(
                    " Add the old key to the end of WEBHOOKS_ENCRYPTION_KEYS (or the old SECRET_KEY to "
                    "SECRET_KEY_FALLBACKS)."
                ),
            )
        place = _place(delivery_id, number, name)
        try:
            raw = base64.b64decode(stored, validate=True)
            cipher = _cipher(known, _day(delivery_id))
            return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], place).decode()
        except (InvalidTag, ValueError):
            raise UnreadableSecret(
                "This body is damaged, or was recorded for another attempt."
            ) from None


def _fingerprint(key: bytes) -> str:
    return hmac.digest(key, b"flask-webhooks body key", "sha256").hex()[:16]


@functools.lru_cache(maxsize=64)
def _cipher(key: bytes, day: int) -> AESGCM:
    kdf = HKDFExpand(algorithm=SHA256(), length=32, info=b"flask-webhooks bodies v1 %d" % day)
    return AESGCM(kdf.derive(key))


def _day(delivery_id: str) -> int:
    """The day on which a delivery was made, as its id tells; 0 for ids of others."""
    try:
        [milliseconds] = ids.milliseconds_of([delivery_id])
    except ValueError:
        return 0
    return milliseconds // _DAY


def _place(delivery_id: str, number: int, name: str) -> bytes:
    return f"{delivery_id} {number} {name}".encode()
