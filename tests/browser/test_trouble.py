"""Banners, with real workers and a real Redis that come and go; whatever is wrong, the pages work."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Page, expect

from demo.services import RedisServer
from flask_webhooks.app_state import state_of
from tests.support.helpers import add_delivery, add_endpoint, database_time
from tests.support.processes import OURS, PLAIN, PLAIN_SCHEDULER, ROOT, WorkerProcess, config_of
from tests.support.receiver import Receiver

from .chromium import Watched, faults_of
from .conftest import apart

#: Milliseconds that workers may take on a busy machine.
PATIENCE = 60_000

NO_WORKER = "No worker has sent a heartbeat."
NO_SCHEDULER = "No scheduler is running."


def banners(page: Page) -> list[str]:
    return page.locator("#wh-part-banners strong").all_inner_texts()


def expect_banners(page: Page, *titles: str) -> None:
    """Without anybody reloading the page."""
    expect(page.locator("#wh-part-banners strong")).to_have_text(list(titles), timeout=PATIENCE)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_worker_that_stops_and_one_that_starts(
    watched: Watched, app: Flask, tmp_path: Path
) -> None:
    page = watched.open("/health")
    expect_banners(page, NO_WORKER)
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        expect_banners(page)
        worker.terminate()
        worker.wait(30)
        expect_banners(page, NO_WORKER)
    with WorkerProcess(OURS, config_of(app), tmp_path / "second.log") as worker:
        expect_banners(page)
        # Killed, it says no farewell: RQ goes on listing it.
        worker.kill()
        assert banners(page) == []
        apart(lambda: let_time_pass(app, 40))
        expect_banners(page, NO_WORKER)
    assert faults_of(watched) == []


def let_time_pass(app: Flask, seconds: float) -> None:
    """As far as signs of life are concerned."""
    table = state_of(app).table("Heartbeat")
    then = database_time(app) - timedelta(seconds=seconds)
    with state_of(app).engine.begin() as connection:
        assert connection.execute(sa.update(table).values(seen_at=then)).rowcount


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_scheduler_and_suspended_queue(
    watched: Watched, app: Flask, redis_url: str, tmp_path: Path
) -> None:
    def rq(command: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "rq.cli", command, "--url", redis_url], check=True, cwd=ROOT
        )

    page = watched.open("/health")
    with WorkerProcess(PLAIN, config_of(app), tmp_path / "plain.log") as worker:
        expect_banners(page, NO_SCHEDULER)
        rq("suspend")
        expect_banners(page, "The queue is suspended.", NO_SCHEDULER)
        assert "Resume with: rq resume" in page.inner_text("#wh-part-banners")
        assert faults_of(watched) == []
        rq("resume")
        expect_banners(page, NO_SCHEDULER)
        worker.terminate()
        worker.wait(30)
    with WorkerProcess(PLAIN_SCHEDULER, config_of(app), tmp_path / "scheduler.log"):
        expect_banners(page)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_without_redis_pages_work_and_what_is_asked_for_is_saved(
    watched: Watched, app: Flask, receiver: Receiver, redis_server: RedisServer, tmp_path: Path
) -> None:
    endpoint = apart(lambda: add_endpoint(app, receiver.url(), name="Shop"))
    failed = apart(lambda: add_delivery(app, endpoint, "failed"))
    redis_server.stop()
    try:
        for path in ("/", "/deliveries", f"/endpoints/{endpoint.id}", "/health"):
            page = watched.open(path)
            assert "Redis does not respond." in banners(page), path
            assert "events, tests and resends are saved" in page.inner_text("#wh-part-banners")
        assert faults_of(watched) == []
        page = watched.open(f"/endpoints/{endpoint.id}/test")
        page.click(".wh form button:has-text('Send test event')")
        expect(page.get_by_text("The test event is queued.")).to_be_visible()
        assert "Redis does not respond." in banners(page)
        test = page.url.rpartition("/")[2]
        page = watched.open(f"/deliveries/{failed}")
        page.click("#wh-resend")
        expect(page.get_by_text("It is queued to be sent again.")).to_be_visible()
        expect(page.locator("#wh-part-state")).to_contain_text("Queued")
        assert "Redis does not respond." in banners(page)
    finally:
        redis_server.start()
    # Both are sent once Redis is back; nobody has to ask again.
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log"):
        for delivery in (failed, test):
            page = watched.open(f"/deliveries/{delivery}")
            expect(page.get_by_text("Attempt 1", exact=True)).to_be_visible(timeout=PATIENCE)
            expect(page.locator("#wh-part-state")).to_contain_text("Succeeded")
    assert len(receiver.requests) == 2
