"""Times on the pages: how long ago, in the zone and language of who looks; in UTC without script."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from tests.support.helpers import add_delivery, add_endpoint, update

from .chromium import Watched
from .conftest import apart


def tried(app: Flask, ago: timedelta) -> str:
    """An endpoint to which something was last sent so long ago; its id."""
    with app.app_context():
        endpoint = add_endpoint(app, name="shop")
        at = datetime.now(UTC) - ago
        update(app, "EndpointHealth", endpoint.id, last_failure_at=at)
        return endpoint.id


def last_delivery(page: Page) -> Any:
    return page.locator("[data-label='Last delivery'] time")


def test_times_are_told_as_long_ago(app: Flask, watched: Watched) -> None:
    apart(tried, app, timedelta(minutes=3, seconds=5))
    shown = last_delivery(watched.open("/"))
    expect(shown).to_have_text("3 minutes ago")
    cell = watched.page.locator("[data-label='Last delivery']")
    expect(cell).to_contain_text("Failed")


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=2), re.compile(r"^(now|\d+ seconds? ago)$")),
        (timedelta(minutes=59, seconds=40), re.compile("^1 hour ago$")),
        (timedelta(hours=30), re.compile("^yesterday$")),
        (timedelta(days=3, hours=2), re.compile("^3 days ago$")),
        (timedelta(days=400), re.compile("^last year$")),
        (timedelta(minutes=-5, seconds=-20), re.compile("^in 5 minutes$")),
    ],
)
def test_the_largest_unit_that_fits_is_told(
    app: Flask, watched: Watched, ago: timedelta, text: re.Pattern[str]
) -> None:
    apart(tried, app, ago)
    expect(last_delivery(watched.open("/"))).to_have_text(text)


def test_exact_time_is_in_the_zone_of_the_viewer(
    app: Flask, chromium: Browser, origin: str
) -> None:
    id = apart(tried, app, timedelta(hours=2))
    at = datetime(2026, 7, 1, 21, 30, tzinfo=UTC)
    apart(lambda: update(app, "Endpoint", id, created_at=at))
    context = chromium.new_context(timezone_id="Asia/Tokyo")
    watched = Watched(context.new_page(), origin)
    page = watched.open(f"/endpoints/{id}")
    created = page.locator(f"time[datetime='{at:%Y-%m-%dT%H:%M:%S}.000Z']").first
    expect(created).to_have_attribute("title", re.compile(r"Jul 2, 2026, 6:30:00\sAM GMT\+9"))
    context.close()
    assert watched.faults == []


def test_without_script_times_are_in_utc(app: Flask, chromium: Browser, origin: str) -> None:
    apart(tried, app, timedelta(minutes=3))
    context = chromium.new_context(java_script_enabled=False, timezone_id="Asia/Tokyo")
    page = context.new_page()
    page.goto(f"{origin}/webhooks/")
    expect(last_delivery(page)).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    context.close()


@pytest.mark.slow
def test_within_a_sentence_the_exact_time_is_told(
    app: Flask, chromium: Browser, origin: str
) -> None:
    id = apart(tried, app, timedelta(hours=2))
    until = datetime(2199, 7, 1, 21, 30, tzinfo=UTC)
    apart(lambda: update(app, "EndpointHealth", id, hold_until=until, hold_reason="no_dns"))
    context = chromium.new_context(timezone_id="Asia/Tokyo")
    watched = Watched(context.new_page(), origin)
    page = watched.open(f"/endpoints/{id}")
    expect(page.locator(".wh")).to_contain_text(
        re.compile(r"Next try after Jul 2, 2199, 6:30:00\sAM GMT\+9")
    )
    context.close()


@pytest.mark.slow
def test_page_that_refreshes_itself_goes_on_telling_how_long_ago(
    app: Flask, watched: Watched
) -> None:
    def waiting() -> None:
        with app.app_context():
            endpoint = add_endpoint(app, name="shop")
            add_delivery(app, endpoint, due_at=datetime.now(UTC) - timedelta(hours=1))

    apart(waiting)
    page = watched.open("/deliveries")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    told = re.compile(r"^(now|\d+ (second|minute)s? ago|.*(hour|day|month|year)s?.*)$")
    expect(rows.locator("time").first).to_have_text(told)

    def another() -> None:
        with app.app_context():
            add_delivery(app, add_endpoint(app, name="other"), due_at=datetime.now(UTC))

    apart(another)
    expect(rows).to_have_count(2, timeout=30_000)
    for number in range(2):
        expect(rows.nth(number).locator("time").first).to_have_text(told)
