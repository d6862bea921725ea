"""Receivers that were written for one of the five services, as real servers, fed by a real worker."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support import seeds
from tests.support.delivering import attempts, close, emit, make_app, states, webhooks_of
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver, Request
from tests.support.vendoring import SECRET, VENDORS, ReceiverProcess

#: An event whose data have what the receivers of each page read.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "aureva": ("license.validated", {"license_id": "lic_1", "hwid": "h", "name": "Zoë ☃"}),
    "authon": ("user.logged_in", {"user_id": 7, "username": "Zoë", "ip": "::1", "hwid": "h"}),
    "authvaultix": ("payment.succeeded", {"payment_id": "pay_1", "amount": "19.99", "name": "Zoë"}),
    "akuworks": ("verification.succeeded", {"user": {"id": "1", "username": "Zoë ☃"}}),
    "authforge": ("license.validated", {"license_key": "K7QF", "status": "active", "name": "Zoë"}),
}
SENT = {
    "aureva": "key.used",
    "authon": "user.login",
    "authvaultix": "payment.success",
    "akuworks": "verification.success",
    "authforge": "license.validated",
}
#: The header that proves where a request comes from.
PROOF = {
    "aureva": "x-webhook-signature",
    "authon": "x-webhook-secret",
    "authvaultix": "x-webhook-signature",
    "akuworks": "x-webhook-signature",
    "authforge": "x-authforge-signature",
}
#: What the code of the pages calls its path, where it names one.
PATHS = {"authon": "/webhook", "authforge": "/webhooks/authforge"}
#: The one that the code of Authon's page in Python has in it.
PAGE_SECRET = "whsec_your_secret_here"

#: What a page leaves to the reader, around its code.
GLUE = {
    "akuworks": """
        app.post("/webhook", express.raw(), (request, response) => {
          const given = request.headers["x-webhook-signature"];
          const verified = verifySignature(request.body.toString("utf8"), given, process.env.WEBHOOK_SECRET);
          response.sendStatus(verified ? 200 : 401);
        });
    """,
    "aureva": """
        app.post("/webhook", express.raw(), async (received, response) => {
          const { headers, body } = received;
          const request = new Request("http://receiver/", { method: "POST", headers, body });
          const answer = (await handle(request, process.env.WEBHOOK_SECRET)) ?? new Response("");
          response.sendStatus(answer.status);
        });
    """,
}


@dataclass
class Customer:
    """A host without workers, and receivers of one service."""

    name: str
    app: Flask
    folder: Path
    stack: ExitStack
    #: Records what a receiver gets.
    recorder: Receiver
    receivers: list[ReceiverProcess] = field(default_factory=list)
    secret: str = SECRET

    def add(self, script: str, *arguments: str, code: str = "") -> None:
        """Start a receiver, with an endpoint that knows its secret and one that does not."""
        log = self.folder / f"{len(self.receivers)}.log"
        path = PATHS.get(self.name, "/webhook") if code else "/webhook"
        receiver = self.stack.enter_context(
            ReceiverProcess(script, *arguments, log=log, secret=self.secret, stdin=code, path=path)
        )
        self.receivers.append(receiver)
        for secret in (self.secret, "a secret that it does not know"):
            self.create_endpoint(receiver.url, secret)

    def create_endpoint(self, url: str, secret: str) -> None:
        events = [EVENTS[self.name][0]]
        webhooks_of(self.app).create_endpoint(url, events, format=self.name, secret=secret)

    def deliver(self) -> Request:
        """Deliver an event to all receivers, and return what each has got."""
        self.create_endpoint(self.recorder.url(), self.secret)
        event_type, data = EVENTS[self.name]
        emit(self.app, event_type=event_type, data=data, tenant="app_1")
        count = len(self.receivers)
        with WorkerProcess(OURS, config_of(self.app), self.folder / "worker.log") as worker:
            expected = {"succeeded": count + 1, "failed": count}
            wait_until(lambda: states(self.app) == expected, 60, f"see {worker.log}")
        [request] = self.recorder.requests
        return request

    def assert_all_accept_it_and_nothing_else(self) -> None:
        request = self.deliver()
        by_url: dict[str, list[int | None]] = {}
        for attempt in attempts(self.app):
            by_url.setdefault(attempt.url, []).append(attempt.status)
        for receiver in self.receivers:
            # Once with its secret; once and again with the other one.
            assert sorted(by_url[receiver.url], key=str) == [200, 401, 401]
            # A line of the log may come after the answer.
            wait_until(partial(receiver.has_answered, [200, 401, 401]))
        for receiver in self.receivers:
            assert post(receiver, request.headers, request.body) == 200
            for headers, body in self.tampered(request):
                # The code of a page may trip over what it does not expect; ours says no.
                refusals = (401, 500) if receiver.is_page else (401,)
                assert post(receiver, headers, body) in refusals

    def tampered(self, request: Request) -> Iterator[tuple[dict[str, str], bytes]]:
        proof = PROOF[self.name]
        value = request.headers[proof]
        other = value[:-1] + ("0" if value[-1] != "0" else "1")
        yield {**request.headers, proof: other}, request.body
        yield (
            {name: value for name, value in request.headers.items() if name != proof},
            request.body,
        )
        if self.name != "authon":  # it does not sign the body
            changed = request.body.replace(
                SENT[self.name].encode(), SENT[self.name].upper().encode()
            )
            assert changed != request.body
            yield request.headers, changed


@pytest.fixture
def customer(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, receiver: Receiver
) -> Iterator[Customer]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}",
        redis_url,
        WEBHOOKS_RETRY_SCHEDULE=[0.1],
        WEBHOOKS_TIMEOUT=20.0,
        WEBHOOKS_LEASE=40.0,
    )
    name = request.getfixturevalue("name")
    with app.app_context(), ExitStack() as stack:
        yield Customer(name, app, tmp_path, stack, receiver)
    close(app)


def post(receiver: ReceiverProcess, headers: dict[str, str], body: bytes) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)) as connection:
        connection.request("POST", receiver.path, body, headers)
        return connection.getresponse().status


@pytest.mark.slow
@pytest.mark.parametrize("name", VENDORS)
def test_receiver_written_for_the_service_runs_unmodified(name: str, customer: Customer) -> None:
    customer.add("serve.py", name)
    customer.add("serve.js", name)
    customer.assert_all_accept_it_and_nothing_else()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({name for name, _ in seeds.WITH_CODE}))
def test_code_of_the_page_runs_unmodified(name: str, customer: Customer) -> None:
    # The secret that stands in the code of one page.
    customer.secret = PAGE_SECRET
    for language in [language for known, language in seeds.WITH_CODE if known == name]:
        code = seeds.code(name, language)
        if name == "aureva":
            # The page's text runs a comment and the code after it together.
            function, handler = code.split("// In your handler:")
            code = f"{function}\nasync function handle(request, secret) {{ {handler} }}\n"
        customer.add(f"page.{language}", code=code + GLUE.get(name, ""))
    customer.assert_all_accept_it_and_nothing_else()
