"""The rules of the style sheet, of stored text, and of a browser without JavaScript."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page

from flask_webhooks import queries
from tests.support.delivering import states
from tests.support.helpers import accessing
from tests.support.pages import HOSTILE, World, spoil
from tests.support.processes import OURS, WorkerProcess, config_of
from tests.support.receiver import Receiver

from .chromium import Watched, violations
from .conftest import apart
from .outside import JOURNEY, emit_some, verified, wait_for_states

# -- media --------------------------------------------------------------------------------------------


def style(page: Page, selector: str, name: str) -> str:
    value: str = page.eval_on_selector(
        selector, "(item, name) => getComputedStyle(item).getPropertyValue(name)", name
    )
    return value


def system_colour(page: Page, name: str) -> str:
    value: str = page.evaluate(
        """name => {
            const item = document.body.appendChild(document.createElement("i"));
            item.style.color = name;
            const found = getComputedStyle(item).color;
            item.remove();
            return found;
        }""",
        name,
    )
    return value


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_forced_colours_leave_every_shape_to_see(
    chromium: Browser, origin: str, world: World
) -> None:
    # The page's own policy would not let the test set a style.
    context = chromium.new_context(forced_colors="active", bypass_csp=True)
    watched = Watched(context.new_page(), origin)
    page = watched.open(f"/endpoints/{world.endpoints['good']}")
    text, ground = system_colour(page, "CanvasText"), system_colour(page, "Canvas")
    assert text != ground
    # Backgrounds are gone, so what they marked has an edge.
    for selector in (".wh-status", ".wh-tag"):
        assert style(page, selector, "border-top-color") == text, selector
        assert style(page, selector, "border-top-style") == "solid", selector
    current, other = ".wh-tab[aria-current]", ".wh-tab:not([aria-current])"
    assert style(page, current, "border-bottom-color") == system_colour(page, "Highlight")
    assert style(page, other, "border-bottom-color") != style(page, current, "border-bottom-color")
    # Bars of a chart keep apart from what is behind them.
    assert style(page, ".wh-fill-ok", "fill") == text
    assert style(page, ".wh-status .wh-icon", "stroke") == text
    page = watched.open(f"/deliveries/{world.deliveries['attempt succeeded']}")
    assert style(page, ".wh-part", "fill") == text
    assert violations(watched) == []
    assert watched.faults == []
    context.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_moves_where_motion_is_unwelcome(watched: Watched, world: World) -> None:
    running = "document.getAnimations().filter(item => item.playState === 'running').length"
    path = f"/deliveries/{world.deliveries['sending']}"
    watched.page.emulate_media(reduced_motion="no-preference")
    page = watched.open(path)
    assert page.evaluate(running) > 0
    page.emulate_media(reduced_motion="reduce")
    for each in (path, "/", "/health", "/overview"):
        assert watched.open(each).evaluate(running) == 0, each
        moving = """() => [...document.querySelectorAll("*")].filter((item) => {
            const style = getComputedStyle(item);
            return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
        }).length"""
        assert page.evaluate(moving) == 0, each


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pages_that_are_read_from_right_to_left_fit_on_a_phone(
    watched: Watched, world: World
) -> None:
    page = watched.page
    page.set_viewport_size({"width": 375, "height": 740})
    for path in (
        "/",
        "/overview",
        f"/endpoints/{world.endpoints['good']}",
        "/deliveries",
        f"/deliveries/{world.deliveries['attempt succeeded']}",
        "/endpoints/new",
        "/health",
    ):
        watched.open(path)
        page.evaluate("document.documentElement.dir = 'rtl'")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path
        heading = page.locator("h1").bounding_box()
        assert heading is not None
        assert heading["x"] + heading["width"] > 200, path


# -- what is stored -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_script_tags_in_every_stored_field_stay_text(
    watched: Watched, app: Flask, world: World
) -> None:
    count = apart(lambda: spoil(app))
    assert count > 30
    for path in world.paths():
        page = watched.open(path)
        assert page.is_visible("h1"), path
        assert (
            page.eval_on_selector_all(
                "script", "all => all.filter(item => !item.src.includes('/static/')).length"
            )
            == 0
        ), path
        assert page.query_selector("img, iframe, object, embed") is None, path
        handlers = """() => [...document.querySelectorAll(".wh *")].flatMap(
            (item) => [...item.attributes].map((attribute) => attribute.name)
        ).filter((name) => name.startsWith("on"))"""
        assert page.evaluate(handlers) == [], path
    shown = watched.open(f"/endpoints/{world.endpoints['good']}").inner_text("body")
    assert HOSTILE in shown


# -- without JavaScript -------------------------------------------------------------------------------


@pytest.fixture
def worker(app: Flask, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        yield worker


def send(page: Page, name: str) -> None:
    """Press a button of a form."""
    page.click(f".wh form button:has-text('{name}')")


def refresh_until(page: Page, text: str) -> None:
    """Follow the link Refresh until the page says something."""
    for _ in range(300):
        if page.get_by_text(text, exact=True).count():
            return
        page.wait_for_timeout(200)
        page.get_by_role("link", name="Refresh").click()
    raise AssertionError(f"{page.url} does not say {text!r}")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("settings", [JOURNEY], ids=["failing soon"])
def test_everything_can_be_done_without_javascript(
    chromium: Browser, origin: str, app: Flask, receiver: Receiver, worker: WorkerProcess
) -> None:
    emit_some(app, 2)
    context = chromium.new_context(java_script_enabled=False)
    watched = Watched(context.new_page(), origin)
    page = watched.open("/")
    page.click("text=Add webhook")
    page.fill("#wh-url", receiver.url("/status/500"))
    page.fill("#wh-name", "Shop")
    send(page, "Add webhook")
    secret = page.inner_text("#wh-secret")
    page.click("text=I have saved it")
    assert secret not in page.content()

    page.click("text=Send test event")
    page.select_option("#wh-event_type", "user.banned")
    send(page, "Load the example")
    sample: dict[str, Any] = json.loads(page.input_value("#wh-sample"))
    page.fill("#wh-sample", json.dumps({**sample, "mine": 1}))
    send(page, "Send test event")
    refresh_until(page, "Attempt 1")
    assert "Check its logs for this time" in page.inner_text("main")
    emit_some(app, 3)
    wait_for_states(app, failed=4)
    page.click("role=link[name='Shop']")
    page.click("role=link[name='Edit']")
    page.fill("#wh-url", receiver.url())
    page.fill("#wh-name", "Store")
    send(page, "Save changes")
    assert page.inner_text("h1") == "Store"
    page.click("role=link[name='user.banned']")
    send(page, "Resend")
    assert page.is_visible("text=Queued")
    refresh_until(page, "Attempt 2")
    assert "Succeeded" in page.inner_text("#wh-part-state")
    assert json.loads(receiver.requests[-1].body)["data"]["mine"] == 1

    page.click(".wh >> role=link[name='Check a signature']")
    request = receiver.requests[-1]
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    page.fill("#wh-headers", headers)
    page.fill("#wh-body", request.body.decode())
    send(page, "Check the signature")
    assert "The signature matches" in page.inner_text("#wh-verdict")

    [row] = queries.list_endpoints(accessing(app))
    webhook = f"/endpoints/{row.endpoint.id}"
    for link, button, count, sent in (
        ("Recover failed…", "Recover them", "3 deliveries", 4),
        ("Replay missed…", "Replay them", "2 events", 6),
    ):
        before = apart(states, app)
        watched.open(webhook).get_by_role("link", name=link).first.click()
        page.fill("#wh-since", "2020-01-01T00:00")
        send(page, "Count them")
        assert page.inner_text(".wh-count") == count
        assert apart(states, app) == before
        send(page, button)
        refresh_until(page, "Finished")
        wait_for_states(app, succeeded=sent)

    watched.open(webhook).click("text=Rotate secret")
    page.check("input[value='604800']")
    send(page, "Rotate secret")
    fresh = page.inner_text("#wh-secret")
    assert fresh != secret
    page.click("text=I have saved it")
    assert "The old one is used until" in page.inner_text("main")
    emit_some(app, 1)
    wait_for_states(app, succeeded=7)
    assert verified(receiver.requests[-1], secret) == verified(receiver.requests[-1], fresh)
    page.click("text=Switch now")
    send(page, "Switch now")
    assert "only signed with the newest secret" in page.inner_text("main")

    page.click("role=link[name='Pause']")
    page.fill("#wh-reason", "Moving house")
    send(page, "Pause webhook")
    assert "Moving house" in page.inner_text("main")
    emit_some(app, 1)
    assert apart(states, app) == {"succeeded": 7, "held": 1}
    page.click("role=link[name='Resume']")
    assert "1 delivery was held meanwhile." in page.inner_text("main")
    page.check("text=Send them now")
    send(page, "Resume webhook")
    assert "The webhook is active again." in page.inner_text("main")
    wait_for_states(app, succeeded=8)

    watched.open("/deliveries").select_option("#wh-filter-state", "succeeded")
    send(page, "Filter")
    assert page.locator("tbody tr").count() == 8
    # Menus open without a script, too.
    watched.open("/").click(".wh-more")
    page.click("role=link[name='Delete Store']")
    send(page, "Delete webhook")
    assert "No webhooks configured yet." in page.inner_text("main")
    assert watched.faults == []
    context.close()
