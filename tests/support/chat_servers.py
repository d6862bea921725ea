"""Discord, Slack, Telegram and Microsoft Teams on loopback, as far as webhooks see of them.

Each checks a message against what its service documents, and refuses it with the service's own answer. They are
written from the services' documentation, and import nothing of Flask-Webhooks. The functions ``*_problems``
are the checks alone: they return what is wrong.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from flask_webhooks.security.hops import HEADER

DISCORD_PATH = "/api/webhooks/1174502939573518396/" + "dQw4w9WgXcQ-_" * 5 + "abc"
SLACK_PATH = "/services/T024BE7LD/B0G9QF9GZ/a1B2c3D4e5F6g7H8i9J0k1L2"
TELEGRAM_TOKEN = "7123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawx"
TELEGRAM_PATH = f"/bot{TELEGRAM_TOKEN}/sendMessage"
TELEGRAM_CHAT = -1001234567890
TEAMS_PATH = (
    "/powerautomate/automations/direct/workflows/0f5e8a3cb7d14c02/triggers/manual/paths/invoke"
    "?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=Zk3yT1vQe8Wc5Rn7Lx2Mp9Ha4Js6Bd0Gf"
)


@dataclass(frozen=True)
class Call:
    """A request, and what it was answered with."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    #: By `time.monotonic`.
    at: float
    status: int

    @property
    def message(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer, as the service gives it."""

    status: int
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A drain opens many connections at once.
    request_queue_size = 256


class ChatServer:
    """A service; use it as a context manager."""

    path: ClassVar[str]

    def __init__(self) -> None:
        self.calls: list[Call] = []
        #: Why messages were refused.
        self.problems: list[str] = []
        #: Answers to give first, in this order, instead of looking at the message.
        self.first: list[Reply] = []
        self._lock = threading.Lock()

    def __enter__(self) -> ChatServer:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet.
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = chat.handle(self.path, headers, body)
                content = reply.body.encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if content:
                    self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def url(self, path: str | None = None) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path or self.path}"

    @property
    def accepted(self) -> list[Call]:
        return [call for call in self.calls if call.status < 300]

    def handle(self, target: str, headers: dict[str, str], body: bytes) -> Reply:
        parts = urlsplit(target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        with self._lock:
            reply = (
                self.first.pop(0) if self.first else self._judge(parts.path, pairs, headers, body)
            )
            self.calls.append(
                Call(parts.path, dict(pairs), headers, body, time.monotonic(), reply.status)
            )
        return reply

    def _judge(
        self, path: str, pairs: list[tuple[str, str]], headers: dict[str, str], body: bytes
    ) -> Reply:
        problems = [
            f"the header {name} goes to a third party"
            for name in headers
            # An endpoint of any format may lead back to the host.
            if "webhook-" in name and name != HEADER
        ]
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            problems.append("the content type is not JSON")
        try:
            message = json.loads(body)
        except ValueError:
            problems.append("the body is not JSON")
            message = {}
        reply = self.answer(path, dict(pairs), message, problems, body)
        self.problems += problems
        return reply

    def answer(
        self, path: str, query: dict[str, str], message: Any, problems: list[str], body: bytes
    ) -> Reply:
        """The service's answer; what is wrong is added to `problems`."""
        raise NotImplementedError


def _json(status: int, body: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body), headers=named)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _unknown(members: Mapping[str, Any], known: str, where: str) -> Iterator[str]:
    for name in members.keys() - set(known.split()):
        yield f"{where} has no member {name}"


def _text_within(text: Any, longest: int, where: str, count: Callable[[str], int]) -> Iterator[str]:
    if not isinstance(text, str) or not text.strip():
        yield f"{where} is required"
    elif count(text) > longest:
        yield f"{where} must be {longest} or fewer in length"


# -- Discord ---------------------------------------------------------------------------------------


def discord_problems(message: Any) -> list[str]:
    """https://docs.discord.com/developers/resources/webhook#execute-webhook, …/message#embed-object."""
    return list(_discord_problems(message))


def _discord_problems(message: Any) -> Iterator[str]:
    yield from _unknown(
        message, "content embeds allowed_mentions username avatar_url thread_name", "message"
    )
    if not message.get("content") and not message.get("embeds"):
        yield "Cannot send an empty message"
    if message.get("allowed_mentions") != {"parse": []}:
        yield "mentions are not disabled"
    if len(message.get("embeds", [])) > 10:
        yield "embeds must be 10 or fewer"
    total = 0
    for embed in message.get("embeds", []):
        known = "title description url timestamp color footer fields author"
        yield from _unknown(embed, known, "embed")
        texts = [("title", embed.get("title"), 256)]
        if "description" in embed:
            texts.append(("description", embed["description"], 4096))
        if "footer" in embed:
            texts.append(("footer", embed["footer"].get("text"), 2048))
        fields = embed.get("fields", [])
        if len(fields) > 25:
            yield "fields must be 25 or fewer"
        for item in fields:
            yield from _unknown(item, "name value inline", "field")
            texts += [("name", item.get("name"), 256), ("value", item.get("value"), 1024)]
        for where, text, longest in texts:
            yield from _text_within(text, longest, where, len)
            total += len(text or "")
        if not 0 <= embed.get("color", 0) <= 0xFFFFFF:
            yield "color is no colour"
        if datetime.fromisoformat(embed.get("timestamp", "")).tzinfo is None:
            yield "timestamp is not ISO 8601"
    if total > 6000:
        yield "embeds exceed 6000 characters"


class FakeDiscord(ChatServer):
    path = DISCORD_PATH
    #: Requests that a webhook may make in so many seconds.
    limit = 100_000
    window = 2.0

    def __init__(self) -> None:
        super().__init__()
        self._used = 0
        self._reset = 0.0

    def answer(
        self, path: str, query: dict[str, str], message: Any, problems: list[str], body: bytes
    ) -> Reply:
        if not re.fullmatch(r"/api(/v10)?" + DISCORD_PATH.removeprefix("/api"), path):
            return _json(404, {"message": "Unknown Webhook", "code": 10015})
        problems += discord_problems(message)
        if problems:
            return _json(400, {"message": "Invalid Form Body", "code": 50035, "errors": problems})
        now = time.monotonic()
        if now >= self._reset:
            self._used, self._reset = 0, now + self.window
        if self._used >= self.limit:
            return self.throttled(round(self._reset - now, 3) + 0.001)
        self._used += 1
        limits = {
            "X_RateLimit_Limit": str(self.limit),
            "X_RateLimit_Remaining": str(self.limit - self._used),
            "X_RateLimit_Reset_After": f"{self._reset - now:.3f}",
        }
        if query.get("wait") == "true":
            return _json(200, {"id": "1", "embeds": message["embeds"]}, **limits)
        return Reply(204, headers={name.replace("_", "-"): value for name, value in limits.items()})

    @staticmethod
    def throttled(seconds: float) -> Reply:
        """https://docs.discord.com/developers/topics/rate-limits: the header is in whole seconds."""
        body = {"message": "You are being rate limited.", "retry_after": seconds, "global": False}
        return _json(
            429,
            body,
            Retry_After=str(int(seconds) + 1),
            X_RateLimit_Limit="5",
            X_RateLimit_Remaining="0",
            X_RateLimit_Reset_After=str(seconds),
            X_RateLimit_Scope="user",
        )

    @staticmethod
    def last_for_now(seconds: float) -> Reply:
        """Accepted, and nothing more before the reset."""
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": str(seconds)}
        return Reply(204, headers=headers)


# -- Slack -----------------------------------------------------------------------------------------

_SLACK_DATE = re.compile(r"<!date\^\d+\^[^|<>^]*\|[^|<>]*>")


def slack_problems(message: Any) -> list[str]:
    """https://docs.slack.dev/messaging/formatting-message-text and …/reference/block-kit/blocks."""
    return list(_slack_problems(message))


def _slack_problems(message: Any) -> Iterator[str]:
    yield from _unknown(message, "text blocks mrkdwn unfurl_links unfurl_media", "message")
    if not message.get("text"):
        yield "no_text"
    # Slack splits what is longer, and cuts it at 40,000:
    # https://api.slack.com/changelog/2018-04-truncating-really-long-messages
    yield from _text_within(message.get("text"), 4000, "text", _units)
    yield from _slack_control_characters(message.get("text", ""), "text")
    if len(message.get("blocks", [])) > 50:
        yield "too many blocks"
    for block in message.get("blocks", []):
        match block["type"]:
            case "header":
                yield from _slack_text(block["text"], 150, "header", only="plain_text")
            case "section":
                if "text" in block:
                    yield from _slack_text(block["text"], 3000, "section")
                elif not 0 < len(block.get("fields", [])) <= 10:
                    yield "a section has 1 to 10 fields"
                for item in block.get("fields", []):
                    yield from _slack_text(item, 2000, "field")
            case "context":
                if not 0 < len(block["elements"]) <= 10:
                    yield "a context has 1 to 10 elements"
                for item in block["elements"]:
                    yield from _slack_text(item, 2000, "element")
            case kind:
                yield f"unknown block {kind}"


def _slack_text(text: Any, longest: int, where: str, only: str = "") -> Iterator[str]:
    known = "type text emoji" if text["type"] == "plain_text" else "type text verbatim"
    yield from _unknown(text, known, where)
    if text["type"] not in ([only] if only else ["plain_text", "mrkdwn"]):
        yield f"{where} cannot be {text['type']}"
    yield from _text_within(text["text"], longest, where, _units)
    written = text["text"]
    if text["type"] == "mrkdwn":
        written = _SLACK_DATE.sub("", written)
        if re.search(r"[_~`]", written) or written.count("*") not in (0, 2):
            yield f"{where} holds markup of the data: {written}"
    yield from _slack_control_characters(written, where)


def _slack_control_characters(text: str, where: str) -> Iterator[str]:
    if re.search(r"[<>]|&(?!amp;|lt;|gt;)", text):
        yield f"{where} holds a control character: {text}"


class FakeSlack(ChatServer):
    path = SLACK_PATH

    def answer(
        self, path: str, query: dict[str, str], message: Any, problems: list[str], body: bytes
    ) -> Reply:
        if path != SLACK_PATH:
            return Reply(404, "no_service", "text/html")
        problems += slack_problems(message)
        if problems:
            return Reply(400, "invalid_blocks", "text/html")
        return Reply(200, "ok", "text/html")

    @staticmethod
    def throttled(seconds: int) -> Reply:
        """https://docs.slack.dev/apis/web-api/rate-limits: whole seconds, in the header."""
        return Reply(429, "rate_limited", "text/plain", {"Retry-After": str(seconds)})


# -- Telegram --------------------------------------------------------------------------------------

_TELEGRAM_TAGS = {"b", "strong", "i", "em", "u", "s", "code", "pre", "tg-spoiler", "blockquote"}
_TELEGRAM_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
#: What clients make links of by themselves.
_TELEGRAM_LINKS = re.compile(
    r"(?<!\w)@\w{3,}|(?<!\w)[#$]\w+|(?<![\w/])/\w+|https?://\S+|\w+\.[a-z]{2,}\b", re.IGNORECASE
)


class _Unparsable(Exception):
    pass


def telegram_text(html: str) -> tuple[str, int, list[str]]:
    """https://core.telegram.org/bots/api#html-style: the text, the number of entities, what becomes a link."""
    opened: list[str] = []
    count = 0
    text = ""
    free = ""
    for token in re.findall(r"<[^<>]*>|[^<]+|<", html):
        if token == "<":
            raise _Unparsable("can't parse entities: unclosed start tag")
        if token.startswith("<"):
            name = token.strip("</>").lower()
            if name not in _TELEGRAM_TAGS:
                raise _Unparsable(f'can\'t parse entities: unsupported start tag "{name}"')
            if not token.startswith("</"):
                if "code" in opened:
                    raise _Unparsable("can't parse entities: code holds another entity")
                opened.append(name)
                count += 1
            elif not opened or opened.pop() != name:
                raise _Unparsable("can't parse entities: unmatched end tag")
            free += "\n"
            continue
        if ">" in token:
            raise _Unparsable("can't parse entities: a bare >")
        plain = re.sub(r"&(\w+);|&", _telegram_entity, token)
        text += plain
        free += "\n" if "code" in opened else plain
    if opened:
        raise _Unparsable(f"can't parse entities: can't find end tag of {opened[-1]}")
    return text, count, _TELEGRAM_LINKS.findall(free)


def _telegram_entity(found: re.Match[str]) -> str:
    try:
        return _TELEGRAM_ENTITIES[found[1]]
    except KeyError:
        raise _Unparsable(f"can't parse entities: {found[0]}") from None


def telegram_problems(message: Any) -> list[str]:
    """https://core.telegram.org/bots/api#sendmessage; what would become a link is a problem as well."""
    known = "chat_id message_thread_id text parse_mode link_preview_options disable_notification"
    problems = list(_unknown(message, known, "message"))
    if message.get("parse_mode") != "HTML":
        problems.append("unsupported parse_mode")
    if message.get("link_preview_options") != {"is_disabled": True}:
        problems.append("links are previewed")
    try:
        text, count, links = telegram_text(message.get("text", ""))
    except _Unparsable as error:
        return [*problems, str(error)]
    if not text.strip():
        problems.append("message text is empty")
    if _units(text) > 4096:
        problems.append("message is too long")
    if count > 100:
        problems.append("entities beyond the hundredth are ignored")
    return problems + [f"{link} becomes a link" for link in links]


class FakeTelegram(ChatServer):
    path = f"{TELEGRAM_PATH}?chat_id={TELEGRAM_CHAT}"

    def answer(
        self, path: str, query: dict[str, str], message: Any, problems: list[str], body: bytes
    ) -> Reply:
        if path != TELEGRAM_PATH:
            return self.failure(401, "Unauthorized")
        problems += [f"{name} comes twice" for name in query.keys() & message.keys()]
        problems += telegram_problems(message)
        if problems:
            return self.failure(400, f"Bad Request: {problems[0]}")
        # Numbers may come as text.
        chat = str({**query, **message}.get("chat_id", ""))
        if chat not in (str(TELEGRAM_CHAT), "@acme_news"):
            return self.failure(400, "Bad Request: chat not found")
        text, _, _ = telegram_text(message["text"])
        result = {"message_id": len(self.calls) + 1, "chat": {"id": chat}, "text": text}
        # Compact and in ASCII, as it comes from them.
        return Reply(200, json.dumps({"ok": True, "result": result}, separators=(",", ":")))

    @staticmethod
    def failure(code: int, description: str, **parameters: Any) -> Reply:
        body = {"ok": False, "error_code": code, "description": description}
        return _json(code, {**body, "parameters": parameters} if parameters else body)

    @classmethod
    def throttled(cls, seconds: int) -> Reply:
        return cls.failure(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)


# -- Microsoft Teams -------------------------------------------------------------------------------

_CARD = "application/vnd.microsoft.card.adaptive"
_TEAMS_DATE = re.compile(r"\{\{(DATE|TIME)\([0-9TZ:-]+(, ?SHORT)?\)\}\}")
_TEAMS_MARKUP = re.compile(r"(?<!\\)(?:\\\\)*([*_`\[\]~<>{}|!&]|(?<!\S)[-+#]|://)")


def teams_problems(message: Any, size: int) -> list[str]:
    """https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format.

    :param size: of the request's body, in bytes.
    """
    return list(_teams_problems(message, size))


def _teams_problems(message: Any, size: int) -> Iterator[str]:
    compact = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    if max(size, 2 * _units(compact)) > 28 * 1024:
        yield "RequestEntityTooLarge"
    yield from _unknown(message, "type attachments", "message")
    if message.get("type") != "message" or len(message.get("attachments", [])) != 1:
        yield "this is no message with one attachment"
        return
    [attachment] = message["attachments"]
    card = attachment["content"]
    if attachment["contentType"] != _CARD or card["type"] != "AdaptiveCard":
        yield "this is no Adaptive Card"
    if card["version"] not in ("1.0", "1.1", "1.2", "1.3", "1.4", "1.5"):
        yield "Teams renders no card of that version"
    yield from _teams_elements(card["body"])


def _teams_elements(elements: list[Any]) -> Iterator[str]:
    for element in elements:
        match element["type"]:
            case "Container":
                if element["style"] not in (
                    "default",
                    *["emphasis", "good", "attention", "warning", "accent"],
                ):
                    yield "unknown style"
                yield from _teams_elements(element["items"])
            case "TextBlock":
                yield from _teams_text(element["text"])
            case "FactSet":
                if not element["facts"]:
                    yield "a fact set without facts"
                for fact in element["facts"]:
                    yield from _unknown(fact, "title value", "fact")
                    yield from _teams_text(fact["title"])
                    yield from _teams_text(fact["value"])
            case kind:
                yield f"unknown element {kind}"


def _teams_text(text: str) -> Iterator[str]:
    yield from _text_within(text, 28 * 1024, "text", _units)
    if found := _TEAMS_MARKUP.search(_TEAMS_DATE.sub("", text)):
        yield f"markup of the data: {found[0]} in {text}"


class FakeTeams(ChatServer):
    path = TEAMS_PATH

    def answer(
        self, path: str, query: dict[str, str], message: Any, problems: list[str], body: bytes
    ) -> Reply:
        if path != urlsplit(TEAMS_PATH).path or "sig" not in query:
            error = {"code": "DirectApiAuthorizationRequired", "message": "The SAS is missing."}
            return _json(401, {"error": error})
        problems += teams_problems(message, len(body))
        if any("TooLarge" in problem for problem in problems):
            return _json(413, {"error": {"code": "RequestEntityTooLarge"}})
        if problems:
            return _json(400, {"error": {"code": "BadRequest", "message": problems[0]}})
        return Reply(202)

    @staticmethod
    def throttled(seconds: int) -> Reply:
        body = {"error": {"code": "WorkflowTriggerThrottled"}}
        return _json(429, body, Retry_After=str(seconds))
