"""Client certificates: receivers that ask for one know us by it (mutual TLS)."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.security.vault import Sealed
from tests.support.delivering import attempts, deliveries, drain, emit, states, webhooks_of
from tests.support.helpers import trust, update


class MutualTls:
    """A receiver that asks for a certificate of an authority; notes path and subject of each request."""

    def __init__(self, authority: trustme.CA, *, required: bool = True) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            connection: ssl.SSLSocket

            def setup(self) -> None:
                outer.connections += 1
                try:
                    self.request.do_handshake()
                except ssl.SSLError:
                    # Its alert would be lost if the connection was reset at once, with a request that is unread.
                    time.sleep(0.5)
                    raise
                super().setup()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                shown: Any = self.connection.getpeercert() or {}
                names = {key: value for [(key, value)] in shown.get("subject", ())}
                outer.seen.append((self.path, names.get("commonName")))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        authority.configure_trust(context)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    trust(monkeypatch, tmp_path, authority)
    return authority


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[MutualTls]:
    server = MutualTls(authority)
    yield server
    server.close()


def issued(authority: trustme.CA, name: str, **options: Any) -> str:
    """A certificate and its key, as a customer pastes them: the key may stand first."""
    made = authority.issue_cert(f"{name}.example.com", common_name=name, **options)
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    return (made.private_key_pem.bytes() + chain).decode()


def test_receiver_that_asks_for_a_certificate_gets_it(
    app: Flask, server: MutualTls, authority: trustme.CA
) -> None:
    given = issued(authority, "acme")
    created = webhooks_of(app).create_endpoint(server.url("/in"), client_certificate=given)
    emit(app)
    drain(app)
    assert states(app) == {"succeeded": 1}
    assert server.seen == [("/in", "acme")]
    endpoint = created.endpoint
    assert endpoint.client_certificate is not None
    assert "acme" in endpoint.client_certificate["subject"]
    assert endpoint.certificate_sealed is not None
    assert "PRIVATE" not in f"{endpoint.certificate_sealed!r}{endpoint.client_certificate}"
    assert "PRIVATE" in str(state_of(app).vault.decrypt(endpoint.certificate_sealed))


@pytest.mark.slow
def test_endpoints_of_one_server_are_not_mixed(app: Flask, authority: trustme.CA) -> None:
    """Neither by kept connections, nor by handles of libcurl, nor by TLS sessions that are resumed."""
    server = MutualTls(authority, required=False)
    names = {"/a": "first", "/b": None, "/c": "second"}
    for path, name in names.items():
        given = None if name is None else issued(authority, name)
        webhooks_of(app).create_endpoint(server.url(path), client_certificate=given)
    for _ in range(4):
        emit(app)
        drain(app, endpoint_concurrency=1, concurrency=1)
    emit(app, 4)
    drain(app, endpoint_concurrency=1)
    assert states(app) == {"succeeded": 24}
    assert set(server.seen) == set(names.items())
    assert server.connections < 24 - 3
    server.close()


def test_receiver_refuses_a_request_without_a_certificate(app: Flask, server: MutualTls) -> None:
    webhooks_of(app).create_endpoint(server.url("/in"))
    emit(app)
    drain(app)
    [attempt] = attempts(app)
    assert attempt.outcome == "tls_failed"
    assert "certificate required" in str(attempt.error)
    assert server.seen == []


def test_certificate_that_has_expired_fails_with_what_the_receiver_says(
    app: Flask, server: MutualTls, authority: trustme.CA
) -> None:
    created = webhooks_of(app).create_endpoint(
        server.url("/in"), client_certificate=issued(authority, "acme")
    )
    old = authority.issue_cert(
        "acme.example.com",
        not_before=datetime.now(UTC) - timedelta(days=9),
        not_after=datetime.now(UTC) - timedelta(days=2),
    )
    pems = {
        "certificate": b"".join(blob.bytes() for blob in old.cert_chain_pems).decode(),
        "key": old.private_key_pem.bytes().decode(),
    }
    expired = {
        **(created.endpoint.client_certificate or {}),
        "expires_at": "2026-01-31T12:00:00+00:00",
    }
    update(
        app,
        "Endpoint",
        created.endpoint.id,
        certificate_sealed=state_of(app).vault.encrypt(pems),
        client_certificate=expired,
    )
    emit(app)
    drain(app)
    [attempt] = attempts(app)
    assert attempt.outcome == "tls_failed"
    assert "certificate expired" in str(attempt.error)
    page = app.test_client().get(f"/webhooks/endpoints/{created.endpoint.id}")
    assert "The client certificate has expired." in page.text


def test_certificate_that_no_key_decrypts_holds_the_endpoint(
    app: Flask, server: MutualTls, authority: trustme.CA
) -> None:
    created = webhooks_of(app).create_endpoint(
        server.url("/in"), client_certificate=issued(authority, "acme")
    )
    update(app, "Endpoint", created.endpoint.id, certificate_sealed=Sealed("broken"))
    emit(app)
    drain(app)
    assert (attempts(app), server.seen) == ([], [])
    assert [row.state for row in deliveries(app)] == ["pending"]
