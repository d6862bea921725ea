"""Secrets of formats with a hex HMAC-SHA256 of the body, where any text can be a secret."""

from __future__ import annotations

import secrets

from ..errors import InvalidSecret
from ..security import signing
from .base import Format, Target

MIN_SECRET_LENGTH = 8
MAX_SECRET_LENGTH = 256


class HexSigned(Format):
    """Base of formats with a single signature, whose key is the complete text of the secret."""

    def generate_secret(self) -> str:
        return secrets.token_urlsafe(32)

    def check_secret(self, secret: str) -> str:
        secret = secret.strip()
        if not MIN_SECRET_LENGTH <= len(secret) <= MAX_SECRET_LENGTH:
            raise InvalidSecret(
                "Write a secret of %(least)s to %(most)s characters, not %(length)s. Leave it empty to "
                "get a new one.",
                least=MIN_SECRET_LENGTH,
                most=MAX_SECRET_LENGTH,
                length=len(secret),
            )
        if not secret.isprintable():
            raise InvalidSecret("Write the secret in one line, without control characters.")
        if secret[0] == secret[-1] and secret[0] in "\"'`":
            # The key is the whole text, so they would be part of it.
            raise InvalidSecret("Write the secret without the quotation marks around it.")
        if secret.startswith(signing.PRIVATE_KEY_PREFIX):
            raise InvalidSecret(
                "The secret is a private key ('%(prefix)s…'), which %(format)s cannot use. Leave it empty "
                "to get a new one.",
                prefix=signing.PRIVATE_KEY_PREFIX,
                format=self.label,
            )
        return secret

    def signing_secret(self, target: Target) -> str | None:
        """Return the secret of this request; ``None`` if the endpoint has none.

        There is only one. During a rotation it is the oldest active one, which the receiver knows until the
        overlap ends, or until a user confirms that it knows the new one.
        """
        return target.secrets[-1] if target.secrets else None

    def signature(self, body: bytes, target: Target) -> str | None:
        """Return the HMAC-SHA256 of the body in lower-case hex; ``None`` if the endpoint has no secret."""
        secret = self.signing_secret(target)
        return None if secret is None else signing.sign_hex(body, secret.encode())
