"""The quickstart and the tutorial work as they are written: their files and commands, in an empty folder.

A comment before a block says what becomes of it:

- ``<!-- file: app.py -->``: save it under this name.
- ``<!-- background -->``: these commands go on running.
- ``<!-- not run: why -->``: leave it out.

What a ``console`` block shows is compared with what is printed. A ``text`` block after a command shows what the
processes in the background print.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.services import free_port
from tests.support.processes import wait_until
from tests.test_docs import DOCS, Block, blocks, commands, wait_for_port

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@dataclass
class Terminal:
    """Runs the commands of the quickstart in a folder, as somebody at a shell would."""

    folder: Path
    environment: dict[str, str]
    #: What to write instead of what the page says: ports, ids, the secret.
    replaced: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def fill(self, text: str) -> str:
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        return text

    def run(self, command: str) -> str:
        result = subprocess.run(
            ["sh", "-ec", self.fill(command)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        return result.stdout

    def start(self, command: str, log: str) -> None:
        with (self.folder / log).open("wb") as output:
            process = subprocess.Popen(
                ["sh", "-c", f"exec env {self.fill(command).strip()}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(20)


@pytest.fixture
def terminal(tmp_path: Path, redis_url: str) -> Iterator[Terminal]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {key: value for key, value in os.environ.items() if "REDIS" not in key}
    environment = {**kept, "PATH": path, "FLASK_WEBHOOKS_REDIS_URL": redis_url, "no_proxy": "*"}
    ports = {number: str(free_port()) for number in ("8000", "8001")}
    terminal = Terminal(tmp_path, environment, ports)
    yield terminal
    terminal.close()


def with_output(example: Block) -> list[tuple[str, str]]:
    """The commands of a block, each with what it prints."""
    if example.language != "console":
        return [(command, "") for command in commands(example)]
    parts = re.split(r"^\$ ", example.code, flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def agrees(shown: str, printed: str) -> bool:
    """Compare what a page shows with what was printed. Ellipses, times and space may differ."""
    varying = r"…|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d+ ms"
    fixed = re.split(varying, " ".join(shown.split()))
    pattern = ".+?".join(re.escape(part) for part in fixed)
    return re.fullmatch(pattern, " ".join(printed.split())) is not None


def walk(terminal: Terminal, page: Path) -> None:
    """Do what a page says."""
    for number, example in enumerate(blocks(page, "python", "sh", "console", "text")):
        if "not run" in example.marks or "pip install" in example.code:
            continue
        if "file" in example.marks:
            path = terminal.folder / example.marks["file"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(terminal.fill(example.code))
        elif example.language == "text":
            for line in example.code.splitlines():
                if terminal.processes:
                    wait_for_line(terminal, line.partition("…")[0])
        elif "background" in example.marks:
            terminal.start(example.code, f"{number}.log")
            if port := re.search(r"--port (\d+)", terminal.fill(example.code)):
                wait_for_port(int(port[1]))
        else:
            for command, shown in with_output(example):
                run_command(terminal, command, shown)


def run_command(terminal: Terminal, command: str, shown: str) -> None:
    if command.startswith("export "):
        name, _, value = command.removeprefix("export ").partition("=")
        terminal.environment[name] = value
        return
    printed = terminal.run(command)
    if " list" in command:
        # A row is settled some milliseconds after the receiver has answered.
        wait_until(lambda: agrees(terminal.fill(shown), terminal.run(command)), 20, printed)
    else:
        assert agrees(terminal.fill(shown), printed), (command, printed)
    for placeholder, pattern in (("ep_…", r"(?<=Added )ep_\w+"), ("whsec_…", r"whsec_\S+")):
        if found := re.search(pattern, printed):
            terminal.replaced[placeholder] = found[0]


def wait_for_line(terminal: Terminal, text: str) -> None:
    logs = terminal.folder.glob
    wait_until(lambda: any(text in log.read_text() for log in logs("*.log")), 20, text)


@pytest.mark.slow
def test_quickstart_works_as_it_is_written(terminal: Terminal) -> None:
    walk(terminal, DOCS / "quickstart.md")
    pages = terminal.run("curl -s http://127.0.0.1:8000/webhooks/")
    assert terminal.replaced["ep_…"] in pages


@pytest.mark.slow
def test_tutorial_works_as_it_is_written(terminal: Terminal) -> None:
    walk(terminal, DOCS / "tutorial.md")
    list_of_deliveries = "http://127.0.0.1:8000/webhooks/deliveries"
    assert "Basic realm" in terminal.run(f"curl -si {list_of_deliveries}")
    signed_in = f"curl -s -u 'ann:change me, too' {list_of_deliveries}"
    wait_until(lambda: terminal.run(signed_in).count("Succeeded") >= 4, 20)
    page = terminal.run(signed_in)
    for event_type in (
        "license.created",
        "license.activated",
        "hwid.mismatched",
        "license.revoked",
    ):
        assert event_type in page
