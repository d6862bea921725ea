"""The fixtures for pytest, in the suite of a host that is a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

CONFTEST = """
import sys

import pytest

pytest_plugins = ["flask_webhooks.testing.plugin"]


def pytest_configure(config):
    ours = {name for name in sys.modules if name.startswith("flask_webhooks")}
    assert ours == {"flask_webhooks", "flask_webhooks.testing", "flask_webhooks.testing.plugin"}
    assert not {"flask", "sqlalchemy", "redis", "rq", "http.server"} & set(sys.modules)


@pytest.fixture
def app():
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy
    from flask_webhooks import Webhooks

    app = Flask("host")
    app.config.update(SECRET_KEY="s", TESTING=True, SQLALCHEMY_DATABASE_URI="sqlite://")
    db = SQLAlchemy(app)
    Webhooks(db, app)

    @app.post("/activate")
    def activate():
        from flask_webhooks.signals import license_activated

        data = {"license_id": "lic_1", "license_key": "AAAA", "status": "active"}
        license_activated.send(app, data=data)
        db.session.commit()
        return data

    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        db.engine.dispose()
"""
TESTS = """
def test_view_sends(app, captured_webhooks):
    app.test_client().post("/activate")
    captured_webhooks.assert_emitted("license.activated", data={"license_id": "lic_1"})


def test_customer_receives(app, webhook_receiver, deliver_webhooks):
    webhook_receiver.subscribe(app, ["license.*"])
    app.test_client().post("/activate")
    assert [attempt.status for attempt in deliver_webhooks()] == [200]
    assert webhook_receiver.requests[0].verified


def test_failure(app, captured_webhooks):
    app.test_client().post("/activate")
    captured_webhooks.assert_emitted("license.activated", data={"license_id": "lic_2"})
"""


@pytest.mark.slow
def test_fixtures_work_and_import_nothing_before_they_are_used(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_host.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    # The message is all that is shown, without a line of our own code.
    assert "data.license_id: expected 'lic_2', found 'lic_1'" in done.stdout
    assert "capturing.py" not in done.stdout
