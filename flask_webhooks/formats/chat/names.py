"""Names of members: labels for people, and whether chats mask the values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from .text import clean_text

#: The maximum number of examined characters of a name.
MAX_NAME = 200


class MaskReason(Enum):
    """The reason for masking a value."""

    #: Licence keys and hardware ids, which an endpoint may show.
    KEY = "key"
    #: Passwords, tokens and the like: never shown.
    SECRET = "secret"
    EMAIL = "email"


_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[^0-9A-Za-z\x80-\U0010ffff]+")
_SPELLINGS = {
    word.lower(): word
    for word in ["API", "CPU", "GPU", "HWID", "ID", "IP", "OS", "SKU", "URL", "UTC", "ms"]
} | {
    "hwids": "HWIDs",
    "ids": "IDs",
    "ips": "IPs",
    "sha256": "SHA-256",
}
_SECRET_WORDS = {"cvc", "cvv", "jwt", "otp", "pin", "pwd", "totp"}
_SECRET_NAMES = re.compile(
    r"pass(?:word|wd|phrase|code)|secret|token|signature|authorization|cookie|credential|apikey"
    r"|privatekey|encryptionkey|(?:recovery|backup|verification|mfa|2fa)code|cardnumber|auth$|bearer$"
)
_KEY_NAMES = re.compile(
    r"hwid|hardwareid|machineid|deviceid|fingerprint"
    r"|(?:licen[cs]e|product|activation|serial|redeem)(?:key|code|number)s?$"
)
_KEY_WORDS = {"key", "keys", "serial", "serials"}
#: Last words of names that speak *about* a secret: ``token_id``, ``hwid_limit``, ``password_changed_at``.
_ABOUT = {
    "at",
    "count",
    "enabled",
    "id",
    "left",
    "length",
    "limit",
    "name",
    "required",
    "type",
    "used",
}
#: Members that say what another one is, as in ``{"kind": "hwid", "value": …}``, and those others.
_TELLING = ("kind", "type", "field", "name", "setting")
_TOLD = {"entry", "from", "new", "old", "previous", "subject", "to", "value", "values"}


def humanise(name: str) -> str:
    """``license_key`` and ``licenseKey`` become ``License key``; letters, digits and spaces only, if ASCII."""
    words = words_of(name)
    plain = [
        _SPELLINGS.get(word.lower()) or (word if word.isupper() else word.lower()) for word in words
    ]
    text = " ".join(plain)
    return text[:1].upper() + text[1:]


def kind_of(name: str) -> MaskReason | None:
    """Return the reason for masking a member of this name, if any."""
    return _kind_of_name(name[-MAX_NAME:])


@lru_cache(4096)
def _kind_of_name(name: str) -> MaskReason | None:
    words = [word.lower() for word in words_of(name)]
    joined = "".join(words)
    if "sessionid" in joined:
        return MaskReason.SECRET
    last = words[-1] if words else ""
    if joined.endswith(("email", "emails", "emailaddress")) or last == "mail":
        return MaskReason.EMAIL
    if last in _ABOUT and not re.search(r"(?:hw|hardware|machine|device)id$", joined):
        return None
    if _SECRET_NAMES.search(joined) or _SECRET_WORDS.intersection(words):
        return MaskReason.SECRET
    if _KEY_NAMES.search(joined) or last in _KEY_WORDS:
        return MaskReason.KEY
    return None


def members_of(
    value: Mapping[str, Any], kind: MaskReason | None
) -> Iterator[tuple[str, Any, MaskReason | None]]:
    """Yield names, values and reasons for masking, which also apply to nested values."""
    told = None
    for telling in _TELLING:
        if isinstance(word := value.get(telling), str):
            told = told or _kind_of_text(word)
    for name, item in value.items():
        own = kind_of(name)
        if own is None and isinstance(item, str) and name.lower() in ("license", "licence"):
            own = MaskReason.KEY
        if own is None and name.lower() in _TOLD:
            own = told
        yield name, item, kind if kind is MaskReason.SECRET else own or kind


def _kind_of_text(word: str) -> MaskReason | None:
    return MaskReason.KEY if word.lower() in ("license", "licence") else kind_of(word)


def words_of(name: str) -> list[str]:
    """Return the words of a name in any style: ``license_key``, ``licenseKey``, ``License-Key``."""
    spaced = _SEPARATORS.sub(" ", clean_text(name[:MAX_NAME]))
    return _CAMEL_CASE.sub(" ", spaced).split()
