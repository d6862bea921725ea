"""The README's demo, tried as a new user would: the real licensing server, its worker and its receiver."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from demo.stage import Stage

from .chromium import Watched, faults_of
from .conftest import apart
from .keyboard import copy_secret, go, press, tab_to
from .outside import PATIENCE


class Demo:
    """What `make demo` runs, but for the traffic: the test says what happens."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.origin = f"http://127.0.0.1:{stage.web_port}"
        self.password = stage.password
        self.receiver = stage.receiver_url

    def sell(self) -> None:
        """Make a licence, as the programs of customers do: an event of one type."""
        request = urllib.request.Request(
            f"{self.origin}/api/v1/licenses",
            json.dumps({"count": 1}).encode(),
            {
                "Authorization": f"Bearer {self._stage.api_keys[0]}",
                "Content-Type": "application/json",
            },
        )
        urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture
def demo(tmp_path: Path, redis_url: str) -> Iterator[Demo]:
    with ExitStack() as stack:
        stage = Stage(stack, tmp_path, threading.Event(), threading.Event())
        apart(stage.start, redis_url)
        yield Demo(stage)


@pytest.fixture
def visitor(chromium: Browser, demo: Demo) -> Iterator[Watched]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=demo.origin)
    watched = Watched(context.new_page(), demo.origin)
    yield watched
    context.close()
    assert watched.faults == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_journey_in_the_demo_with_the_keyboard_alone(
    visitor: Watched, demo: Demo
) -> None:
    # What the programs of customers did before there was a webhook.
    demo.sell()
    page = visitor.page
    page.goto(f"{demo.origin}/")
    assert page.inner_text("h1") == "Sign in"
    # The first field has the focus.
    page.keyboard.type("admin")
    tab_to(page, "Password")
    page.keyboard.type(demo.password)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    go(page, "Webhooks")
    assert page.inner_text("h1") == "Webhooks"
    assert page.is_visible("text=license-desk")
    faults = faults_of(visitor)

    press(page, "Add webhook")
    expect(page.get_by_role("dialog", name="Add webhook")).to_be_visible()
    # A URL that the demo names, and that always fails.
    page.keyboard.type(f"{demo.receiver}/try/503")
    tab_to(page, "Name")
    page.keyboard.type("Shop")
    go(page, "Add webhook")
    secret = copy_secret(page)
    faults += faults_of(visitor)
    go(page, "I have saved it")
    assert secret not in page.content()

    demo.sell()
    go(page, "Send test event")
    tab_to(page, "Event type")
    page.keyboard.type("license.expired")
    expect(page.locator("#wh-sample")).to_have_value(re.compile("expired"))
    go(page, "Send test event")
    expect(page.get_by_text("Attempt 1", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("The path asks for 503.").first).to_be_visible()
    expect(page.locator("#wh-part-state")).to_contain_text("Failed", timeout=PATIENCE)
    faults += faults_of(visitor)

    # The sale is retried until the schedule of the demo is used up.
    go(page, "Shop")
    go(page, "All deliveries of this webhook")
    sale = page.locator("tbody tr", has_text="license.created")
    # The list refreshes itself.
    expect(sale.get_by_text("Failed")).to_be_visible(timeout=PATIENCE)
    go(page, "Webhooks")
    go(page, "Shop")
    go(page, "Edit")
    tab_to(page, "Endpoint URL")
    page.keyboard.press("Control+A")
    page.keyboard.type(f"{demo.receiver}/try")
    go(page, "Save changes")
    go(page, "license.expired")
    go(page, "Resend")
    expect(page.get_by_text("Attempt 2", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#wh-part-state")).to_contain_text("Succeeded")

    for opener, title, button, count in (
        ("Recover failed…", "Recover failed deliveries", "Recover them", "1 delivery"),
        ("Replay missed…", "Replay missed events", "Replay them", "1 event"),
    ):
        go(page, "Webhooks")
        go(page, "Shop")
        press(page, opener)
        expect(page.get_by_role("dialog", name=title)).to_be_visible()
        go(page, "Last 24 hours")
        assert page.inner_text(".wh-count") == count
        go(page, button)
        expect(page.locator("#wh-part-state")).to_have_text("Finished", timeout=PATIENCE)
        faults += faults_of(visitor)
    go(page, "See the results")
    expect(page.locator("tbody .wh-ok")).to_have_count(3, timeout=PATIENCE)

    go(page, "Webhooks")
    go(page, "Shop")
    go(page, "Rotate secret")
    go(page, "Rotate secret")
    assert page.inner_text("#wh-secret") != secret
    faults += faults_of(visitor)
    go(page, "I have saved it")
    assert "The old one is used until" in page.inner_text("main")

    press(page, "Pause")
    expect(page.get_by_role("dialog", name="Pause webhook")).to_be_visible()
    go(page, "Pause webhook")
    demo.sell()
    page.reload()
    assert page.is_visible("text=1 delivery is held until it is resumed.")
    press(page, "Resume")
    expect(page.get_by_role("dialog", name="Resume webhook")).to_be_visible()
    tab_to(page, "Send them now")
    go(page, "Resume webhook")
    assert "The webhook is active again." in page.inner_text("main")
    go(page, "All deliveries of this webhook")
    expect(page.locator("tbody .wh-ok")).to_have_count(4, timeout=PATIENCE)

    go(page, "Webhooks")
    go(page, "Shop")
    press(page, "Delete")
    expect(page.get_by_role("dialog", name="Delete webhook")).to_be_visible()
    go(page, "Delete webhook")
    assert "The webhook was deleted." in page.inner_text("main")
    assert page.is_visible("text=license-desk")
    assert not page.get_by_role("link", name="Shop").count()
    go(page, "Health")
    assert page.locator("#wh-part-banners strong").count() == 0
    faults += faults_of(visitor)
    go(page, "Activity")
    assert "admin deleted the webhook" in page.inner_text("main")
    assert faults == []
