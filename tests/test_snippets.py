"""The code beside the secret, run against requests that were really sent."""

from __future__ import annotations

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
from flask_webhooks.admin.snippets import snippets
from flask_webhooks.receiver import verify

from .delivering import drain
from .helpers import accessing, close
from .node import node
from .pages import Browser, make_app
from .receiver import Receiver, Request
from .test_admin import EXPRESS
from .test_admin_formats import add

FORMATS = ("standard", "cloudevents", "custom", "aureva", "authvaultix", "akuworks", "authforge")
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


def sent(app: Flask, receiver: Receiver, format_name: str) -> tuple[str, Request]:
    """The secret of a new endpoint, and a request that it was sent."""
    created = actions.create_endpoint(
        accessing(app), receiver.url(), format=format_name, options=OPTIONS.get(format_name)
    )
    actions.send_test(accessing(app), created.endpoint.id)
    drain(app)
    [request] = receiver.requests
    assert created.secret is not None
    return created.secret, request


@pytest.mark.parametrize("format_name", FORMATS)
def test_python_takes_what_was_sent_and_nothing_else(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    secret, request = sent(app, receiver, format_name)
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(code_of(format_name, "Python"), names)
    client = names["app"].test_client()
    headers = {
        name: value for name, value in request.headers.items() if name.lower() != "content-length"
    }

    def answer(body: bytes, **options: Any) -> int:
        response = client.post("/webhooks", data=body, **{"headers": headers, **options})
        status: int = response.status_code
        return status

    assert answer(request.body) == 204
    assert answer(request.body + b" ") == 401
    assert answer(request.body, headers={"content-type": "application/json"}) == 401


@pytest.mark.parametrize("format_name", FORMATS)
def test_node_takes_what_was_sent_and_nothing_else(
    app: Flask, receiver: Receiver, tmp_path: Path, format_name: str
) -> None:
    secret, request = sent(app, receiver, format_name)
    package = tmp_path / "node_modules" / "express"
    package.mkdir(parents=True)
    (package / "index.js").write_text(EXPRESS)
    (tmp_path / "receiver.js").write_text(code_of(format_name, "Node"))
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
        env={**os.environ, "WEBHOOK_SECRET": secret},
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert re.findall(r"^\d+$", result.stdout, re.MULTILINE) == ["204", "401", "401"]


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


def test_the_page_with_the_secret_has_those_of_the_format(app: Flask) -> None:
    for format_name in ("aureva", "akuworks"):
        page = add(Browser(app), 200, format=format_name)
        shown = [item.raw_text.removeprefix("\n") for item in page.all("pre")]
        assert shown == [item.code for item in snippets(format_name)]
