"""What receivers answer, byte by byte, and what the attempt's row says of it."""

from __future__ import annotations

import contextlib
import math
import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import formats
from flask_webhooks.formats import Answer, OutgoingEvent, Rendered, Target
from flask_webhooks.models import Attempt
from flask_webhooks.security.redaction import MASK
from tests.support.delivering import (
    attempts,
    deliveries,
    drain,
    emit,
    endpoint,
    health,
    states,
    webhooks_of,
)
from tests.support.raw_server import RawServer

#: No retry falls due while a test runs, however busy the machine is.
LATER = (3600.0, 3600.0)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def answered(app: Flask, answer: bytes, **settings: Any) -> Attempt:
    """The attempt of one event whose receiver sends these bytes and closes the connection."""
    with RawServer(answer, close=True) as server:
        webhooks_of(app).create_endpoint(server.url())
        emit(app)
        drain(app, **{"retry_schedule": LATER, **settings})
        assert len(server.requests) == 1
    [attempt] = attempts(app)
    return attempt


# -- an attempt is recorded whatever the answer --------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "Wed, 21 Oct 2015 07:28:00 +99999999999999999999",
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
        "Wed, 21 Oct 0001 00:00:00 +2359",
        "Fri, 31 Dec 9999 23:59:59 -2359",
    ],
)
def test_hostile_retry_after_is_a_pause_like_any_other(app: Flask, value: str) -> None:
    answer = f"HTTP/1.1 429 X\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    attempt = answered(app, answer.encode())
    assert (attempt.number, attempt.outcome, attempt.status) == (1, "refused", 429)
    [delivery] = deliveries(app)
    assert (delivery.attempt_count, delivery.failure_count) == (1, 1)
    found = health(app, delivery.endpoint_id)
    assert (found.hold_reason, found.consecutive_failures) == ("retry_after", 0)


@pytest.mark.parametrize("status", ["2200", "9" * 30])
def test_status_that_is_none_is_no_http(app: Flask, status: str) -> None:
    attempt = answered(app, f"HTTP/1.1 {status} OK\r\nContent-Length: 0\r\n\r\n".encode())
    assert (attempt.outcome, attempt.status) == ("broken", None)
    assert "its status is not three digits" in str(attempt.error)


class Judging(formats.Format):
    """A host's own format whose judgement of an answer is anything at all."""

    label = "Judging"
    signed = False

    def __init__(self, name: str, method: str = "", value: Any = None) -> None:
        self.name = name  # type: ignore[misc]
        self._method, self._value = method, value

    def generate_secret(self) -> str | None:
        return None

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        return Rendered(target.url, {}, b"{}")

    def _say(self, method: str, usual: Any) -> Any:
        if method != self._method:
            return usual
        if isinstance(self._value, type) and issubclass(self._value, Exception):
            raise self._value("a bug of the host")
        return self._value

    def succeeded(self, answer: Answer) -> bool:
        taken: bool = self._say("succeeded", answer.status == 200)
        return taken

    def explanation(self, answer: Answer) -> str | None:
        text: str | None = self._say("explanation", None)
        return text

    def retry_after(self, answer: Answer, now: datetime, longest: float) -> float | None:
        seconds: float | None = self._say("retry_after", None)
        return seconds


class Unprintable:
    """Has a bug wherever it is looked at."""

    def __str__(self) -> str:
        raise RuntimeError("a bug of the host")

    __bool__ = __float__ = __str__


#: What a format's methods return, or raise.
NONSENSE: list[Any] = [
    OverflowError,
    RecursionError,
    math.nan,
    math.inf,
    1e300,
    10**400,
    -5,
    "soon",
    ["soon"],
    b"\xff",
    Unprintable(),
    "\ud800",
]


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("method", ["succeeded", "explanation", "retry_after"])
def test_format_that_judges_nonsense_still_makes_one_attempt_a_request(
    app: Flask, method: str, status: int
) -> None:
    with RawServer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status) as server:
        for number, value in enumerate(NONSENSE):
            webhooks_of(app).add_format(Judging(f"judging{number}", method, value))
            webhooks_of(app).create_endpoint(server.url(), format=f"judging{number}")
        emit(app)
        drain(app, retry_schedule=LATER)
        assert len(server.requests) == len(NONSENSE)
    assert [(item.number, item.status) for item in attempts(app)] == [(1, status)] * len(NONSENSE)
    if method != "succeeded":
        assert states(app) == {"succeeded" if status == 200 else "pending": len(NONSENSE)}
    for row in deliveries(app):
        until = health(app, row.endpoint_id).hold_until
        assert until is None or until < datetime.now(UTC) + timedelta(days=2)


@pytest.mark.parametrize(
    "rendered",
    [
        lambda url: Rendered(url, {}, "{}"),  # type: ignore[arg-type]
        lambda url: Rendered(url, {"x-number": 5}, b"{}"),  # type: ignore[dict-item]
        lambda url: Rendered(url, {}, b"{}", ["x-token"]),  # type: ignore[arg-type]
    ],
    ids=["text", "number in a header", "list of secret headers"],
)
def test_format_that_renders_nonsense_makes_no_request(
    app: Flask, rendered: Callable[[str], Rendered]
) -> None:
    class Rendering(Judging):
        def render(self, event: OutgoingEvent, target: Target, at: datetime) -> Rendered:
            return rendered(target.url)

    webhooks_of(app).add_format(Rendering("judging"))
    with RawServer(OK) as server:
        webhooks_of(app).create_endpoint(
            server.url(), format="judging", headers={"X-Key": "a secret"}
        )
        emit(app)
        drain(app)
        assert server.requests == []
    [delivery] = deliveries(app)
    assert (delivery.state, delivery.attempt_count, attempts(app)) == ("pending", 0, [])
    assert delivery.due_at is not None
    assert delivery.due_at > datetime.now(UTC)


# -- answers without an end ----------------------------------------------------------------------------


def endless(start: bytes, again: bytes) -> Callable[[int], Iterator[bytes]]:
    """A beginning, and then the same bytes until the connection is closed."""

    def script(number: int) -> Iterator[bytes]:
        yield start
        block = again * (64 * 1024 // len(again))
        # More than a client must put up with, and few enough for a test.
        for _ in range(2000):
            yield block

    return script


@pytest.mark.parametrize(
    ("start", "again", "status"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", None),
        (b"", b"HTTP/1.1 100 Continue\r\nLink: </x>\r\n\r\n", None),
        (b"", b"HTTP/1.1 100 X\n\n", None),
        (b"", b"\r\n", None),
        (b"HTTP/1.1 500 X\r\n", b"X-Header: value\r\n", 500),
        (b"HTTP/1.1 500 X\r\nX-Header: ", b"x" * 1024, 500),
        (b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", b"x" * 1024, 500),
        (
            b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
            b"X-Trailer: value\r\n",
            500,
        ),
        (b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 500),
        (b"HTTP/1.1 500 X\r\n\r\n", b"x" * 1024, 500),
    ],
    ids=[
        "103",
        "100 with a header",
        "bare line feeds",
        "empty lines",
        "headers",
        "one header",
        "chunk extension",
        "trailers",
        "small chunks",
        "body",
    ],
)
def test_endless_answer_takes_neither_time_nor_memory(
    app: Flask, start: bytes, again: bytes, status: int | None
) -> None:
    """Ten of them beside a receiver that answers at once."""
    timeout = 5.0
    with RawServer(endless(start, again)) as server, RawServer(OK) as fine:
        for number in range(10):
            webhooks_of(app).create_endpoint(server.url(f"/{number}"))
        webhooks_of(app).create_endpoint(fine.url())
        emit(app)
        tracemalloc.start()
        began = time.monotonic()
        try:
            assert drain(app, timeout=timeout, lease=60.0, retry_schedule=LATER) == 11
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # Many more seconds than it takes, for a busy machine.
    assert time.monotonic() - began < 30
    assert peak < 40 * 1024 * 1024
    by_outcome = Counter((item.outcome, item.status) for item in attempts(app))
    assert by_outcome.pop(("succeeded", 200)) == 1
    assert {found for _, found in by_outcome} == {status}
    assert sum(by_outcome.values()) == 10


@pytest.mark.slow
def test_some_interim_answers_are_no_harm(app: Flask) -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 X\r\nLink: </x>\r\n\r\n"
    attempt = answered(app, interim * 5 + OK)
    assert (attempt.outcome, attempt.status, attempt.response_body) == ("succeeded", 200, "{}")


# -- bytes after a complete answer ---------------------------------------------------------------------

STRAY = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("after", [b"a body\r\n\r\n", STRAY], ids=["body", "answer"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["204", "204 with a length", "no length", "length", "chunked"],
)
def test_bytes_after_an_answer_harm_neither_it_nor_the_next_one(
    app: Flask, head: bytes, late: bool, after: bytes
) -> None:
    pieces: list[bytes | float] = [head, 0.02, after] if late else [head + after]
    with RawServer(lambda number: pieces) as server:
        created = webhooks_of(app).create_endpoint(server.url(), ["license.*"])
        emit(app, 5)
        drain(app, endpoint_concurrency=1, retry_schedule=LATER)
    assert states(app) == {"succeeded": 5}
    assert {(item.number, item.outcome) for item in attempts(app)} == {(1, "succeeded")}
    assert endpoint(app, created.endpoint.id).state == "active"


def test_gone_of_an_earlier_request_disables_nothing(app: Flask) -> None:
    """It comes when the next request has been made."""

    def script(number: int) -> list[bytes | float]:
        return [OK] if number != 2 else [STRAY, OK]

    with RawServer(script) as server:
        created = webhooks_of(app).create_endpoint(server.url(), ["license.*"])
        emit(app, 3)
        drain(app, endpoint_concurrency=1, retry_schedule=LATER)
        assert endpoint(app, created.endpoint.id).state == "active"
    assert states(app) == {"succeeded": 3}


def test_gone_that_is_meant_disables_also_on_a_kept_connection(app: Flask) -> None:
    with RawServer(lambda number: [OK if number == 1 else STRAY]) as server:
        created = webhooks_of(app).create_endpoint(server.url(), ["license.*"])
        emit(app, 2)
        drain(app, endpoint_concurrency=1, retry_schedule=LATER)
    assert endpoint(app, created.endpoint.id).state == "disabled"
    assert [item.status for item in attempts(app)] == [200, 410]


# -- a clear status, and trouble after it --------------------------------------------------------------


def _head(status: int, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d X" % status, *headers, b"", b""])


EMPTY = b"Content-Length: 0"
#: What follows the first line of an answer, and whether that can be read.
TROUBLES = {
    "a long header": ((b"X-Policy: " + b"x" * 8200, EMPTY), b""),
    "a longer header": ((b"X-Policy: " + b"x" * 30_000, EMPTY), b""),
    "many headers": ((*(b"Set-Cookie: a%d=b" % number for number in range(150)), EMPTY), b""),
    "a control character": ((b"X-Bad: a\x01b", EMPTY), b""),
    "no header": ((b"this is no header", EMPTY), b""),
    "two lengths": ((b"Content-Length: 2", b"Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n\r\n"),
    "a huge header": ((b"X-Policy: " + b"x" * 600_000, EMPTY), b""),
    "a body cut short": ((b"Content-Length: 1000",), b"half"),
    "a chunk cut short": ((b"Transfer-Encoding: chunked",), b"40\r\nhalf"),
    "no chunk": ((b"Transfer-Encoding: chunked",), b"this is no chunk\r\n"),
    "an upgrade": ((b"Upgrade: h2c", b"Connection: Upgrade", EMPTY), b""),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_clear_status_is_kept_whatever_follows(app: Flask, trouble: str) -> None:
    headers, body = TROUBLES[trouble]
    outcomes = {200: "succeeded", 302: "redirected", 403: "refused", 410: "refused"}
    with contextlib.ExitStack() as stack:
        for status in outcomes:
            server = RawServer(_head(status, *headers) + body, close=True)
            url = stack.enter_context(server).url(f"/{status}")
            webhooks_of(app).create_endpoint(url, ["license.*"])
        emit(app)
        drain(app, timeout=5.0, retry_schedule=LATER)
    assert {item.status: item.outcome for item in attempts(app)} == outcomes
    assert {item.status: item.error for item in attempts(app)} == {
        200: None,
        302: "The receiver responded with 302; redirects are not followed.",
        403: "The receiver responded with 403.",
        410: "The receiver responded with 410.",
    }
    assert {row.last_status: row.state for row in deliveries(app)} == {
        200: "succeeded",
        302: "pending",
        403: "pending",
        410: "failed",
    }


#: What follows, and for how many seconds the endpoint rests.
PAUSES = {
    "a body cut short": ((b"Retry-After: 100", b"Content-Length: 1000"), b"half", 100),
    "a huge header": ((b"Retry-After: 100", b"X-Policy: " + b"x" * 600_000), b"", 100),
    "a huge header before": ((b"X-Policy: " + b"x" * 600_000, b"Retry-After: 100"), b"", 60),
    "two lengths": (
        (b"Retry-After: 100", b"Content-Length: 9", b"Transfer-Encoding: chunked"),
        b"0\r\n\r\n",
        100,
    ),
}


@pytest.mark.parametrize("trouble", PAUSES)
def test_too_many_requests_is_a_pause_whatever_follows(app: Flask, trouble: str) -> None:
    headers, body, seconds = PAUSES[trouble]
    attempt = answered(app, _head(429, *headers) + body)
    assert (attempt.outcome, attempt.status) == ("refused", 429)
    [delivery] = deliveries(app)
    found = health(app, delivery.endpoint_id)
    assert (found.hold_reason, found.consecutive_failures) == ("retry_after", 0)
    assert found.hold_until is not None
    rest = (found.hold_until - attempt.started_at).total_seconds()
    assert seconds - 1 < rest < seconds + 20


def test_host_may_want_the_whole_answer(app: Flask) -> None:
    answer = _head(200, b"Content-Length: 1000") + b"half"
    attempt = answered(app, answer, require_whole_answer=True)
    assert (attempt.outcome, attempt.status, attempt.response_body) == ("broken", 200, "half")
    assert attempt.error == "The connection broke in the middle of the response body."


#: By what came after the first line of the answer: what the error says of where the head became too long.
TOO_LONG = {
    "all together": (
        [b"X-Part-%d: " % number + b"x" * 90_000 for number in range(9)],
        "at",
        "X-Part-2",
    ),
    "one, after another": ([b"X-Fine: 1", b"X-Policy: " + b"x" * 600_000], "after", "X-Fine"),
    "one, after a folded one": (
        [b"X-Fine: 1", b" and: more", b"X-Policy: " + b"x" * 600_000],
        "after",
        "X-Fine",
    ),
    "too many": ([b"X-Number-%d: x" % number for number in range(9000)], "after", r"X-Number-\d+"),
    "the first": ([b"X-Policy: " + b"x" * 600_000], "at", "its first header"),
}


@pytest.mark.parametrize("case", TOO_LONG)
def test_header_that_makes_the_head_too_long_is_named(app: Flask, case: str) -> None:
    headers, where, name = TOO_LONG[case]
    attempt = answered(app, _head(200, *headers), require_whole_answer=True)
    assert (attempt.outcome, attempt.status) == ("broken", 200)
    header = name if name.startswith("its") else f"the header {name}"
    expected = f"The response headers are too long: reading ended {where} {header}\\."
    assert re.fullmatch(expected, attempt.error or ""), attempt.error


def test_trailer_that_is_too_long_is_told_of(app: Flask) -> None:
    chunks = b"2\r\n{}\r\n0\r\nX-Sum: 1\r\nX-Long: " + b"x" * 600_000
    answer = _head(200, b"Transfer-Encoding: chunked") + chunks
    attempt = answered(app, answer, require_whole_answer=True)
    assert (attempt.outcome, attempt.status) == ("broken", 200)
    assert "reading ended after the header" in (attempt.error or "")


def test_name_of_a_header_gives_away_no_secret_and_has_a_bound(app: Flask) -> None:
    secret = "hush-hush-" + "s" * 30
    name = b"X-" + secret.encode() + b"-" + b"n" * 1000
    head = _head(200, name + b": 1", b"X-Policy: " + b"x" * 600_000)
    with RawServer(head, close=True) as server:
        webhooks_of(app).create_endpoint(server.url(), headers={"X-Token": secret})
        emit(app)
        drain(app, retry_schedule=LATER, require_whole_answer=True)
    [attempt] = attempts(app)
    assert attempt.error is not None
    assert attempt.error_code == "head_too_long_after"
    assert MASK in attempt.error
    assert "hush" not in attempt.error
    assert len(attempt.error) <= 500
