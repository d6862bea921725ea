"""Client certificates of endpoints (mutual TLS)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ..errors import InvalidEndpoint

#: Maximum length of certificates and key together, and maximum number of certificates.
MAX_PEM_LENGTH: Final = 16 * 1024
_MAX_CHAIN: Final = 5
_MIN_RSA_BITS: Final = 2048
_MAX_SUBJECT_LENGTH: Final = 200
_CERTIFICATE: Final = re.compile(
    "-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)
_KEY: Final = re.compile("-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \\1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate with its chain, and its private key, in PEM."""

    certificate: str = field(repr=False)
    key: str = field(repr=False)
    #: Its public properties: ``subject``, ``expires_at`` (ISO 8601) and ``fingerprint`` (SHA-256, hexadecimal).
    shown: dict[str, Any]

    def stored(self) -> dict[str, str]:
        """The value to encrypt."""
        return {"certificate": self.certificate, "key": self.key}


def check_client_certificate(given: Any) -> ClientCertificate | None:
    """Parse a certificate and its private key; ``None`` or an empty text is none.

    :param given: both in PEM, one below the other, with certificates in between after the first.
    :raises InvalidEndpoint: they are invalid; the message says what to write.
    """
    # Takes 20 ms to import, and few endpoints have one.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    if not isinstance(given, str) or not given.isascii() or len(given) > MAX_PEM_LENGTH:
        raise InvalidEndpoint(
            "Write the client certificate and its private key in PEM, with at most %(longest)s characters together.",
            longest=MAX_PEM_LENGTH,
            field="client_certificate",
        )
    blocks = _CERTIFICATE.findall(given)
    key_block = _KEY.search(given)
    try:
        chain = [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    except ValueError:
        chain = []
    if not 1 <= len(chain) <= _MAX_CHAIN:
        raise InvalidEndpoint(
            "Write the client certificate in PEM: it begins with -----BEGIN CERTIFICATE-----. Up to %(most)s "
            "certificates are allowed, including those of its authorities.",
            most=_MAX_CHAIN,
            field="client_certificate",
        )
    try:
        if key_block is None:
            raise ValueError
        key = serialization.load_pem_private_key(key_block[0].encode(), None)
    except (
        Exception
    ):  # of many kinds: it is no key, has a passphrase, or is of a kind that is unknown
        raise InvalidEndpoint(
            "Write the private key of the client certificate below it, without a passphrase: it begins with "
            "-----BEGIN PRIVATE KEY-----.",
            field="client_certificate",
        ) from None
    _check_strength(key)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    der = serialization.Encoding.DER
    public = key.public_key().public_bytes(der, spki)
    own = next(
        (item for item in chain if item.public_key().public_bytes(der, spki) == public), None
    )
    if own is None:
        raise InvalidEndpoint(
            "The private key does not match the certificate: write the two that belong together.",
            field="client_certificate",
        )
    if own.not_valid_after_utc <= datetime.now(UTC):
        raise InvalidEndpoint(
            "The client certificate expired on %(date)s: write one that is valid.",
            date=f"{own.not_valid_after_utc:%Y-%m-%d}",
            field="client_certificate",
        )
    pem = serialization.Encoding.PEM
    ordered = [own, *(item for item in chain if item is not own)]
    return ClientCertificate(
        certificate="".join(item.public_bytes(pem).decode() for item in ordered),
        key=key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        shown={
            "subject": _printable(own.subject.rfc4514_string())[:_MAX_SUBJECT_LENGTH],
            "expires_at": own.not_valid_after_utc.isoformat(),
            "fingerprint": own.fingerprint(hashes.SHA256()).hex(),
        },
    )


def certificate_expiry(shown: dict[str, Any] | None) -> datetime | None:
    """Return when the certificate of an endpoint expires; ``None`` if it has none."""
    return None if shown is None else datetime.fromisoformat(shown["expires_at"])


def _check_strength(key: Any) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    strong = isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS
    if not strong and not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise InvalidEndpoint(
            "Write a client certificate with an RSA key of %(bits)s bits or more, or an elliptic curve key.",
            bits=_MIN_RSA_BITS,
            field="client_certificate",
        )


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
