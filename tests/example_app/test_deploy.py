"""The production layout of the example: its units and settings, run as systemd would run them."""

from __future__ import annotations

import http.client
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from demo.processes import Child, wait_until
from demo.scoreboard import get_json
from demo.services import free_port
from example_app import applications, receiver
from example_app.app import create_app
from example_app.extensions import db, webhooks
from tests.support.processes import ROOT

DEPLOY = ROOT / "example_app" / "deploy"
UNITS = sorted(path.name for path in DEPLOY.glob("licensing-*"))
INSTALLED = "/srv/licensing/.venv/bin"
BIN = str(Path(sys.executable).parent)
ADDRESS = "203.0.113.24"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_units_are_valid(tmp_path: Path) -> None:
    for name in UNITS:
        text = (DEPLOY / name).read_text()
        (tmp_path / name).write_text(text.replace(INSTALLED, BIN))
    units = [str(tmp_path / name.replace("@", "@1")) for name in UNITS]
    template = tmp_path / "licensing-webhooks@.service"
    template.rename(tmp_path / "licensing-webhooks@1.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_leads_to_gunicorn() -> None:
    settings = runpy.run_path(str(DEPLOY / "gunicorn.conf.py"))
    assert f"proxy_pass http://{settings['bind']};" in (DEPLOY / "nginx.conf").read_text()


def test_readme_names_every_file_and_links_lead_somewhere() -> None:
    folder = ROOT / "example_app"
    for page, files in (
        (DEPLOY / "README.md", DEPLOY.iterdir()),
        (folder / "README.md", folder.glob("*.py")),
    ):
        names = {path.name for path in files if path.is_file()} - {"README.md", "__init__.py"}
        linked = re.findall(r"\]\(([^)#]+)", page.read_text())
        assert names - set(linked) == set()
        assert [target for target in linked if not (page.parent / target).exists()] == []


def command_of(unit: str) -> list[str]:
    """The command line of a unit, with the programs of this environment."""
    found = re.search(r"^ExecStart=(.+)$", (DEPLOY / unit).read_text(), re.MULTILINE)
    assert found is not None
    return shlex.split(found[1].replace(INSTALLED, BIN))


def settings_of(text: str) -> dict[str, str]:
    """The variables of an environment file."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@contextmanager
def serving(database: Path) -> Iterator[str]:
    """The customer's receiver, on a port."""
    server = make_server("127.0.0.1", 0, receiver.create_app(KEY, str(database)), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _log_in(port: int, api_key: str) -> int:
    """Try a password, as nginx passes it on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {
        "Authorization": f"Bearer {api_key}",
        "Content-Type": "application/json",
        "X-Forwarded-For": ADDRESS,
    }
    body = json.dumps({"username": "mira", "password": "wrong", "hwid": "9f2c4e7ab1d05836"})
    connection.request("POST", "/api/v1/login", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.slow
def test_failed_logins_at_gunicorn_reach_a_receiver_that_blocks_the_address(
    tmp_path: Path, redis_url: str
) -> None:
    port, never = free_port(), threading.Event()
    environment = {
        **os.environ,
        **settings_of((DEPLOY / "licensing.env.example").read_text()),
        "EXAMPLE_DATABASE_URL": f"sqlite:///{tmp_path / 'licensing.sqlite'}",
        "EXAMPLE_REDIS_URL": redis_url,
        "EXAMPLE_WEBHOOKS_ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        "EXAMPLE_WEBHOOKS_REQUIRE_HTTPS": "false",
        "EXAMPLE_PASSWORD_HASH_METHOD": "pbkdf2:sha256:1",
        "GUNICORN_BIND": f"127.0.0.1:{port}",
    }
    with ExitStack() as stack:
        url = stack.enter_context(serving(tmp_path / "receiver.sqlite"))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            app = create_app()
        with app.app_context():
            db.create_all()
            application = applications.create("Aurora")
            webhooks.create_endpoint(f"{url}/webhooks", tenant=application.id, secret=KEY)
            db.engine.dispose()
        for name, unit in (
            ("web", "licensing-web.service"),
            ("worker", "licensing-webhooks@.service"),
        ):
            child = Child(name, command_of(unit), logs=tmp_path, environment=environment)
            stack.callback(child.stop, never)
        web = tmp_path / "web.log"
        assert wait_until(lambda: "Listening at" in web.read_text(), 60, never), web.read_text()

        for _ in range(receiver.FAILED_LOGINS):
            assert _log_in(port, application.api_key) == 401

        def is_blocked() -> bool:
            return bool(get_json(f"{url}/state")["blocked"] == [ADDRESS])

        assert wait_until(is_blocked, 60, never), (tmp_path / "worker.log").read_text()
    assert "Traceback" not in web.read_text() + (tmp_path / "worker.log").read_text()
