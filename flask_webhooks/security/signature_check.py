"""Why a request's signature fits or does not: what the signature debugger says. Pure, and never shows a key.

It knows the schemes by their headers: Standard Webhooks, with secrets and with key pairs; an HMAC-SHA256 of the
body in hex, in any header whose name holds ``signature``, as most of the vendors' formats send it; and the secret
itself in a header, as the format ``authon`` does.

Long, since each thing that can be wrong with a signature has its finding here.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography.exceptions import InvalidSignature

from ..errors import InvalidSecret
from . import signing

#: Seconds that receivers allow between the signature's time and their clock.
TOLERANCE = 300
#: The most of a pasted request that is read.
MAX_HEADERS = 20_000
MAX_BODY = 2_000_000
#: Signatures in one header that are looked at.
MAX_SIGNATURES = 16

#: Where the format ``authon`` has its secret.
SECRET_HEADER = "x-webhook-secret"

_HEX = re.compile(r"(?:sha256=)?([0-9a-fA-F]{64})")


class SignatureFinding(StrEnum):
    """What is wrong with a request, or right."""

    #: The signature fits.
    FITS = "fits"
    #: It fits once line breaks are as they were sent: the paste, or a program, changed them.
    FITS_BUT_FOR_LINE_BREAKS = "fits_but_for_line_breaks"
    #: The header holds the secret; this format signs nothing.
    SECRET_FITS = "secret_fits"
    #: There is no signature header at all.
    NO_SIGNATURE = "no_signature"
    #: A header that goes into the signature is missing.
    MISSING_HEADER = "missing_header"
    #: The header does not look like a signature.
    MALFORMED = "malformed"
    #: It was signed with another secret than those of this endpoint.
    WRONG_SECRET = "wrong_secret"
    #: The endpoint has no secret that could sign.
    NO_SECRET = "no_secret"
    #: Same JSON, other bytes: it was parsed and written again.
    REWRITTEN_BODY = "rewritten_body"
    #: The body ends too early.
    CUT_BODY = "cut_body"
    #: The body has another content than what was sent.
    CHANGED_BODY = "changed_body"
    #: Id or time are not those that were signed.
    CHANGED_HEADERS = "changed_headers"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it was recorded when it was sent."""

    number: int
    started_at: datetime
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the debugger says."""

    finding: SignatureFinding
    #: The header that holds the signature, or that is missing.
    header: str | None = None
    #: Which of the endpoint's secrets or key pairs fits: 0 is the current one, the others are older.
    secret: int | None = None
    #: The attempt whose record the request was compared with.
    attempt: int | None = None
    #: Seconds between the signature's time and now (positive: it is old); ``None`` where it has no time.
    age: float | None = None
    #: The header with the time does not hold a Unix time in seconds.
    unreadable_time: bool = False
    #: Bytes of the body that was pasted, and of the one that was sent.
    body_size: int = 0
    sent_size: int | None = None

    @property
    def stale(self) -> bool:
        """A receiver whose clock stood at now would refuse it, whatever the signature."""
        return self.age is not None and abs(self.age) > TOLERANCE


def parse_headers(text: str) -> dict[str, str]:
    """Headers as they are pasted: a line each, ``name: value``; also as JSON object. Names in lower case."""
    text = text[:MAX_HEADERS].strip()
    if text.startswith("{"):
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            given = {}
        return {str(name).lower(): _first(value) for name, value in given.items()}
    headers = {}
    for line in text.splitlines():
        name, colon, value = line.strip().strip(",").partition(":")
        if colon and name.strip():
            headers[_bare(name).lower()] = _bare(value)
    return headers


def check(
    headers: Mapping[str, str],
    body: str,
    secrets: Sequence[str],
    sent: Sequence[Sent],
    now: datetime,
) -> Verdict:
    """Find out what is the matter with a request.

    :param headers: with names in lower case.
    :param body: as pasted.
    :param secrets: of the endpoint, newest first.
    :param sent: what was recorded of attempts under the same ``webhook-id``, or ``[]``.
    """
    headers = {name: _encodable(value) for name, value in headers.items()}
    body = _encodable(body)
    scheme: type[_Scheme] = _Hex
    if any(name in headers for name in _Standard.NAMES):
        scheme = _Standard
    elif SECRET_HEADER in headers and not any("signature" in name for name in headers):
        scheme = _Plain
    return scheme(headers, body, secrets, sent, now).verdict()


class _Scheme:
    """One way to sign."""

    header = ""

    def __init__(
        self,
        headers: Mapping[str, str],
        body: str,
        secrets: Sequence[str],
        sent: Sequence[Sent],
        now: datetime,
    ) -> None:
        self.headers = headers
        self.body = body
        self.secrets = secrets
        self.sent = sent
        self.now = now
        self.age: float | None = None
        self.unreadable_time = False

    def verdict(self) -> Verdict:
        raise NotImplementedError

    def fits(self, body: bytes, secret: str) -> bool:
        """Whether one of the signatures that are there was made of this, by this.

        :raises InvalidSecret: it cannot sign in this way.
        """
        raise NotImplementedError

    def says(
        self, finding: SignatureFinding, *, secret: int | None = None, attempt: Sent | None = None
    ) -> Verdict:
        return Verdict(
            finding,
            header=self.header or None,
            secret=secret,
            attempt=None if attempt is None else attempt.number,
            age=self.age,
            unreadable_time=self.unreadable_time,
            body_size=len(self.body.encode()),
            sent_size=None if attempt is None else len(attempt.body.encode()),
        )

    def compare(self) -> Verdict:
        """Look for what fits: first what was pasted, then what was sent."""
        if not self.secrets:
            return self.says(SignatureFinding.NO_SECRET)
        for changed, body in _variants(self.body):
            secret = self.fitting(body)
            if secret is not None:
                finding = (
                    SignatureFinding.FITS_BUT_FOR_LINE_BREAKS if changed else SignatureFinding.FITS
                )
                return self.says(finding, secret=secret)
        for attempt in self.sent:
            secret = self.fitting(attempt.body.encode())
            if secret is not None:
                return self.says(
                    _difference(attempt.body, self.body), secret=secret, attempt=attempt
                )
        for attempt in self.sent:
            if any(body == attempt.body.encode() for _, body in _variants(self.body)):
                # The body is the one that was sent. What else is signed, then, or with what?
                return self.says(self.suspect(), attempt=attempt)
        return self.says(SignatureFinding.WRONG_SECRET)

    def fitting(self, body: bytes) -> int | None:
        """The number of the secret that made one of the signatures."""
        for number, secret in enumerate(self.secrets):
            try:
                if self.fits(body, secret):
                    return number
            except InvalidSecret:
                continue
        return None

    def suspect(self) -> SignatureFinding:
        return SignatureFinding.WRONG_SECRET


class _Standard(_Scheme):
    """Standard Webhooks 1.0; Svix uses other names for the same headers."""

    NAMES = ("webhook-signature", "svix-signature")

    def verdict(self) -> Verdict:
        prefix = "webhook" if "webhook-signature" in self.headers else "svix"
        for part in ("id", "timestamp"):
            self.header = f"{prefix}-{part}"
            if not self.headers.get(self.header):
                return self.says(SignatureFinding.MISSING_HEADER)
        self.id = self.headers[f"{prefix}-id"]
        self.timestamp = self.headers[f"{prefix}-timestamp"]
        self.age, self.unreadable_time = _age(self.timestamp, self.now)
        self.header = f"{prefix}-signature"
        self.given = list(itertools.islice(_signatures(self.headers[self.header]), MAX_SIGNATURES))
        return self.compare() if self.given else self.says(SignatureFinding.MALFORMED)

    def fits(self, body: bytes, secret: str) -> bool:
        content = signing.signed_content(self.id, self.timestamp, body)
        if not secret.startswith(signing.PRIVATE_KEY_PREFIX):
            wanted = hmac.digest(signing.standard_key(secret), content, "sha256")
            return any(
                version == "v1" and hmac.compare_digest(wanted, signature)
                for version, signature in self.given
            )
        key = signing.private_key(secret).public_key()
        for version, signature in self.given:
            if version == "v1a":
                with contextlib.suppress(InvalidSignature):
                    key.verify(signature, content)
                    return True
        return False

    def suspect(self) -> SignatureFinding:
        # The time is that of one attempt: another one was never signed.
        known = {int(attempt.started_at.timestamp()) for attempt in self.sent}
        near = {str(second + step) for second in known for step in (-1, 0, 1)}
        return (
            SignatureFinding.WRONG_SECRET
            if self.timestamp in near
            else SignatureFinding.CHANGED_HEADERS
        )


class _Hex(_Scheme):
    """HMAC-SHA256 over the body in hex; the key is the whole secret as text."""

    def verdict(self) -> Verdict:
        self.header = next((name for name in self.headers if "signature" in name), "")
        if not self.header:
            return self.says(SignatureFinding.NO_SIGNATURE)
        time = next((name for name in self.headers if name.endswith("-timestamp")), None)
        if time is not None:
            self.age, _ = _age(self.headers[time], self.now)
        found = _HEX.fullmatch(self.headers[self.header].strip())
        if found is None:
            return self.says(SignatureFinding.MALFORMED)
        self.given = bytes.fromhex(found[1])
        return self.compare()

    def fits(self, body: bytes, secret: str) -> bool:
        wanted = bytes.fromhex(signing.sign_hex(body, secret.encode()))
        return hmac.compare_digest(wanted, self.given)


class _Plain(_Scheme):
    """The secret itself, which says where a request comes from, and nothing of what is in it."""

    header = SECRET_HEADER

    def verdict(self) -> Verdict:
        if not self.secrets:
            return self.says(SignatureFinding.NO_SECRET)
        given = self.headers[self.header].encode("utf-8", "surrogatepass")
        for number, secret in enumerate(self.secrets):
            if hmac.compare_digest(secret.encode(), given):
                return self.says(SignatureFinding.SECRET_FITS, secret=number)
        return self.says(SignatureFinding.WRONG_SECRET)


def _signatures(header: str) -> Iterator[tuple[str, bytes]]:
    """Version and bytes of those in a ``webhook-signature`` that can be one."""
    for item in header.split():
        version, _, encoded = item.partition(",")
        if version in ("v1", "v1a"):
            with contextlib.suppress(binascii.Error, ValueError):
                yield version, base64.b64decode(encoded, validate=True)


def _variants(body: str) -> Iterator[tuple[bool, bytes]]:
    """The body as pasted and, since forms turn each line break into CRLF, with others; and whether changed."""
    seen = set()
    lines = body.replace("\r\n", "\n")
    for number, text in enumerate((body, lines, lines.rstrip("\n"), lines + "\n")):
        encoded = text.encode("utf-8", "surrogatepass")
        if encoded not in seen:
            seen.add(encoded)
            # Browsers do this to every form, so it is not an error.
            yield number > 1, encoded


def _difference(sent: str, got: str) -> SignatureFinding:
    """What was done to a body whose signature fits what was sent."""
    text = got.replace("\r\n", "\n").strip()
    if text and sent.strip().startswith(text):
        return SignatureFinding.CUT_BODY
    try:
        same = json.loads(sent) == json.loads(got)
    except (ValueError, RecursionError):
        same = False
    return SignatureFinding.REWRITTEN_BODY if same else SignatureFinding.CHANGED_BODY


def _age(timestamp: str, now: datetime) -> tuple[float | None, bool]:
    """How old a Unix or ISO time is, and whether it is neither."""
    try:
        if re.fullmatch("[0-9]{1,12}", timestamp):
            return now.timestamp() - int(timestamp), False
        moment = datetime.fromisoformat(timestamp)
        return now.timestamp() - moment.timestamp(), False
    except (ValueError, OverflowError, OSError):
        return None, True


def _first(value: object) -> str:
    return _encodable(str(value[0]) if isinstance(value, list) and value else str(value))


def _encodable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can write and no text in UTF-8 holds."""
    return text.encode("utf-8", "replace").decode()


def _bare(text: str) -> str:
    """Without the quotes of a program's output."""
    return text.strip().strip("'\"").strip()
