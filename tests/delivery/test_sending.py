"""One request and its answer: bad receivers, what is recorded, retries on a stale connection, signatures."""

from __future__ import annotations

import errno
import json
import re
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from flask import Flask
from standardwebhooks import Webhook

from flask_webhooks import actions, formats
from flask_webhooks.access import system_access
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.http import resolver
from flask_webhooks.delivery.http.errors import clean
from flask_webhooks.delivery.render import default_user_agent
from flask_webhooks.formats import Answer, OutgoingEvent, Rendered, Target
from flask_webhooks.models import Attempt
from flask_webhooks.security.redaction import MASK
from tests.support import delivering
from tests.support.delivering import (
    attempts,
    deliveries,
    emit,
    endpoint,
    health,
    make_due,
    states,
    webhooks_of,
)
from tests.support.helpers import trust, update
from tests.support.processes import wait_until
from tests.support.raw_server import RawServer
from tests.support.receiver import BOMB, MEGABYTE, Receiver

TIMEOUT = 0.4
#: Seconds for what has an end, however busy the machine is.
PATIENCE = 20.0
#: Seconds until a retry: none within a test, however busy the machine is.
LATER = (60.0, 60.0, 60.0)


def drain(app: Flask, **settings: Any) -> int:
    """A drain that makes one attempt for each delivery, unless the test wants it otherwise."""
    return delivering.drain(app, **{"retry_schedule": LATER, **settings})


# -- bad receivers -------------------------------------------------------------------------------------

#: By path: outcome, status, and what the error text says (a regular expression).
ANSWERS: dict[str, tuple[str, int | None, str | None]] = {
    "/ok": ("succeeded", 200, None),
    "/interim": ("succeeded", 200, None),
    "/http10": ("succeeded", 200, None),
    "/until-close": ("succeeded", 200, None),
    "/binary": ("succeeded", 200, None),
    "/big": ("succeeded", 200, None),
    "/bomb": ("succeeded", 200, None),
    "/large-headers": ("succeeded", 200, None),
    "/never": ("timeout", None, r"Connected, but there was no response within 0\.4 s\."),
    "/drip": ("succeeded", 200, None),
    "/early-stuck": ("timeout", None, r"Connected, but there was no response within 0\.4 s\."),
    "/close": ("broken", None, r"The connection was closed without a response\."),
    "/half": ("succeeded", 200, None),
    "/early-reset": (
        "broken",
        None,
        r"The connection (broke: Connection reset by peer|was closed without a response)\.",
    ),
    "/garbage": ("broken", None, r"could not be read as HTTP: no status line\."),
    "/endless-headers": ("succeeded", 200, None),
    "/large-header": ("succeeded", 200, None),
    "/both-lengths": ("succeeded", 200, None),
    "/redirect": ("redirected", 302, r"responded with 302; redirects are not followed\."),
    "/status/304": ("redirected", 304, r"responded with 304; redirects are not followed\."),
    "/switch": ("refused", 101, r"The receiver responded with 101\."),
    "/early": ("refused", 401, r"The receiver responded with 401\."),
    "/status/404": ("refused", 404, r"The receiver responded with 404\."),
    "/status/500": ("refused", 500, r"The receiver responded with 500\."),
    "/status/599": ("refused", 599, r"The receiver responded with 599\."),
}


#: Answers that have no end, or none in time.
UNENDING = ("/never", "/drip", "/early-stuck")


def test_each_bad_receiver_is_told_apart_and_delays_nobody(app: Flask, receiver: Receiver) -> None:
    for path in ANSWERS:
        created = webhooks_of(app).create_endpoint(receiver.url(path))
        timeout = TIMEOUT if path in UNENDING else PATIENCE
        update(app, "Endpoint", created.endpoint.id, timeout=timeout)
    emit(app, data={"padding": "x" * 200_000})
    began = time.monotonic()
    assert drain(app) == len(ANSWERS)
    assert time.monotonic() - began < PATIENCE
    found = {item.url.removeprefix(receiver.url("")): item for item in attempts(app)}
    assert found.keys() == ANSWERS.keys()
    for path, (outcome, status, error) in ANSWERS.items():
        attempt = found[path]
        assert (path, attempt.outcome, attempt.status) == (path, outcome, status)
        if error is None:
            assert attempt.error is None
        else:
            assert re.search(error, attempt.error or ""), attempt.error
            assert "\n" not in (attempt.error or "")
        assert attempt.address == f"127.0.0.1:{receiver.port}"
        assert attempt.duration_ms is not None
        if path in UNENDING:
            assert TIMEOUT * 900 < attempt.duration_ms < PATIENCE * 500
        assert (attempt.response_headers is None) is (status is None)
        assert (attempt.response_body is None) is (status is None)


def test_whole_answer_can_be_demanded(app: Flask, receiver: Receiver) -> None:
    expected = {
        "/drip": ("timeout", r"The response body was not complete within 0\.4 s\."),
        "/half": ("broken", r"The connection broke in the middle of the response body\."),
        "/endless-headers": (
            "broken",
            r"headers are too long: reading ended after the header X-Header-\d+\.",
        ),
        "/large-header": (
            "broken",
            r"headers are too long: reading ended after the header Content-Length\.",
        ),
    }
    for path in expected:
        webhooks_of(app).create_endpoint(receiver.url(path))
    emit(app)
    drain(app, timeout=TIMEOUT, require_whole_answer=True)
    found = {item.url.removeprefix(receiver.url("")): item for item in attempts(app)}
    for path, (outcome, error) in expected.items():
        assert (path, found[path].outcome, found[path].status) == (path, outcome, 200)
        assert re.search(error, found[path].error or ""), found[path].error


def test_body_that_is_never_read_does_not_hold_up_the_end(app: Flask, receiver: Receiver) -> None:
    """It is larger than the buffers of a connection: closed in good order, that would wait for ever."""
    webhooks_of(app).create_endpoint(receiver.url("/early-stuck"))
    [event_id] = emit(app)
    padding = {"padding": "x" * 8 * MEGABYTE}
    update(app, "Event", event_id, data=padding)
    began = time.monotonic()
    drain(app, timeout=TIMEOUT, retry_schedule=(60.0,))
    assert time.monotonic() - began < 5
    [attempt] = attempts(app)
    assert (attempt.outcome, attempt.status) == ("timeout", None)


def test_answer_is_kept_up_to_the_limit_and_the_cut_is_noted(
    app: Flask, receiver: Receiver
) -> None:
    for path in ("/big", "/ok", "/half", "/until-close", "/large-headers"):
        webhooks_of(app).create_endpoint(receiver.url(path))
    emit(app)
    drain(app, max_response_bytes=1000)
    found = {item.url.removeprefix(receiver.url("")): item for item in attempts(app)}
    assert (found["/big"].response_body, found["/big"].response_cut) == ("x" * 1000, True)
    # The rest was not waited for.
    assert receiver.answered["/big"] == 0
    assert (found["/ok"].response_body, found["/ok"].response_cut) == ('{"ok":true}', False)
    assert (found["/half"].response_body, found["/half"].response_cut) == ("half", True)
    assert found["/until-close"].response_body == "until the end"
    kept = found["/large-headers"].response_headers
    assert kept is not None
    assert 3000 < sum(len(name) + len(value) for name, value in kept) <= 16 * 1024


def test_answer_as_long_as_the_limit_is_not_cut(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    drain(app, max_response_bytes=len('{"ok":true}'))
    [attempt] = attempts(app)
    assert (attempt.response_body, attempt.response_cut) == ('{"ok":true}', False)


@pytest.mark.slow
def test_hostile_answers_take_little_memory(app: Flask, receiver: Receiver) -> None:
    for path in ("/big", "/bomb", "/endless-headers", "/large-header"):
        for number in range(10):
            webhooks_of(app).create_endpoint(receiver.url(f"{path}/{number}"))
    emit(app)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert drain(app, retry_schedule=(3600.0,)) == 40
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The receiver's own buffers are among it. One answer alone would be 10 or 50 MB.
    assert peak - before < 40 * 0.5 * MEGABYTE


def test_compressed_answer_stays_compressed(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/bomb"))
    emit(app)
    drain(app)
    [attempt] = attempts(app)
    assert attempt.response_body == BOMB.decode(errors="replace").replace("\0", "\ufffd")
    assert receiver.requests[0].headers["accept-encoding"] == "identity"


def test_nul_and_invalid_utf8_are_replaced(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/binary"))
    webhooks_of(app).create_endpoint(receiver.url("/garbage"))
    emit(app)
    drain(app)
    binary, garbage = sorted(attempts(app), key=lambda item: item.url)
    assert binary.response_body == '{"nul":"\ufffd","bad":"\ufffd\ufffd"}'
    assert ["X-Name", "J\ufffdrgen"] in (binary.response_headers or [])
    assert garbage.error is not None


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\udcffb", "  a \r\n\t b "])
def test_error_text_fits_every_database(text: str) -> None:
    cleaned = clean(text)
    assert re.fullmatch("a\ufffd*b|a b", cleaned)
    cleaned.encode()


def test_every_2xx_is_success(app: Flask, receiver: Receiver) -> None:
    for status in (200, 201, 202, 204, 226, 299):
        webhooks_of(app).create_endpoint(receiver.url(f"/status/{status}"))
    emit(app)
    drain(app)
    assert states(app) == {"succeeded": 6}
    assert {item.last_status for item in deliveries(app)} == {200, 201, 202, 204, 226, 299}


def test_deadline_covers_the_whole_exchange(app: Flask, receiver: Receiver, names: Names) -> None:
    names.slow = 0.3
    names["slow.example.com"] = "127.0.0.1"
    path = "/slow/0.3"
    webhooks_of(app).create_endpoint(receiver.url(path, host="slow.example.com"))
    emit(app)
    drain(app, timeout=0.45)
    [attempt] = attempts(app)
    assert attempt.outcome == "timeout"
    # Neither of the two took as long; on a busy machine the end is noticed late.
    assert attempt.duration_ms is not None
    assert attempt.duration_ms > 440


# -- connections ---------------------------------------------------------------------------------------


def test_refused_connection(app: Flask) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        webhooks_of(app).create_endpoint(f"http://127.0.0.1:{port}/")
        emit(app)
        drain(app)
    [attempt] = attempts(app)
    assert (attempt.outcome, attempt.status) == ("connect_failed", None)
    assert attempt.error == "No connection to 127.0.0.1: Connection refused."
    assert (attempt.response_headers, attempt.response_body) == (None, None)
    assert states(app) == {"pending": 1}


def test_connection_that_is_never_accepted(app: Flask) -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        port = full.getsockname()[1]
        webhooks_of(app).create_endpoint(f"http://127.0.0.1:{port}/")
        emit(app)
        drain(app, timeout=0.3)
    [attempt] = attempts(app)
    assert (attempt.outcome, attempt.error) == (
        "timeout",
        "No connection to 127.0.0.1 within 0.3 s.",
    )


def test_stale_connection_is_replaced_without_a_second_attempt(
    app: Flask, receiver: Receiver
) -> None:
    receiver.stale_after = 1
    webhooks_of(app).create_endpoint(receiver.url())
    ids = emit(app, 3)
    drain(app, endpoint_concurrency=1)
    assert states(app) == {"succeeded": 3}
    assert receiver.ids() == dict.fromkeys(ids, 1)
    assert [(item.number, item.outcome) for item in attempts(app)] == [(1, "succeeded")] * 3
    # The second one met the stale connection; its fresh one is not kept.
    assert [request.connection for request in receiver.requests] == [1, 2, 3]


def test_one_stale_connection_is_not_replaced_by_another(app: Flask, receiver: Receiver) -> None:
    receiver.stale_after = 1
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.2"))
    emit(app, 5)
    last = deliveries(app)[-1]
    update(app, "Delivery", last.id, due_at=datetime.now(UTC) + timedelta(seconds=0.5))
    # Four connections are idle, and stale, when the last one is sent.
    drain(app, linger=1.0)
    assert [item.outcome for item in attempts(app)] == ["succeeded"] * 5
    assert receiver.connections == 5


def test_fresh_connection_that_breaks_is_not_tried_again(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/close"))
    emit(app)
    drain(app)
    assert len(receiver.requests) == 1
    assert [item.outcome for item in attempts(app)] == ["broken"]


def test_reused_connection_that_breaks_is_tried_once_more(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/ok"), ["license.created"])
    webhooks_of(app).create_endpoint(receiver.url("/close"), ["license.deleted"])
    emit(app, 1)
    emit(app, 1, "license.deleted")
    # One after the other, over one connection.
    assert drain(app, concurrency=1, endpoint_concurrency=1) == 2
    assert [request.path for request in receiver.requests] == ["/ok", "/close", "/close"]
    assert [request.connection for request in receiver.requests] == [1, 1, 2]
    assert [item.outcome for item in attempts(app)] == ["succeeded", "broken"]


def test_connections_are_kept_alive(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 20)
    drain(app, endpoint_concurrency=2)
    assert len(receiver.requests) == 20
    assert receiver.connections <= 2


def test_no_cookie_is_ever_sent(app: Flask, receiver: Receiver, names: Names) -> None:
    # By name: clients keep no cookies of plain addresses anyway.
    names["hooks.example.com"] = "127.0.0.1"
    webhooks_of(app).create_endpoint(receiver.url("/cookie", host="hooks.example.com"))
    emit(app, 3)
    drain(app, endpoint_concurrency=1)
    assert len(receiver.requests) == 3
    assert not any("cookie" in request.headers for request in receiver.requests)


def test_redirect_is_not_followed(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/redirect"))
    emit(app)
    drain(app)
    assert [request.path for request in receiver.requests] == ["/redirect"]
    [attempt] = attempts(app)
    assert ["Location", receiver.url("/ok")] in (attempt.response_headers or [])


def test_proxies_of_the_environment_are_not_used(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
            monkeypatch.setenv(name.upper(), proxy.url(""))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        webhooks_of(app).create_endpoint(receiver.url())
        emit(app)
        drain(app)
        assert states(app) == {"succeeded": 1}
        assert (len(receiver.requests), proxy.connections) == (1, 0)


def test_no_file_descriptor_left_is_our_own_trouble(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: Any) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    with monkeypatch.context() as patch:
        patch.setattr("flask_webhooks.delivery.http.transfer.open_socket", exhausted)
        drain(app)
    assert_given_back(app)
    make_due(app)
    drain(app)
    assert states(app) == {"succeeded": 1}


# -- names ---------------------------------------------------------------------------------------------


class Names(dict[str, Any]):
    """What the system's resolver answers: an address, several, or an exception; else that there is none."""

    slow = 0.0

    def lookup(self, host: str, port: int, family: int) -> list[Any]:
        time.sleep(self.slow)
        answer = self.get(host, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = answer()
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ([answer] if isinstance(answer, str) else answer)
        ]


NO_ANSWER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Stands in for the DNS, which no test can make fail; a name that is not set does not exist."""
    names = Names()
    monkeypatch.setattr(resolver, "_lookup", names.lookup)
    return names


def assert_given_back(app: Flask, hold_reason: str | None = None) -> None:
    """Nothing was recorded, no attempt was spent, and it is tried again in about a minute.

    A drain takes the database's time for what it was when it asked, and so may be ahead of it by as long as that took.
    """
    assert attempts(app) == []
    [delivery] = deliveries(app)
    assert (delivery.state, delivery.attempt_count, delivery.failure_count) == ("pending", 0, 0)
    assert delivery.due_at is not None
    assert 50 < (delivery.due_at - datetime.now(UTC)).total_seconds() < 65
    found = health(app, delivery.endpoint_id)
    assert (found.hold_reason, found.consecutive_failures) == (hold_reason, 0)


def test_name_that_does_not_exist(app: Flask, names: Names) -> None:
    names[resolver.CONTROL_NAME] = "198.41.0.4"
    webhooks_of(app).create_endpoint("http://flask-webhooks.invalid/")
    emit(app)
    drain(app)
    [attempt] = attempts(app)
    assert attempt.outcome == "dns_failed"
    assert attempt.error is not None
    assert attempt.error.startswith("The name flask-webhooks.invalid could not be resolved: ")
    assert attempt.address is None
    assert states(app) == {"pending": 1}


@pytest.mark.slow
def test_name_without_an_answer_is_a_failure_while_other_names_have_one(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    def fail_late() -> None:
        receiver.wait_for(1)
        raise NO_ANSWER

    names["broken.example.com"] = fail_late
    names["fine.example.com"] = "127.0.0.1"
    # That one name has an answer is proof enough.
    names[resolver.CONTROL_NAME] = NO_ANSWER
    webhooks_of(app).create_endpoint("http://broken.example.com/")
    webhooks_of(app).create_endpoint(receiver.url(host="fine.example.com"))
    emit(app)
    drain(app)
    by_outcome = {item.outcome: item for item in attempts(app)}
    assert by_outcome.keys() == {"succeeded", "dns_failed"}
    assert "Temporary failure in name resolution" in (by_outcome["dns_failed"].error or "")


def test_name_without_an_answer_is_a_failure_where_a_well_known_one_has_an_answer(
    app: Flask, names: Names
) -> None:
    names["broken.example.com"] = NO_ANSWER
    names[resolver.CONTROL_NAME] = "198.41.0.4"
    webhooks_of(app).create_endpoint("http://broken.example.com/")
    emit(app)
    drain(app)
    assert [item.outcome for item in attempts(app)] == ["dns_failed"]


def test_name_that_hangs_is_a_failure_while_other_names_have_an_answer(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    released = threading.Event()
    names["hangs.example.com"] = lambda: released.wait(60) and ["127.0.0.1"]
    names["fine.example.com"] = "127.0.0.1"
    webhooks_of(app).create_endpoint("http://hangs.example.com/")
    webhooks_of(app).create_endpoint(receiver.url(host="fine.example.com"))
    emit(app)
    drain(app, timeout=0.3)
    released.set()
    by_outcome = {item.outcome: item for item in attempts(app)}
    assert by_outcome.keys() == {"succeeded", "dns_failed"}
    assert by_outcome["dns_failed"].error == (
        "The name hangs.example.com could not be resolved within 0.3 s."
    )


def test_machine_that_knows_no_name_at_all_spends_no_attempt(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    """Offline, some systems say of every name that there is none."""
    webhooks_of(app).create_endpoint(receiver.url(host="hooks.example.com"))
    emit(app)
    drain(app)
    assert_given_back(app, hold_reason="no_dns")
    names["hooks.example.com"] = "127.0.0.1"
    make_due(app)
    drain(app)
    assert states(app) == {"succeeded": 1}


def test_name_that_does_not_exist_is_a_failure_while_others_are_found(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    names["fine.example.com"] = "127.0.0.1"
    webhooks_of(app).create_endpoint(receiver.url(host="fine.example.com"))
    emit(app)
    webhooks_of(app).create_endpoint("http://gone.example.com/")
    emit(app)
    drain(app, concurrency=1)
    assert {item.outcome for item in attempts(app)} == {"succeeded", "dns_failed"}


@pytest.mark.parametrize("hanging", [False, True])
def test_no_dns_at_all_spends_no_attempt(
    app: Flask,
    receiver: Receiver,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
    hanging: bool,
) -> None:
    released = threading.Event()
    answer: Any = (lambda: released.wait(60) and []) if hanging else NO_ANSWER
    names["hooks.example.com"] = names[resolver.CONTROL_NAME] = answer
    monkeypatch.setattr(resolver, "CONTROL_TIMEOUT", 0.2)
    webhooks_of(app).create_endpoint(receiver.url(host="hooks.example.com"))
    emit(app)
    drain(app, timeout=0.3)
    released.set()
    assert_given_back(app, hold_reason="no_dns")
    names["hooks.example.com"] = "127.0.0.1"
    make_due(app)
    drain(app)
    assert states(app) == {"succeeded": 1}


def test_addresses_without_names_go_on_without_dns(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    names["hooks.example.com"] = names[resolver.CONTROL_NAME] = NO_ANSWER
    webhooks_of(app).create_endpoint(receiver.url(host="hooks.example.com"))
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app, 3)
    assert drain(app) == 3
    assert states(app) == {"succeeded": 3, "pending": 3}


# -- the network policy at the time of sending ---------------------------------------------------------


def assert_blocked(app: Flask, reason: str) -> Attempt:
    [delivery] = deliveries(app)
    assert (delivery.state, delivery.reason, delivery.due_at) == ("failed", "blocked", None)
    [attempt] = attempts(app)
    assert (attempt.outcome, attempt.status) == ("blocked", None)
    assert attempt.error == f"The address is not allowed: {reason}."
    return attempt


def test_policy_that_changed_blocks_for_good(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app)
    drain(app, allowed_networks=())
    attempt = assert_blocked(app, "loopback address")
    assert attempt.address == "127.0.0.1"
    assert receiver.connections == 0


def test_name_that_leads_elsewhere_later_is_blocked(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    names["hooks.example.com"] = "127.0.0.1"
    webhooks_of(app).create_endpoint(receiver.url(host="hooks.example.com"), ["license.*"])
    emit(app)
    drain(app)
    assert states(app) == {"succeeded": 1}
    names["hooks.example.com"] = "169.254.169.254"
    emit(app)
    drain(app)
    assert [item.outcome for item in attempts(app)] == ["succeeded", "blocked"]
    assert attempts(app)[1].error == "The address is not allowed: cloud metadata service."
    assert attempts(app)[1].address == "169.254.169.254"
    assert len(receiver.requests) == 1


def test_one_allowed_address_among_others_is_used(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    names["hooks.example.com"] = ["10.0.0.1", "127.0.0.1", "10.0.0.2"]
    webhooks_of(app).create_endpoint(receiver.url(host="hooks.example.com"))
    emit(app)
    drain(app)
    assert states(app) == {"succeeded": 1}
    [attempt] = attempts(app)
    assert attempt.address == f"127.0.0.1:{receiver.port}"


def test_allowed_address_after_sixteen_others_is_used(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    names["hooks.example.com"] = [f"10.0.0.{number}" for number in range(1, 30)] + ["127.0.0.1"]
    webhooks_of(app).create_endpoint(receiver.url(host="hooks.example.com"))
    emit(app)
    drain(app)
    assert states(app) == {"succeeded": 1}


@pytest.mark.parametrize("addresses", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"]])
def test_error_is_about_the_address_that_was_tried(
    app: Flask, names: Names, addresses: list[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        names["hooks.example.com"] = addresses
        url = f"http://hooks.example.com:{unused.getsockname()[1]}/"
        webhooks_of(app).create_endpoint(url)
        emit(app)
        drain(app)
    [attempt] = attempts(app)
    assert (attempt.outcome, attempt.address) == ("connect_failed", "127.0.0.1")
    assert attempt.error == "No connection to 127.0.0.1: Connection refused."


def test_error_names_the_address_that_does_not_answer(app: Flask, names: Names) -> None:
    """The second one refuses at once."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        names["hooks.example.com"] = ["127.0.0.1", "127.0.0.2"]
        webhooks_of(app).create_endpoint(f"http://hooks.example.com:{full.getsockname()[1]}/")
        emit(app)
        drain(app, timeout=1.5)
    [attempt] = attempts(app)
    assert attempt.error == "No connection to 127.0.0.1 within 1.5 s."


def test_name_that_moves_is_followed_under_steady_traffic(
    app: Flask, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "FRESH", 0.3)
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    names["hooks.example.com"] = "127.0.0.1"

    def script(number: int) -> list[bytes | float]:
        if number == 2:
            names["hooks.example.com"] = "127.0.0.2"
        return [0.1, ok]

    with RawServer(script) as before, RawServer(ok, address="127.0.0.2", port=before.port) as after:
        webhooks_of(app).create_endpoint(before.url(host="hooks.example.com"))
        emit(app, 10)
        drain(app, endpoint_concurrency=1)
        assert states(app) == {"succeeded": 10}
        assert 2 <= len(before.requests) < 8
        assert len(after.requests) == 10 - len(before.requests)


def test_gone_of_the_server_that_the_name_led_to_before_disables_nothing(
    app: Flask, names: Names
) -> None:
    names["hooks.example.com"] = "127.0.0.1"

    def leave(number: int) -> list[bytes]:
        if number == 1:
            return [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
        names["hooks.example.com"] = "127.0.0.2"
        return [b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"]

    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with RawServer(leave) as before, RawServer(ok, address="127.0.0.2", port=before.port):
        created = webhooks_of(app).create_endpoint(before.url(host="hooks.example.com"))
        emit(app, 3)
        drain(app, endpoint_concurrency=1)
    assert endpoint(app, created.endpoint.id).state == "active"
    assert states(app) == {"succeeded": 3}


def test_invariant_9_every_connection_is_vetted_at_the_socket(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    """Whatever stands in the database: the check when it was saved is not relied on."""
    hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "[::ffff:127.0.0.1]",
        "localhost",
        "named",
    ]
    for host in hosts:
        names[host] = "127.0.0.1"
        created = webhooks_of(app).create_endpoint("https://example.com/", ["license.*"])
        url = f"http://{host}:{receiver.port}/ok"
        update(app, "Endpoint", created.endpoint.id, url_shown=url)
    emit(app)
    drain(app, allowed_networks=())
    assert {(row.state, row.reason) for row in deliveries(app)} == {("failed", "blocked")}
    found = [(item.outcome, item.error) for item in attempts(app)]
    assert found == [("blocked", "The address is not allowed: loopback address.")] * len(hosts)
    assert receiver.connections == 0


# -- TLS -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Makes the system trust our authority."""
    trust(monkeypatch, tmp_path, authority)


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Callable[..., Receiver]]:
    """Starts a receiver with a certificate."""
    running: list[Receiver] = []

    def start(name: str, authority: trustme.CA = authority, **options: Any) -> Receiver:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name, **options).configure_cert(context)
        running.append(Receiver(tls=context).__enter__())
        return running[-1]

    yield start
    for receiver in running:
        receiver.__exit__(None, None, None)


@pytest.mark.usefixtures("trusted")
def test_certificate_that_is_fine(app: Flask, secure: Callable[..., Receiver]) -> None:
    receiver = secure("127.0.0.1")
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    drain(app)
    assert states(app) == {"succeeded": 1}


@pytest.mark.usefixtures("trusted")
def test_certificates_that_are_not(app: Flask, secure: Callable[..., Receiver]) -> None:
    now = datetime.now(UTC)
    expired = secure(
        "127.0.0.1", not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
    )
    mismatch = "hostname mismatch, certificate is not valid for '127.0.0.1'"
    expected = [
        (secure("127.0.0.1", trustme.CA()), "unable to get local issuer certificate"),
        (secure("127.0.0.2"), mismatch),
        (secure("example.com"), mismatch),
        (expired, "certificate has expired"),
    ]
    errors = {}
    for receiver, error in expected:
        webhooks_of(app).create_endpoint(receiver.url())
        errors[receiver.url()] = f"The certificate was not accepted: {error}."
    emit(app)
    drain(app)
    assert {item.url: item.error for item in attempts(app)} == errors
    assert {item.outcome for item in attempts(app)} == {"tls_failed"}
    assert not any(receiver.requests for receiver, _ in expected)


def test_plain_http_where_tls_is_expected(app: Flask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        webhooks_of(app).create_endpoint(f"https://127.0.0.1:{server.getsockname()[1]}/")
        emit(app)
        drain(app)
        thread.join(5)
    [attempt] = attempts(app)
    assert (attempt.outcome, attempt.error) == ("tls_failed", "TLS failed: wrong version number.")


# -- what is sent, and what is recorded of it ----------------------------------------------------------

#: Text, numbers and an order of members that careless JSON code would change.
DATA = {"z": 1, "a": "ü€😀\u2028\0", "float": 1e100, "big": 2**70, "nested": {"b": [], "a": {}}}


def test_attempt_records_all_that_was_sent_and_came_back(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(
        receiver.url("/status/503"), headers={"X-Api-Key": "hush hush", "accept": "text/html"}
    )
    [event_id] = emit(app, data=DATA)
    before = datetime.now(UTC)
    drain(app)
    [request] = receiver.requests
    [attempt] = attempts(app)
    assert attempt.request_body is not None
    assert attempt.request_body.encode() == request.body
    recorded = [(name, value) for name, value in attempt.request_headers or []]
    secret = {"x-api-key", "accept"}
    masked = [
        (name, MASK if name.lower() in secret else value) for name, value in request.raw_headers
    ]
    assert recorded == masked
    assert request.headers["x-api-key"] == "hush hush"
    assert request.headers["accept"] == "text/html"
    assert "hush" not in json.dumps([attempt.request_headers, attempt.response_headers])
    assert (attempt.endpoint_id, attempt.number) == (created.endpoint.id, 1)
    assert (attempt.trigger, attempt.actor) == ("event", None)
    assert (attempt.outcome, attempt.status) == ("refused", 503)
    assert attempt.url == receiver.url("/status/503")
    assert attempt.address == f"127.0.0.1:{receiver.port}"
    assert before <= attempt.started_at <= datetime.now(UTC)
    assert attempt.response_headers == [
        ["Content-Type", "application/json"],
        ["Content-Length", "14"],
    ]
    assert attempt.response_body == '{"error":"no"}'
    assert attempt.timings is not None
    assert attempt.timings.keys() == {"connect", "wait", "read"}
    assert attempt.duration_ms is not None
    assert sum(attempt.timings.values()) <= attempt.duration_ms + 1
    assert request.id == event_id


def test_url_is_requested_as_it_was_written(app: Flask, receiver: Receiver) -> None:
    path = "/ok/a%2Fb;c=1/%C3%BC/~/?q=%20+&d[]=1&e=%26&sig=a%3D%3D"
    webhooks_of(app).create_endpoint(receiver.url(path))
    emit(app)
    drain(app)
    assert [request.path for request in receiver.requests] == [path]


def test_content_type_and_user_agent(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/ok/1"))
    webhooks_of(app).create_endpoint(receiver.url("/ok/2"), user_agent="Shop/2.0 (webhooks)")
    emit(app)
    drain(app, product_name="Acme Licensing")
    headers = {request.path: request.headers for request in receiver.requests}
    assert headers["/ok/1"]["content-type"] == "application/json"
    assert headers["/ok/1"]["user-agent"] == "Acme-Licensing-Webhook/1.0"
    assert headers["/ok/2"]["user-agent"] == "Shop/2.0 (webhooks)"


@pytest.mark.parametrize(
    ("product_name", "user_agent"),
    [
        ("Flask-Webhooks", "Flask-Webhooks/1.0"),
        ("Acme", "Acme-Webhook/1.0"),
        ("Acme  Licensing (EU)", "Acme-Licensing-EU-Webhook/1.0"),
        ("Müller", "M-ller-Webhook/1.0"),
        ("☃", "Webhook/1.0"),
    ],
)
def test_default_user_agent_is_a_product_token(product_name: str, user_agent: str) -> None:
    assert default_user_agent(product_name) == user_agent


# -- signatures ----------------------------------------------------------------------------------------


def verify(receiver: Receiver, secret: str | None) -> None:
    """Check all requests with the reference implementation."""
    assert secret is not None
    assert receiver.requests
    for request in receiver.requests:
        Webhook(secret).verify(request.body, request.headers)


def test_signature_and_payload_are_those_of_the_specification(
    app: Flask, receiver: Receiver
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url(), tenant="app_ü")
    occurred_at = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
    [event_id] = emit(app, data=DATA, tenant="app_ü", occurred_at=occurred_at)
    drain(app)
    verify(receiver, created.secret)
    [request] = receiver.requests
    assert request.headers["webhook-id"] == event_id
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5
    assert json.loads(request.body) == {
        "type": "license.created",
        "timestamp": "2026-01-31T12:00:00.123Z",
        "data": DATA,
        "tenant": "app_ü",
    }


def test_without_tenant_there_is_no_such_member(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)
    drain(app)
    assert list(json.loads(receiver.requests[0].body)) == ["type", "timestamp", "data"]


def test_both_secrets_sign_during_a_rotation(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url())
    access = system_access(state_of(app), "tester")
    new = actions.rotate_secret(access, created.endpoint.id, overlap_seconds=60)
    emit(app)
    drain(app)
    verify(receiver, created.secret)
    verify(receiver, new)
    assert len(receiver.requests[0].headers["webhook-signature"].split()) == 2


@pytest.mark.parametrize("overlap", [0, 0.2])
def test_expired_secret_does_not_sign(app: Flask, receiver: Receiver, overlap: float) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url())
    access = system_access(state_of(app), "tester")
    new = actions.rotate_secret(access, created.endpoint.id, overlap_seconds=overlap)
    time.sleep(overlap)
    emit(app)
    drain(app)
    verify(receiver, new)
    assert len(receiver.requests[0].headers["webhook-signature"].split()) == 1
    with pytest.raises(Exception, match="No matching signature"):
        verify(receiver, created.secret)


def test_invariant_8_the_bytes_signed_are_the_bytes_sent_the_same_on_every_attempt(
    app: Flask, receiver: Receiver
) -> None:
    receiver.stale_after = 1
    created = webhooks_of(app).create_endpoint(receiver.url("/flaky/3"))
    emit(app, data=DATA)
    for _ in range(4):
        drain(app)
        make_due(app)
    assert states(app) == {"succeeded": 1}
    access = system_access(state_of(app), "tester")
    actions.resend(access, deliveries(app)[0].id)
    drain(app)
    assert len(receiver.requests) == 5
    verify(receiver, created.secret)
    assert len({request.body for request in receiver.requests}) == 1
    assert len({request.id for request in receiver.requests}) == 1
    assert {item.request_body for item in attempts(app)} == {receiver.requests[0].body.decode()}


# -- what the receiver asks for ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_the_endpoint_and_spends_no_attempt_of_the_others(
    app: Flask, receiver: Receiver, status: int, form: str
) -> None:
    now = datetime.now(UTC)
    value = "100" if form == "seconds" else format_datetime(now + timedelta(seconds=100), True)
    created = webhooks_of(app).create_endpoint(
        receiver.url(f"/retry-after/{quote(value)}/{status}")
    )
    emit(app, 3)
    assert drain(app, endpoint_concurrency=1) == 1
    found = health(app, created.endpoint.id)
    assert found.hold_reason == "retry_after"
    assert found.hold_until is not None
    assert 97 < (found.hold_until - now).total_seconds() < 110
    first, *others = deliveries(app)
    assert (first.state, first.failure_count) == ("pending", 1)
    assert first.due_at is not None
    assert 97 < (first.due_at - now).total_seconds() < 110
    assert {(item.state, item.attempt_count) for item in others} == {("pending", 0)}
    emit(app)
    assert drain(app) == 0
    make_due(app)
    assert drain(app) == 4
    assert states(app) == {"succeeded": 4}


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_that_makes_no_sense_is_not_believed(
    app: Flask, receiver: Receiver, status: int
) -> None:
    for value in ("nonsense", "-5", "", "1e9", "0"):
        webhooks_of(app).create_endpoint(receiver.url(f"/retry-after/{quote(value)}/{status}"))
    emit(app)
    drain(app)
    assert states(app) == {"pending": 5}
    for row in deliveries(app):
        found = health(app, row.endpoint_id)
        if status == 503:
            assert found.hold_until is None
        else:
            # The pause of our own.
            assert found.hold_until is not None
            assert found.last_failure_at is not None
            assert found.hold_until - found.last_failure_at == timedelta(seconds=60)


def test_retry_after_is_believed_for_a_day_at_most(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url(f"/retry-after/{'9' * 400}/503"))
    emit(app)
    drain(app)
    found = health(app, created.endpoint.id).hold_until
    assert found is not None
    assert timedelta(hours=23) < found - datetime.now(UTC) < timedelta(hours=25)


def test_retry_after_of_another_status_is_only_a_failure(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/retry-after/100/500"))
    emit(app)
    drain(app)
    assert health(app, created.endpoint.id).hold_until is None


@pytest.mark.slow
def test_gone_disables_the_endpoint_and_holds_the_rest(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/status/410"), ["license.*"])
    emit(app, 3)
    assert drain(app, endpoint_concurrency=1) == 1
    found = endpoint(app, created.endpoint.id)
    assert (found.state, found.state_reason) == (
        "disabled",
        "The receiver responded with 410 Gone.",
    )
    assert [item.state for item in deliveries(app)] == ["failed", "held", "held"]
    assert deliveries(app)[0].reason == "gone"
    emit(app)
    assert drain(app) == 0
    assert states(app) == {"failed": 1, "held": 3}


# -- formats of the host's own -------------------------------------------------------------------------


class Custom(formats.Format):
    """Signs nothing; its URL is a secret."""

    name = "hidden"
    label = "Custom"
    signed = False
    secret_url = True

    def generate_secret(self) -> str | None:
        return None

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        return Rendered(target.url, {"x-token": "hidden"}, b"\xff", frozenset({"x-token"}))

    def mask_url(self, url: str) -> str:
        return "http://masked/"


class Raising(Custom):
    """Has a bug in its rendering."""

    name = "raising"

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        raise RuntimeError("a bug of the host")


class Undecided(Custom):
    """Has a bug in its judgement of answers."""

    name = "undecided"

    def succeeded(self, answer: Answer) -> bool:
        raise RuntimeError("a bug of the host")


def test_secret_url_and_headers_are_nowhere_in_the_record(
    app: Flask, receiver: Receiver, names: Names
) -> None:
    names[resolver.CONTROL_NAME] = "198.41.0.4"
    webhooks_of(app).add_format(Custom())
    paths = [path for path in ANSWERS if path not in ("/never", "/drip", "/early-stuck")]
    with socket.create_server(("127.0.0.1", 0)) as server:
        unused = f"http://127.0.0.1:{server.getsockname()[1]}/s3cret"
    urls = [receiver.url(path + "/s3cret") for path in paths]
    for url in [*urls, unused, "http://s3cret.invalid/s3cret"]:
        webhooks_of(app).create_endpoint(url, format="hidden")
    emit(app)
    drain(app)
    for attempt in attempts(app):
        assert attempt.url == "http://masked/"
        assert "/s3cret" not in f"{attempt.error} {attempt.request_headers}"
        assert "hidden" not in str(attempt.request_headers)
        assert attempt.request_body == "\ufffd"
    assert len(attempts(app)) == len(paths) + 2


def test_format_that_cannot_render_spends_no_attempt(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).add_format(Raising())
    webhooks_of(app).create_endpoint(receiver.url(), format="raising")
    emit(app)
    drain(app)
    assert_given_back(app)
    assert receiver.requests == []


def test_format_that_is_gone_holds_the_endpoint(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url())
    update(app, "Endpoint", created.endpoint.id, format="no longer there")
    emit(app)
    drain(app)
    assert_given_back(app, hold_reason="unknown_format")


def test_format_that_cannot_judge_is_not_asked_twice(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).add_format(Undecided())
    webhooks_of(app).create_endpoint(receiver.url("/ok"), format="undecided")
    webhooks_of(app).create_endpoint(receiver.url("/status/500"), format="undecided")
    emit(app)
    drain(app)
    wait_until(lambda: len(receiver.requests) == 2)
    assert states(app) == {"succeeded": 1, "pending": 1}
    assert len(attempts(app)) == 2
