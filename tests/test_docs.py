"""The documentation is true: examples run, commands and settings exist, links lead somewhere, nothing is missing.

Each ``python`` block of a page runs, in the order of the page, in one namespace. A comment before a block
says otherwise:

- ``<!-- scenario: before -->`` starts a fresh namespace with other names in it; see `SCENARIOS`. A page starts
  with ``host``.
- ``<!-- file: app.py -->`` belongs to a page whose files and commands `tests.test_docs_walkthroughs` runs.

In examples ``https://shop.example/webhooks`` stands for a receiver; here it is a real one. Functions named
``test_…`` are called, with the fixtures of `flask_webhooks.testing.plugin`.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import hmac
import http.client
import importlib
import importlib.util
import inspect
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import sqlalchemy as sa
from blinker import NamedSignal
from cryptography.fernet import Fernet
from flask import Flask, session
from flask_login import LoginManager, UserMixin, login_user
from flask_sqlalchemy import SQLAlchemy
from rq.cli.cli import main as rq_command
from standardwebhooks import Webhook
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

import flask_webhooks
from demo.scoreboard import Summary
from flask_webhooks import Webhooks, actions, errors, signals
from flask_webhooks.catalog.registry import builtin_catalog, matches
from flask_webhooks.cli import webhooks as webhooks_command
from flask_webhooks.config import Settings
from flask_webhooks.delivery.outcome import Outcome, Reason
from flask_webhooks.formats import Format, builtin_formats
from flask_webhooks.formats.examples import EXAMPLE_SECRET
from flask_webhooks.models import DeliveryState, EndpointState, Trigger
from flask_webhooks.receiver import verify
from flask_webhooks.security import signing
from flask_webhooks.testing import plugin
from tests.support.delivering import attempts, close, db_of, deliveries, drain
from tests.support.helpers import accessing
from tests.support.hostapp import DEFAULTS
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
#: The receiver of the examples, and the server that they call.
SERVER = "https://licences.example"
SHOP = "https://shop.example/webhooks"
#: The secret of the examples that show a request.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FIELDS = {item.name for item in dataclasses.fields(Settings)}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    #: Of its first line of code, from 1.
    line: int
    language: str
    code: str
    #: What the comments right before it say: ``{"file": "app.py"}``.
    marks: dict[str, str]


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page in these languages."""
    found = []
    marks: dict[str, str] = {}
    lines = page.read_text().splitlines()
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if comment := re.fullmatch(r"<!-- ([a-z ]+)(?:: (.+))? -->", line.strip()):
            marks[comment[1]] = comment[2] or ""
        elif fence := re.fullmatch(r"( *)```(\w+)", line):
            start = position
            while lines[position].strip() != "```":
                position += 1
            code = textwrap.dedent("\n".join(lines[start:position])) + "\n"
            if fence[2] in languages:
                found.append(Block(page, start + 1, fence[2], code, marks))
            marks = {}
            position += 1
        elif line.strip():
            marks = {}
    return found


def block(page: str, language: str, number: int = 0) -> Block:
    return blocks(ROOT / page, language)[number]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


# -- examples in Python ----------------------------------------------------------------------------


class License:
    """What the examples call their own."""

    id = "lic_1"
    key = "K7QF-29XM"
    status = "active"
    application_id = "app_1"

    @classmethod
    def activate(cls, key: str) -> License:
        return cls()


@dataclass
class User(UserMixin):  # type: ignore[misc]
    """Who signs in."""

    name: str

    @property
    def is_staff(self) -> bool:
        return self.name == "staff"

    @property
    def application_id(self) -> str | None:
        return {"customer": "app_1"}.get(self.name)

    @property
    def application_ids(self) -> list[str]:
        return [] if self.application_id is None else [self.application_id]

    def get_id(self) -> str:
        return self.name


@dataclass
class Stage:
    """Where the examples of one page run."""

    folder: Path
    redis_url: str
    receiver: Receiver
    names: dict[str, Any] = field(default_factory=dict)

    def enter(self, scenario: str) -> None:
        """Start a fresh namespace."""
        self.leave()
        self.names = {"__name__": "example"}
        self._stack = ExitStack()
        self._stack.enter_context(SCENARIOS[scenario](self))

    def leave(self) -> None:
        """Put away what the namespace holds, but keep the names."""
        app = self.names.get("app")
        if isinstance(app, Flask):
            if app.config.get("DOCS_CHECK_SETTINGS"):
                Settings.from_config(app.config)
            if "sqlalchemy" in app.extensions:
                close(app)
        if self.names:
            self._stack.close()

    def run(self, example: Block) -> None:
        source = example.code.replace(SHOP, self.receiver.url("/ok/shop"))
        if SERVER in source:
            source = source.replace(SERVER, self.serve())
        source = "\n" * (example.line - 1) + source
        code = compile(source, name_of(example.page), "exec", dont_inherit=True)
        before = set(self.names)
        exec(code, self.names)
        for name in [name for name in self.names if name not in before]:
            if name.startswith("test_"):
                self.call(self.names[name])

    def call(self, test: Callable[..., None]) -> None:
        """Call a test of a page, with our fixtures for pytest."""
        with ExitStack() as stack:
            values = {}
            for name in inspect.signature(test).parameters:
                values[name] = self.names.get(name)
                if name in vars(plugin):
                    fixture = inspect.unwrap(getattr(plugin, name))
                    needed = [self.names["app"]] if inspect.signature(fixture).parameters else []
                    if inspect.isgeneratorfunction(fixture):
                        values[name] = stack.enter_context(
                            contextlib.contextmanager(fixture)(*needed)
                        )
                    else:
                        values[name] = fixture(*needed)
            test(**values)
        self.forget_other_receivers()

    def forget_other_receivers(self) -> None:
        """Delete the endpoints of receivers that were there for one test, as a database of its own would."""
        endpoint, session = self.names["webhooks"].models.Endpoint, self.names["db"].session
        query = sa.select(endpoint.id).where(
            endpoint.deleted_at.is_(None), endpoint.url_shown.not_like(f"{self.receiver.url('')}%")
        )
        others = session.scalars(query).all()
        session.commit()
        for endpoint_id in others:
            actions.delete_endpoint(accessing(self.names["app"]), endpoint_id)

    def serve(self) -> str:
        """Answer requests to the app of the namespace; returns its URL."""
        server = make_server("127.0.0.1", 0, self.names["app"], threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self._stack.callback(server.server_close)
        self._stack.callback(thread.join)
        self._stack.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def settings(self) -> dict[str, Any]:
        uri = f"sqlite:///{self.folder / 'example.sqlite'}"
        return {
            **DEFAULTS,
            "SQLALCHEMY_DATABASE_URI": uri,
            "WEBHOOKS_REDIS_URL": self.redis_url,
        }

    def host(self, *, webhooks: bool) -> AbstractContextManager[Any]:
        """An app with a login and a database; with webhooks, an endpoint gets every event."""
        app = Flask("example")
        app.config.update(self.settings())
        db = SQLAlchemy(app)
        users = {name: User(name) for name in ("staff", "support", "customer")}
        login_manager = LoginManager(app)
        login_manager.user_loader(users.get)

        @app.post("/become/<name>")
        def become(name: str) -> str:
            login_user(users[name])
            session["is_staff"] = users[name].is_staff
            return ""

        self.names |= {"app": app, "db": db, "License": License}
        self.names["find_user"] = lambda username, password: None
        if webhooks:
            self.names["webhooks"] = Webhooks(db, app)
            with app.app_context():
                db.create_all()
                self.names["webhooks"].create_endpoint(self.receiver.url("/ok/all"))
            return app.app_context()
        return nullcontext()

    def bare(self) -> AbstractContextManager[Any]:
        """An app to configure; its settings are checked at the end."""
        app = Flask("example")
        app.config.update(self.settings(), DOCS_CHECK_SETTINGS=True)
        keys = {name: Fernet.generate_key().decode() for name in ("new_key", "old_key")}
        self.names |= {"app": app, **keys}
        return nullcontext()

    def empty(self) -> AbstractContextManager[Any]:
        """Nothing but the environment."""
        for key, value in self.settings().items():
            os.environ[f"FLASK_{key}"] = json.dumps(value)
        return nullcontext()

    def request(self) -> AbstractContextManager[Any]:
        """What a receiver has in hand: the page's example request, fresh."""
        body = example_request(ROOT / "README.md").body
        self.names |= {"body": body, "headers": signed(SECRET, body)}
        return nullcontext()

    def customer(self) -> AbstractContextManager[Any]:
        """A receiver, which knows its secret."""
        os.environ["WEBHOOK_SECRET"] = SECRET
        return nullcontext()


#: What a namespace starts with.
SCENARIOS: dict[str, Callable[[Stage], AbstractContextManager[Any]]] = {
    # `app`, `db`, `webhooks`, `License`, in the application context, with tables.
    "host": lambda stage: stage.host(webhooks=True),
    # The same without `webhooks`.
    "before": lambda stage: stage.host(webhooks=False),
    # `app`, which has only settings.
    "bare": Stage.bare,
    # Nothing; settings are in the environment.
    "empty": Stage.empty,
    # `body` and `headers` of a request.
    "request": Stage.request,
    # A customer's side: WEBHOOK_SECRET in the environment.
    "receiver": Stage.customer,
}


@pytest.fixture
def stage(
    tmp_path: Path, redis_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    monkeypatch.chdir(tmp_path)
    # The page about logs changes them.
    for name in ("flask_webhooks", "flask_webhooks.delivery"):
        logger = logging.getLogger(name)
        for attribute in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))
    # `Stage.empty` and `Stage.customer` write to it.
    monkeypatch.setattr(os, "environ", {**os.environ})
    stage = Stage(tmp_path, redis_url, receiver)
    yield stage
    stage.leave()


def run_page(page: Path, stage: Stage, upto: str | None = None) -> None:
    """Run the examples of a page.

    :param upto: the scenario to stop before.
    """
    started = False
    for example in blocks(page, "python"):
        if "file" in example.marks:
            continue
        scenario = example.marks.get("scenario")
        if scenario == upto and upto is not None:
            break
        if scenario is not None or not started:
            stage.enter(scenario or "host")
            started = True
        stage.run(example)


WITH_EXAMPLES = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_examples_run(page: Path, stage: Stage) -> None:
    run_page(page, stage)
    app = stage.names.get("app")
    if isinstance(app, Flask) and "webhooks" in app.extensions:
        with app.app_context():
            db_of(app).create_all()
            drain(app)
            ended = {item.state for item in deliveries(app) if item.reason != Reason.COALESCED}
            assert ended <= {"succeeded"}, [item.error for item in attempts(app)]


def test_every_example_is_run() -> None:
    marks = [example.marks for page in PAGES for example in blocks(page, "python")]
    assert marks
    assert not any("not run" in mark for mark in marks)


@pytest.mark.slow
def test_readme_integration_sends_what_the_readme_promises(stage: Stage) -> None:
    run_page(ROOT / "README.md", stage, upto="request")
    app: Flask = stage.names["app"]
    with app.app_context():
        stage.names["db"].create_all()
        created = stage.names["webhooks"].create_endpoint(stage.receiver.url(), tenant="app_1")
    client = app.test_client()
    assert client.get("/webhooks/").status_code == 403
    client.post("/become/staff")
    assert client.get("/webhooks/").status_code == 200
    assert client.post("/licenses/K7QF-29XM/activate").status_code == 200
    drain(app)
    [request] = stage.receiver.requests
    event = Webhook(created.secret or "").verify(request.body, request.headers)
    assert event["type"] == "license.activated"
    assert event["tenant"] == "app_1"
    # Names and order of headers are those that the README shows.
    shown = example_request(ROOT / "README.md")
    assert [name for name, _ in request.raw_headers] == [*shown.headers]
    assert [*json.loads(shown.body)] == [*event]


def test_readme_integration_is_short() -> None:
    lines = [line for line in block("README.md", "python").code.splitlines() if line.strip()]
    assert len(lines) <= 16


def test_admin_page_lets_in_whom_it_says(stage: Stage) -> None:
    run_page(DOCS / "how-to/admin.md", stage)
    app: Flask = stage.names["app"]
    webhooks: Webhooks = stage.names["webhooks"]
    mine = webhooks.create_endpoint(stage.receiver.url(), tenant="app_1", name="Mine").endpoint.id
    # Requests within an application context would share its `g`, and with it the user.
    stage.leave()

    def signed_in(name: str) -> Callable[[str], int]:
        client = app.test_client()
        client.post(f"/become/{name}")
        return lambda path: client.get(path).status_code

    stranger = app.test_client().get("/webhooks/")
    assert (stranger.status_code, stranger.location) == (302, "/login")
    staff, customer, support = signed_in("staff"), signed_in("customer"), signed_in("support")
    assert staff("/webhooks/endpoints/new") == 200
    assert staff(f"/webhooks/endpoints/{mine}") == 200
    assert customer(f"/webhooks/endpoints/{mine}") == 200
    assert customer("/webhooks/endpoints/new") == 403
    # Belongs to no tenant.
    assert support("/webhooks/") == 403


def test_pages_of_the_admin_are_all_there(stage: Stage) -> None:
    stage.enter("host")
    rules = {str(rule) for rule in stage.names["app"].url_map.iter_rules()}
    rules = {rule for rule in rules if rule.startswith("/webhooks/") and "static" not in rule}
    text = prose(DOCS / "how-to/admin.md")
    documented = {
        path.replace("…", "/webhooks/endpoints/<id>") for path in re.findall(r"`([^`]+)`", text)
    }
    known = {re.sub(r"<\w+>", "<id>", rule) for rule in rules}
    by_post = {"resend", "cancel", "stop", "test"}
    assert {path for path in known if path.rpartition("/")[2] not in by_post} <= documented


@pytest.mark.slow
def test_api_page_lets_in_whom_it_says(stage: Stage) -> None:
    page = DOCS / "reference/api.md"
    run_page(page, stage)
    app: Flask = stage.names["app"]
    stage.leave()
    client = app.test_client()

    def answer(key: str | None, method: str, path: str, **options: Any) -> TestResponse:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return client.open(f"/api/webhooks{path}", method=method, headers=headers, **options)

    for key in (None, "wrong"):
        stranger = answer(key, "GET", "/endpoints")
        assert (stranger.status_code, stranger.mimetype) == (401, "application/problem+json")
    customer, staff = (
        answer(f"key-of-{who}", "GET", "/endpoints").get_json()["items"]
        for who in ("app-1", "staff")
    )
    assert [item["tenant"] for item in customer] == ["app_1"]
    assert {item["tenant"] for item in staff} == {"app_1", None}
    assert stage.names["secret"].startswith("whsec_")
    last = answer("key-of-staff", "GET", "/activity").get_json()["items"][0]
    assert (last["actor"], last["action"]) == ("api:app_1", "task.started")
    wrong = {"url": SHOP, "events": ["licence.created"]}
    problem = answer("key-of-app-1", "POST", "/endpoints", json=wrong).get_json()
    shown = json.loads(block("docs/reference/api.md", "json").code)
    # Python 3.13 calls the status something else.
    assert {**problem, "title": shown["title"]} == shown
    # The pages of the same application work for people, and a person's session is no key.
    for name, status in (("staff", 200), ("customer", 403), ("support", 403), (None, 403)):
        person = app.test_client()
        if name is not None:
            person.post(f"/become/{name}")
        assert person.get("/webhooks/").status_code == status, name
        assert person.get("/webhooks/endpoints/new").status_code == status, name
        assert person.get("/api/webhooks/endpoints").status_code == 401, name
    program = {"Authorization": "Bearer key-of-staff"}
    assert app.test_client().get("/webhooks/", headers=program).status_code == 403


def test_format_of_the_how_to_signs_as_it_says(stage: Stage) -> None:
    run_page(DOCS / "how-to/formats.md", stage)
    app: Flask = stage.names["app"]
    stage.names["webhooks"].emit("license.created", {"license_id": "lic_1"})
    stage.names["db"].session.commit()
    drain(app)
    [request] = [request for request in stage.receiver.requests if request.path == "/ok/shop"]
    key = b"the old secret of the desk"
    assert request.headers["x-acme-signature"] == signing.sign_hex(request.body, key)
    assert json.loads(request.body)["kind"] == "license.created"


def test_events_of_the_how_to_arrive(stage: Stage) -> None:
    run_page(DOCS / "how-to/send-events.md", stage)
    app: Flask = stage.names["app"]
    stage.names["login"]("mira", "wrong")
    stage.names["payment_arrived"]({"id": "pay_1", "amount": "19.99"})
    stage.names["payment_arrived"]({"id": "pay_1", "amount": "19.99"})
    with app.test_request_context():
        login_user(User("customer"))
        login_user(User("staff"))
    stage.names["db"].session.remove()
    drain(app)
    sent = [
        json.loads(request.body) for request in stage.receiver.requests if request.path == "/ok/all"
    ]
    types = [event["type"] for event in sent]
    assert types.count("payment.succeeded") == 1
    assert types.count("user.logged_in") == 1
    assert types.count("user.login_failed") == 1
    [login] = [event for event in sent if event["type"] == "user.logged_in"]
    assert login["tenant"] == "app_1"
    assert {"license.suspended", "license.revoked", "license.expired"} <= set(types)


# -- what customers read ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A request as a page shows it."""

    headers: dict[str, str]
    body: bytes


def example_request(page: Path) -> Example:
    head, _, body = blocks(page, "http")[0].code.partition("\n\n")
    lines = head.splitlines()[1:]
    return Example(dict(line.split(": ", 1) for line in lines), body.strip().encode())


def signed(secret: str, body: bytes) -> dict[str, str]:
    """Headers of a request that was made just now."""
    now = int(time.time())
    signature = signing.sign_standard("evt_1", now, body, [signing.standard_key(secret)])
    return {"webhook-id": "evt_1", "webhook-timestamp": str(now), "webhook-signature": signature}


@pytest.mark.parametrize("page", ["README.md", "docs/receiving.md"])
def test_request_that_is_shown_is_genuine(page: str) -> None:
    shown = example_request(ROOT / page)
    headers = shown.headers
    assert int(headers["Content-Length"]) == len(shown.body)
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    independent = Webhook(SECRET).sign(headers["webhook-id"], moment, shown.body.decode())
    assert headers["webhook-signature"] == independent
    event = json.loads(shown.body)
    known = builtin_catalog()[event["type"]]
    assert set(known.schema["required"]) <= set(event["data"]) <= set(known.schema["properties"])


def post(port: int, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/webhooks", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def wait_for_port(port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            post(port, b"", {})
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on {port}"
            time.sleep(0.05)
        else:
            return


def test_retries_that_are_shown_are_those_of_the_default_schedule() -> None:
    schedule = Settings().retry_schedule
    told = ", ".join(_in_words(delay) for delay in schedule)
    assert told in (DOCS / "concepts/delivery.md").read_text()
    section = (
        (DOCS / "receiving.md").read_text().partition("\n## Retries\n")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^\| (\d+) \| (.+?) \|(?: (.+?))? \|$", section, re.MULTILINE)
    passed = 0.0
    expected = [("1", "at once", "")]
    for number, delay in enumerate(schedule, 2):
        passed += delay
        total = (
            f"{passed / 3600:.1f} h"
            if passed >= 3600
            else _in_words(passed - passed % 60 or passed)
        )
        expected.append((str(number), _in_words(delay), total))
    assert rows == expected


def _in_words(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    raise AssertionError


def test_numbers_that_are_told_are_the_defaults() -> None:
    settings = Settings()
    told = {
        "README.md": [
            f"every {settings.sweep_interval:g} seconds",
            f"at most {settings.wake_timeout * 1000:g} ms",
            f"{settings.endpoint_concurrency} by default",
        ],
        "docs/receiving.md": [
            f"within {settings.timeout:g} seconds",
            f"up to {settings.retry_jitter:.0%}".replace("%", " %"),
            f"up to {settings.max_retry_after / 3600:g} hours",
        ],
        "docs/how-to/workers.md": [f"{settings.concurrency} by default"],
        "docs/how-to/send-events.md": [f"At most {settings.max_data_bytes // 1024} KB"],
        "docs/how-to/logs.md": [f"after attempt {len(settings.retry_schedule) + 1} (exhausted)"],
        "docs/concepts/delivery.md": [
            f"{settings.retention_days} by default",
            f"({settings.disable_evidence / 3600:g} hours)",
        ],
        "docs/concepts/outbox.md": [f"{settings.wake_timeout * 1000:g} ms"],
    }
    for page, phrases in told.items():
        text = " ".join((ROOT / page).read_text().split())
        for phrase in phrases:
            assert phrase in text, (page, phrase)
    assert settings.timeout == 10
    assert (settings.failing_after, settings.disable_after / 86_400) == (5, 5)
    assert settings.max_interruptions == 5


#: What the code lists, so that a number of them on a page would go stale. History keeps its numbers.
COUNTED = (
    r"\b(?:three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|(?<!,)\d+)"
    r" (?:[a-z-]+ )?(?:actions|commands|event types|formats|invariants|kinds|languages|outcomes|pages"
    r"|permissions|reasons|routes|services|settings|signals|states|tables)\b"
)
HISTORY = {"CHANGELOG.md", "docs/benchmarks.md", "docs/comparison.md", "docs/concepts/decisions.md"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_counts_what_the_code_lists(page: Path) -> None:
    if name_of(page) in HISTORY or page.parent.name == "reports":
        return
    assert re.findall(COUNTED, prose(page), re.IGNORECASE) == []
    tables = len(flask_webhooks.models._MIXINS)
    assert set(re.findall(r"All (\d+) tables", page.read_text())) <= {str(tables)}


def test_every_outcome_reason_and_state_is_explained() -> None:
    receiving = (DOCS / "receiving.md").read_text()
    delivery = (DOCS / "concepts/delivery.md").read_text()
    for outcome in Outcome:
        assert f"(`{outcome}`)" in receiving
        assert f"| `{outcome}` |" in delivery
    for reason in Reason:
        assert f"| `{reason}` |" in delivery
    trouble = (DOCS / "troubleshooting.md").read_text()
    assert {reason for reason in Reason if f"`{reason}`" not in trouble} == set()
    diagram = delivery.partition("```text")[2].partition("```")[0]
    for state in DeliveryState:
        assert re.search(rf"\b{state}\b", diagram)


def test_log_messages_of_the_troubleshooting_page_exist() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    table = page.partition("### A message in the log\n")[2].partition("\n### ")[0]
    messages = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    assert messages
    texts = {
        node.value
        for module in (ROOT / "flask_webhooks").rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [said for said in messages if not any(said in text for text in texts)] == []


def test_demo_line_has_the_members_of_a_real_one() -> None:
    shown = json.loads(block("README.md", "json").code)
    assert list(shown) == [item.name for item in dataclasses.fields(Summary)]


# -- commands --------------------------------------------------------------------------------------


def commands(example: Block) -> list[str]:
    """The commands of a block, and not what they print."""
    text = example.code.replace("\\\n", "")
    if example.language == "console":
        return [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def all_commands() -> list[tuple[str, str]]:
    """Every command of ours, of RQ's and of make's in blocks and in running text, with its page."""
    found = []
    for page in PAGES:
        for example in blocks(page, "sh", "console"):
            found += [(name_of(page), line) for line in commands(example)]
        spans = re.findall(r"`([^`\n]+)`", prose(page))
        found += [(name_of(page), span) for span in spans if "…" not in span]
    program = re.compile(r"(\w+=\S* )*(flask|rq|make|python|pip) ")
    return [(page, command) for page, command in found if program.match(command)]


def words(command: str) -> list[str]:
    """The words of a command, without variables before it."""
    parts = shlex.split(command, comments=True)
    while parts and re.fullmatch(r"\w+=.*", parts[0]):
        parts.pop(0)
    return parts


@pytest.mark.parametrize(("page", "command"), all_commands())
def test_command_exists(page: str, command: str) -> None:
    match words(command):
        case ["flask", *rest]:
            if rest[:1] == ["--app"]:
                rest = rest[2:]
            if rest[:1] == ["webhooks"]:
                parse(webhooks_command, rest[1:])
            else:
                # The tutorial's own command, which its test runs.
                own = {"init"} if page == "docs/tutorial.md" else set()
                assert rest[0] in {"db", "run"} | own
        case ["rq", *rest]:
            parse(rq_command, rest)
        case ["make", *rest]:
            targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {target for target in rest if "=" not in target} <= set(targets)
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None
        case ["python", path, *_] if path.endswith(".py"):
            assert (ROOT / path).is_file()
        case ["pip", "install", *what]:
            extras = {extra for item in what for extra in re.findall(r"^\.\[(\w+)\]", item)}
            setup = (ROOT / "setup.cfg").read_text()
            assert all(re.search(rf"^{extra} =$", setup, re.MULTILINE) for extra in extras)


def parse(command: click.Command, arguments: list[str]) -> None:
    """Check names of commands and options, and their values, without running anything."""
    while isinstance(command, click.Group):
        assert arguments, f"{command.name} alone is no command"
        name = arguments.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    # In running text a command is often only named, without what it is about.
    with contextlib.suppress(click.MissingParameter):
        command.make_context(command.name, arguments)


# -- completeness ----------------------------------------------------------------------------------


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_generated_parts_are_current(page: Path) -> None:
    assert generate.render(page.read_text()) == page.read_text(), "run: python docs/generate.py"


def generated(kind: str) -> list[str]:
    """What the pages have generated of a kind."""
    return [
        arguments
        for page in PAGES
        for arguments in re.findall(rf"<!-- generate: {kind} ?(.*?) ?-->", page.read_text())
    ]


def test_every_setting_is_in_the_reference_once() -> None:
    named = [name for names in generated("settings") for name in names.split()]
    assert sorted(named) == sorted(FIELDS)


def test_every_setting_says_what_it_means() -> None:
    assert set(generate.setting_meanings()) == FIELDS


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_setting_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"WEBHOOKS_([A-Z]+(?:_[A-Z]+)*)", page.read_text()))
    assert {name.lower() for name in named} <= FIELDS


def leaves(group: click.Group, *path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join([*path, name])


def test_every_command_is_in_the_reference() -> None:
    assert sorted(generated("command")) == sorted(leaves(webhooks_command))


def test_every_event_type_is_in_the_reference() -> None:
    assert generated("event-types") == [""]
    page = (DOCS / "reference/event-types.md").read_text()
    for event_type in builtin_catalog():
        assert f"\n### {event_type.name}\n" in page


def test_every_format_is_in_the_reference() -> None:
    assert sorted(generated("format")) == sorted(style.name for style in builtin_formats())
    [row] = re.findall(
        r"^\| `format` \| (The endpoint's format: .+) \|$", PYTHON_PAGE.read_text(), re.MULTILINE
    )
    signed_formats = {style.name for style in builtin_formats() if style.signed}
    assert set(re.findall(r"`(\w+)`", row)) == signed_formats


def test_signature_that_the_reference_shows_is_genuine() -> None:
    for example in blocks(DOCS / "reference/formats.md", "http"):
        head, _, pretty = example.code.partition("\n\n")
        headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
        body = json.dumps(json.loads(pretty), ensure_ascii=False, separators=(",", ":"))
        if "webhook-signature" in headers:
            moment = int(headers["webhook-timestamp"])
            verify(headers, body, EXAMPLE_SECRET, now=moment)
            continue
        wanted = hmac.new(EXAMPLE_SECRET.encode(), body.encode(), "sha256").hexdigest()
        signatures = [value for name, value in headers.items() if name.endswith("-Signature")]
        assert [text.removeprefix("sha256=") for text in signatures] in ([wanted], [])
    page = (DOCS / "reference/formats.md").read_text()
    assert f"secret `{EXAMPLE_SECRET}`" in page
    assert page.count("-Signature: ") == 4


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_event_type_that_is_named_exists(page: Path) -> None:
    """In running text; in tables of members such names are paths."""
    catalog = [event_type.name for event_type in builtin_catalog()]
    if page.parent.name == "moving":
        catalog += [name for wire in builtin_formats() for name in wire.event_names.values()]
    prefixes = {name.partition(".")[0] for name in catalog}
    text = re.sub(
        r"<!-- generate: event-types -->.*?<!-- end -->", "", prose(page), flags=re.DOTALL
    )
    for name in re.findall(r"`([a-z_]+\.[a-z_*]+)`", text):
        # `db.session` and the like are something else.
        if name.partition(".")[0] in prefixes and not name.endswith(".py"):
            assert any(matches([name], known) for known in catalog), name


def test_every_signal_is_in_the_reference() -> None:
    page = (DOCS / "reference/signals.md").read_text()
    for event_type in signals.SIGNALS:
        assert f"| `{event_type.replace('.', '_')}` | [`{event_type}`]" in page
    public = {name for name, value in vars(signals).items() if isinstance(value, NamedSignal)}
    inbound = {name.replace(".", "_") for name in signals.SIGNALS}
    assert set(generate.OUTGOING) == public - inbound
    for name in generate.OUTGOING:
        assert f"\n### {name}\n" in page


PYTHON_PAGE = DOCS / "reference/python.md"


def test_every_public_name_is_in_the_reference() -> None:
    page = PYTHON_PAGE.read_text()
    for name in flask_webhooks.__all__:
        assert f"\n| `{name}` | " in page
    assert set(re.findall(r"import (.+)", page)[0].split(", ")) == set(flask_webhooks.__all__)


HOOKS = {
    *("authorize", "current_tenant", "current_actor"),
    *("tenant_name", "tenant_exists", "endpoint_limit"),
}


@pytest.mark.parametrize(
    "name", [name for name in vars(Webhooks) if name in {"__init__"} or not name.startswith("_")]
)
def test_methods_stand_in_the_reference_with_their_parameters(name: str) -> None:
    page = PYTHON_PAGE.read_text()
    member = inspect.getattr_static(Webhooks, name)
    if isinstance(member, property) or name in HOOKS:
        assert re.search(rf"^### .*\b{name}\b", page, re.MULTILINE)
        return
    signature = inspect.signature(member)
    parameters = [
        parameter.replace(annotation=parameter.empty)
        for parameter in list(signature.parameters.values())[1:]
    ]
    plain = signature.replace(parameters=parameters, return_annotation=signature.empty)
    heading = f"## Webhooks{plain}" if name == "__init__" else f"### {name}{plain}"
    assert heading.replace("'", '"') in page


def test_exceptions_stand_in_the_reference_as_in_the_code() -> None:
    tree = textwrap.dedent(
        (inspect.getdoc(errors) or "").split("::\n\n")[1].split("\n\nMessages")[0]
    )
    assert tree.rstrip() in PYTHON_PAGE.read_text()


def test_attributes_of_a_format_are_in_the_how_to() -> None:
    page = (DOCS / "how-to/formats.md").read_text()
    annotated = inspect.get_annotations(Format)
    for name in {*annotated, *(name for name in vars(Format) if not name.startswith("_"))}:
        assert re.search(rf"\b{name}\b", page), name


def test_every_decision_is_a_whole_record() -> None:
    page = (DOCS / "concepts/decisions.md").read_text()
    records = [record for part in page.split("\n## ")[1:] for record in part.split("\n### ")[1:]]
    assert records
    whole = re.compile(
        r".+\?\n\n\*\*Decision\.\*\* .+?\n\n\*\*Why\.\*\* .+?\n\n"
        r"(\*\*Tried\.\*\* .+?\n\n)?\*20\d\d-\d\d-\d\d\*\n*",
        re.DOTALL,
    )
    assert [record.partition("\n")[0] for record in records if not whole.fullmatch(record)] == []
    titles = [record.partition("\n")[0] for record in records]
    assert len(set(titles)) == len(titles)


def test_glossary_is_sorted_and_names_every_state_and_trigger() -> None:
    page = (DOCS / "glossary.md").read_text()
    entries = dict(re.findall(r"^\*\*(.+?)\.\*\* (.+?)(?=\n\n|\Z)", page, re.DOTALL | re.MULTILINE))
    assert list(entries) == sorted(entries, key=str.lower)
    assert set(re.findall(r"`(\w+)`", entries["Attempt"])) == {str(trigger) for trigger in Trigger}
    states = {str(state).capitalize() for state in EndpointState} - {"Active"}
    assert states <= set(entries)


def test_every_table_is_named() -> None:
    page = (DOCS / "how-to/migrations.md").read_text()
    models = flask_webhooks.models
    for mixin in models._MIXINS:
        assert f"`{mixin.__tablename__}`" in page
        assert f"`{mixin.__name__}`" in page
        assert f"`{mixin.__name__}`" in PYTHON_PAGE.read_text()


def test_every_action_that_authorize_is_asked_about_is_explained() -> None:
    page = (DOCS / "concepts/security.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| to ", page, re.MULTILINE)
    assert tuple(rows) == importlib.import_module("flask_webhooks.access").ACTIONS


def test_every_module_has_its_place() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    package = ROOT / "flask_webhooks"
    modules = [path.stem for path in package.glob("*.py") if not path.stem.startswith("__")]
    folders = [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    assert [name for name in modules + folders if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_path_that_is_named_exists(page: Path) -> None:
    folders = "benchmarks|docs|example_app|flask_webhooks|tests"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", prose(page)):
        assert (ROOT / path).exists(), path


# -- links -----------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    named = re.findall(r'<a id="([\w-]+)"', page.read_text())
    return {generate.anchor(heading) for heading in headings} | set(named)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_every_page_can_be_found() -> None:
    index = DOCS / "index.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", index.read_text())
    }
    assert set(DOCS.rglob("*.md")) - {index} <= linked


# -- pictures --------------------------------------------------------------------------------------

IMAGES = DOCS / "images"
#: Bytes of one picture, and of all of them: a clone is to stay small.
MAX_PICTURE = 100_000
MAX_PICTURES = 600_000


class Pictures(HTMLParser):
    """Names of the pictures that a page shows, with what is said of each to those who do not see it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        text = prose(page)
        self.found = [(target, alt) for alt, target in re.findall(r"!\[(.*?)\]\(([^)\s]+)\)", text)]
        #: Files of <source>, which has the words of the <img> beside it.
        self.others: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "img":
            self.found.append((values["src"], values.get("alt", "")))
        elif tag == "source":
            self.others.append(values["srcset"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pictures_are_there_and_say_what_they_show(page: Path) -> None:
    pictures = Pictures(page)
    for target, alt in pictures.found:
        assert (page.parent / target).is_file(), target
        assert len(alt.split()) >= 4, target
    for target in pictures.others:
        assert (page.parent / target).is_file(), target


def test_pictures_are_small_and_all_are_shown() -> None:
    shown = set()
    for page in PAGES:
        pictures = Pictures(page)
        names = [*(target for target, _ in pictures.found), *pictures.others]
        shown |= {(page.parent / name).resolve() for name in names}
    files = sorted(IMAGES.iterdir())
    assert files
    assert [file for file in files if file not in shown] == []
    sizes = {file.name: file.stat().st_size for file in files}
    assert {name: size for name, size in sizes.items() if size > MAX_PICTURE} == {}
    assert sum(sizes.values()) <= MAX_PICTURES
    for file in files:
        head = file.read_bytes()[:12]
        assert (head[:4], head[8:]) == (b"RIFF", b"WEBP"), file.name


@pytest.mark.slow
def test_wheel_holds_the_package_and_no_pictures(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in ("flask_webhooks", "example_app", "docs", "tests"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, source], check=True)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "flask_webhooks/admin/static/webhooks.css" in names
    assert "flask_webhooks/py.typed" in names
    folders = {name.partition("/")[0] for name in names}
    assert len(folders) == 2, folders
    assert [name for name in names if name.endswith((".webp", ".png", ".svg"))] == []


def test_architecture_names_functions_that_exist() -> None:
    """Each dotted name in the tables of the walk is a module's function, method or class."""
    page = (DOCS / "concepts" / "architecture.md").read_text()
    names = set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", page)) - {"flask_webhooks.signals"}
    assert len(names) > 40
    for name in sorted(names):
        parts = name.split(".")
        found: Any = flask_webhooks
        for depth, part in enumerate(parts, 1):
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(".".join(["flask_webhooks", *parts[:depth]]))
            found = getattr(found, part)
