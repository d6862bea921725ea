"""Trouble of the worker's own machine: found out, told of, and no attempt spent on it."""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from flask import Flask

from flask_webhooks.admin import banners
from flask_webhooks.delivery.http import machine, resolver
from flask_webhooks.delivery.settle.answers import UNTRUSTED_ZONES

from .delivering import attempts, deliveries, drain, emit, health, make_due, states, webhooks_of
from .helpers import accessing, missing, trust
from .processes import OURS, WorkerProcess, config_of, wait_until
from .raw_server import RawServer

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
    assert "We have no certificates" in " ".join(banner.title for banner in shown)
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


def test_network_that_is_gone_spends_no_attempt(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any) -> socket.socket:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("flask_webhooks.delivery.http.transfer.open_socket", unreachable)
    monkeypatch.setattr(machine, "_FAR_AWAY", ())
    webhooks_of(app).create_endpoint("http://127.0.0.1/")
    emit(app)
    drain(app)
    assert_given_back(app, "no_route")


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


@pytest.mark.usefixtures("no_authorities")
def test_missing_certificates_are_told_of_at_the_start() -> None:
    assert any("ca-certificates" in trouble for trouble in machine.troubles(100))


@pytest.mark.usefixtures("no_authorities")
@pytest.mark.slow_on_postgresql
def test_worker_tells_of_missing_certificates_when_it_starts(app: Flask, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with WorkerProcess(OURS, config_of(app), log):
        wait_until(lambda: "No certificate can be verified" in log.read_text())
