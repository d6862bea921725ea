"""What receivers answer, byte by byte, and what the attempt's row says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import formats
from flask_webhooks.formats import Answer, OutgoingEvent, Rendered, Target
from flask_webhooks.models import Attempt

from .delivering import attempts, deliveries, drain, emit, health, states, webhooks_of
from .raw_server import RawServer

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
def test_hostile_retry_after_is_an_attempt_like_any_other(app: Flask, value: str) -> None:
    answer = f"HTTP/1.1 429 X\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    attempt = answered(app, answer.encode())
    assert (attempt.number, attempt.outcome, attempt.status) == (1, "refused", 429)
    [delivery] = deliveries(app)
    assert (delivery.attempt_count, delivery.failure_count) == (1, 1)
    assert health(app, delivery.endpoint_id).consecutive_failures == 1


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
