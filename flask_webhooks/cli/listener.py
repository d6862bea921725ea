"""The server of ``flask webhooks listen``."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

from ..errors import InvalidSecret, VerificationError
from ..receiver import verify
from .failures import Misuse
from .output import first_line, plain, say

#: Timeout of the receiver, in seconds.
_PATIENCE = 60.0
#: Bytes of its response that are passed back.
_MOST_ANSWER = 64 * 1024
#: Headers of the connection.
_OWN = frozenset({"connection", "host", "keep-alive", "transfer-encoding", "upgrade"})
#: Headers of its response that the sender uses.
_PASSED_BACK = ("content-type", "retry-after")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def parse_target(url: str) -> SplitResult:
    """Parse the URL of a receiver.

    :raises Misuse: it is not one.
    """
    try:
        target = urlsplit(url)
        usable = target.scheme in ("http", "https") and bool(target.hostname)
        _ = target.port
    except ValueError:
        usable = False
    if not usable:
        raise Misuse(
            f"{plain(url)} is not a URL to forward to. Write one such as http://localhost:3000/webhooks."
        )
    return target


class LocalListener:
    """A server for webhooks, as a context manager.

    :param format: the format of the webhooks.
    :param target: the URL to forward them to.
    :param most: maximum size of a body in bytes.
    :param quiet: print one line for each, without its body.
    :raises OSError: the address cannot be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        format: str,
        target: SplitResult | None,
        most: int,
        quiet: bool,
    ) -> None:
        #: Set before anything is sent.
        self.secret = ""
        self.most = most
        self._format = format
        self._target = target
        self._quiet = quiet
        self._printing = threading.Lock()
        self._server = ThreadingHTTPServer(
            (host, port), type("Handler", (_Handler,), {"listener": self})
        )
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, headers: list[tuple[str, str]], body: bytes) -> Reply:
        """Verify, print and forward one request."""
        try:
            event = verify(dict(headers), body, self.secret, self._format)
        except (VerificationError, InvalidSecret) as error:
            self._print(f"refused: {error}", body)
            return Reply(401, f"{error}\n".encode())
        reply, said = Reply(204), ""
        if self._target is not None:
            reply, said = self._forward(self._target, headers, body)
        self._print(f"verified  {_named(event, headers)}{said}", event)
        return reply

    def _forward(
        self, target: SplitResult, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[Reply, str]:
        """Forward a request unchanged; return the response and a short description."""
        encrypted = target.scheme == "https"
        connect = http.client.HTTPSConnection if encrypted else http.client.HTTPConnection
        connection = connect(target.hostname or "", target.port, timeout=_PATIENCE)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        began = time.monotonic()
        try:
            connection.putrequest("POST", path, skip_accept_encoding=True)
            for name, value in headers:
                if name.lower() not in _OWN:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read(_MOST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            return Reply(502), f"  not forwarded: {first_line(error)}"
        finally:
            connection.close()
        took = (time.monotonic() - began) * 1000
        passed = tuple(
            (name, " ".join(value.split()))
            for name, value in answer.getheaders()
            if name.lower() in _PASSED_BACK
        )
        words = f"  forwarded: {answer.status} in {took:.0f} ms"
        return Reply(answer.status, content, passed), words

    def _print(self, line: str, content: Any) -> None:
        with self._printing:
            say(f"{datetime.now(UTC):%H:%M:%S}  {plain(line)}")
            if self._quiet:
                return
            if isinstance(content, bytes):
                say(content.decode(errors="replace"))
            else:
                say(json.dumps(content, indent=2, ensure_ascii=False))
            say()


def _named(event: Any, headers: list[tuple[str, str]]) -> str:
    """Return the type and the id of an event, as far as the format has them."""
    kind = (event.get("type") or event.get("event")) if isinstance(event, dict) else None
    sent_as = next((value for name, value in headers if name.lower() == "webhook-id"), "")
    return "  ".join(str(part) for part in (kind, sent_as) if part)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "flask-webhooks-listen"
    timeout = _PATIENCE
    listener: LocalListener

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._answer(Reply(411), close=True)
        elif int(length) > self.listener.most:
            self._answer(Reply(413), close=True)
        else:
            body = self.rfile.read(int(length))
            self._answer(self.listener.take(list(self.headers.items()), body))

    def _answer(self, reply: Reply, *, close: bool = False) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.status not in (204, 304):
            self.send_header("Content-Length", str(len(reply.body)))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        if reply.status not in (204, 304):
            self.wfile.write(reply.body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing: each webhook already has a line."""
