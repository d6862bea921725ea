"""What is sent, taken by the verifiers that others have written: from PyPI and from npm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from flask import Flask

from flask_webhooks import actions
from tests.support.delivering import drain, emit
from tests.support.helpers import accessing, missing
from tests.support.node import node, npm
from tests.support.receiver import Receiver, Request

#: What tells a forgery from the real thing, and data that is easily mangled.
DATA = {"license_id": "lic_ü\u2028😀", "level": 1.0, "none": None, "text": 'a"b\\c/<>&'}
PACKAGES = ("standardwebhooks@1.1.1", "svix@1.99.1")

#: Verifies what comes on standard input by both packages; prints one word for each.
SCRIPT = """
const input = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
for (const name of ["standardwebhooks", "svix"]) {
  const { Webhook } = require(name);
  for (const secret of input.secrets) {
    try {
      const event = new Webhook(secret).verify(input.body, input.headers);
      console.log(JSON.stringify(event) === JSON.stringify(JSON.parse(input.body)) ? "taken" : "other");
    } catch (error) {
      console.log("refused");
    }
  }
}
"""


def deliver(app: Flask, receiver: Receiver, format: str) -> tuple[Request, list[str]]:
    """A request in the middle of a rotation, and the two secrets."""
    access = accessing(app)
    options = {"template": '{"kind": "{{ event.type }}", "what": "{{ data }}"}'}
    created = actions.create_endpoint(
        access,
        receiver.url(),
        format=format,
        options=options if format == "custom" else None,
        tenant="app_1",
    )
    new = actions.rotate_secret(access, created.endpoint.id, overlap_seconds=3600)
    emit(app, data=DATA, tenant="app_1")
    assert drain(app) == 1
    return receiver.requests[-1], [created.secret or "", new]


@pytest.mark.parametrize("format", ["standard", "cloudevents", "custom"])
@pytest.mark.parametrize(
    "package", [standardwebhooks.Webhook, svix.webhooks.Webhook], ids=["standardwebhooks", "svix"]
)
def test_packages_of_pypi_take_it_and_refuse_forgeries(
    app: Flask, receiver: Receiver, format: str, package: Callable[[str], Any]
) -> None:
    request, secrets = deliver(app, receiver, format)
    headers = dict(request.headers)
    for secret in secrets:
        # Newer ones of svix return nothing; all raise for what is not genuine.
        assert package(secret).verify(request.body, headers) in (None, json.loads(request.body))
        for forged_body, forged_headers in (
            (request.body.replace(b"lic_", b"lic-"), headers),
            (request.body, {**headers, "webhook-id": "evt_other"}),
            (request.body, {**headers, "webhook-timestamp": "1614265330"}),
        ):
            with pytest.raises(
                (
                    standardwebhooks.WebhookVerificationError,
                    svix.webhooks.WebhookVerificationError,
                )
            ):
                package(secret).verify(forged_body, forged_headers)


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of npm."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text("{}")
    command = [*npm(), "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        missing("the registry of npm does not answer", "REQUIRE_NPM")
    if any(code in done.stderr for code in ("ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT")):
        missing("the registry of npm cannot be reached", "REQUIRE_NPM")
    assert done.returncode == 0, done.stderr
    (folder / "verify.js").write_text(SCRIPT)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("format", ["standard", "cloudevents", "custom"])
def test_packages_of_npm_take_it_and_refuse_forgeries(
    app: Flask, receiver: Receiver, node_folder: Path, format: str
) -> None:
    request, secrets = deliver(app, receiver, format)
    body = request.body.decode()

    def words(body: str, **more: str) -> list[str]:
        headers = {**request.headers, **more}
        text = json.dumps({"body": body, "headers": headers, "secrets": secrets})
        done = subprocess.run(
            [node(), "verify.js"],
            cwd=node_folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.split()

    assert words(body) == ["taken"] * 4
    assert words(body.replace("lic_", "lic-")) == ["refused"] * 4
    assert words(body, **{"webhook-id": "evt_other"}) == ["refused"] * 4
