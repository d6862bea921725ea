"""States of what customers get: portal links, challenges, first tests, coalescing, schedules, versions, the ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Page

from flask_webhooks.app_state import state_of
from tests.support.delivering import webhooks_of
from tests.support.helpers import (
    add_delivery,
    add_endpoint,
    add_scheduled,
    update,
)
from tests.support.pages import World

from .chromium import Watched
from .conftest import apart

T = TypeVar("T")

#: Where the application's portal is.
PORTAL = "/portal"
_TENANT = "app_7"


def customer_states(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    """Put the browser into one state after another; gives the name of each."""
    yield from _portal(watched, app, world)
    yield from _unverified(watched, app, world)
    yield from _not_live_yet(watched, app, world)
    yield from _coalescing(watched, app, world)
    yield from _scheduled(watched, app, world)
    yield from _versions(watched, app, world)
    yield from _ledger(watched, app, world)


def _inside(app: Flask, function: Callable[[], T]) -> T:
    """Call it in the application, beside Playwright's event loop."""

    def call() -> T:
        with app.app_context():
            return function()

    return apart(call)


def _portal(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    def make(actions: list[str]) -> tuple[str, str]:
        with app.test_request_context("/", base_url=watched.origin):
            url = webhooks_of(app).portal_link(_TENANT, actor="mira", actions=actions)
        with state_of(app).engine.connect() as connection:
            newest = sa.func.max(state_of(app).table("PortalLink").c.id)
            return url, str(connection.scalar(sa.select(newest)))

    def go(url: str) -> Page:
        watched.page.goto(url)
        return watched.page

    home = f"{watched.origin}{PORTAL}/"
    go(home)
    yield "the portal without a link"
    go(f"{home}open?link=plk_1.changed")
    yield "a portal link that was changed"
    endpoint = apart(lambda: add_endpoint(app, tenant=_TENANT, name=f"portal {world.hostile}"))
    apart(lambda: add_delivery(app, endpoint, "failed", attempt_count=1))
    url, _ = apart(make, ["view", "manage", "send"])
    page = go(url)
    assert page.is_visible("text=Add webhook")
    yield "the portal opened by a link"
    go(f"{home}endpoints/{endpoint.id}")
    yield "a webhook in the portal"
    go(f"{home}deliveries")
    yield "deliveries in the portal"
    url, link_id = apart(make, ["view"])
    go(url)
    yield "the portal for who may only look"
    update(app, "PortalLink", link_id, expires_at=datetime.now(UTC) - timedelta(minutes=1))
    page = go(home)
    assert "expired" in page.inner_text("main")
    yield "a portal link that has expired"
    url, link_id = apart(make, ["view"])
    go(url)
    update(app, "PortalLink", link_id, revoked_at=datetime.now(UTC), revoked_by="ann")
    go(home)
    yield "a portal link that was revoked"
    watched.open("/portal-links")
    yield "portal links, some of which have ended"
    page = watched.open("/portal-links/new")
    page.fill("#wh-tenant", _TENANT)
    page.fill("#wh-actor", "mira")
    with page.expect_navigation():
        page.click(".wh form[method=post] button")
    yield "a new portal link"


def _unverified(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    state = state_of(app)
    before = state.settings
    state.settings = dataclasses.replace(before, verify_endpoints=True)

    made = _inside(app, lambda: add_endpoint(app, name=f"unverified {world.hostile}"))
    endpoint_id, challenge = made.id, _answer(app, made.id, 200, "not_echoed")
    page = watched.open(f"/endpoints/{endpoint_id}")
    assert page.is_visible("text=Not verified")
    yield "an unverified webhook"
    page.get_by_role("link", name="Send challenge", exact=True).first.click()
    page.wait_for_selector("dialog")
    yield "the dialog Send challenge"
    page = watched.open(f"/deliveries/{challenge}")
    assert page.is_visible("text=did not echo the challenge")
    yield "a challenge that was not echoed"
    state.settings = before


def _answer(app: Flask, endpoint_id: str, status: int, error: str) -> str:
    """Have the only delivery of an endpoint fail; returns its id."""
    delivery, attempt = (state_of(app).table(name) for name in ("Delivery", "Attempt"))

    def write() -> str:
        with state_of(app).engine.begin() as connection:
            mine = delivery.c.endpoint_id == endpoint_id
            found = str(connection.scalar(sa.select(delivery.c.id).where(mine)))
            values = {"state": "failed", "due_at": None, "attempt_count": 1, "last_status": status}
            connection.execute(sa.update(delivery).where(mine).values(values))
            connection.execute(
                sa.insert(attempt).values(
                    delivery_id=found,
                    number=1,
                    endpoint_id=endpoint_id,
                    trigger="test",
                    started_at=datetime.now(UTC),
                    duration_ms=12.5,
                    outcome="refused",
                    status=status,
                    error_code=error,
                    error_params={"status": status},
                    url="https://hooks.example.com/in",
                    request_headers=[["Content-Type", "application/json"]],
                    request_body="{}",
                    response_cut=False,
                )
            )
        return found

    return apart(write)


def _not_live_yet(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    page = watched.open("/endpoints/new")
    page.check("#wh-test_first")
    yield "a test before it goes live"
    endpoint_id = _inside(app, lambda: add_endpoint(app, name="first", test_first=True)).id
    _answer(app, endpoint_id, 401, "refused")
    page = watched.open(f"/endpoints/{endpoint_id}")
    assert page.is_visible("text=Not live yet")
    yield "a webhook that is not live yet"
    page.get_by_role("link", name="Go live without a test").first.click()
    page.wait_for_selector("dialog")
    yield "the dialog Go live without a test"


def _coalescing(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    rules = {
        "license.validated": {"by": "data.license_key", "seconds": 60},
        "license.check_in_overdue": {"by": f"data.{'a' * 60}", "seconds": 86400},
    }
    endpoint = apart(lambda: add_endpoint(app, name=f"coalescing {world.hostile}", coalesce=rules))
    delivery = apart(
        lambda: add_delivery(app, endpoint, "succeeded", "license.validated", coalesced=1234)
    )
    watched.open(f"/endpoints/{endpoint.id}")
    yield "a webhook that coalesces"
    page = watched.open(f"/deliveries/{delivery}")
    assert page.is_visible("text=1,234")
    yield "a delivery that stands for others"
    page = watched.open(f"/endpoints/{endpoint.id}/edit")
    yield "the settings of a webhook that coalesces"
    page.fill("#wh-coalescing-0-seconds", "never")
    page.fill("#wh-coalescing-1-by", "a..b")
    with page.expect_navigation():
        page.click(".wh form[method=post] button:has-text('Save changes')")
    yield "a rule for coalescing refused"


def _scheduled(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    for number in range(3):
        apart(add_scheduled, app, _TENANT, f"expiring:{world.hostile}:{number}:{'x' * 60}"[:255])
    page = watched.open("/scheduled")
    yield "several scheduled events"
    page.get_by_role("link", name="Cancel…").first.click()
    page.wait_for_selector("dialog")
    yield "the dialog to cancel a scheduled event"
    watched.open("/scheduled?key=none")
    yield "no scheduled event matches"


def _versions(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    def fails(data: dict[str, Any]) -> dict[str, Any]:
        raise KeyError(world.hostile)

    def renamed(data: dict[str, Any]) -> dict[str, Any]:
        return {"device_id": data.pop("hwid", None), **data, "level": "high"}

    webhooks = webhooks_of(app)
    pinned = apart(
        lambda: add_endpoint(app, name="pinned", data_version="initial", events=["license.*"])
    )
    webhooks.version("license.created", "2026-07-01")(renamed)
    webhooks.version("license.created", "2026-08-01")(lambda data: {**data, "added": world.hostile})
    webhooks.version("license.renewed", "2026-09-01")(fails)
    watched.open("/event-types/license.created")
    yield "versions of an event type"
    watched.open("/event-types/license.renewed")
    yield "a version whose function fails"
    watched.open(f"/endpoints/{pinned.id}/edit")
    yield "the settings of a pinned webhook"
    page = watched.open(f"/endpoints/{pinned.id}/test?event_type=license.renewed")
    with page.expect_navigation():
        page.click(".wh form[method=post] button:has-text('Send test event')")
    yield "a test event that cannot be turned back"
    later = datetime.now(UTC) + timedelta(minutes=1)
    update(app, "EndpointHealth", pinned.id, hold_reason="version_failed", hold_until=later)
    watched.open(f"/endpoints/{pinned.id}")
    yield "a webhook held by a function that fails"
    watched.open("/")
    yield "a banner of a function that fails"
    update(app, "EndpointHealth", pinned.id, hold_reason=None, hold_until=None)
    update(app, "Endpoint", pinned.id, data_version="2026-06-15")
    watched.open(f"/endpoints/{pinned.id}")
    yield "a webhook whose version was removed"


def _ledger(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    endpoint = apart(lambda: add_endpoint(app, name=f"ledger {world.hostile}"))
    watched.open(f"/endpoints/{endpoint.id}/ledger")
    yield "a ledger without numbers"

    def fill() -> None:
        states = ("succeeded", "failed", "pending", "held", "cancelled")
        for number, state in enumerate(states, 110):
            moment = datetime.now(UTC) - timedelta(minutes=number)
            add_delivery(
                app,
                endpoint,
                state,
                sequence=number,
                attempt_count=number % 3,
                last_attempt_at=moment if number % 3 else None,
            )

    apart(fill)
    update(app, "EndpointHealth", endpoint.id, last_sequence=115)
    page = watched.open(f"/endpoints/{endpoint.id}/ledger")
    yield "a ledger"
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**to=15")
    yield "the last page of a ledger"
    watched.open(f"/endpoints/{endpoint.id}/ledger?to=none")
    yield "a ledger up to what is no number"
