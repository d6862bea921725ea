"""Microsoft Teams: a workflow "Post to a channel when a webhook request is received", which takes Adaptive Cards.

A message has at most about 28 KB
(https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook), in which
a character may count for two bytes; facts and text blocks read a part of Markdown
(https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ...errors import InvalidEndpoint
from ..base import Answer, OutgoingEvent, Refusal, Rendered, Target
from .base import (
    MAX_PLAIN_ANSWER,
    MAX_TEXT,
    ChatFormat,
    Message,
    Tone,
    as_body,
    compose,
    json_of,
    masked_url,
)
from .members import MASK
from .text import Markup, utf16_units

#: Workflows had addresses below the first until November 2025, and have them below the second now. The others
#: are those of the clouds for governments and for China.
_HOSTS = (
    *(".logic.azure.com", ".powerplatform.com"),
    *(".logic.azure.us", ".powerplatform.microsoft.us", ".appsplatform.us"),
    *(".logic.azure.cn", ".powerplatform.partner.microsoftonline.cn"),
)
_PATH = re.compile(r".*/workflows/[^/]+/triggers/[^/]+/paths/invoke/?", re.IGNORECASE)
#: Connectors, which came before workflows.
_CONNECTOR = re.compile(
    r"(.+\.webhook\.office\.com/webhookb2|outlook\.office(365)?\.com/webhook(b2)?)/.+",
    re.IGNORECASE,
)
MAX_TITLE = 150
_FAILED = b"Microsoft Teams endpoint returned HTTP error"
#: Units of two bytes for labels and values.
FIELDS_ROOM = 9000
_FOR_GOOD = (
    "WorkflowNotFound",
    "WorkflowTriggerNotFound",
    "WorkflowTriggerIsNotEnabled",
    "DirectApiAuthorizationRequired",
    "DirectApiInvalidAuthorizationScheme",
)
_STYLES = {
    Tone.GOOD: "good",
    Tone.BAD: "attention",
    Tone.WARNING: "warning",
    Tone.NEW: "accent",
    Tone.NEUTRAL: "emphasis",
}


@lru_cache(4096)
def _units(plain: str, written: str) -> int:
    """Pairs of bytes within JSON, in UTF-8 or UTF-16, whichever takes more."""
    quoted = json.dumps(written, ensure_ascii=False)[1:-1]
    return max((len(quoted.encode()) + 1) // 2, utf16_units(quoted))


#: Markdown, and ``{{DATE(…)}}``.
MARKUP = Markup(
    special=re.compile(r"[\\`*_~|<>\[\](){}!&]|(?<!\S)[-+#]|(?<=:)/"),
    write=lambda character: "\\" + character,
    cost=_units,
)


class Teams(ChatFormat):
    """An Adaptive Card."""

    name = "teams"
    label = "Microsoft Teams"
    example_url = "https://example.westeurope.logic.azure.com/workflows/1/triggers/manual/paths/invoke?sig=example"

    def matches(self, url: str) -> bool:
        parts = urlsplit(url)
        return _is_workflow(url) or bool(_CONNECTOR.fullmatch(f"{parts.hostname}{parts.path}"))

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        if _is_workflow(url) and "sig" not in parse_qs(urlsplit(url).query):
            raise InvalidEndpoint(
                "Copy the whole URL of the workflow: it ends with sig= and a signature. A workflow that "
                "has none must let anyone trigger it.",
                field="url",
            )
        return super().check_options(options, url)

    def bucket(self, url: str) -> str | None:
        """Return one limit per workflow, by its path and its signature."""
        parts = urlsplit(url)
        return f"{parts.path} {parse_qs(parts.query).get('sig')}"

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        message = compose(event, target)
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "fallbackText": MARKUP.cut(message.headline, MAX_TEXT),
            "body": list(_elements(message)),
            "msteams": {"width": "Full"},
        }
        attachment = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": card,
        }
        body = {"type": "message", "attachments": [attachment]}
        return Rendered(url=target.url, headers={}, body=as_body(body))

    def succeeded(self, answer: Answer) -> bool:
        """Return whether the status is 2xx and the text is not an error of Teams, which older URLs return with a
        200.

        https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
        """
        return super().succeeded(answer) and _FAILED not in answer.body[:MAX_PLAIN_ANSWER]

    def refusal(self, answer: Answer) -> Refusal:
        """Interpret a refusal: a deleted or disabled workflow, and a wrong signature, are permanent."""
        found = super().refusal(answer)
        error = json_of(answer).get("error")
        code = error.get("code") if isinstance(error, Mapping) else None
        return replace(found, permanent=400 <= answer.status < 500 and code in _FOR_GOOD)

    def mask_url(self, url: str) -> str:
        path = urlsplit(url).path
        return masked_url(url, path if _PATH.fullmatch(path) else f"/{MASK}", ("api-version",))


def _is_workflow(url: str) -> bool:
    parts = urlsplit(url)
    known = (parts.hostname or "").endswith(_HOSTS)
    return known and _PATH.fullmatch(parts.path) is not None


def _elements(message: Message) -> Iterator[dict[str, Any]]:
    title = _text(MARKUP.cut(message.title, MAX_TITLE), size="Large", weight="Bolder")
    yield {
        "type": "Container",
        "style": _STYLES[message.tone],
        "bleed": True,
        "items": [title],
    }
    if message.text:
        yield _text(MARKUP.cut(message.text, MAX_TEXT))
    if message.fields:
        lines = message.laid_out(MARKUP, FIELDS_ROOM)
        yield {
            "type": "FactSet",
            "facts": [{"title": label, "value": value} for label, value in lines],
        }
    if message.footer:
        yield _text(MARKUP.cut(message.footer, MAX_TEXT), size="Small", isSubtle=True)
    # Each reader sees it in their own time zone.
    moment = f"{message.occurred_at:%Y-%m-%dT%H:%M:%SZ}"
    yield _text(
        f"{{{{DATE({moment},SHORT)}}}} {{{{TIME({moment})}}}}",
        size="Small",
        isSubtle=True,
        spacing="None",
    )


def _text(text: str, **look: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": text, "wrap": True, **look}
