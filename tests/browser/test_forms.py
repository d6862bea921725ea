"""Forms as a browser shows them: what is chosen among many event types."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import expect

from tests.support.delivering import drain
from tests.support.pages import World
from tests.support.receiver import Receiver

from .chromium import Watched
from .conftest import apart


@pytest.mark.slow
@pytest.mark.parametrize("place", ["page", "dialog"])
def test_event_types_are_filtered_and_what_is_chosen_stays(
    watched: Watched, app: Flask, world: World, place: str
) -> None:
    if place == "page":
        page = watched.open("/endpoints/new")
        form = page.locator("form.wh-form")
    else:
        page = watched.open("/")
        page.click("text=Add webhook")
        form = page.locator("dialog form")
    field = form.get_by_label("Find an event type")
    # All are sent, so there is nothing to choose from.
    expect(field).to_be_hidden()
    form.get_by_label("Only the events chosen below").check()
    form.get_by_label("license.*").check()
    field.fill("BANNED")
    expect(form.get_by_label("user.banned")).to_be_visible()
    expect(form.get_by_label("license.created")).to_be_hidden()
    expect(form.get_by_label("license.*")).to_be_visible()
    expect(form.get_by_text("Payments", exact=True)).to_be_hidden()
    field.fill("")
    expect(form.get_by_label("license.created")).to_be_visible()
    expect(form.get_by_text("Payments", exact=True)).to_be_visible()


@pytest.mark.slow
def test_webhook_goes_live_once_its_test_was_answered(
    watched: Watched, app: Flask, receiver: Receiver
) -> None:
    page = watched.open("/endpoints/new")
    page.fill("#wh-url", receiver.url("/ok"))
    page.get_by_label("Send a test before it goes live").check()
    page.get_by_role("button", name="Add webhook").click()
    page.get_by_role("link", name="I have saved it").click()
    expect(page.get_by_text("Not live yet")).to_be_visible()
    assert apart(drain, app) == 1
    page.reload()
    expect(page.get_by_text("Not live yet")).to_be_hidden()
    expect(page.get_by_text("Active", exact=True)).to_be_visible()
