"""Requests that leave through a proxy of the operator's."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from flask import Flask

from flask_webhooks.admin import banners
from flask_webhooks.delivery.http import machine, resolver, transfer
from flask_webhooks.delivery.settle.health import Hold
from flask_webhooks.doctor.network import examine_receivers
from flask_webhooks.security.egress import EgressProxy
from tests.support.connect_proxy import ConnectProxy
from tests.support.delivering import (
    attempts,
    close,
    deliveries,
    drain,
    emit,
    health,
    make_app,
    make_due,
    states,
    webhooks_of,
)
from tests.support.helpers import accessing, trust, update
from tests.support.processes import COMMAND, WorkerProcess, config_of, wait_until
from tests.support.raw_server import RawServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: Public addresses, to which nothing here is ever sent.
PUBLIC, PUBLIC_6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
SECRET = "s3cr3t-p@ss"
QUOTED = "s3cr3t-p%40ss"

AppWith = Callable[..., Flask]


@pytest.fixture
def app_with(database_url: str, redis_url: str) -> Iterator[AppWith]:
    """Makes the host with settings of the test, that may reach public addresses only."""
    with ExitStack() as stack:

        def made(**config: Any) -> Flask:
            app = make_app(database_url, redis_url, **{"WEBHOOKS_ALLOWED_NETWORKS": [], **config})
            stack.enter_context(app.app_context())
            stack.callback(close, app)
            return app

        yield made


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to."""
    known = {"hooks.example.com": [PUBLIC_6, PUBLIC]}

    def look_up(host: str, port: int, family: int) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(resolver, "_lookup", look_up)
    return known


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RawServer]:
    authority = trustme.CA()
    trust(monkeypatch, tmp_path, authority)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hooks.example.com").configure_cert(context)
    with RawServer(OK, tls=context) as server:
        yield server


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where our sockets lead."""
    led: list[tuple[str, int]] = []
    opening = transfer.open_socket

    def noting(address: Any) -> socket.socket:
        led.append(address.addr[:2])
        return opening(address)

    monkeypatch.setattr(transfer, "open_socket", noting)
    return led


@pytest.mark.usefixtures("names")
def test_proxy_is_given_the_address_and_nothing_else_is_reached(
    app_with: AppWith, server: RawServer, sockets: list[tuple[str, int]]
) -> None:
    with ConnectProxy(server.port, credentials=f"us er:{SECRET}") as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url(f"us%20er:{QUOTED}"))
        webhooks_of(app).create_endpoint("https://hooks.example.com/in")
        emit(app)
        emit(app)
        drain(app)
        assert states(app) == {"succeeded": 2}
        assert set(proxy.targets) == {f"{PUBLIC}:443"}
        assert set(sockets) == {("127.0.0.1", proxy.port)}
        assert len(server.requests) == 2
        for head in server.requests:
            assert "Host: hooks.example.com\r\n" in head
            assert "proxy-" not in head.lower()
        for head in proxy.requests:
            assert "webhook-" not in head.lower()
            assert "hooks.example.com" not in head
        for attempt in attempts(app):
            assert attempt.address == f"{PUBLIC}:443"
            assert (attempt.response_headers, attempt.response_body) == (
                [["Content-Length", "2"]],
                "ok",
            )
            assert "roxy" not in str(attempt.request_headers)


@pytest.mark.usefixtures("names")
def test_plain_http_goes_through_a_connection_of_its_own_too(app_with: AppWith) -> None:
    with RawServer(OK) as plain, ConnectProxy(plain.port, credentials=f"u:{SECRET}") as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url(f"u:{QUOTED}"))
        webhooks_of(app).create_endpoint("http://hooks.example.com/in")
        emit(app)
        drain(app)
        assert states(app) == {"succeeded": 1}
        assert proxy.targets == [f"{PUBLIC}:80"]
        assert proxy.passed.startswith(b"POST /in HTTP/1.1\r\n")
        assert b"roxy-" not in proxy.passed


def test_targets_are_vetted_before_the_proxy_is_asked(
    app_with: AppWith, names: dict[str, list[str]], sockets: list[tuple[str, int]]
) -> None:
    names["inside.example.com"] = ["10.0.0.1", "fd00::1"]
    names["mapped.example.com"] = ["::ffff:169.254.169.254"]
    names["0x7f.1"] = ["127.0.0.1"]
    urls = [
        "https://inside.example.com/",
        "https://mapped.example.com/",
        "http://0x7f.1/",
        "http://10.0.0.2/",
        "http://[::1]/",
        "https://hooks.example.com:6379/",
    ]
    with ConnectProxy() as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url())
        for url in urls:
            created = webhooks_of(app).create_endpoint("https://example.com/", ["license.*"])
            update(app, "Endpoint", created.endpoint.id, url_shown=url)
        emit(app)
        drain(app)
        assert [item.outcome for item in attempts(app)] == ["blocked"] * len(urls)
        assert (proxy.requests, sockets) == ([], [])


def test_address_of_ipv6_is_given_where_there_is_no_other(
    app_with: AppWith, names: dict[str, list[str]], server: RawServer
) -> None:
    names["hooks.example.com"] = ["10.0.0.1", PUBLIC_6]
    with ConnectProxy(server.port) as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url())
        webhooks_of(app).create_endpoint("https://hooks.example.com/in")
        emit(app)
        drain(app)
        assert (states(app), proxy.targets) == ({"succeeded": 1}, [f"[{PUBLIC_6}]:443"])
        assert [item.address for item in attempts(app)] == [f"[{PUBLIC_6}]:443"]


@pytest.mark.usefixtures("names")
def test_environment_names_no_way_around_the_proxy(
    app_with: AppWith, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "hooks.example.com,93.184.215.14")
    with ConnectProxy(server.port) as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url())
        webhooks_of(app).create_endpoint("https://hooks.example.com/in")
        emit(app)
        drain(app)
        assert (states(app), len(proxy.requests)) == ({"succeeded": 1}, 1)


@pytest.mark.slow
def test_name_that_moves_gets_a_connection_to_where_it_leads_now(
    app_with: AppWith,
    names: dict[str, list[str]],
    server: RawServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "FRESH", 0.0)
    with ConnectProxy(server.port) as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url())
        webhooks_of(app).create_endpoint("https://hooks.example.com/in")
        for address in (PUBLIC, "93.184.215.15"):
            names["hooks.example.com"] = [address]
            emit(app)
            drain(app)
        assert proxy.targets == [f"{PUBLIC}:443", "93.184.215.15:443"]


#: What the proxy answers, and what the log says of it.
REFUSALS = {
    "asks for a password": (
        b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 3\r\n\r\nno!",
        "It responded with 407: it requires another user name and password.",
    ),
    "forbids": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "It responded with 403."),
    "fails": (b"HTTP/1.1 500 Oops\r\n\r\n", "It responded with 500."),
    "hangs up": (b"", "It closed the connection, or its response was not HTTP."),
    "is no proxy": (b"220 mail ESMTP\r\n", "It closed the connection, or its response was not"),
}


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("case", REFUSALS)
def test_proxy_that_refuses_spends_no_attempt_and_is_told_of(
    app_with: AppWith, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    answer, told = REFUSALS[case]
    with ConnectProxy(answer=answer) as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url(f"u:{QUOTED}"))
        _assert_given_back(app, caplog, told)


@pytest.mark.usefixtures("names")
def test_proxy_that_is_down_spends_no_attempt(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    app = app_with(WEBHOOKS_EGRESS_PROXY=f"http://u:{QUOTED}@127.0.0.1:{port}")
    _assert_given_back(app, caplog, "It cannot be reached: Connection refused.")


@pytest.mark.usefixtures("names")
def test_proxy_that_takes_no_connection_spends_no_attempt(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        app = app_with(
            WEBHOOKS_EGRESS_PROXY=f"http://u:{QUOTED}@127.0.0.1:{port}", WEBHOOKS_TIMEOUT=0.5
        )
        _assert_given_back(app, caplog, "It cannot be reached: no response.")


@pytest.mark.usefixtures("names")
def test_name_of_the_proxy_that_does_not_resolve_spends_no_attempt(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(WEBHOOKS_EGRESS_PROXY="http://proxy.invalid:3128")
    _assert_given_back(app, caplog, "It cannot be found: its name does not resolve.")


@pytest.mark.slow
@pytest.mark.usefixtures("names")
def test_proxy_that_answers_again_lets_everything_through(
    app_with: AppWith, server: RawServer
) -> None:
    with ConnectProxy(server.port, credentials=f"u:{SECRET}") as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url(f"u:{QUOTED}"))
        webhooks_of(app).create_endpoint("https://hooks.example.com/in")
        proxy._answer = REFUSALS["forbids"][0]
        emit(app)
        drain(app)
        proxy._answer = None
        make_due(app)
        drain(app)
        assert states(app) == {"succeeded": 1}
        assert [item.outcome for item in attempts(app)] == ["succeeded"]


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("status", [502, 503, 504])
def test_receiver_that_the_proxy_cannot_reach_spends_an_attempt(
    app_with: AppWith, status: int
) -> None:
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    with ConnectProxy(answer=answer) as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url())
        webhooks_of(app).create_endpoint("https://hooks.example.com/in")
        emit(app)
        drain(app)
        [attempt] = attempts(app)
        assert attempt.outcome == "connect_failed"
        assert attempt.error == f"No connection to {PUBLIC}: our proxy responded with {status}."


@pytest.mark.slow
@pytest.mark.usefixtures("names")
def test_receiver_to_which_the_proxy_gets_no_connection_in_time(app_with: AppWith) -> None:
    with ConnectProxy(silent=True) as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url(), WEBHOOKS_TIMEOUT=2)
        webhooks_of(app).create_endpoint("https://hooks.example.com/in")
        emit(app)
        drain(app)
        [attempt] = attempts(app)
        assert attempt.outcome == "timeout"
        assert PUBLIC in str(attempt.error)


def _assert_given_back(app: Flask, caplog: pytest.LogCaptureFixture, told: str) -> None:
    for number in range(2):
        webhooks_of(app).create_endpoint(f"https://hooks.example.com/{number}")
    emit(app)
    drain(app)
    assert attempts(app) == []
    for row in deliveries(app):
        assert (row.state, row.attempt_count, row.failure_count) == ("pending", 0, 0)
        found = health(app, row.endpoint_id)
        assert (found.hold_reason, found.consecutive_failures) == ("no_proxy", 0)
    [record] = [item for item in caplog.records if item.levelno == logging.ERROR]
    assert f"{machine.ADVICE[Hold.NO_PROXY]} {told}" in record.getMessage()
    assert "s3cr3t" not in caplog.text
    with app.test_request_context():
        shown = " ".join(item.title for item in banners.current(accessing(app)))
    assert "Our proxy does not open connections" in shown
    assert "WEBHOOKS_EGRESS_PROXY" in app.test_client().get("/webhooks/health").text


def test_worker_that_starts_is_told_of_the_proxy() -> None:
    def told(proxy: ConnectProxy) -> list[str]:
        found = machine.troubles(1, EgressProxy.from_url(proxy.url(f"u:{QUOTED}")))
        return [text for text in found if "proxy" in text]

    with ConnectProxy(answer=REFUSALS["asks for a password"][0]) as refusing:
        [text] = told(refusing)
        assert text.startswith(
            f"The proxy of WEBHOOKS_EGRESS_PROXY (127.0.0.1:{refusing.port}) responded with 407: "
            "it requires another user name and password. Check "
        )
        assert "s3cr3t" not in text
    [text] = told(refusing)
    assert "cannot be reached: Connection refused. Check " in text
    for answer in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 503 No\r\n\r\n"):
        with ConnectProxy(answer=answer) as proxy:
            assert told(proxy) == []
    with RawServer(OK) as receiver, ConnectProxy(receiver.port, credentials=f"u:{SECRET}") as proxy:
        assert told(proxy) == []


def test_machine_without_a_route_needs_none_beside_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "has_route", lambda: False)
    with ConnectProxy(answer=b"HTTP/1.1 503 No\r\n\r\n") as proxy:
        found = machine.troubles(1, EgressProxy.from_url(proxy.url()))
    assert machine.ADVICE[Hold.NO_ROUTE] not in found
    assert machine.ADVICE[Hold.NO_ROUTE] in machine.troubles(1)


def test_doctor_tries_receivers_through_the_proxy(
    app_with: AppWith, monkeypatch: pytest.MonkeyPatch, server: RawServer
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _to_public(socket.getaddrinfo))
    with ConnectProxy(server.port) as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url(f"u:{QUOTED}"))
        webhooks_of(app).create_endpoint("https://hooks.example.com/in")
        [finding] = examine_receivers(accessing(app))
        assert finding.text == "1 of 1 servers of endpoints can be reached."
        assert proxy.targets == [f"{PUBLIC}:443"]
        proxy._answer = REFUSALS["forbids"][0]
        [finding] = examine_receivers(accessing(app))
        assert "(the proxy responded with 403)" in finding.text
        assert f"the proxy 127.0.0.1:{proxy.port}" in (finding.advice or "")


def _to_public(really: Callable[..., Any]) -> Callable[..., Any]:
    def look_up(host: str, port: Any, *args: Any, **options: Any) -> Any:
        return really(PUBLIC if host == "hooks.example.com" else host, port, *args, **options)

    return look_up


@pytest.mark.slow_on_postgresql
def test_worker_sends_through_the_proxy(app_with: AppWith, tmp_path: Path) -> None:
    with RawServer(OK) as plain, ConnectProxy(plain.port, credentials=f"u:{SECRET}") as proxy:
        app = app_with(WEBHOOKS_EGRESS_PROXY=proxy.url(f"u:{QUOTED}"))
        webhooks_of(app).create_endpoint(f"http://{PUBLIC}/in")
        log = tmp_path / "worker.log"
        with WorkerProcess(COMMAND, config_of(app), log):
            emit(app)
            wait_until(lambda: states(app) == {"succeeded": 1}, what=log.read_text)
        assert f"{PUBLIC}:80" in proxy.targets
        assert "s3cr3t" not in log.read_text()
