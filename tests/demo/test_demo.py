"""The demo: what it says, and that it delivers everything and leaves nothing behind."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from demo.__main__ import Options
from demo.processes import ROOT, Child, ChildDied, DemoError
from demo.scoreboard import post_json


@pytest.mark.parametrize("name", ["DEMO_SECONDS", "DEMO_RATE"])
@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_demo_says_what_to_write_instead(name: str, value: str) -> None:
    with pytest.raises(DemoError, match=rf"{name} must be a number from 1 to \d+, not '{value}'"):
        Options.from_environment({name: value})


def test_demo_runs_until_stopped_by_default() -> None:
    assert Options.from_environment({"DEMO_SECONDS": "", "REDIS_URL": ""}) == Options(
        None, 30, None
    )


def _child(tmp_path: Path, code: str) -> Child:
    return Child("child", [sys.executable, "-c", code], logs=tmp_path, environment=os.environ)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_child_that_dies_shows_its_last_words(tmp_path: Path) -> None:
    child = _child(tmp_path, "raise SystemExit('out of paper')")
    _wait_until_dead(child.pid)
    with pytest.raises(ChildDied, match=r"child ended with status 1(?s:.*)out of paper"):
        child.check()
    child.stop(threading.Event())


def test_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    child = _child(tmp_path, code)
    while "deaf" not in child.log.read_text():
        child.check()
        time.sleep(0.02)
    hurry = threading.Event()
    hurry.set()
    child.stop(hurry)
    with pytest.raises(ChildDied, match="-9"):
        child.check()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_what_a_child_leaves_behind_is_killed_with_it(tmp_path: Path) -> None:
    code = """if True:
        import os, signal, time
        pid = os.fork()
        if pid == 0:
            os.setpgrp()  # as RQ does for a job
            time.sleep(60)
        print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    child = _child(tmp_path, code)
    _wait_until_dead(child.pid)
    left = int(child.log.read_text())
    assert Path(f"/proc/{left}").exists()
    child.stop(threading.Event())
    _wait_until_dead(left)


def _wait_until_dead(pid: int) -> None:
    status = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 10
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _demo(tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    # What is ignored here, as in the background of a script, the demo would rightly ignore too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path), "REDIS_URL": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _introduction(process: subprocess.Popen[str]) -> str:
    """What the demo says before its traffic begins."""
    assert process.stdout is not None
    output = ""
    while "Ctrl-C" not in output:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=60)[1]
        output += line
    return output


def _assert_nothing_is_left(output: str, tmp_path: Path) -> None:
    assert list(tmp_path.iterdir()) == []
    ports = {int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)/", output)}
    assert len(ports) == 2
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=2)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_demo_delivers_everything(tmp_path: Path) -> None:
    with _demo(tmp_path, DEMO_SECONDS="5") as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    summary = json.loads(output.splitlines()[-1])
    assert list(summary) == [
        "events",
        "deliveries",
        "succeeded",
        "verified",
        "lost",
        "duplicates",
        "p50_ms",
        "p95_ms",
    ]
    assert summary["events"] > 50
    assert summary["deliveries"] == summary["succeeded"] == summary["verified"]
    assert (summary["lost"], summary["duplicates"]) == (0, 0)
    assert 0 < summary["p50_ms"] <= summary["p95_ms"]
    # The receiver failed some on purpose.
    assert re.search(r" [1-9]\d* retries ", output.splitlines()[-2])
    _assert_nothing_is_left(output, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_demo_fails_when_the_receiver_verifies_nothing(tmp_path: Path) -> None:
    with _demo(tmp_path, DEMO_SECONDS="3") as process:
        output = _introduction(process)
        receiver = re.search(r"http://[0-9.:]+(?=/stats)", output)
        assert receiver is not None
        other = {"hook": "ledger", "secret": f"whsec_{base64.b64encode(bytes(24)).decode()}"}
        post_json(f"{receiver[0]}/secrets", other)
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == 1, rest + errors
    summary = json.loads(rest.splitlines()[-1])
    assert 0 < summary["lost"] == summary["deliveries"] - summary["verified"]
    assert f"{summary['lost']} events were lost on their way to an endpoint." in errors
    assert re.search(r"The receiver refused [1-9]\d* signatures\.", errors)
    # What is needed to find out why is kept.
    [kept] = tmp_path.iterdir()
    assert str(kept) in errors
    assert (kept / "worker.log").exists()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_stops_everything_when_asked(tmp_path: Path, number: signal.Signals) -> None:
    with _demo(tmp_path) as process:
        output = _introduction(process)
        time.sleep(2)
        process.send_signal(number)
        rest, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    assert rest.endswith("Stopped.\n")
    _assert_nothing_is_left(output, tmp_path)
