"""Metrics over HTTP: the host's page, and the process beside a worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, request

from demo.services import free_port
from flask_webhooks import ALL_TENANTS
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import ConfigurationError
from flask_webhooks.metrics.serving import beside
from tests.support.delivering import close, emit, make_app, webhooks_of
from tests.support.processes import COMMAND, WorkerProcess, children, config_of, wait_until
from tests.support.receiver import Receiver
from tests.support.scraping import Scrape, scrape_url


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    """One database shows it as well as the other."""
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url, SQLITE_IMMEDIATE=True)
    with app.app_context():
        yield app
        close(app)


# -- in the host's application -----------------------------------------------------------------------


def test_page_shows_metrics_to_those_whom_the_host_lets_in(app: Flask) -> None:
    def authenticate() -> bool:
        return request.authorization is not None and request.authorization.token == "secret"

    app.register_blueprint(webhooks_of(app).metrics_blueprint(authenticate, labels=["tenant"]))
    client = app.test_client()
    refused = client.get("/metrics")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "flask_webhooks_up" not in refused.text
    shown = client.get("/metrics", headers={"Authorization": "Bearer secret"})
    assert shown.status_code == 200
    assert shown.content_type.startswith("text/plain")
    assert shown.headers["Cache-Control"] == "no-store"
    assert Scrape(shown.text).all("up") == {("database",): 1, ("redis",): 1}
    assert "flask_webhooks_recent_attempts" in shown.text
    accept = {"Authorization": "Bearer secret", "Accept": "application/openmetrics-text"}
    assert client.get("/metrics", headers=accept).text.endswith("# EOF\n")
    assert client.post("/metrics").status_code == 405


def test_page_without_a_function_is_for_those_who_see_everything(app: Flask) -> None:
    webhooks = webhooks_of(app)
    app.register_blueprint(webhooks.metrics_blueprint(), url_prefix="/internal")
    client = app.test_client()
    assert client.get("/internal/metrics").status_code == 200
    webhooks.current_tenant(lambda: "acme")
    assert client.get("/internal/metrics").status_code == 403
    webhooks.current_tenant(lambda: ALL_TENANTS)
    webhooks.authorize(lambda action, endpoint: action != "view")
    assert client.get("/internal/metrics").status_code == 403
    webhooks.hooks.authorize = None
    assert client.get("/internal/metrics").status_code == 403


def test_answer_that_is_neither_yes_nor_no_is_an_error(app: Flask) -> None:
    app.register_blueprint(webhooks_of(app).metrics_blueprint(lambda: "no"))  # type: ignore[arg-type,return-value]
    app.testing = True
    with pytest.raises(ConfigurationError, match="metrics_blueprint"):
        app.test_client().get("/metrics")


@pytest.mark.slow
def test_page_does_not_load_what_only_workers_need() -> None:
    code = (
        "import sys\n"
        "from tests.support.hostapp import create_app\n"
        "app = create_app(SQLALCHEMY_DATABASE_URI='sqlite://')\n"
        "app.register_blueprint(app.extensions['test_webhooks'].metrics_blueprint())\n"
        "print('prometheus_client' in sys.modules, 'flask_webhooks.jobs' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["True", "False"]


# -- beside a worker ---------------------------------------------------------------------------------


def worker_with_metrics(app: Flask, folder: Path, port: int) -> WorkerProcess:
    arguments = ["--metrics-port", str(port), "--metrics-label", "tenant"]
    return WorkerProcess([*COMMAND, *arguments], config_of(app), folder / "worker.log")


def serves(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_worker_serves_metrics_for_as_long_as_it_runs(
    app: Flask, receiver: Receiver, tmp_path: Path, how: signal.Signals
) -> None:
    webhooks_of(app).create_endpoint(receiver.url(), tenant="acme")
    port = free_port()
    with worker_with_metrics(app, tmp_path, port) as worker:
        wait_until(lambda: serves(port), what=worker.output)
        url = f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: scrape_url(url).get("workers") == 1, what=worker.output)
        emit(app, 3, tenant="acme")
        key = {"format": "standard", "outcome": "succeeded"}
        wait_until(lambda: scrape_url(url).get("attempts_total", **key) == 3, what=worker.output)
        told = scrape_url(url)
        assert told.all("recent_attempts") == {("succeeded", "acme"): 3, ("failed", "acme"): 0}
        assert told.get("lost_wakeups_total") == 0
        descendants = children(worker.process.pid)
        worker.process.send_signal(how)
        worker.wait(15)
        wait_until(lambda: not serves(port), 10)
        if how == signal.SIGTERM:
            assert worker.process.returncode == 0
            assert not any(Path(f"/proc/{pid}").exists() for pid in descendants)
        else:
            for pid in descendants:
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
        assert "Traceback" not in worker.output()


@pytest.mark.slow
def test_port_that_is_taken_ends_the_worker_with_one_line(app: Flask, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with worker_with_metrics(app, tmp_path, port) as worker:
            worker.wait(30)
            assert worker.process.returncode == 1
            [line] = worker.output().splitlines()
    assert line.startswith(
        f"Error: Metrics cannot be served on 127.0.0.1, port {port}: Address already"
    )
    assert "--metrics-port" in line


def test_metrics_are_served_over_ipv6_too(app: Flask) -> None:
    port = free_port()
    with beside(state_of(app), "::1", port):
        assert scrape_url(f"http://[::1]:{port}/metrics").get("up", part="database") == 1
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://[::1]:{port}/metrics", timeout=5)
