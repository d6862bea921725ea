"""The code beside the secret, run against requests that were really sent."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.admin.snippets import key_snippets, snippets
from flask_webhooks.receiver import verify
from flask_webhooks.security.signing import generate_private_key, public_key
from tests.admin.test_admin import EXPRESS
from tests.admin.test_formats import add
from tests.support.delivering import drain
from tests.support.helpers import accessing, close
from tests.support.node import node
from tests.support.pages import Browser, make_app
from tests.support.receiver import Receiver, Request

FORMATS = (
    *("standard", "cloudevents", "custom", "aureva", "authvaultix", "akuworks", "authforge"),
    "authon",
)
#: Those that prove where a request comes from, but not that nobody has changed its body.
UNSIGNED_BODY = {"authon"}
KEY_FORMATS = ("standard", "cloudevents", "custom")
OPTIONS = {"custom": {"template": '{"what": "{{ event.type }}"}'}}


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url, WEBHOOKS_MAX_ENDPOINTS=20
    )
    yield app
    close(app)


def code_of(format_name: str, title: str) -> str:
    [code] = [item.code for item in snippets(format_name) if item.title.startswith(title)]
    return code


def key_code_of(format_name: str, title: str) -> str:
    [code] = [item.code for item in key_snippets(format_name) if item.title.startswith(title)]
    return code


def sent(
    app: Flask, receiver: Receiver, format_name: str, *, key_pair: bool = False
) -> tuple[str, Request]:
    """The secret, or the public key, of a new endpoint, and a request that it was sent."""
    created = actions.create_endpoint(
        accessing(app),
        receiver.url(),
        format=format_name,
        options=OPTIONS.get(format_name),
        key_pair=key_pair,
    )
    actions.send_test(accessing(app), created.endpoint.id)
    drain(app)
    [request] = receiver.requests
    shown = created.public_key if key_pair else created.secret
    assert shown is not None
    return shown, request


@pytest.mark.parametrize("format_name", FORMATS)
def test_python_takes_what_was_sent_and_nothing_else(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    secret, request = sent(app, receiver, format_name)
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    check_python(code_of(format_name, "Python"), request, format_name)


@pytest.mark.parametrize("format_name", KEY_FORMATS)
def test_python_verifies_with_a_public_key(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    key, request = sent(app, receiver, format_name, key_pair=True)
    monkeypatch.setenv("WEBHOOK_PUBLIC_KEY", key)
    code = key_code_of(format_name, "Python")
    check_python(code, request, format_name)
    later = dataclasses.replace(request, headers={**request.headers, "webhook-timestamp": "1"})
    assert python_answer(code, later, later.body) == 401
    monkeypatch.setenv("WEBHOOK_PUBLIC_KEY", public_key(generate_private_key()))
    assert python_answer(code, request, request.body) == 401


def python_answer(code: str, request: Request, body: bytes, **options: Any) -> int:
    """The status with which the receiver of a snippet answers."""
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(code, names)
    client = names["app"].test_client()
    headers = {
        name: value for name, value in request.headers.items() if name.lower() != "content-length"
    }
    response = client.post("/webhooks", data=body, **{"headers": headers, **options})
    status: int = response.status_code
    return status


def check_python(code: str, request: Request, format_name: str) -> None:
    assert python_answer(code, request, request.body) == 204
    changed = 204 if format_name in UNSIGNED_BODY else 401
    assert python_answer(code, request, request.body + b" ") == changed
    bare = {"content-type": "application/json"}
    assert python_answer(code, request, request.body, headers=bare) == 401


@pytest.mark.parametrize("format_name", FORMATS)
def test_node_takes_what_was_sent_and_nothing_else(
    app: Flask, receiver: Receiver, tmp_path: Path, format_name: str
) -> None:
    secret, request = sent(app, receiver, format_name)
    answers = node_answers(
        tmp_path, code_of(format_name, "Node"), request, {"WEBHOOK_SECRET": secret}
    )
    assert answers == ["204", "204" if format_name in UNSIGNED_BODY else "401", "401"]


@pytest.mark.parametrize("format_name", KEY_FORMATS)
def test_node_verifies_with_a_public_key(
    app: Flask, receiver: Receiver, tmp_path: Path, format_name: str
) -> None:
    key, request = sent(app, receiver, format_name, key_pair=True)
    code = key_code_of(format_name, "Node")
    answers = node_answers(tmp_path, code, request, {"WEBHOOK_PUBLIC_KEY": key})
    assert answers == ["204", "401", "401"]


def node_answers(
    tmp_path: Path, code: str, request: Request, environment: dict[str, str]
) -> list[str]:
    """To the request, to one with another body, and to one without headers."""
    package = tmp_path / "node_modules" / "express"
    package.mkdir(parents=True)
    (package / "index.js").write_text(EXPRESS)
    (tmp_path / "receiver.js").write_text(code)
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = request.body.decode()
    requests = [
        {"headers": headers, "body": body},
        {"headers": headers, "body": body + " "},
        {"headers": {}, "body": body},
    ]
    result = subprocess.run(
        [node(), "receiver.js"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return re.findall(r"^\d+$", result.stdout, re.MULTILINE)


@pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "curl", "openssl", "od", "cut"))),
    reason="needs curl and openssl",
)
@pytest.mark.parametrize("format_name", FORMATS)
def test_curl_sends_what_a_receiver_takes(app: Flask, receiver: Receiver, format_name: str) -> None:
    secret, _request = sent(app, receiver, format_name)
    script = code_of(format_name, "curl").replace("http://localhost:3000/webhooks", receiver.url())
    subprocess.run(
        ["sh", "-eu", "-c", script],
        env={**os.environ, "WEBHOOK_SECRET": secret},
        capture_output=True,
        check=True,
        timeout=60,
    )
    request = receiver.requests[-1]
    assert len(receiver.requests) == 2
    assert verify(dict(request.headers), request.body, secret, format=format_name)


@pytest.mark.slow
def test_the_page_with_the_secret_has_those_of_the_format(app: Flask) -> None:
    for format_name in ("aureva", "akuworks", "authon"):
        page = add(Browser(app), 200, format=format_name)
        shown = [item.raw_text.removeprefix("\n") for item in page.all("pre")]
        assert shown == [item.code for item in snippets(format_name)]
        assert "WEBHOOK_SECRET." in page.text


def test_the_page_with_the_public_key_has_those_that_verify_with_it(app: Flask) -> None:
    page = add(Browser(app), 200, format="standard", signing="key_pair")
    shown = [item.raw_text.removeprefix("\n") for item in page.all("pre")]
    assert shown == [item.code for item in key_snippets("standard")]
    assert "WEBHOOK_PUBLIC_KEY." in page.text
    assert "WEBHOOK_SECRET" not in page.text
