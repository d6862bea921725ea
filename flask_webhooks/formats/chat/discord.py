"""Discord: a webhook of a channel, which takes an embed.

Limits: https://docs.discord.com/developers/resources/message#embed-object-embed-limits. Discord counts
Unicode code points (discord/discord-api-docs#1315), backslashes of escapes included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ...errors import InvalidEndpoint
from ..base import Answer, OutgoingEvent, Refusal, Rendered, Target
from ..retry_after import parse_retry_after
from .base import (
    MAX_TEXT,
    ChatFormat,
    Tone,
    as_body,
    check_query,
    compose,
    json_of,
    masked_url,
    query_value,
    seconds_of,
    without_query,
)
from .members import MASK
from .text import Markup

_HOSTS = ("discord.com", "discordapp.com")
_PATH = re.compile(
    r"(?P<start>.*/api(?:/v\d+)?/webhooks/(?P<id>[^/]+))/(?P<token>[^/]+)(?P<more>/.*)?",
    re.IGNORECASE,
)
#: Unknown channel or thread, unknown webhook, invalid token of a webhook.
_FOR_GOOD = (10003, 10015, 50027)
#: Characters of the name of a post in a forum.
MAX_THREAD_NAME = 100
MAX_TITLE = 256
#: Of the 6,000 in all, after title, text and footer.
FIELDS_ROOM = 5000
_COLOURS = {
    Tone.GOOD: 0x2ECC71,
    Tone.BAD: 0xE74C3C,
    Tone.WARNING: 0xE67E22,
    Tone.NEW: 0x3498DB,
    Tone.NEUTRAL: 0x95A5A6,
}
#: Markdown, mentions, and what makes a heading, a list or a link of a line.
MARKUP = Markup(
    special=re.compile(r"[\\`*_~|<>\[\]@]|(?<!\S)[-+#]|(?<=:)/"),
    write=lambda character: "\\" + character,
    cost=lambda plain, written: len(written),
)


class Discord(ChatFormat):
    """An embed with a colour, without mentions."""

    name = "discord"
    label = "Discord"
    example_url = "https://discord.com/api/webhooks/1/example"

    def matches(self, url: str) -> bool:
        parts = urlsplit(url)
        host = parts.hostname or ""
        known = any(host == name or host.endswith("." + name) for name in _HOSTS)
        return known and re.match(r"/api(/v\d+)?/webhooks/", parts.path, re.I) is not None

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        found = _PATH.fullmatch(urlsplit(url).path)
        if found and (found["more"] or "").lower() in ("/slack", "/github"):
            raise InvalidEndpoint(
                "Leave out %(ending)s at the end of the URL: that address is for what %(service)s sends.",
                ending=found["more"],
                service=found["more"][1:].title(),
                field="url",
            )
        check_query(url, {"thread_id", "thread_name"})
        thread, name = query_value(url, "thread_id"), query_value(url, "thread_name")
        if thread is not None and not re.fullmatch(r"[1-9][0-9]{0,19}", thread):
            raise InvalidEndpoint(
                "Write the thread_id in the URL as a number: copy the id of the thread or post in Discord.",
                field="url",
            )
        if name is not None and not 0 < len(name.strip()) <= MAX_THREAD_NAME:
            raise InvalidEndpoint(
                "Write a thread_name of 1 to %(most)s characters in the URL, or leave it out.",
                most=MAX_THREAD_NAME,
                field="url",
            )
        if thread is not None and name is not None:
            raise InvalidEndpoint(
                "Leave out either thread_id or thread_name in the URL: messages go to one thread, or each creates a "
                "new post with that name.",
                field="url",
            )
        return super().check_options(options, url)

    def bucket(self, url: str) -> str | None:
        """Return one limit per webhook, for all API versions and threads."""
        found = _PATH.fullmatch(urlsplit(url).path)
        return f"{found['id']}/{found['token']}" if found else super().bucket(url)

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        message = compose(event, target)
        embed: dict[str, Any] = {"title": MARKUP.cut(message.title, MAX_TITLE)}
        if message.text:
            embed["description"] = MARKUP.cut(message.text, MAX_TEXT)
        embed["color"] = _COLOURS[message.tone]
        embed["fields"] = [
            # Short ones are shown side by side.
            {"name": label, "value": value, "inline": len(value) <= 40}
            for label, value in message.laid_out(MARKUP, FIELDS_ROOM)
        ]
        # Discord shows a footer without markdown.
        embed["footer"] = {"text": message.footer or "Webhook"}
        embed["timestamp"] = message.occurred_at.isoformat(timespec="milliseconds")
        body: dict[str, Any] = {"embeds": [embed], "allowed_mentions": {"parse": []}}
        if (name := query_value(target.url, "thread_name")) is not None:
            # Discord only reads it from the body.
            body["thread_name"] = name.strip()
        url = without_query(target.url, {"thread_name"})
        return Rendered(url=url, headers={}, body=as_body(body))

    def retry_after(self, answer: Answer, now: datetime, longest: float) -> float | None:
        """429: the body's ``retry_after``, else the header. A success that was the last for now: until the reset."""
        if answer.status == 429:
            seconds = seconds_of(json_of(answer).get("retry_after"), longest)
            if seconds is not None:
                return seconds
            # From the network in front of Discord.
            return parse_retry_after(answer.headers.get("retry-after"), now, longest)
        if self.succeeded(answer) and answer.headers.get("x-ratelimit-remaining") == "0":
            return seconds_of(answer.headers.get("x-ratelimit-reset-after"), longest)
        return super().retry_after(answer, now, longest)

    def refusal(self, answer: Answer) -> Refusal:
        """Interpret a refusal: a 429 may apply to all our requests.

        A webhook that Discord does not know is permanently gone.

        https://docs.discord.com/developers/topics/rate-limits#exceeding-a-rate-limit
        https://docs.discord.com/developers/topics/opcodes-and-status-codes#json
        """
        found = super().refusal(answer)
        said = json_of(answer)
        if answer.status != 429:
            return replace(found, permanent=said.get("code") in _FOR_GOOD)
        everything = (
            said.get("global") is True
            or answer.headers.get("x-ratelimit-global") == "true"
            or answer.headers.get("x-ratelimit-scope") == "global"
        )
        return replace(found, whole_server=True) if everything else found

    def mask_url(self, url: str) -> str:
        found = _PATH.fullmatch(urlsplit(url).path)
        path = f"{found['start']}/{MASK}" if found else f"/{MASK}"
        return masked_url(url, path, ("thread_id", "thread_name", "wait"))
