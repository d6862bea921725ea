"""A webhook that leads back to the host, which then emits again: it comes to an end, and for nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.serving import make_server

from flask_webhooks import signals
from flask_webhooks.app_state import AppState, state_of
from flask_webhooks.security.hops import HEADER, VALID_FOR, header_value, read_value
from flask_webhooks.security.vault import Vault
from tests.support.delivering import db_of, deliveries, drain, emit, webhooks_of
from tests.support.receiver import Receiver

TENANT = "app_1"


@dataclass
class Loop:
    """The host's own server, which emits for each webhook that it receives."""

    app: Flask
    port: int = 0
    #: For whom it emits, in the order of the requests; afterwards as the first.
    tenants: list[str | None] = field(default_factory=lambda: [TENANT])
    received: list[str] = field(default_factory=list)
    send_signal: bool = False

    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/inbound"

    def receive(self) -> str:
        turn = len(self.received)
        tenant = self.tenants[turn % len(self.tenants)]
        self.received.append(request.headers.get(HEADER, ""))
        if self.send_signal:
            signals.license_created.send(self.app, data={"license_id": "x"}, tenant=tenant)
        else:
            webhooks_of(self.app).emit("license.created", {"license_id": "x"}, tenant=tenant)
        db_of(self.app).session.commit()
        return ""

    def run(self) -> int:
        """Deliver until nothing is due, or it does not end; returns how many requests came back."""
        for _ in range(10):
            if drain(self.app) == 0:
                break
        return len(self.received)


@pytest.fixture
def loop(app: Flask) -> Iterator[Loop]:
    loop = Loop(app)
    app.add_url_rule("/inbound", view_func=loop.receive, methods=["POST"])
    server = make_server("127.0.0.1", 0, app)
    loop.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield loop
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("tenant", [TENANT, None], ids=str)
@pytest.mark.parametrize("send_signal", [False, True])
def test_loop_through_emit_ends_after_so_many_webhooks_and_says_so(
    loop: Loop, caplog: pytest.LogCaptureFixture, tenant: str | None, send_signal: bool
) -> None:
    loop.send_signal = send_signal
    webhooks_of(loop.app).create_endpoint(loop.url(), tenant=tenant)
    emit(loop.app, tenant=TENANT)
    assert loop.run() == state_of(loop.app).settings.max_hops
    assert [value.split(".")[0] for value in loop.received] == ["1", "2", "3"]
    [record] = [item for item in caplog.records if item.name == "flask_webhooks.outbox"]
    assert "WEBHOOKS_MAX_HOPS" in record.getMessage()


def test_events_that_describe_a_refusal_are_counted_too(loop: Loop) -> None:
    webhooks_of(loop.app).create_endpoint(loop.url(), tenant=TENANT)
    loop.app.view_functions["receive"] = lambda: _fail_login(loop)
    emit(loop.app, tenant=TENANT)
    assert loop.run() == 3


def _fail_login(loop: Loop) -> str:
    loop.received.append(request.headers[HEADER])
    webhooks_of(loop.app).emit("user.login_failed", {"username": "x"}, tenant=TENANT)
    return ""


def test_loop_of_a_tenant_keeps_nothing_from_the_whole_server(
    loop: Loop, receiver: Receiver
) -> None:
    webhooks_of(loop.app).create_endpoint(loop.url(), tenant=TENANT)
    webhooks_of(loop.app).create_endpoint(receiver.url())
    emit(loop.app, tenant=TENANT)
    assert loop.run() == 3
    # The first event, and each that the loop led to.
    assert len(receiver.requests) == 4


def received_at_the_end(loop: Loop) -> str:
    """The last header that a loop of the tenant's came to."""
    webhooks_of(loop.app).create_endpoint(loop.url(), tenant=TENANT)
    emit(loop.app, tenant=TENANT)
    loop.run()
    return loop.received[-1]


def emitted_with(app: Flask, header: str, **values: Any) -> bool:
    with app.test_request_context(headers={HEADER: header}):
        event = webhooks_of(app).emit("license.created", {"license_id": "x"}, **values)
        db_of(app).session.commit()
    return event is not None


def test_header_that_is_repeated_elsewhere_silences_no_other_tenant(loop: Loop) -> None:
    header = received_at_the_end(loop)
    app = loop.app
    webhooks_of(app).create_endpoint("http://127.0.0.1:1025/", tenant="app_2")
    assert not emitted_with(app, header, tenant=TENANT)
    assert emitted_with(app, header, tenant="app_2")
    webhooks_of(app).create_endpoint("http://127.0.0.1:1025/")
    assert emitted_with(app, header)
    assert emitted_with(app, header, tenant=TENANT)
    assert [item.tenant for item in deliveries(app)[-1:]] == [None]


@pytest.fixture
def state(app: Flask) -> AppState:
    return state_of(app)


def test_header_counts_for_minutes_only_and_by_this_installation(state: AppState) -> None:
    now = time.time()
    value = header_value(state.vault, 7, TENANT, now)
    assert len(value) < 60
    for moment in (now, now + VALID_FOR - 5, now - VALID_FOR + 5):
        hop = read_value(state.vault, value, TENANT, moment)
        assert hop is not None
        assert (hop.count, hop.tenant) == (7, TENANT)
    assert read_value(state.vault, value, "app_2", now) is None
    assert read_value(state.vault, value, None, now) is None
    assert read_value(state.vault, value, TENANT, now + VALID_FOR + 5) is None
    other = Vault.from_config((), ["another secret key"])
    assert read_value(other, value, TENANT, now) is None
    # After a rotation the old key still counts.
    both = Vault.from_config((), ["another secret key", state.app.config["SECRET_KEY"]])
    assert read_value(both, value, TENANT, now) is not None


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "3",
        "3.1",
        "-3.1.x",
        "٣.1.x",
        "1e3.1.x",
        "3.1.ü",
        "9" * 5000,
        "3.99999999999999999999.x",
    ],
)
def test_header_that_makes_no_sense_is_none(app: Flask, state: AppState, value: str) -> None:
    webhooks_of(app).create_endpoint("http://127.0.0.1:1025/", tenant=TENANT)
    assert read_value(state.vault, value, TENANT, time.time()) is None


def test_forged_count_is_not_believed(app: Flask, state: AppState) -> None:
    webhooks_of(app).create_endpoint("http://127.0.0.1:1025/", tenant=TENANT)
    count, rest = header_value(state.vault, 1, TENANT, time.time()).split(".", 1)
    assert count == "1"
    assert emitted_with(app, f"9.{rest}", tenant=TENANT)
