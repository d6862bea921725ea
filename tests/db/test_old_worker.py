"""A worker of an earlier version beside one of this version, on one database: as processes, each with its own code.

The earlier code is taken from the history of this repository. A copy without it, such as a source distribution, skips
this; `test_schema_changes` then runs the statements of that version alone.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.delivering import attempts, close, deliveries, emit, states
from tests.support.hostapp import create_app
from tests.support.processes import OURS, ROOT, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

#: The last commit before events had `hops`: the tables of `tests/support/upgrades`.
BEFORE = "8275245041085766d7ba52340d954a9ac05fbd5f"

#: What the host of before did first: tables, an endpoint that fails and one that does not, and an event.
FIRST = """
import sys
from tests.hostapp import create_app
app = create_app()
webhooks = app.extensions["test_webhooks"]
db = app.extensions["sqlalchemy"]
with app.app_context():
    db.create_all()
    for url in sys.argv[1:]:
        webhooks.create_endpoint(url)
    webhooks.emit("license.created", {"license_id": "lic_0", "license_key": "AAAA-BBBB"})
    db.session.commit()
"""


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A folder with the code of before."""
    pytest.importorskip("aiohttp", reason="the worker of before needs it")
    command = ["git", "archive", BEFORE, "flask_webhooks", "tests/__init__.py", "tests/hostapp.py"]
    try:
        packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"the history of this copy does not have {BEFORE[:7]}")
    folder = tmp_path / "before"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    """The host of now, without tables."""
    app = create_app(
        SQLALCHEMY_DATABASE_URI=database_url,
        WEBHOOKS_REDIS_URL=redis_url,
        # One attempt of each delivery, unless a test wants more.
        WEBHOOKS_RETRY_SCHEDULE=[60.0] * 9,
        WEBHOOKS_FAILING_AFTER=1000,
    )
    with app.app_context():
        yield app
        close(app)


def run_before(folder: Path, config: dict[str, Any], code: str, *arguments: str) -> None:
    """Run something with the code of before."""
    environment = os.environ | {"TEST_CONFIG": json.dumps(config), "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", code, *arguments]
    found = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stderr


def worker_before(folder: Path, config: dict[str, Any], log: Path) -> WorkerProcess:
    variables = {
        "PYTHONPATH": str(folder),
        "FLASK_APP": "tests.hostapp:create_app",
        "TEST_CONFIG": json.dumps(config),
    }
    return WorkerProcess(OURS, config, log, folder, variables)


@pytest.mark.slow
def test_workers_of_two_versions_share_the_work(
    app: Flask, before: Path, receiver: Receiver, tmp_path: Path
) -> None:
    config = config_of(app)
    run_before(before, config, FIRST, receiver.url("/ok"), receiver.url("/status/503"))
    with worker_before(before, config, tmp_path / "before.log") as old:

        def delivered(count: int) -> bool:
            return states(app) == {"succeeded": count, "pending": count} and len(attempts(app)) == (
                2 * count
            )

        wait_until(lambda: len(receiver.requests) == 2, 30, old.output)
        result = app.test_cli_runner().invoke(args=["webhooks", "upgrade-db"])
        assert result.exit_code == 0, result.output
        # The new host's events, by the old worker alone.
        emit(app, 5)
        wait_until(lambda: delivered(6), 30, old.output)
        assert {item.error_code for item in attempts(app)} == {None}
        with WorkerProcess(OURS, config, tmp_path / "now.log") as new:
            emit(app, 50)
            wait_until(lambda: delivered(56), 60, lambda: old.output() + new.output())
            old.terminate()
            old.wait(20)
            emit(app, 5)
            wait_until(lambda: delivered(61), 30, new.output)
    assert len(receiver.requests) == len(set(receiver.ids())) * 2 == 122
    by_new = [item for item in attempts(app) if item.error_code is not None]
    assert len(by_new) >= 5
    assert {item.attempt_count for item in deliveries(app)} == {1}
    for output in (old.output(), new.output()):
        assert "Traceback" not in output
