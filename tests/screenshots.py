"""``make screenshots``: pictures of every page, desktop and phone, light and dark, into ``build/screenshots``."""

from __future__ import annotations

import logging
import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Page

from example_app.services import RedisServer
from flask_webhooks.state import state_of

from . import pages
from .browser.chromium import SCHEMES, SIZES, find_chromium, launched, served
from .helpers import close
from .receiver import Receiver

TARGET = Path("build/screenshots")


def main() -> int:
    if find_chromium() is None:
        print("Screenshots need Chromium: apt-get install chromium, or name one in CHROMIUM.")
        return 1
    TARGET.mkdir(parents=True, exist_ok=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory() as directory,
        RedisServer() as redis,
        Receiver() as receiver,
    ):
        app = pages.make_app(
            f"sqlite:///{directory}/database.sqlite", redis.url, WEBHOOKS_MAX_ENDPOINTS=20
        )
        world = pages.populate(app, receiver, hostile="Acme")
        add_history(app, list(world.endpoints.values()))
        with served(app) as origin, launched() as browser:
            for size, (width, height) in SIZES.items():
                for scheme in SCHEMES:
                    page = browser.new_page(
                        viewport={"width": width, "height": height}, color_scheme=scheme
                    )
                    for name, path in paths(world).items():
                        page.goto(f"{origin}/webhooks{path}")
                        page.screenshot(path=TARGET / f"{name}-{size}-{scheme}.png", full_page=True)
                    for name in answers(page, f"{origin}/webhooks"):
                        page.screenshot(path=TARGET / f"{name}-{size}-{scheme}.png", full_page=True)
                    page.close()
        close(app)
    print(f"Written to {TARGET}")
    return 0


def paths(world: pages.World) -> dict[str, str]:
    """One page of each kind."""
    good = f"/endpoints/{world.endpoints['good']}"
    return {
        "endpoints": "/",
        "endpoints-no-match": "/?q=nothing+like+that",
        "overview": "/overview",
        "endpoint": good,
        "endpoint-failing": f"/endpoints/{world.endpoints['refusing']}",
        "endpoint-disabled": f"/endpoints/{world.endpoints['disabled']}",
        **{f"endpoint-{page}": f"{good}/{page}" for page in pages.ENDPOINT_PAGES},
        "new": "/endpoints/new",
        "test": f"{good}/test?event_type=license.activated",
        "delete-all": "/delete-all",
        "deliveries": "/deliveries",
        "deliveries-no-match": "/deliveries?status=404",
        **{
            f"delivery-{name.replace(' ', '-')}": f"/deliveries/{id_}"
            for name, id_ in world.deliveries.items()
        },
        "events": "/events",
        "event": f"/events/{world.events['emitted']}",
        "event-types": "/event-types",
        "event-type": "/event-types/license.created",
        "activity": "/activity",
        "health": "/health",
        "deliveries-failed": "/deliveries?state=failed",
        "deliveries-text": "/deliveries?q=example",
        "deliveries-which": "/deliveries?webhook=in",
        "recover": f"/endpoints/{world.endpoints['refusing']}/recover",
        "replay": f"{good}/replay",
        "recover-confirm": f"/endpoints/{world.endpoints['disabled']}/recover?since=2026-01-01T00:00",
        "recover-nothing": f"{good}/recover?since=2020-01-01T00:00&until=2020-01-02T00:00",
        "replay-confirm": f"{good}/replay?since=2026-01-01T00:00",
        "resend-all": "/deliveries/resend-all?since=2026-01-01T00:00",
        "cancel-all": "/deliveries/cancel-all?state=pending",
        "tasks": "/tasks",
        **{f"task-{state}": f"/tasks/{id_}" for state, id_ in world.tasks.items()},
        "not-found": "/endpoints/nothing",
    }


def answers(page: Page, url: str) -> Iterator[str]:
    """What only a form that was sent shows; the page stands there while its name is out."""
    page.goto(f"{url}/endpoints/new")
    page.fill("#wh-url", "https://desk.example/in")
    page.select_option("#wh-format", "custom")
    page.click("[name=preview]")
    yield "new-preview"
    page.goto(f"{url}/endpoints/new")
    page.fill("#wh-url", "ftp://127.0.0.1/")
    page.fill("#wh-rate_limit", "many")
    page.click("text=Add webhook >> nth=-1")
    yield "new-refused"
    page.goto(f"{url}/endpoints/new")
    page.fill("#wh-url", "https://shop.example/webhooks")
    page.click("text=Add webhook >> nth=-1")
    yield "secret"
    page.click("text=I have saved it")
    yield "endpoint-new"
    page.click("text=Delete >> nth=-1")
    page.wait_for_selector("dialog")
    yield "dialog"
    page.click("dialog button")
    page.click(".wh-more >> nth=1")
    yield "endpoints-menu"


def add_history(app: Flask, endpoint_ids: list[str]) -> None:
    """A month of statistics, so that charts show something; the same each time."""
    state = state_of(app)
    chance = random.Random(2)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = []
    for endpoint_id in endpoint_ids[:3]:
        for back in range(1, 30 * 24):
            succeeded = int(abs(chance.gauss(120, 50)))
            failed = int(abs(chance.gauss(0, 12))) if chance.random() < 0.4 else 0
            rows.append(
                {
                    "endpoint_id": endpoint_id,
                    "hour": hour - timedelta(hours=back),
                    "succeeded": succeeded,
                    "failed": failed,
                    "duration_ms": 90.0 * (succeeded + failed),
                    "ms_50": succeeded // 3,
                    "ms_100": succeeded - succeeded // 3,
                    "ms_1000": failed,
                }
            )
    with state.engine.begin() as connection:
        connection.execute(sa.insert(state.table("Statistic")), rows)


if __name__ == "__main__":
    sys.exit(main())
