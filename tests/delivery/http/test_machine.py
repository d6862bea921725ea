"""Trouble of the worker's own machine: found out, told of, and no attempt spent on it."""

from __future__ import annotations

import errno
import html
import logging
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from flask import Flask

from flask_webhooks.admin import banners
from flask_webhooks.config import Settings
from flask_webhooks.delivery.http import machine, resolver
from flask_webhooks.delivery.settle.answers import UNTRUSTED_ZONES
from flask_webhooks.delivery.settle.health import Hold
from flask_webhooks.doctor.findings import Level
from flask_webhooks.doctor.network import examine_machine
from tests.support.delivering import (
    attempts,
    deliveries,
    drain,
    emit,
    health,
    make_due,
    states,
    webhooks_of,
)
from tests.support.helpers import accessing, as_tenant, missing, trust
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.raw_server import RawServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[RawServer]:
    """HTTPS, for any name under example.com and some others."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    names = ["127.0.0.1", *(f"hooks.example{number}.com" for number in range(5))]
    authority.issue_cert(*names).configure_cert(context)
    with RawServer(OK, tls=context) as server:
        yield server


@pytest.fixture
def no_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without certificates, as of a small container."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


def assert_given_back(app: Flask, reason: str) -> None:
    assert attempts(app) == []
    for row in deliveries(app):
        assert (row.state, row.attempt_count, row.failure_count) == ("pending", 0, 0)
        found = health(app, row.endpoint_id)
        assert (found.hold_reason, found.consecutive_failures) == (reason, 0)


@pytest.mark.usefixtures("no_authorities")
def test_empty_trust_store_spends_no_attempt_and_is_told_of(
    app: Flask,
    server: RawServer,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(3):
        webhooks_of(app).create_endpoint(server.url(f"/{number}"))
    emit(app)
    drain(app)
    assert_given_back(app, "no_certificates")
    [told] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "No certificate can be verified. Install" in told.getMessage()
    with app.test_request_context():
        shown = banners.current(accessing(app))
    assert "We have no CA certificates" in " ".join(banner.title for banner in shown)
    # They are installed, and a worker is started.
    trust(monkeypatch, tmp_path, authority)
    make_due(app)
    drain(app)
    assert states(app) == {"succeeded": 3}
    with app.test_request_context():
        assert "certificates" not in str(banners.current(accessing(app)))


def test_one_unknown_issuer_is_the_receivers_fault(
    app: Flask, server: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trust(monkeypatch, tmp_path, trustme.CA())
    webhooks_of(app).create_endpoint(server.url())
    emit(app)
    drain(app)
    assert [item.outcome for item in attempts(app)] == ["tls_failed"]


def test_issuers_that_are_unknown_everywhere_are_our_own_trouble(
    app: Flask, server: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trust(monkeypatch, tmp_path, trustme.CA())
    monkeypatch.setattr(resolver, "_lookup", to_loopback)
    for number in range(5):
        webhooks_of(app).create_endpoint(server.url(host=f"hooks.example{number}.com"))
    emit(app)
    drain(app)
    # Before the third zone, it may be the receivers.
    assert len(attempts(app)) == UNTRUSTED_ZONES - 1
    reasons = [health(app, row.endpoint_id).hold_reason for row in deliveries(app)]
    assert reasons.count("no_certificates") == 6 - UNTRUSTED_ZONES


def to_loopback(host: str, port: int, family: int) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def _refuse_sockets(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*args: Any) -> socket.socket:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("flask_webhooks.delivery.http.transfer.open_socket", refuse)


def _lose_dns(monkeypatch: pytest.MonkeyPatch) -> str:
    def unanswered(host: str, port: int, family: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(resolver, "_lookup", unanswered)
    return "http://hooks.example.com/"


def _lose_route(monkeypatch: pytest.MonkeyPatch) -> str:
    _refuse_sockets(monkeypatch, errno.ENETUNREACH)
    monkeypatch.setattr(machine, "_FAR_AWAY", ())
    return "http://127.0.0.1/"


def _lose_descriptors(monkeypatch: pytest.MonkeyPatch) -> str:
    _refuse_sockets(monkeypatch, errno.EMFILE)
    monkeypatch.setattr(machine, "out_of_descriptors", lambda: True)
    return "http://127.0.0.1/"


#: How each comes about, and what operators read of it.
TROUBLES: dict[str, tuple[Callable[[pytest.MonkeyPatch], str], str, str]] = {
    "no_dns": (
        _lose_dns,
        "Our name server does not respond, so everything waits.",
        "Check the name servers of the worker's machine. No attempts are used up meanwhile.",
    ),
    "no_route": (
        _lose_route,
        "Our worker has no network, so everything waits.",
        "Check the network of the worker's machine. No attempts are used up meanwhile.",
    ),
    "no_descriptors": (
        _lose_descriptors,
        "Our worker can open no more connections, so everything waits.",
        "Raise the worker's limit of open files (ulimit -n). No attempts are used up meanwhile.",
    ),
}


@pytest.mark.parametrize("reason", TROUBLES)
def test_trouble_of_the_machine_spends_no_attempt_and_is_told_of(
    app: Flask, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    lose, title, advice = TROUBLES[reason]
    with pytest.MonkeyPatch.context() as monkeypatch:
        url = lose(monkeypatch)
        for number in range(3):
            webhooks_of(app).create_endpoint(f"{url}{number}", tenant="app_1")
        emit(app, tenant="app_1")
        drain(app)
    assert_given_back(app, reason)
    [told] = [record for record in caplog.records if record.levelno == logging.ERROR]
    expected = f"Deliveries wait, and use up no attempts. {machine.ADVICE[Hold(reason)]}"
    assert told.getMessage() == expected
    for page in ("/webhooks/", "/webhooks/health"):
        text = html.unescape(app.test_client().get(page).text)
        assert title in text
        assert advice in text
    with app.test_request_context():
        # A tenant can do nothing about it.
        assert title not in str(banners.current(as_tenant(app, "app_1")))
        # It is over a minute later, and the page goes by what holds endpoints now.
        make_due(app)
        assert title not in str(banners.current(accessing(app)))


def test_address_without_a_way_is_the_receivers_fault_while_there_is_a_network(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any) -> socket.socket:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("flask_webhooks.delivery.http.transfer.open_socket", unreachable)
    monkeypatch.setattr(machine, "_FAR_AWAY", ((socket.AF_INET, "127.0.0.1"),))
    webhooks_of(app).create_endpoint("http://127.0.0.1/")
    emit(app)
    drain(app)
    assert [item.outcome for item in attempts(app)] == ["connect_failed"]


def test_route_is_missed_where_there_is_no_network() -> None:
    """In a network namespace of its own, which has nothing but a loopback that is down."""
    unshare = shutil.which("unshare")
    command = [
        sys.executable,
        "-c",
        "from flask_webhooks.delivery.http import machine as m; print(m.has_route())",
    ]
    if unshare is None or subprocess.run([unshare, "-rn", "true"], check=False).returncode:
        missing("no network namespaces", "REQUIRE_UNSHARE")
    done = subprocess.run([unshare, "-rn", *command], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_descriptors_that_are_used_up_are_noticed() -> None:
    assert not machine.out_of_descriptors()
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, usual[1]))
        assert machine.out_of_descriptors()
        assert "Raise the limit (ulimit -n 200)" in " ".join(machine.troubles(100))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert not machine.out_of_descriptors()


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda pem: pem[: len(pem) // 2],
    "cut short after a whole one": lambda pem: pem + pem[: len(pem) // 2],
    "no base 64": lambda pem: pem[:100] + b"!!!" + pem[103:],
    "no certificates": lambda pem: b"# Certificates of authorities\n",
    "bytes": lambda pem: bytes(range(256)),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_trust_store_spends_no_attempt(
    app: Flask,
    server: RawServer,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
) -> None:
    file = tmp_path / "authorities.pem"
    file.write_bytes(DAMAGED[kind](authority.cert_pem.bytes()))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    webhooks_of(app).create_endpoint(server.url())
    emit(app)
    drain(app)
    assert_given_back(app, "no_certificates")
    assert machine.ADVICE[Hold.NO_CERTIFICATES] in machine.troubles(100)
    # It is mended, and a worker is started.
    trust(monkeypatch, tmp_path, authority)
    make_due(app)
    drain(app)
    assert states(app) == {"succeeded": 1}
    assert machine.ADVICE[Hold.NO_CERTIFICATES] not in machine.troubles(100)


def test_directory_whose_links_lead_nowhere_has_no_certificates(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    (tmp_path / "01234567.0").symlink_to(tmp_path / "gone.pem")
    assert machine.trust_store_is_empty()
    authority.cert_pem.write_to_path(str(tmp_path / "gone.pem"))
    assert not machine.trust_store_is_empty()
    assert not machine.knows_public_authorities()


def test_store_without_public_authorities_is_doubted_until_a_certificate_is_accepted(
    app: Flask,
    server: RawServer,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    trust(monkeypatch, tmp_path, trustme.CA(), public=False)
    assert machine.NO_PUBLIC_AUTHORITY in machine.doubts()
    webhooks_of(app).create_endpoint(server.url())
    emit(app)
    drain(app)
    assert_given_back(app, "no_certificates")
    trust(monkeypatch, tmp_path, authority, public=False)
    with RawServer(OK, tls=_context(trustme.CA())) as other:
        webhooks_of(app).create_endpoint(other.url(), ["license.deleted"])
        emit(app, event_type="license.deleted")
        make_due(app)
        # The oldest one first.
        drain(app, concurrency=1)
    assert sorted(item.outcome for item in attempts(app)) == [
        "succeeded",
        "succeeded",
        "tls_failed",
    ]
    trust(monkeypatch, tmp_path, authority)
    assert machine.NO_PUBLIC_AUTHORITY not in machine.doubts()


def _context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("trouble", ["unknown", "unanswered", "hanging"])
def test_names_that_cannot_be_resolved_are_told_of_at_the_start(
    app: Flask, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    over = threading.Event()

    def lookup(host: str, port: int, family: int) -> list[Any]:
        if trouble == "hanging":
            over.wait(60)
        number = socket.EAI_NONAME if trouble == "unknown" else socket.EAI_AGAIN
        raise socket.gaierror(number, "Name or service not known")

    monkeypatch.setattr(machine, "has_route", lambda: True)
    monkeypatch.setattr(resolver, "CONTROL_TIMEOUT", 0.3)
    monkeypatch.setattr(resolver, "_lookup", lookup)
    began = time.monotonic()
    assert machine.NO_NAMES_OF_THE_INTERNET in machine.doubts()
    assert time.monotonic() - began < 5
    [found] = [
        item
        for item in examine_machine(Settings(concurrency=100))
        if item.text.startswith("No name of the internet")
    ]
    assert found.level == Level.WARNING
    assert "/etc/resolv.conf" in found.advice
    over.set()
    monkeypatch.setattr(resolver, "_lookup", to_loopback)
    assert machine.NO_NAMES_OF_THE_INTERNET not in machine.doubts()


@pytest.mark.usefixtures("no_authorities")
def test_missing_certificates_are_told_of_at_the_start() -> None:
    assert any("ca-certificates" in trouble for trouble in machine.troubles(100))


@pytest.mark.slow_on_postgresql
def test_worker_tells_of_doubtful_certificates_when_it_starts(
    app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trust(monkeypatch, tmp_path, trustme.CA(), public=False)
    log = tmp_path / "worker.log"
    with WorkerProcess(OURS, config_of(app), log):
        wait_until(lambda: "None of the well-known public authorities" in log.read_text())


@pytest.mark.usefixtures("no_authorities")
@pytest.mark.slow_on_postgresql
def test_worker_tells_of_missing_certificates_when_it_starts(app: Flask, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with WorkerProcess(OURS, config_of(app), log):
        wait_until(lambda: "No certificate can be verified" in log.read_text())
