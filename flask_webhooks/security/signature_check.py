"""Analysis of signatures for the signature debugger.

It never returns a key. Schemes are recognised by their headers: Standard Webhooks, with secrets and with key
pairs; an HMAC-SHA256 of the body in hex, in any header whose name holds ``signature``, as most of the vendors'
formats send it; and the secret itself in a header, as the format ``authon`` does.

Long, since each possible problem of a signature has its finding here.
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
#: The maximum size of a pasted request.
MAX_HEADERS = 20_000
MAX_BODY = 2_000_000
#: The maximum number of signatures of a header that are checked.
MAX_SIGNATURES = 16

#: The header with the secret in the format ``authon``.
SECRET_HEADER = "x-webhook-secret"

_HEX = re.compile(r"(?:sha256=)?([0-9a-fA-F]{64})")


class SignatureFinding(StrEnum):
    """The result of an analysis."""

    #: The signature matches.
    FITS = "fits"
    #: It matches with the original line breaks, which were changed by pasting or by a program.
    FITS_BUT_FOR_LINE_BREAKS = "fits_but_for_line_breaks"
    #: The header contains the secret; this format signs nothing.
    SECRET_FITS = "secret_fits"
    #: There is no signature header at all.
    NO_SIGNATURE = "no_signature"
    #: A signed header is missing.
    MISSING_HEADER = "missing_header"
    #: The header does not look like a signature.
    MALFORMED = "malformed"
    #: It was signed with a secret that this endpoint does not have.
    WRONG_SECRET = "wrong_secret"
    #: The endpoint has no secret that could sign.
    NO_SECRET = "no_secret"
    #: The same JSON in other bytes: it was parsed and re-serialised.
    REWRITTEN_BODY = "rewritten_body"
    #: The body was truncated.
    CUT_BODY = "cut_body"
    #: The body has other content than the sent one.
    CHANGED_BODY = "changed_body"
    #: The id or the time was not signed.
    CHANGED_HEADERS = "changed_headers"


@dataclass(frozen=True, slots=True)
class Sent:
    """A recorded request."""

    number: int
    started_at: datetime
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of the debugger."""

    finding: SignatureFinding
    #: The header with the signature, or the missing one.
    header: str | None = None
    #: The index of the matching secret or key pair: 0 is the current one, others are older.
    secret: int | None = None
    #: The recorded attempt that was compared.
    attempt: int | None = None
    #: Age of the signature in seconds; ``None`` if it has no time.
    age: float | None = None
    #: The header with the time does not hold a Unix time in seconds.
    unreadable_time: bool = False
    #: Sizes of the pasted and of the sent body in bytes.
    body_size: int = 0
    sent_size: int | None = None

    @property
    def stale(self) -> bool:
        """Whether a receiver would refuse it now because of its time."""
        return self.age is not None and abs(self.age) > TOLERANCE


def parse_headers(text: str) -> dict[str, str]:
    """Parse pasted headers: one per line, ``name: value``, or a JSON object. Names are returned in lower case."""
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
    """Analyse a request.

    :param headers: with names in lower case.
    :param body: as pasted.
    :param secrets: the secrets of the endpoint, newest first.
    :param sent: recorded attempts with the same ``webhook-id``.
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
    """A signature scheme."""

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
        """Return whether one of the signatures matches a content and a secret.

        :raises InvalidSecret: the secret cannot be used in this scheme.
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
        """Compare the signature with the pasted request, then with the recorded ones."""
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
                # The body was sent, so another signed part or the secret differs.
                return self.says(self.suspect(), attempt=attempt)
        return self.says(SignatureFinding.WRONG_SECRET)

    def fitting(self, body: bytes) -> int | None:
        """Return the index of the secret that matches one of the signatures."""
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
        # The time belongs to one attempt: other times were never signed.
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
    """The secret itself, which authenticates the sender, but not the content."""

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
    """Return version and bytes of the well-formed signatures of a ``webhook-signature``."""
    for item in header.split():
        version, _, encoded = item.partition(",")
        if version in ("v1", "v1a"):
            with contextlib.suppress(binascii.Error, ValueError):
                yield version, base64.b64decode(encoded, validate=True)


def _variants(body: str) -> Iterator[tuple[bool, bytes]]:
    """Yield the pasted body, and variants with other line breaks, because forms convert each to CRLF; and whether
    it was changed.
    """
    seen = set()
    lines = body.replace("\r\n", "\n")
    for number, text in enumerate((body, lines, lines.rstrip("\n"), lines + "\n")):
        encoded = text.encode("utf-8", "surrogatepass")
        if encoded not in seen:
            seen.add(encoded)
            # Browsers do this to every form, so it is not an error.
            yield number > 1, encoded


def _difference(sent: str, got: str) -> SignatureFinding:
    """Return how a body differs from the sent one."""
    text = got.replace("\r\n", "\n").strip()
    if text and sent.strip().startswith(text):
        return SignatureFinding.CUT_BODY
    try:
        same = json.loads(sent) == json.loads(got)
    except (ValueError, RecursionError):
        same = False
    return SignatureFinding.REWRITTEN_BODY if same else SignatureFinding.CHANGED_BODY


def _age(timestamp: str, now: datetime) -> tuple[float | None, bool]:
    """Return the age of a Unix or ISO time, and whether it is neither."""
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
    """Remove halves of surrogate pairs, which JSON can represent but UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _bare(text: str) -> str:
    """Remove quotes of a program's output."""
    return text.strip().strip("'\"").strip()
