"""What reads bytes from outside: each takes any, and raises nothing but what it documents."""

from __future__ import annotations

import atexit
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from flask_webhooks.catalog.registry import builtin_catalog
from flask_webhooks.delivery.echo import echoes
from flask_webhooks.delivery.http.client import Client
from flask_webhooks.delivery.http.errors import diagnose
from flask_webhooks.delivery.http.exchange import Exchange, Request
from flask_webhooks.delivery.http.head import MAX_HEAD_BYTES, Head
from flask_webhooks.delivery.render import text_of
from flask_webhooks.encoding import encode_data
from flask_webhooks.errors import InvalidEndpoint, InvalidFilter, InvalidURL, VerificationError
from flask_webhooks.filters.coalescing import check_coalescing
from flask_webhooks.filters.explaining import failed_conditions
from flask_webhooks.filters.matching import compile_clause, event_view
from flask_webhooks.filters.notation import parse_filter
from flask_webhooks.formats import Answer, OutgoingEvent, Target, builtin_formats
from flask_webhooks.formats.custom import Custom, check_template
from flask_webhooks.receiver import SIGNED_FORMATS, verify
from flask_webhooks.security.addresses import NetworkPolicy
from flask_webhooks.security.redaction import Redactor
from flask_webhooks.security.signature_check import Sent, check, parse_headers
from flask_webhooks.security.urls import check_url

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW: Final = datetime(2026, 11, 21, 10, 53, 25, tzinfo=UTC)
CATALOG: Final = builtin_catalog()
FORMATS: Final = builtin_formats()
POLICY: Final = NetworkPolicy.from_config([])
DATA: Final = {"license_id": "lic_1", "amount": 7, "tags": ["a"], "user": {"id": None}}
#: Bytes of a body that are kept of an answer.
MAX_BODY: Final = 1000


def verify_request(data: bytes) -> None:
    """A receiver verifies a request of anyone."""
    head, _, body = data.partition(b"\n\n")
    headers = parse_headers(head.decode("latin-1"))
    for name in SIGNED_FORMATS:
        with contextlib.suppress(VerificationError):
            verify(headers, body, SECRET, name, now=NOW.timestamp())


def check_signature(data: bytes) -> None:
    """A customer pastes a request into the debugger."""
    head, _, body = data.decode(errors="surrogateescape").partition("\n\n")
    check(parse_headers(head), body, [SECRET], [Sent(1, NOW, "{}")], NOW)


def read_template(data: bytes) -> None:
    """A customer writes a template, and an event is rendered with it."""
    try:
        template = check_template(data.decode(errors="surrogateescape"))
    except InvalidEndpoint:
        return
    event = OutgoingEvent("evt_1", "license.created", "app_1", NOW, encode_data(DATA, 10_000))
    json.loads(Custom().render(event, _target(template), NOW).body)


def read_filter(data: bytes) -> None:
    """A customer writes a filter, and events are held against it: it and its explanation say the same."""
    given = _json(data)
    try:
        clause = parse_filter(given)
    except InvalidFilter:
        return
    if clause is not None:
        for content in (DATA, {}, given):
            view = event_view("license.created", content)
            assert compile_clause(clause)(view) is not bool(failed_conditions(clause, view))


def read_coalescing(data: bytes) -> None:
    """A customer writes rules of coalescing."""
    with contextlib.suppress(InvalidEndpoint):
        check_coalescing(_json(data), CATALOG)


def read_url(data: bytes) -> None:
    """A customer writes a URL. What is taken is taken again, and stays what it is."""
    try:
        url = check_url(data.decode(errors="surrogateescape"), policy=POLICY, require_https=False)
    except InvalidURL:
        return
    assert check_url(url, policy=POLICY, require_https=False) == url


def read_head(data: bytes) -> None:
    """A receiver sends lines of a head."""
    head = Head()
    for line in data.splitlines(keepends=True):
        if head.take(line) == -1:
            break
    head.break_off()
    assert head.status is None or head.status >= 0
    assert sum(len(name) + len(value) for name, value in head.headers) <= 3 * MAX_HEAD_BYTES
    assert head.last_header is None or isinstance(head.last_header, str)


def judge_answer(data: bytes) -> None:
    """Every format judges an answer."""
    head, _, body = data.partition(b"\n\n")
    status, _, lines = head.decode(errors="replace").partition("\n")
    digits = "".join(filter(str.isdecimal, status))[:3]
    answer = Answer(int(digits or "200"), parse_headers(lines), body)
    for style in FORMATS:
        style.succeeded(answer)
        style.explanation(answer)
        style.retry_after(answer, NOW, 3600.0)
    echoes(body, "token")
    shown = Redactor([SECRET]).text(text_of(body), cut=True)
    assert SECRET not in shown
    assert "\0" not in shown


def exchange(data: bytes) -> None:
    """A receiver answers a request of ours with anything: status lines, headers, chunks, frames of HTTP/2."""
    made = _receiver().exchange(data)
    assert len(made.body) <= MAX_BODY
    assert made.status is None or 0 <= made.status < 1000
    if made.error:
        failure = diagnose(made, host="127.0.0.1")
        assert failure is not None
        assert failure.error.code


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "verify": verify_request,
    "debugger": check_signature,
    "template": read_template,
    "filter": read_filter,
    "coalescing": read_coalescing,
    "url": read_url,
    "head": read_head,
    "answer": judge_answer,
    "exchange": exchange,
}
#: What each is likely to understand, to begin with.
SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "verify": (
        b"webhook-id: evt_1\nwebhook-timestamp: 1795258405\nwebhook-signature: v1,abc=\n\n{}",
    ),
    "debugger": (b'{"webhook-id": "evt_1", "webhook-signature": "v1,x v1a,y"}\n\n{"a": 1}',),
    "template": (b'{"a": "{{ data.user.id }}", "b": ["{{ id }} x {{data}}"]}',),
    "filter": (b'{"data": {"amount": {"$gte": 5}, "tags": {"$in": ["a"]}, "$or": [{"x": 1}]}}',),
    "coalescing": (b'{"license.validated": {"by": "data.license_key", "seconds": 60}}',),
    "url": (b"https://example.com:8443/a%2fb?x=[1]", b"http://[::ffff:7f00:1]/", b"//0x7f.1"),
    "head": (b"HTTP/1.1 103 X\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nA : b\r\n c\r\n\r\nX: y\r\n",),
    "answer": (b'429\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\n\n{"retry_after": 1.5}',),
    "exchange": (
        b"HTTP/1.1 99999999999999999999 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        # A client that does not speak it gets frames all the same: settings, and a head with status 200.
        b"\0\0\0\4\0\0\0\0\0\0\0\1\1\5\0\0\0\1\x88",
    ),
}


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _target(template: str) -> Target:
    return Target(
        id="ep_1",
        tenant="app_1",
        url="https://example.com/",
        url_shown="https://example.com/",
        format="custom",
        secrets=(SECRET,),
        headers={},
        user_agent=None,
        version=1,
        options={"template": template},
        product_name="Acme",
    )


class _Receiver:
    """Answers every request with the bytes that it is given, and closes the connection."""

    def __init__(self) -> None:
        self._answer = b""
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._url = f"http://127.0.0.1:{self._server.getsockname()[1]}/"
        self._client = Client(NetworkPolicy.from_config(["127.0.0.0/8"]), MAX_BODY)
        threading.Thread(target=self._serve, daemon=True).start()
        atexit.register(self._client.close)

    def exchange(self, answer: bytes) -> Exchange:
        """What becomes of a request that is answered so."""
        self._answer = answer
        headers = [("Host", "127.0.0.1"), ("Content-Length", "2")]
        made = self._client.start(Request(self._url, headers, b"{}", 1.0))
        for _ in range(100):
            self._client.run(1.0)
            if self._client.take_ended():
                return made
        raise AssertionError("the exchange did not end")

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with contextlib.suppress(OSError), connection:
                connection.settimeout(1)
                connection.recv(65536)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)
                # So that what was not read does not reset the connection before the answer was.
                while connection.recv(65536):
                    pass


@cache
def _receiver() -> _Receiver:
    return _Receiver()
