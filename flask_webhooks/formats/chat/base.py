"""The common part of chats: an event as a message with a title, a tone, lines and a footer."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlsplit

from ...errors import InvalidEndpoint
from ..base import Answer, Format, OutgoingEvent, Refusal, Target
from .members import MASK, MessageField, fields_of
from .names import humanise
from .text import Markup, clean_start, clean_text, fair_cap

#: Lines of one message; Discord takes no more.
MAX_FIELDS = 25
#: Units of one label and of one value, as the service counts.
MAX_LABEL = 60
MAX_VALUE = 1000
#: Characters of a product's or a tenant's name.
MAX_FOOTER_NAME = 80
#: Units of the text of a test message.
MAX_TEXT = 500
#: Characters of an error message of a service, and bytes of a response that may be a plain text message.
MAX_EXPLANATION = 200
MAX_PLAIN_ANSWER = 400

#: Responses of networks in front of services, such as Cloudflare's "error code: 1015".
_NETWORK = re.compile(rb"\s*(<|error code)", re.IGNORECASE)


class Tone(Enum):
    """The tone of an event; its value is the mark for chats without colours."""

    GOOD = "🟢"
    BAD = "🔴"
    WARNING = "🟠"
    NEW = "🔵"
    NEUTRAL = "⚪"


#: What an event type says at its end, in as many words as stand here. Given are green for a login, red for a
#: ban and blue for a registration. The second lines are for event types of hosts.
ENDINGS: dict[Tone, str] = {
    Tone.GOOD: "activated validated renewed reinstated logged_in unbanned bound succeeded recovered "
    "accepted approved completed confirmed delivered enabled finished fulfilled paid passed reactivated resolved "
    "restored resumed unblocked unlocked unsuspended verified",
    Tone.BAD: "rejected revoked login_failed banned mismatched failed alert disabled "
    "aborted attacked blocked breached broken compromised crash crashed declined denied disputed error errored "
    "leaked lost refused stolen terminated",
    Tone.WARNING: "expired expiring suspended deleted exceeded failing reset overdue missed threshold_reached "
    "abandoned canceled cancelled degraded delayed downgraded flagged limited locked paused "
    "refunded skipped throttled timed_out timeout unbound warning",
    Tone.NEW: "created registered uploaded added "
    "imported invited issued joined opened ordered placed published received released requested started submitted",
}
_TONES = {ending: tone for tone, endings in ENDINGS.items() for ending in endings.split()}
#: Where the last word alone would mislead.
_TONES_OF_TYPES: dict[str, Tone] = {"blacklist.added": Tone.BAD, "session.created": Tone.GOOD}


def tone_of(event_type: str) -> Tone:
    """Return the tone of an event type, including types of the host."""
    if event_type in _TONES_OF_TYPES:
        return _TONES_OF_TYPES[event_type]
    ending = event_type.rpartition(".")[2]
    while ending not in _TONES and ending:
        first, _, ending = ending.partition("_")
        if first == "not":
            return Tone.NEUTRAL
    return _TONES.get(ending, Tone.NEUTRAL)


@dataclass(frozen=True, slots=True)
class Message:
    """The texts of an event. They are plain: each service escapes and shortens them in its own way."""

    title: str
    #: A sentence above the lines; empty for most.
    text: str
    tone: Tone
    fields: tuple[MessageField, ...]
    #: Product and tenant.
    footer: str
    occurred_at: datetime

    @property
    def headline(self) -> str:
        """One line for a notification."""
        parts = [self.text] if self.text else [item.text for item in self.fields[:3]]
        return " · ".join([f"{self.tone.value} {self.title}", *parts]).replace("\n", " ")

    @property
    def time(self) -> str:
        return f"{self.occurred_at:%Y-%m-%d %H:%M:%S} UTC"

    def laid_out(self, markup: Markup, room: int) -> list[tuple[str, str]]:
        """Labels and values as they are written, which count for at most `room` units together.

        :param room: at least twice `MAX_LABEL` for each of `MAX_FIELDS`, so that each value has a say.
        """
        labels = [markup.cut(item.label, MAX_LABEL) for item in self.fields]
        room -= sum(markup.size(item.label, MAX_LABEL) for item in self.fields)
        sizes = [min(markup.size(item.text, MAX_VALUE), MAX_VALUE) for item in self.fields]
        most = min(fair_cap(sizes, room), MAX_VALUE)
        values = [markup.cut(item.text, most) for item in self.fields]
        return list(zip(labels, values, strict=True))


def compose(event: OutgoingEvent, target: Target) -> Message:
    """Compose the message of an event; always the same for the same event and endpoint."""
    data = event.data
    text = ""
    if event.type == "test":
        greeting = data.get("message") if isinstance(data, Mapping) else None
        if isinstance(greeting, str) and (text := clean_start(greeting)):
            data = {name: value for name, value in data.items() if name != "message"}
        else:
            text = f"This is a test ping from {clean_text(target.product_name)}"
    names = [clean_text(target.product_name)]
    if event.tenant is not None:
        names.append(clean_text(event.tenant_name or event.tenant))
    return Message(
        title="Test message" if event.type == "test" else humanise(event.type),
        text=text,
        tone=tone_of(event.type),
        fields=fields_of(data, most=MAX_FIELDS, show_keys=target.options.get("show_keys") is True),
        footer=" · ".join(_short(name) for name in names if name),
        occurred_at=event.occurred_at.astimezone(UTC),
    )


def _short(name: str) -> str:
    return name if len(name) <= MAX_FOOTER_NAME else name[: MAX_FOOTER_NAME - 1].rstrip() + "…"


class ChatFormat(Format):
    """Base of the formats for chats: they are not signed, and the URL is the secret."""

    signed: ClassVar[bool] = False
    secret_url: ClassVar[bool] = True
    can_echo: ClassVar[bool] = False

    def generate_secret(self) -> str | None:
        return None

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        """Check ``show_keys``: whether licence keys and hardware ids are shown in full."""
        rest = dict(options)
        given = rest.pop("show_keys", None)
        checked = super().check_options(rest, url)
        if given is None:
            return checked
        show = {"true": True, "false": False}.get(str(given).lower())
        if show is None:
            raise InvalidEndpoint(
                "Write true for show_keys to have licence keys and HWIDs shown in full, or false.",
                field="show_keys",
            )
        return {**checked, "show_keys": show} if show else checked

    def succeeded(self, answer: Answer) -> bool:
        """Return whether the status is 2xx and the body does not contain ``"ok": false``."""
        return super().succeeded(answer) and json_of(answer).get("ok") is not False

    def explanation(self, answer: Answer) -> str | None:
        """Return the error message from a member of the JSON body, or a line of plain text."""
        said = json_of(answer)
        error = said.get("error")
        if isinstance(error, Mapping):
            error = error.get("message")
        texts = [said.get("description"), error, said.get("message")]
        if not said and len(answer.body) <= MAX_PLAIN_ANSWER and not answer.body.startswith(b"<"):
            texts.append(answer.body.decode(errors="replace"))
        for text in texts:
            if isinstance(text, str) and (shown := clean_text(text[: MAX_EXPLANATION + 1])):
                whole = len(text) <= MAX_EXPLANATION
                return shown if whole else shown[: MAX_EXPLANATION - 1].rstrip() + "…"
        return None

    def refusal(self, answer: Answer) -> Refusal:
        """Interpret a refusal: a 429 of the network in front of a service applies to all our requests."""
        return Refusal(
            whole_server=answer.status == 429 and _NETWORK.match(answer.body) is not None
        )

    def bucket(self, url: str) -> str | None:
        """Return the path: each webhook has a separate limit."""
        return urlsplit(url).path


def as_body(message: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def json_of(answer: Answer) -> Mapping[str, Any]:
    """Return the JSON object in a response; empty if it is something else."""
    try:
        parsed = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def seconds_of(value: Any, longest: float) -> float | None:
    """Return the seconds that a service requests, as number or text; ``None`` if they are invalid."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    # Not a number fails both comparisons.
    return min(seconds, longest) if seconds >= 0 else None


def query_value(url: str, name: str) -> str | None:
    """The first value of a name in the query; ``None`` where it is not there or empty."""
    return parse_qs(urlsplit(url).query).get(name, [None])[0]


def check_query(url: str, names: Collection[str]) -> None:
    """Refuse parameters of the query that a service would ignore: without a value, repeated, or in upper case.

    :param names: in lower case.
    :raises InvalidEndpoint: there is one.
    """
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    found = [pair for pair in query if pair[0].lower() in names]
    written = [name for name, _ in found]
    for name, value in found:
        if name not in names:
            raise InvalidEndpoint(
                "Write %(name)s in the URL in lower case.", name=name.lower(), field="url"
            )
        if not value:
            raise InvalidEndpoint(
                "Write a value for %(name)s in the URL, or leave it out.", name=name, field="url"
            )
        if written.count(name) > 1:
            raise InvalidEndpoint(
                "Write %(name)s in the URL once: it appears twice.", name=name, field="url"
            )


def without_query(url: str, names: Iterable[str]) -> str:
    """The URL without some members of its query; the others stay as they were written."""
    address, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) not in names]
    rest = "&".join(kept)
    return f"{address}?{rest}" if rest else address


def masked_url(url: str, path: str, shown: Iterable[str] = ()) -> str:
    """A URL with another path, and of its query only what `shown` names.

    :param path: with the secret part masked already.
    """
    parts = urlsplit(url)
    pairs = [pair for pair in parts.query.split("&") if pair]
    names = set(shown)
    query = "&".join(pair if pair.partition("=")[0] in names else _masked(pair) for pair in pairs)
    return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{query}" if query else "")


def _masked(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals and len(name) <= 40 else MASK
