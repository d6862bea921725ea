"""Nothing that comes out of a host has a secret in clear; see `tests.support.leaking` for the run."""

from __future__ import annotations

import base64
import html
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.support.processes import ROOT

#: What comes out of any run.
ALWAYS = {"log", "metrics", "redis", "sentry", "spans", "database"}
#: Where the data of events belongs.
OF_DATA = {"api", "commands", "html", "database"}
#: Those who may see secrets are shown whole URLs.
SHOWN = {("trusted", "secret path"), ("trusted", "secret query")}


def forms(secret: str) -> Iterator[str]:
    """A text as it is, and in the URL, HTML, JSON, Python and base 64 that it may be hidden in."""
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield html.escape(secret)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield secret.encode().hex()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret.encode())
        inner = encoded[4 if before else 0 : -4].decode()
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def leaks(outputs: dict[str, str], canaries: dict[str, str]) -> set[tuple[str, str]]:
    """Where what was found."""
    return {
        (where, name)
        for where, text in outputs.items()
        for name, secret in canaries.items()
        if any(form in text for form in set(forms(secret)))
    }


def run(
    folder: Path, redis_url: str, *more: str
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Run a host; returns what came out, and what should not have."""
    command = [sys.executable, "-m", "tests.support.leaking", str(folder), redis_url, *more]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    outputs = {path.stem: path.read_text(errors="replace") for path in folder.glob("*.out")}
    outputs["output"] = ended.stdout + ended.stderr
    outputs["database"] = "".join(
        path.read_bytes().decode(errors="replace") for path in folder.glob("database.sqlite*")
    )
    return outputs, json.loads((folder / "canaries.json").read_text())


@pytest.mark.slow
def test_no_secret_comes_out_of_a_whole_run(tmp_path: Path, redis_url: str) -> None:
    outputs, canaries = run(tmp_path, redis_url)
    assert outputs.keys() >= {*ALWAYS, *OF_DATA, "trusted"}
    assert leaks(outputs, canaries["secrets"]) == SHOWN
    # The search finds what is there.
    assert {where for where, _ in leaks(outputs, canaries["data"])} - {"trusted"} == OF_DATA
    left = {name: text for name, text in outputs.items() if name != "database"}
    assert leaks(left, canaries["erased"]) == set()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_secret_comes_out_where_a_function_fails_that_has_it(
    tmp_path: Path, redis_url: str
) -> None:
    outputs, canaries = run(tmp_path, redis_url, "all")
    assert outputs.keys() >= ALWAYS
    assert len(outputs["faults"].splitlines()) > 40
    assert "a bug of ours" in outputs["sentry"]
    assert leaks(outputs, canaries["secrets"]) == set()
    assert {where for where, _ in leaks(outputs, canaries["data"])} == {"database"}
