"""The Pythons that hosts run: a host in each one that this machine has, with what it needs and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

#: No Redis: an event is delivered all the same, once something looks for it.
PROGRAM = """
import sys
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_webhooks import Webhooks
from flask_webhooks.testing import Receiver, deliver_now

app = Flask("host")
app.config.update(
    TESTING=True, SECRET_KEY="s", SQLALCHEMY_DATABASE_URI=f"sqlite:///{sys.argv[1]}",
    WEBHOOKS_ALLOWED_NETWORKS=["127.0.0.0/8"], WEBHOOKS_REDIS_URL="redis://127.0.0.1:1/0",
)
db = SQLAlchemy(app)
webhooks = Webhooks(db, app)
webhooks.authorize(lambda action, endpoint: True)
app.register_blueprint(webhooks.api_blueprint(authenticate=lambda: True), url_prefix="/api")

with app.app_context(), Receiver() as receiver:
    db.create_all()
    receiver.subscribe(webhooks)
    data = {"license_id": "lic_1", "license_key": "AAAA", "status": "active"}
    webhooks.emit("license.created", data)
    db.session.commit()
    [attempt] = deliver_now(webhooks)
    assert attempt.status == 200, attempt
    assert len(receiver.requests) == 1
client = app.test_client()
assert "Succeeded" in client.get("/webhooks/deliveries").text
assert client.get("/api/deliveries").json["items"][0]["state"] == "succeeded"
assert app.test_cli_runner().invoke(args=["webhooks", "health"]).exit_code in (0, 1)
print(sys.version.split()[0])
"""


def find(version: str) -> str | None:
    """The interpreter of a version, on PATH or where pyenv puts them."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = sorted(pyenv.glob(f"{version}.*/bin/python"))
    return str(found[-1]) if found else shutil.which(f"python{version}")


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_host_in_each_python(version: str, tmp_path: Path) -> None:
    interpreter = find(version)
    if interpreter is None:
        pytest.skip(f"this machine has no Python {version}")
    python = tmp_path / "venv/bin/python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    constraints = ROOT / "requirements/tested.txt"
    for command in (
        [*uv, "venv", "--python", interpreter, tmp_path / "venv"],
        [
            *(*uv, "pip", "install", "--python", python, "--constraint", constraints),
            *("--requirement", ROOT / "setup.cfg", "--extra", "api"),
        ],
        [python, "-W", "error", "-c", PROGRAM, tmp_path / "db"],
    ):
        done = subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(version)
