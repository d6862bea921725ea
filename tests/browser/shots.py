"""The pages that the documentation shows, of the host in `tests.support.showcase`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import redis
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Page
from rq import Worker
from rq.scheduler import RQScheduler

from flask_webhooks.app_state import state_of
from flask_webhooks.columns import utc_now
from tests.support.receiver import Request
from tests.support.showcase import Show

from .chromium import SCHEMES, Watched
from .conftest import apart


@dataclass(frozen=True)
class Shot:
    """A picture of the page as it stands."""

    name: str
    schemes: tuple[Literal["light", "dark"], ...] = field(default=("light",))


def every_shot(watched: Watched, app: Flask, show: Show, redis_url: str) -> Iterator[Shot]:
    """Put the browser onto one page after another; the page stands there while its name is out."""

    def look(path: str, width: int = 1120, height: int = 780) -> None:
        apart(give_a_sign, app, redis_url)
        page.set_viewport_size({"width": width, "height": height})
        watched.open(path)
        page.mouse.move(0, 0)

    page = watched.page
    endpoint = {key: f"/endpoints/{id_}" for key, id_ in show.endpoints.items()}
    look("/", 1280, 760)
    yield Shot("endpoints", SCHEMES)
    look("/", 390, 740)
    yield Shot("phone", SCHEMES)
    look(endpoint["shop"], height=720)
    yield Shot("endpoint")
    look(f"/deliveries/{show.delivery}", height=840)
    yield Shot("delivery", SCHEMES)
    look(f"/events/{show.event}", height=800)
    yield Shot("event")
    look("/endpoints/new")
    page.fill("#wh-url", "https://api.tailspin.example/webhooks")
    page.fill("#wh-name", "Tailspin Toys")
    page.click(".wh form[method=post] button:has-text('Add webhook')")
    page.wait_for_selector("#wh-secret")
    page.mouse.move(0, 0)
    yield Shot("secret")
    since = datetime.now(UTC) - timedelta(days=1)
    look(f"{endpoint['erp']}/recover?since={since:%Y-%m-%dT%H:%M}", height=640)
    yield Shot("recover")
    look(f"{endpoint['shop']}/debugger", height=700)
    _paste(page, show.request)
    page.mouse.move(0, 0)
    yield Shot("debugger")
    look("/health", height=770)
    yield Shot("health")


def _paste(page: Page, request: Request) -> None:
    """A request whose body somebody has read and written again."""
    names = ("content-type", "webhook-id", "webhook-timestamp", "webhook-signature")
    page.fill("#wh-headers", "\n".join(f"{name}: {request.headers[name]}" for name in names))
    page.fill("#wh-body", json.dumps(json.loads(request.body), indent=2))
    page.click(".wh form[method=post] button:has-text('Check the signature')")
    page.wait_for_selector("#wh-verdict")


def give_a_sign(app: Flask, redis_url: str) -> None:
    """As a worker does that runs on another machine."""
    state = state_of(app)
    table = state.table("Heartbeat")
    name, queue = "worker-1", state.settings.queue
    with state.engine.begin() as connection:
        now = connection.execute(sa.select(utc_now())).scalar_one()
        started_at = now - timedelta(days=3, hours=4)
        connection.execute(sa.delete(table))
        connection.execute(
            sa.insert(table).values(
                name=name,
                kind="worker",
                host="jobs-1",
                pid=4127,
                started_at=started_at,
                seen_at=now,
            )
        )
    with redis.Redis.from_url(redis_url) as client:
        worker: Any = Worker([queue], name=name, connection=client)
        if not client.exists(worker.key):
            worker.register_birth()
        client.set(RQScheduler.get_locking_key(queue), "1")
