"""Every page in the browser: policy, accessibility, width, and the keyboard."""

from __future__ import annotations

from typing import Literal

import pytest
from flask import Flask
from playwright.sync_api import Browser

from tests.support.helpers import add_endpoint
from tests.support.pages import HOSTILE, World

from .chromium import AXE_OF_COLOURS, AXE_OPTIONS, SCHEMES, Watched, violations
from .conftest import apart


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_on_any_page(
    watched: Watched, world: World, scheme: Literal["light", "dark"]
) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    found = []
    for path in world.paths():
        watched.open(path)
        for details in watched.page.query_selector_all("details"):
            details.evaluate("item => item.open = true")
        found += violations(watched, options=AXE_OPTIONS if scheme == "light" else AXE_OF_COLOURS)
    assert found == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_page_is_wider_than_a_phone(watched: Watched, world: World) -> None:
    watched.page.set_viewport_size({"width": 375, "height": 740})
    for path in world.paths():
        width = watched.open(path).evaluate("document.documentElement.scrollWidth")
        assert width <= 375, path


#: Where each row is about something, not a list of headers or numbers.
ROWS = ".wh-table:not(.wh-plain) tbody tr"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_tables_are_cards_on_a_phone(watched: Watched, world: World) -> None:
    page = watched.page
    lists = ("/", "/overview", "/deliveries", "/events", "/tasks", "/health")
    for path in lists:
        page.set_viewport_size({"width": 1280, "height": 900})
        row = watched.open(path).locator(ROWS).first
        cells = row.locator(":scope > :is(th, td)")
        tops = cells.evaluate_all("all => all.map(item => item.getBoundingClientRect().top)")
        # On a desktop they stand side by side.
        assert row.evaluate("item => getComputedStyle(item).display") == "table-row", path
        assert len(tops) > 2, path
        assert max(tops) - min(tops) < 2, path
        page.set_viewport_size({"width": 375, "height": 740})
        assert row.evaluate("item => getComputedStyle(item).display") == "block", path
        box = row.bounding_box()
        assert box is not None
        assert box["x"] >= 0, path
        assert box["x"] + box["width"] <= 375, path
        # On a phone one below the other, each with its name before it, but for the title.
        tops = cells.evaluate_all("all => all.map(item => item.getBoundingClientRect().top)")
        assert tops == sorted(set(tops)), path
        named = row.locator(":scope > td").evaluate_all(
            """all => all.map((item) => [
                getComputedStyle(item, "::before").content, item.dataset.label,
            ])"""
        )
        for shown, name in named:
            assert name, path
            # Browsers give the rule, or what becomes of it.
            assert shown in ("attr(data-label)", f'"{name}"'), path
        heads = page.locator(".wh-table:not(.wh-plain) thead").first.bounding_box()
        assert heads is not None
        assert heads["width"] <= 2, path


def test_the_card_of_a_webhook_has_what_is_needed(watched: Watched, app: Flask) -> None:
    url = f"https://hooks.example.com{'/orders' * 10}"
    apart(lambda: add_endpoint(app, url, name="Shop", user_agent="Shop/1.0"))
    watched.page.set_viewport_size({"width": 375, "height": 740})
    page = watched.open("/")
    card = page.locator(ROWS)
    shown = card.locator("th .wh-code").inner_text()
    assert shown.startswith("https://hooks.example")
    assert "…" in shown
    assert card.get_by_text("Shop/1.0").is_visible()
    card.get_by_role("button", name="What to do with Shop").click()
    page.wait_for_selector(".wh-menu:popover-open")
    assert page.get_by_role("link", name="Delete Shop").is_visible()


@pytest.mark.slow
def test_script_tags_in_what_was_stored_stay_text(watched: Watched, world: World) -> None:
    for path in (
        f"/endpoints/{world.endpoints['good']}",
        f"/deliveries/{world.deliveries['attempt succeeded']}",
        "/activity",
        f"/events/{world.events['emitted']}",
    ):
        page = watched.open(path)
        assert "<script>alert(1)</script>" in page.inner_text("body"), path
        assert page.query_selector("img") is None


@pytest.mark.slow
def test_pages_look_the_same_without_javascript(
    chromium: Browser, origin: str, world: World
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    watched = Watched(context.new_page(), origin)
    for path in world.paths():
        page = watched.open(path)
        assert page.is_visible("h1"), path
    assert watched.faults == []
    context.close()


@pytest.mark.slow
def test_the_first_tab_stop_skips_the_navigation(watched: Watched, world: World) -> None:
    page = watched.open("/deliveries")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "wh-skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "wh-main"


@pytest.mark.slow
def test_a_list_refreshes_itself_and_leaves_the_focus_alone(watched: Watched, world: World) -> None:
    page = watched.open("/deliveries")
    page.focus("#wh-filter-id")
    with page.expect_response(
        lambda response: response.url.endswith("/deliveries"), timeout=20_000
    ):
        pass
    with page.expect_response(
        lambda response: response.url.endswith("/deliveries"), timeout=20_000
    ) as caught:
        pass
    assert caught.value.status in (200, 304)
    assert page.evaluate("document.activeElement.id") == "wh-filter-id"


@pytest.mark.slow
def test_event_types_can_be_filtered(watched: Watched, world: World) -> None:
    page = watched.open("/event-types")
    page.fill("#wh-find", "banned")
    assert page.is_visible("text=user.banned")
    assert not page.is_visible("text=license.created")


@pytest.mark.slow
def test_hostile_text_is_what_it_says(watched: Watched, world: World) -> None:
    page = watched.open(f"/endpoints/{world.endpoints['good']}")
    assert page.inner_text("h1") == f"good {HOSTILE}"
