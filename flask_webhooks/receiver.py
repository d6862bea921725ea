"""Verification of received webhooks, for receivers in Python.

This module is independent of the sending side and its dependencies. It only imports `cryptography` if a public key
is used, and Flask for `verified`. Long, since it is one file that receivers can copy.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .errors import (
    BodyReserialised,
    ConfigurationError,
    InvalidSecret,
    MalformedSignature,
    MissingHeader,
    NoMatchingSignature,
    TimestampTooNew,
    TimestampTooOld,
    VerificationError,
)
from .receiver_ledger import Ledger
from .security import signing

__all__ = ["SIGNED_FORMATS", "Ledger", "verified", "verify"]

#: The largest body that is parsed to detect re-serialisation, so that a forged one is cheap to refuse.
_MAX_EXAMINED = 32 * 1024
#: The maximum number of signatures of each kind that are checked. A sender adds one for each active secret.
_MAX_SIGNATURES = 16
_SIGNATURE_BYTES = {"v1": 32, "v1a": 64}


class Headers(Protocol):
    """A mapping of headers, such as a dict or the headers of Flask and Django."""

    def items(self) -> Iterable[tuple[str, str]]: ...


def verify(
    headers: Headers,
    body: bytes | bytearray | memoryview | str,
    secret: str | Sequence[str],
    format: str = "standard",
    tolerance: float | None = 300,
    *,
    now: float | None = None,
) -> Any:
    """Check that the sender of a request knows the secret; return the parsed body.

    :param headers: the headers of the request; names are case-insensitive.
    :param body: the raw body, ``request.get_data()`` in Flask, ``request.body`` in Django.
    :param secret: the secret or public key (``whpk_…``) of the endpoint, or several of them during a rotation.
    :param format: the endpoint's format, one of `SIGNED_FORMATS`.
    :param tolerance: the maximum number of seconds between the time of the attempt and now; ``None`` disables the
        check. Only formats with Standard Webhooks signatures have this time: other formats have the time of the
        event, which may be days before a retry.
    :param now: Unix seconds; by default the clock of this machine.
    :raises VerificationError: a subclass, which says what is wrong.
    :raises InvalidSecret: a secret is empty or malformed.
    :raises ConfigurationError: there is no such signed format, or `tolerance` or `now` is not a number of seconds.
    """
    _check_tolerance(tolerance)
    if now is not None and not -math.inf < now < math.inf:
        raise ConfigurationError(f"now must be Unix seconds, not {now!r}.")
    if isinstance(body, str):
        try:
            body = body.encode()
        except UnicodeEncodeError:
            raise VerificationError(
                "The body contains half of a surrogate pair: it is not what was sent. Verify the raw bytes."
            ) from None
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(
            f"The body must be the raw bytes of the request, not {type(body).__name__}: in Flask "
            "request.get_data(), in Django request.body."
        )
    raw = bytes(body)
    try:
        scheme = _SCHEMES[format]
    except KeyError:
        raise ConfigurationError(
            f"There is no signed format {format!r}. Choose one of: {', '.join(_SCHEMES)}."
        ) from None
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not secrets or not all(
        isinstance(item, str) and item.strip() and _is_encodable(item) for item in secrets
    ):
        raise InvalidSecret("Give the secret of the endpoint: text, or a list of texts.")
    secrets = [scheme.secret(item) for item in secrets]
    given = {name.lower(): value for name, value in headers.items()}
    request = _Request(given, secrets, tolerance, time.time() if now is None else now)
    fits = scheme.prepare(request)
    if not fits(raw):
        if scheme.over_body and any(fits(other) for other in _as_it_may_have_been(raw)):
            raise BodyReserialised(
                "The body was parsed and re-serialised before it was verified. Verify the raw bytes of the request: "
                "in Flask request.get_data(), in Django request.body."
            )
        raise NoMatchingSignature(scheme.advice(request))
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise VerificationError(
            f"The signature is right, but the body is not JSON: {error}"
        ) from error


def verified(
    secret: str | Sequence[str] | Callable[[], str | Sequence[str]],
    format: str = "standard",
    tolerance: float | None = 300,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a Flask view so that it is only called for genuine webhooks, with the parsed body as first argument.

    For other requests the response is 401 with a sentence that says what is wrong. If the view returns ``None``,
    the response is 204. Challenges, with which the sender asks for confirmation, are echoed without calling the
    view.

    :param secret: see `verify`; or a function that returns the secret, called for each request.
    """

    _check_tolerance(tolerance)

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        from flask import Response, request

        @functools.wraps(view)
        def receive(*args: Any, **values: Any) -> Any:
            known = secret() if callable(secret) else secret
            try:
                event = verify(request.headers, request.get_data(), known, format, tolerance)
            except VerificationError as error:
                return Response(f"{error}\n", 401, mimetype="text/plain")
            if _is_challenge(event):
                return Response(request.headers.get("webhook-challenge", ""), mimetype="text/plain")
            answer = view(event, *args, **values)
            return Response(status=204) if answer is None else answer

        return receive

    return decorate


def _is_challenge(event: Any) -> bool:
    """Return whether a verified body is a challenge. The member with the type depends on the format."""
    return isinstance(event, dict) and any(
        isinstance(value, str) and value.endswith("webhook.challenge") for value in event.values()
    )


#: Returns whether a body was signed.
_Fits = Callable[[bytes], bool]


@dataclass(frozen=True)
class _Request:
    """A request, and the expected values."""

    #: Names in lower case.
    headers: Mapping[str, str] = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    tolerance: float | None
    now: float

    def header(self, name: str) -> str:
        """Return the value of a header.

        :raises MissingHeader: it is missing.
        :raises MalformedSignature: it is not a valid header value.
        """
        try:
            value: object = self.headers[name.lower()]
        except KeyError:
            raise MissingHeader(
                f"The request has no header {name}. Is this the URL of an endpoint of this format?",
                header=name,
            ) from None
        if not isinstance(value, str) or (value and not _is_encodable(value)):
            raise MalformedSignature(f"{name} is not the text of a header.", header=name)
        return value.strip()


@dataclass(frozen=True)
class _Scheme:
    """The signature scheme of a format."""

    header: str
    #: The prefix of the signature in the header.
    prefix: str = ""
    #: Whether it protects the body.
    over_body = True

    def secret(self, text: str) -> str:
        """Return a secret without white space and quotes that were copied with it."""
        return text.strip()

    def prepare(self, request: _Request) -> _Fits:
        raise NotImplementedError

    def advice(self, request: _Request) -> str:
        return (
            "No signature matches. Compare the secret with the one that was shown for this endpoint, and verify the "
            "raw bytes of the request before they are parsed or changed."
        )


@dataclass(frozen=True)
class _Hex(_Scheme):
    """HMAC-SHA256 of the body in hex; the key is the secret's whole text."""

    def prepare(self, request: _Request) -> _Fits:
        text = request.header(self.header)
        digits = text.removeprefix(self.prefix)
        try:
            given = bytes.fromhex(digits) if text.startswith(self.prefix) else b""
        except ValueError:
            given = b""
        if len(given) != hashlib.sha256().digest_size:
            raise MalformedSignature(
                f"{self.header} is not '{self.prefix}' followed by 64 hex digits."
                if self.prefix
                else f"{self.header} does not hold 64 hex digits.",
                header=self.header,
            )
        keys = [secret.encode() for secret in request.secrets]
        return lambda body: _any(
            hmac.compare_digest(hmac.digest(key, body, hashlib.sha256), given) for key in keys
        )


@dataclass(frozen=True)
class _Shown(_Scheme):
    """The secret itself is in a header, and does not protect the body."""

    over_body = False

    def prepare(self, request: _Request) -> _Fits:
        given = request.header(self.header).encode()
        return lambda body: _any(
            hmac.compare_digest(secret.encode(), given) for secret in request.secrets
        )

    def advice(self, request: _Request) -> str:
        return f"{self.header} contains a different secret. Compare yours with the one shown for this endpoint."


@dataclass(frozen=True)
class _Standard(_Scheme):
    """Standard Webhooks 1.0: ``v1`` by shared secrets, ``v1a`` by key pairs."""

    def secret(self, text: str) -> str:
        return signing.pasted(text)

    def prepare(self, request: _Request) -> _Fits:
        message_id = request.header("webhook-id")
        if "." in message_id:
            # The signed parts are separated by dots: with a dot in the id, another id and body would have the same
            # signature.
            raise MalformedSignature(
                "webhook-id contains a dot, which no id has.", header="webhook-id"
            )
        timestamp = request.header("webhook-timestamp")
        symmetric, asymmetric = self._signatures(request.header(self.header))
        _check_time(timestamp, request.tolerance, request.now)
        keys = [
            signing.standard_key(secret)
            for secret in request.secrets
            if not _is_key_of_a_pair(secret)
        ]
        public_keys = [
            signing.read_public_key(
                signing.public_key(secret)
                if secret.startswith(signing.PRIVATE_KEY_PREFIX)
                else secret
            )
            for secret in request.secrets
            if _is_key_of_a_pair(secret)
        ]

        def fits(body: bytes) -> bool:
            content = signing.signed_content(message_id, timestamp, body)
            wanted = [hmac.digest(key, content, hashlib.sha256) for key in keys]
            return _any(
                hmac.compare_digest(one, signature) for one in wanted for signature in symmetric
            ) or _any(
                _was_signed(key, signature, content)
                for key in public_keys
                for signature in asymmetric
            )

        return fits

    def advice(self, request: _Request) -> str:
        symmetric, asymmetric = self._signatures(request.header(self.header))
        if asymmetric and not symmetric and not any(map(_is_key_of_a_pair, request.secrets)):
            return (
                "No signature matches: the endpoint signs with a key pair. Verify with its public key, "
                f"'{signing.PUBLIC_KEY_PREFIX}…'."
            )
        if symmetric and not asymmetric and all(map(_is_key_of_a_pair, request.secrets)):
            return (
                "No signature matches: the endpoint signs with a shared secret. Verify with that secret, "
                f"'{signing.SECRET_PREFIX}…'."
            )
        return super().advice(request)

    def _signatures(self, text: str) -> tuple[list[bytes], list[bytes]]:
        """Return the signatures of ``v1`` and of ``v1a``. Other versions are ignored."""
        found: dict[str, list[bytes]] = {"v1": [], "v1a": []}
        for part in text.split():
            version, comma, encoded = part.partition(",")
            if not comma or version not in found or len(found[version]) == _MAX_SIGNATURES:
                continue
            try:
                signature = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                continue
            if len(signature) == _SIGNATURE_BYTES[version]:
                found[version].append(signature)
        if not any(found.values()):
            raise MalformedSignature(
                f"{self.header} holds neither 'v1,' nor 'v1a,' followed by base 64.",
                header=self.header,
            )
        return found["v1"], found["v1a"]


def _is_encodable(text: str) -> bool:
    """Return whether a text is not empty and can be encoded in UTF-8, which halves of surrogate pairs cannot."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _check_tolerance(tolerance: float | None) -> None:
    # Chained comparison also refuses NaN, within which every age lies.
    if tolerance is not None and (
        isinstance(tolerance, bool)
        or not isinstance(tolerance, int | float)
        or not 0 <= tolerance < math.inf
    ):
        raise ConfigurationError(
            f"tolerance must be a number of seconds such as 300, or None to ignore the time, not {tolerance!r}."
        )


def _check_time(timestamp: str, tolerance: float | None, now: float) -> None:
    # Longer values are not times, and Python refuses to parse some of them.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
        raise MalformedSignature(
            "webhook-timestamp is not a number of seconds.", header="webhook-timestamp"
        )
    if tolerance is None:
        return
    age = now - int(timestamp)
    if age > tolerance:
        raise TimestampTooOld(
            f"The webhook was sent {age:.0f} s ago; at most {tolerance:g} are tolerated. Is it an old request, or "
            "is the clock of this machine ahead?",
            seconds=age,
        )
    if age < -tolerance:
        raise TimestampTooNew(
            f"The webhook was sent {-age:.0f} s in the future; at most {tolerance:g} are tolerated. Is the clock of "
            "this machine behind?",
            seconds=-age,
        )


def _is_key_of_a_pair(secret: str) -> bool:
    return secret.startswith((signing.PUBLIC_KEY_PREFIX, signing.PRIVATE_KEY_PREFIX))


def _was_signed(key: Any, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _any(comparisons: Iterable[bool]) -> bool:
    """Return whether any is true. All are evaluated, so that the time does not reveal which."""
    return sum(comparisons) > 0


def _as_it_may_have_been(body: bytes) -> list[bytes]:
    """Yield the possible original bytes of a re-serialised body."""
    if len(body) > _MAX_EXAMINED:
        return []
    try:
        value = json.loads(body)
        texts = [
            json.dumps(value, ensure_ascii=ensure_ascii, separators=(",", ":"))
            for ensure_ascii in (False, True)
        ]
        return [body.strip(), *(text.encode() for text in texts)]
    except (ValueError, RecursionError):
        return []


_STANDARD = _Standard("webhook-signature")
_SCHEMES: Mapping[str, _Scheme] = {
    "standard": _STANDARD,
    "cloudevents": _STANDARD,
    "custom": _STANDARD,
    "aureva": _Hex("X-Webhook-Signature"),
    "authon": _Shown("X-Webhook-Secret"),
    "authvaultix": _Hex("X-Webhook-Signature"),
    "akuworks": _Hex("X-Webhook-Signature", prefix="sha256="),
    "authforge": _Hex("X-AuthForge-Signature"),
}
#: The formats that can be verified.
SIGNED_FORMATS = tuple(_SCHEMES)
