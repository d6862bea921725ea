"""The receivers that customers copy work: each alone, as it is pasted, against requests good and bad."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from werkzeug.serving import make_server

from demo.services import free_port
from flask_webhooks.security import signing
from tests.support.helpers import missing
from tests.support.node import node
from tests.support.receiver import Receiver
from tests.test_docs import (
    DOCS,
    SECRET,
    Block,
    block,
    blocks,
    example_request,
    post,
    signed,
    wait_for_port,
)

PAGE = DOCS / "receiving.md"
BODY = b'{"type":"test","data":{"name":"Zo\xc3\xab"}}'


def signed_at(moment: int) -> dict[str, str]:
    """Headers with a signature that was right at a moment."""
    signature = signing.sign_standard("evt_1", moment, BODY, [signing.standard_key(SECRET)])
    stamps = {"webhook-id": "evt_1", "webhook-timestamp": str(moment)}
    return {**stamps, "webhook-signature": signature}


def answers_as_it_should(port: int) -> None:
    good = signed(SECRET, BODY)
    several = {**good, "webhook-signature": "v1,b3RoZXI= " + good["webhook-signature"]}
    assert [post(port, BODY, headers) for headers in (good, good, several)] == [204] * 3
    assert post(port, BODY + b" ", good) == 401
    other = {**good, "webhook-id": "evt_2"}
    old, early = (signed_at(int(time.time()) + shift) for shift in (-330, 330))
    unreadable = {**good, "webhook-timestamp": "soon"}
    foreign = signed(signing.generate_secret(), BODY)
    for headers in (other, old, early, unreadable, foreign, {}):
        assert post(port, BODY, headers) == 401, headers


def run_alone(example: Block) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(example.code, str(example.page), "exec", dont_inherit=True), names)
    return names


@contextmanager
def serving(app: Any) -> Iterator[int]:
    """Each request in a thread of its own, as a server does."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def line_of(example: Block) -> str:
    return f"line {example.line}"


@pytest.mark.parametrize("example", blocks(PAGE, "python"), ids=line_of)
def test_python_works_when_it_is_pasted_alone(
    example: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    names = run_alone(example)
    if "app" in names:
        with serving(names["app"]) as port:
            answers_as_it_should(port)
    times = {"handle": 1, "receive": 3}
    expected = next((times[name] for name in times if name in names), 0)
    assert capsys.readouterr().out.count("Zoë") == expected


def test_python_verifies_without_a_library() -> None:
    [code] = [item for item in blocks(PAGE, "python") if "\ndef verify(" in item.code]
    verify = run_alone(code)["verify"]
    good = signed(SECRET, BODY)
    assert verify(SECRET, good, BODY)
    assert verify(
        SECRET, good | {"webhook-signature": f"v1,eA== {good['webhook-signature']}"}, BODY
    )
    assert not verify(SECRET, good, BODY + b" ")
    assert not verify(SECRET, signed(signing.generate_secret(), BODY), BODY)
    assert not verify(SECRET, signed_at(int(time.time()) - 330), BODY)
    assert not verify(SECRET, good | {"webhook-timestamp": "soon"}, BODY)
    assert not verify(SECRET, {}, BODY)


#: Language of the block: the program that is needed, the file to save it as, how to build and how to run that.
LANGUAGES = {
    "js": ("node", "receiver.js", None, "{node} receiver.js"),
    "php": ("php", "receiver.php", None, "php -S 127.0.0.1:{port} receiver.php"),
    "ruby": ("ruby", "receiver.rb", None, "ruby receiver.rb"),
    "go": ("go", "receiver.go", "go build receiver.go", "./receiver"),
    "csharp": ("mono", "receiver.cs", "mcs receiver.cs", "mono receiver.exe"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_receiver_in_another_language_verifies(language: str, tmp_path: Path) -> None:
    program, file, build, run = LANGUAGES[language]
    if language != "js" and shutil.which(program) is None:
        missing(f"{program} is not installed", "REQUIRE_LANGUAGES")
    (tmp_path / file).write_text(block("docs/receiving.md", language).code)
    port = free_port()
    environment = {
        **{"WEBHOOK_SECRET": SECRET, "PORT": str(port), "PATH": os.environ["PATH"]},
        **{"HOME": str(tmp_path), "GOCACHE": str(tmp_path / "cache")},
    }
    if build is not None:
        subprocess.run(build.split(), cwd=tmp_path, env=environment, check=True, timeout=100)
    command = run.format(node=node() if language == "js" else "", port=port)
    with subprocess.Popen(
        command.split(),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for_port(port)
            answers_as_it_should(port)
        finally:
            process.kill()


def test_every_language_of_the_guide_is_run() -> None:
    shown = set(re.findall(r"^```(\w+)$", PAGE.read_text(), re.MULTILINE))
    assert shown - {"http", "json", "python", "sh", "text"} == set(LANGUAGES)


@pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "curl", "openssl"))), reason="needs curl, openssl"
)
def test_shell_sends_a_signed_request(receiver: Receiver, tmp_path: Path) -> None:
    source = block("docs/receiving.md", "sh", 0).code
    source = source.replace("http://localhost:3000/webhooks", receiver.url())
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "no_proxy": "*"}
    subprocess.run(["sh", "-euc", source], env=environment, check=True, capture_output=True)
    [request] = receiver.requests
    event = Webhook(SECRET).verify(request.body, request.headers)
    assert event["type"] == "test"


@pytest.mark.skipif(not all(map(shutil.which, ("sh", "openssl"))), reason="needs openssl")
def test_shell_says_which_signature_is_right(tmp_path: Path) -> None:
    shown = example_request(DOCS / "receiving.md")
    (tmp_path / "body.json").write_bytes(shown.body)
    environment = {
        **os.environ,
        "WEBHOOK_SECRET": SECRET,
        "id": shown.headers["webhook-id"],
        "timestamp": shown.headers["webhook-timestamp"],
    }
    source = block("docs/receiving.md", "sh", 1).code
    result = subprocess.run(
        ["sh", "-euc", source], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    assert f"v1,{result.stdout.decode().strip()}" == shown.headers["webhook-signature"]
