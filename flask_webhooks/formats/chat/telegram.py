"""Telegram: a bot's ``sendMessage``, which takes a small part of HTML.

https://core.telegram.org/bots/api#sendmessage: 4,096 characters after entities are parsed. They are counted here
in UTF-16 units, the most that Telegram can count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import InvalidEndpoint
from ..base import Answer, Move, OutgoingEvent, Refusal, Rendered, Target
from .base import (
    MAX_TEXT,
    ChatFormat,
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
from .text import Markup, utf16_units

_HOST = "api.telegram.org"
_PATH = re.compile(r"(?P<start>.*/bot)(?P<token>[^/]+)/sendMessage/?", re.IGNORECASE)
_CHAT = re.compile(r"-?[0-9]{1,19}|@[A-Za-z][A-Za-z0-9_]{3,31}")
_FOR_GOOD = re.compile(
    r"chat not found|thread not found|group chat was|not enough rights|have no rights"
    r"|need administrator rights|TOPIC_(CLOSED|DELETED)|CHAT_WRITE_FORBIDDEN"
)
#: Members of the body, which must not be in the URL as well.
_IN_BODY = {"chat_id", "message_thread_id", "text", "parse_mode", "link_preview_options"}
#: Leaves room for title, text, footer and separators.
FIELDS_ROOM = 3000
MAX_TITLE = 150
MAX_FOOTER = 250
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
#: For text within ``<code>``, where Telegram looks for nothing else.
CODE = Markup(
    special=re.compile("[&<>]"),
    write=_ENTITIES.__getitem__,
    cost=lambda plain, written: utf16_units(plain),
)
#: Elsewhere it finds names, tags, commands and links by itself: a word joiner keeps them apart.
TEXT = Markup(
    special=re.compile("[&<>@#/$.]"),
    write=lambda character: _ENTITIES.get(character, character + "\u2060"),
    cost=lambda plain, written: utf16_units(plain) + ("\u2060" in written),
)


class Telegram(ChatFormat):
    """A message of lines, for the chat in the URL or in the options."""

    name = "telegram"
    label = "Telegram"
    example_url = "https://api.telegram.org/bot1:example/sendMessage?chat_id=1"

    def matches(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.hostname == _HOST and _PATH.fullmatch(parts.path) is not None

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        """Check ``chat_id`` and ``message_thread_id``, unless the URL has them, and ``show_keys``."""
        if query_value(url, "chat_id") is not None:
            check_query(url, {"chat_id"})
        check_query(url, {"message_thread_id"})
        rest = dict(options)
        taken: dict[str, Any] = {}
        for name, check in (("chat_id", _chat_id), ("message_thread_id", _thread_id)):
            given, in_url = rest.pop(name, None), query_value(url, name)
            given = None if given == "" else given
            if in_url is not None and given is not None and check(given) != check(in_url):
                raise InvalidEndpoint(
                    "The URL has a different %(name)s: write it in one of the two places.",
                    name=name,
                    field=name,
                )
            if in_url is not None:
                check(in_url)
            elif given is not None:
                taken[name] = check(given)
        if "chat_id" not in taken and query_value(url, "chat_id") is None:
            raise InvalidEndpoint(
                "The chat is missing: end the URL with ?chat_id= and the chat's number or @name.",
                field="chat_id",
            )
        return {**taken, **super().check_options(rest, url)}

    def bucket(self, url: str) -> str | None:
        """Return one limit per bot, for all chats."""
        found = _PATH.fullmatch(urlsplit(url).path)
        return unquote(found["token"]) if found else super().bucket(url)

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        message = compose(event, target)
        lines = [f"{message.tone.value} <b>{TEXT.cut(message.title, MAX_TITLE)}</b>"]
        if message.text:
            lines.append(TEXT.cut(message.text, MAX_TEXT))
        lines += [
            f"<b>{label}:</b> <code>{value}</code>"
            for label, value in message.laid_out(CODE, FIELDS_ROOM)
        ]
        footer = " · ".join(part for part in (message.footer, message.time) if part)
        lines.append(f"<i>{TEXT.cut(footer, MAX_FOOTER)}</i>")
        body: dict[str, Any] = {}
        chat = query_value(target.url, "chat_id") or target.options.get("chat_id")
        if chat is not None:
            body["chat_id"] = _number(chat)
        body |= {
            "text": "\n".join(lines),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        thread = query_value(target.url, "message_thread_id") or target.options.get(
            "message_thread_id"
        )
        if thread is not None:
            body["message_thread_id"] = _number(thread)
        return Rendered(url=without_query(target.url, _IN_BODY), headers={}, body=as_body(body))

    def succeeded(self, answer: Answer) -> bool:
        """2xx and ``"ok": true``."""
        if not super().succeeded(answer):
            return False
        if json_of(answer):
            return json_of(answer).get("ok") is True
        # Telegram repeats the message, so the response may have been too long to be read completely.
        return re.match(rb'\s*\{\s*"ok"\s*:\s*true\s*,', answer.body) is not None

    def retry_after(self, answer: Answer, now: datetime, longest: float) -> float | None:
        """The body's ``parameters.retry_after``, else the header."""
        parameters = json_of(answer).get("parameters")
        if isinstance(parameters, dict):
            seconds = seconds_of(parameters.get("retry_after"), longest)
            if seconds is not None:
                return seconds
        return super().retry_after(answer, now, longest)

    def refusal(self, answer: Answer) -> Refusal:
        """Interpret a refusal: a group that became a supergroup has another number; a missing permission of the
        bot is permanent.

        https://core.telegram.org/bots/api#responseparameters
        """
        found = super().refusal(answer)
        said = json_of(answer)
        if said.get("ok") is not False:
            # From the network in front of Telegram.
            return found
        parameters = said.get("parameters")
        number = parameters.get("migrate_to_chat_id") if isinstance(parameters, dict) else None
        if _kind_of(number) == "supergroup":
            return replace(found, moved_to=number)
        described = str(said.get("description"))
        permanent = said.get("error_code") in (401, 403, 404) or _FOR_GOOD.search(described)
        return replace(found, permanent=bool(permanent))

    def moved(self, url: str, options: Mapping[str, Any], moved_to: int) -> Move | None:
        """Return the new number of a group that became a supergroup."""
        in_url = query_value(url, "chat_id")
        before = _number(options.get("chat_id") if in_url is None else in_url)
        if _kind_of(before) != "group":
            return None
        changes = {"chat_id": [before, moved_to]}
        if in_url is None:
            return Move(url, {**options, "chat_id": moved_to}, changes)
        address = without_query(url, {"chat_id"})
        joint = "&" if "?" in address else "?"
        return Move(f"{address}{joint}chat_id={moved_to}", options, changes)

    def mask_url(self, url: str) -> str:
        found = _PATH.fullmatch(urlsplit(url).path)
        path = f"{found['start']}{MASK}/sendMessage" if found else f"/{MASK}"
        return masked_url(url, path, ("chat_id", "message_thread_id"))


def _kind_of(chat: Any) -> str | None:
    """``group`` or ``supergroup`` by the number of a chat; https://core.telegram.org/api/bots/ids."""
    if not isinstance(chat, int) or isinstance(chat, bool) or not -(10**13) < chat < 0:
        return None
    return "supergroup" if chat < -(10**12) else "group"


def _number(value: Any) -> Any:
    return int(value) if re.fullmatch(r"-?[0-9]{1,19}", str(value)) else value


def _chat_id(value: Any) -> int | str:
    text = str(value).strip()
    if isinstance(value, bool) or not _CHAT.fullmatch(text):
        raise InvalidEndpoint(
            "Write the chat_id as a number, such as -1001234567890, or as @name of a public channel.",
            field="chat_id",
        )
    checked: int | str = _number(text)
    return checked


def _thread_id(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise InvalidEndpoint(
            "Write the message_thread_id as a number: the last one in a link to the topic.",
            field="message_thread_id",
        )
    return int(text)
