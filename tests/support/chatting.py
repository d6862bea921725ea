"""Short forms for tests of chats: an event, an endpoint, a message."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask_webhooks.formats import Format, OutgoingEvent, Rendered, Target, builtin_formats
from tests.support.chat_servers import (
    DISCORD_PATH,
    SLACK_PATH,
    TEAMS_PATH,
    TELEGRAM_CHAT,
    TELEGRAM_PATH,
    discord_problems,
    slack_problems,
    teams_problems,
    telegram_problems,
    telegram_text,
)

URLS = {
    "discord": f"https://discord.com{DISCORD_PATH}",
    "slack": f"https://hooks.slack.com{SLACK_PATH}",
    "telegram": f"https://api.telegram.org{TELEGRAM_PATH}?chat_id={TELEGRAM_CHAT}",
    "teams": f"https://default4d2e.7c.environment.api.powerplatform.com{TEAMS_PATH}",
}
CHATS = tuple(URLS)
FORMATS = builtin_formats()
MOMENT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def chat(name: str) -> Format:
    return FORMATS[name]


def event(data: Any, event_type: str = "license.created", **values: Any) -> OutgoingEvent:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    given: dict[str, Any] = {
        "id": "evt_1",
        "tenant": "app_1",
        "occurred_at": MOMENT,
        "tenant_name": "My App",
    }
    return OutgoingEvent(type=event_type, data_json=text, **(given | values))


def target(name: str, **values: Any) -> Target:
    given: dict[str, Any] = {
        "id": "ep_1",
        "tenant": "app_1",
        "url": URLS[name],
        "url_shown": "",
        "format": name,
        "secrets": (),
        "headers": {},
        "user_agent": None,
        "version": 1,
        "product_name": "Acme Licensing",
    }
    return Target(**(given | values))


def rendered(name: str, data: Any, event_type: str = "license.created", **options: Any) -> Rendered:
    sent = event(json.dumps(data), event_type)
    return chat(name).render(sent, target(name, options=options), MOMENT)


def message(name: str, data: Any, event_type: str = "license.created", **options: Any) -> Any:
    """What is sent, after the service's own check."""
    request = rendered(name, data, event_type, **options)
    assert problems(name, request.body) == []
    return json.loads(request.body)


def problems(name: str, body: bytes) -> list[str]:
    """What the service would find wrong with a body."""
    sent = json.loads(body)
    if name == "teams":
        return teams_problems(sent, len(body))
    checks = {
        "discord": discord_problems,
        "slack": slack_problems,
        "telegram": telegram_problems,
    }
    return checks[name](sent)


def lines(name: str, sent: Mapping[str, Any]) -> dict[str, str]:
    """Labels and values of a message, as they are written."""
    if name == "discord":
        return {item["name"]: item["value"] for item in sent["embeds"][0]["fields"]}
    if name == "slack":
        texts = [item["text"] for block in sent["blocks"] for item in block.get("fields", ())]
        labels = [label.strip("*") for label in texts[::2]]
        return dict(zip(labels, texts[1::2], strict=True))
    if name == "teams":
        facts = [
            fact
            for element in sent["attachments"][0]["content"]["body"]
            for fact in element.get("facts", ())
        ]
        return {fact["title"]: fact["value"] for fact in facts}
    pairs = re.findall(r"<b>([^<]*):</b> <code>([^<]*)</code>", sent["text"])
    return {label: telegram_text(value)[0] for label, value in pairs}


def title(name: str, sent: Mapping[str, Any]) -> str:
    if name == "discord":
        found = sent["embeds"][0]["title"]
    elif name == "slack":
        found = sent["blocks"][0]["text"]["text"]
    elif name == "teams":
        found = sent["attachments"][0]["content"]["body"][0]["items"][0]["text"]
    else:
        found = telegram_text(sent["text"])[0].splitlines()[0]
    return str(found)
