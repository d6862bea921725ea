"""``flask webhooks reencrypt``: after it no endpoint needs an older key."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.actions import reencryption
from flask_webhooks.app_state import state_of
from flask_webhooks.models import Endpoint
from flask_webhooks.security.vault import Sealed
from tests.cli.test_cli import environment, run
from tests.security.test_vault import NEW, OLD
from tests.support.delivering import endpoint, make_app, states
from tests.support.helpers import accessing, activity, add_delivery, add_endpoint, close
from tests.support.processes import COMMAND, ROOT, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

TELEGRAM = "https://api.telegram.org/bot12345:abcdefghij/sendMessage?chat_id=-1001"


def host(database_url: str, redis_url: str, *keys: str, **config: Any) -> Flask:
    return make_app(database_url, redis_url, WEBHOOKS_ENCRYPTION_KEYS=list(keys), **config)


@pytest.fixture
def old(database_url: str, redis_url: str) -> Iterator[Flask]:
    """The host with the old key only, and a few endpoints."""
    app = host(database_url, redis_url, OLD)
    with app.app_context():
        add_endpoint(app, name="Headers", headers={"X-Key": "hush"})
        add_endpoint(app, TELEGRAM, name="URL")
        add_endpoint(app, "https://example.com/none", name="None", format="aureva", secret=False)
        yield app
    close(app)


@pytest.fixture
def app(old: Flask, database_url: str, redis_url: str) -> Iterator[Flask]:
    """The same host with a new key in front, and the old one behind."""
    app = host(database_url, redis_url, NEW, OLD)
    with app.app_context():
        yield app
    close(app)


def values(app: Flask) -> dict[str, Any]:
    """Everything that is encrypted, as this application reads it."""
    vault = state_of(app).vault
    found = {}
    for row in queries.list_endpoints(accessing(app)):
        for name in ("url_sealed", "secrets_sealed", "headers_sealed"):
            sealed = getattr(row.endpoint, name)
            if sealed is not None:
                found[f"{row.endpoint.name} {name}"] = vault.decrypt(sealed)
    return found


def needing(app: Flask) -> list[str]:
    use = queries.key_use(accessing(app))
    return [endpoint(app, endpoint_id).name for endpoint_id in sorted(use.older)]


def test_afterwards_the_newest_key_alone_reads_everything(
    app: Flask, database_url: str, redis_url: str
) -> None:
    before = values(app)
    assert len(before) >= 3
    assert needing(app) == ["Headers", "URL"]
    result = run(app, "reencrypt")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert "Encrypted 2 of 2 endpoints with the newest key." in result.stdout
    assert "No endpoint needs an older key any more." in result.stdout
    alone = host(database_url, redis_url, NEW, SECRET_KEY="another")
    with alone.app_context():
        assert values(alone) == before
    close(alone)
    assert needing(app) == []
    assert (activity(app)[-1].action, activity(app)[-1].changes) == (
        "endpoints.reencrypted",
        {"endpoints": 2},
    )


@pytest.mark.slow
def test_progress_is_a_bar_in_a_terminal(app: Flask) -> None:
    """What others see of it is plain lines."""
    config = {**config_of(app), "WEBHOOKS_ENCRYPTION_KEYS": [NEW, OLD]}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "flask", "webhooks", "reencrypt"]
    with subprocess.Popen(
        command,
        env={**environment(config), "TERM": "xterm"},
        cwd=ROOT,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        # Linux ends it by an error.
        with contextlib.suppress(OSError):
            while block := os.read(ours, 65536):
                shown += block
    os.close(ours)
    assert process.returncode == 0, shown
    assert b"Encrypting endpoints  [####" in shown
    assert b"100%" in shown
    assert b"Encrypted 2 of 2 endpoints" in shown
    assert needing(app) == []
    assert "[" not in run(app, "reencrypt").stdout


def test_a_second_run_changes_nothing(app: Flask) -> None:
    run(app, "reencrypt")
    written = len(activity(app))
    result = run(app, "reencrypt")
    assert "Encrypted 0 of 2 endpoints" in result.stdout
    assert len(activity(app)) == written


def test_dry_run_says_how_many_and_changes_nothing(app: Flask) -> None:
    result = run(app, "reencrypt", "--dry-run")
    assert result.stdout == "2 of 2 endpoints need an older key.\n"
    assert needing(app) == ["Headers", "URL"]


def test_what_no_key_reads_is_named_and_left_as_it_is(
    old: Flask, database_url: str, redis_url: str
) -> None:
    app = host(database_url, redis_url, NEW, SECRET_KEY="another")
    with app.app_context():
        kept = [row.endpoint.secrets_sealed for row in queries.list_endpoints(accessing(app))]
        fine = add_endpoint(app)
        result = run(app, "reencrypt")
        assert result.exit_code == 1
        assert "SECRET_KEY_FALLBACKS" in result.stderr
        use = queries.key_use(accessing(app))
        assert len(use.unreadable) == 2
        assert all(endpoint_id in result.stderr for endpoint_id in use.unreadable)
        assert fine.id not in result.stderr
        rows = queries.list_endpoints(accessing(app))[1:]
        assert [row.endpoint.secrets_sealed for row in rows] == kept
    close(app)


def test_a_secret_that_is_rotated_meanwhile_stays(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and writing, another process writes."""
    state = state_of(app)
    [first] = [row.endpoint.id for row in queries.list_endpoints(accessing(app), "Headers")]
    rotated = state.vault.encrypt([{"secret": "whsec_rotated", "expires_at": None}])
    renew = reencryption._renew

    def late(session: Any, access: Any, item: Any, progress: Any) -> None:
        if item.endpoint_id == first:
            session.execute(
                sa.update(state.table("Endpoint"))
                .where(state.table("Endpoint").c.id == first)
                .values(secrets_sealed=rotated)
            )
        renew(session, access, item, progress)

    monkeypatch.setattr(reencryption, "_renew", late)
    [*_, progress] = actions.reencrypt(accessing(app))
    assert progress.missed == 1
    now: Endpoint = endpoint(app, first)
    assert now.secrets_sealed is not None
    assert now.secrets_sealed == rotated
    monkeypatch.undo()
    assert run(app, "reencrypt").exit_code == 0
    assert needing(app) == []


def test_transactions_are_bounded_and_a_run_can_be_left(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencryption, "BATCH", 1)
    steps = actions.reencrypt(accessing(app))
    assert next(steps).renewed == 1
    steps.close()  # type: ignore[attr-defined]
    assert len(needing(app)) == 1
    assert activity(app)[-1].changes == {"endpoints": 1}
    assert "Encrypted 1 of 2" in run(app, "reencrypt").stdout


@pytest.mark.slow
def test_a_worker_delivers_before_and_after(app: Flask, tmp_path: Path) -> None:
    with Receiver() as receiver:
        target = add_endpoint(app, receiver.url("/ok"))
        sealed = endpoint(app, target.id).secrets_sealed
        assert isinstance(sealed, Sealed)
        for row in queries.list_endpoints(accessing(app)):
            if row.endpoint.id != target.id:
                actions.delete_endpoint(accessing(app), row.endpoint.id)
        config = {**config_of(app), "WEBHOOKS_ENCRYPTION_KEYS": [NEW, OLD]}
        with WorkerProcess(COMMAND, config, tmp_path / "worker.log") as worker:
            add_delivery(app, target)
            run(app, "sweep")
            wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
            assert run(app, "reencrypt").exit_code == 0
            add_delivery(app, target)
            run(app, "sweep")
            wait_until(lambda: states(app) == {"succeeded": 2}, what=worker.output)
            worker.terminate()
            worker.wait(20)
