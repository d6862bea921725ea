"""Slack: an incoming webhook, which takes Block Kit.

Limits: https://docs.slack.dev/reference/block-kit/blocks. They are counted here in UTF-16 units of the escaped
text, which is the most that Slack can count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ...errors import InvalidEndpoint
from ..base import Answer, OutgoingEvent, Refusal, Rendered, Target
from .base import (
    MAX_PLAIN_ANSWER,
    MAX_TEXT,
    ChatFormat,
    Message,
    as_body,
    compose,
    masked_url,
)
from .members import MASK
from .text import Markup, utf16_units

_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
MAX_HEADER = 150
#: Labels and values that one section holds: five lines.
MAX_SECTION_FIELDS = 10
FIELDS_ROOM = 12_000
_FOR_GOOD = (
    *("no_service", "no_service_id", "no_team", "team_disabled", "invalid_token"),
    *("channel_not_found", "channel_is_archived", "user_not_found"),
    *("action_prohibited", "posting_to_general_channel_denied"),
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
#: ``<!channel>``, ``<@U1>`` and links all begin with ``<``.
MARKUP = Markup(
    special=re.compile("[&<>]"),
    write=_ENTITIES.__getitem__,
    cost=lambda plain, written: utf16_units(written),
)


class Slack(ChatFormat):
    """Blocks with a line of text for notifications."""

    name = "slack"
    label = "Slack"
    example_url = "https://hooks.slack.com/services/T1/B1/example"

    def matches(self, url: str) -> bool:
        return urlsplit(url).hostname in _HOSTS

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        if re.match(r"/(workflows|triggers)/", urlsplit(url).path, re.IGNORECASE):
            raise InvalidEndpoint(
                "This URL starts a Slack workflow, which does not accept messages. Add an incoming webhook in Slack, "
                "whose URL begins with https://hooks.slack.com/services/.",
                field="url",
            )
        return super().check_options(options, url)

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        message = compose(event, target)
        body = {
            "text": MARKUP.cut(message.headline, MAX_TEXT),
            "mrkdwn": False,
            "blocks": list(_blocks(message)),
            "unfurl_links": False,
            "unfurl_media": False,
        }
        return Rendered(url=target.url, headers={}, body=as_body(body))

    def refusal(self, answer: Answer) -> Refusal:
        """Interpret the one-word error of Slack, which may be permanent.

        https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
        """
        found = super().refusal(answer)
        said = answer.body[:MAX_PLAIN_ANSWER].decode(errors="replace").strip()
        return replace(found, permanent=400 <= answer.status < 500 and said in _FOR_GOOD)

    def mask_url(self, url: str) -> str:
        # /services/T…/B…/secret: workspace and webhook tell one from another.
        parts = urlsplit(url).path.split("/")
        start = "/".join(parts[:-1]) if len(parts) == 5 else ""
        return masked_url(url, f"{start}/{MASK}")


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    yield {
        "type": "header",
        "text": _plain(MARKUP.cut(f"{message.tone.value} {message.title}", MAX_HEADER)),
    }
    if message.text:
        yield {"type": "section", "text": _plain(MARKUP.cut(message.text, MAX_TEXT))}
    # Two columns. Values are plain text, in which nothing is markup.
    columns = [
        text
        for label, value in message.laid_out(MARKUP, FIELDS_ROOM)
        for text in (_bold(label), _plain(value))
    ]
    for start in range(0, len(columns), MAX_SECTION_FIELDS):
        yield {"type": "section", "fields": columns[start : start + MAX_SECTION_FIELDS]}
    unix = int(message.occurred_at.timestamp())
    yield {
        "type": "context",
        "elements": [
            _plain(MARKUP.cut(message.footer or "Webhook", MAX_TEXT)),
            # Each reader sees it in their own time zone.
            {
                "type": "mrkdwn",
                "text": f"<!date^{unix}^{{date_num}} {{time_secs}}|{message.time}>",
            },
        ],
    }


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _bold(label: str) -> dict[str, Any]:
    # Labels contain no punctuation.
    return {"type": "mrkdwn", "text": f"*{label}*", "verbatim": True}
