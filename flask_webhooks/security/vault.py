"""Encryption at rest for secrets, custom header values and the URLs of chat services.

Fernet (AES-128-CBC with HMAC-SHA256) through `cryptography`; the first key encrypts, every key decrypts,
so keys can be rotated by putting a new one in front.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterable
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import ConfigurationError, UnreadableSecret
from ..texts import OperatorText
from .bodies import BodyKeys


class Sealed:
    """Encrypted text in the database, which a vault decrypts."""

    __slots__ = ("ciphertext",)

    def __init__(self, ciphertext: str) -> None:
        self.ciphertext = ciphertext

    def __repr__(self) -> str:
        return "<Sealed>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and other.ciphertext == self.ciphertext

    def __hash__(self) -> int:
        return hash(self.ciphertext)


class Vault:
    """Encrypts and decrypts values with the keys of one application."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        given = list(keys)
        self._fernet = MultiFernet([Fernet(key) for key in given])
        self._newest = Fernet(given[0])
        #: For the bodies of attempts.
        self.bodies = BodyKeys([_derived_key(key, b"flask-webhooks bodies v1") for key in given])
        self._mac_keys = [_derived_key(key, b"flask-webhooks mac v1") for key in given]

    @classmethod
    def from_config(
        cls, encryption_keys: Iterable[str | bytes], secret_keys: Iterable[str | bytes]
    ) -> Vault:
        """Build the vault of an application.

        :param encryption_keys: Fernet keys (44 characters of URL-safe base 64); they win when given.
        :param secret_keys: the application's ``SECRET_KEY``, then its fallbacks; keys are derived from
            these when there are no encryption keys, and still decrypt after a move to such keys.
        :raises ConfigurationError: when a key is malformed, or when there is no key at all.
        """
        keys = []
        for position, given in enumerate(encryption_keys):
            key = given.encode() if isinstance(given, str) else given
            try:
                Fernet(key)
            except ValueError:
                raise ConfigurationError(
                    f"WEBHOOKS_ENCRYPTION_KEYS[{position}] is not a Fernet key. Make one with: python -c "
                    '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
                ) from None
            keys.append(key)
        keys.extend(_derived_key(secret) for secret in secret_keys)
        if not keys:
            raise ConfigurationError(
                "Webhook secrets are encrypted at rest: set SECRET_KEY, or WEBHOOKS_ENCRYPTION_KEYS to a "
                "list of Fernet keys."
            )
        return cls(keys)

    def encrypt(self, value: Any) -> Sealed:
        """Encrypt any JSON value."""
        return Sealed(self._fernet.encrypt(json.dumps(value).encode()).decode())

    def decrypt(self, sealed: Sealed) -> Any:
        """Decrypt.

        :raises UnreadableSecret: no key can decrypt it, because the keys were changed without keeping the old one.
        """
        try:
            return json.loads(self._fernet.decrypt(sealed.ciphertext.encode()))
        except InvalidToken:
            raise _unreadable() from None

    def needs_old_key(self, sealed: Sealed) -> bool:
        """Return ``True`` unless the newest key decrypts the value."""
        try:
            self._newest.decrypt(sealed.ciphertext.encode())
        except InvalidToken:
            return True
        return False

    def reencrypt(self, sealed: Sealed) -> Sealed:
        """Encrypt the same value with the newest key.

        :raises UnreadableSecret: no key can decrypt it.
        """
        try:
            return Sealed(self._fernet.rotate(sealed.ciphertext.encode()).decode())
        except InvalidToken:
            raise _unreadable() from None

    def mac(self, text: str) -> str:
        """Return a short authentication code of a text, which only this application can create."""
        return _mac(self._mac_keys[0], text)

    def has_made(self, mac: str, text: str) -> bool:
        """Return whether a code belongs to a text, with any of the keys."""
        given = mac.encode()
        return any(hmac.compare_digest(_mac(key, text).encode(), given) for key in self._mac_keys)


def _unreadable() -> UnreadableSecret:
    return UnreadableSecret(
        "This value was encrypted with a key that is no longer configured. Set the value again, or have the operator "
        "restore the old key.%(hint)s",
        hint=OperatorText(
            " Add the old key to the end of WEBHOOKS_ENCRYPTION_KEYS (or the old SECRET_KEY to SECRET_KEY_FALLBACKS) "
            "for that."
        ),
    )


def _mac(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()[:32]


def _derived_key(secret: str | bytes, purpose: bytes = b"flask-webhooks at rest v1") -> bytes:
    material = secret.encode() if isinstance(secret, str) else secret
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose)
    return base64.urlsafe_b64encode(kdf.derive(material))
