"""Whole journeys in the browser, with a real worker and a real receiver."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect
from standardwebhooks import WebhookVerificationError

from tests.support.delivering import drain, emit, states
from tests.support.helpers import add_endpoint
from tests.support.processes import OURS, WorkerProcess, config_of
from tests.support.receiver import Receiver

from .chromium import Watched, faults_of
from .conftest import apart
from .keyboard import copy_secret, go, press, tab_to
from .outside import JOURNEY, PATIENCE, body_of, emit_some, verified, wait_for_states

pytestmark = pytest.mark.slow


@pytest.fixture
def worker(app: Flask, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        yield worker


@pytest.mark.timeout(600)
@pytest.mark.parametrize("settings", [JOURNEY], ids=["failing soon"])
def test_the_whole_journey_with_the_keyboard_alone(
    watched: Watched, origin: str, app: Flask, receiver: Receiver, worker: WorkerProcess
) -> None:
    # What happened before there was a webhook.
    emit_some(app, 2)
    page = watched.open("/")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=origin)
    faults = faults_of(watched)

    press(page, "Add webhook")
    expect(page.get_by_role("dialog", name="Add webhook")).to_be_visible()
    expect(page.locator("#wh-url:focus")).to_be_visible()
    page.keyboard.type(receiver.url("/status/500"))
    tab_to(page, "Name")
    page.keyboard.type("Shop")
    faults += faults_of(watched)
    go(page, "Add webhook")

    secret = copy_secret(page)
    faults += faults_of(watched)
    page.reload()
    assert secret not in page.content()
    assert page.inner_text("h1") == "Shop"
    page.go_back()
    assert secret not in page.content()
    page.go_forward()
    assert page.inner_text("h1") == "Shop"

    # A test of a type and with data of one's own; the receiver is broken, and the attempt says so.
    go(page, "Send test event")
    tab_to(page, "Event type")
    page.keyboard.type("license.expired")
    expect(page.locator("#wh-sample")).to_have_value(re.compile("expired"))
    tab_to(page, "Data")
    page.keyboard.press("Control+A")
    page.keyboard.insert_text('{"license_id": "edited"}')
    faults += faults_of(watched)
    go(page, "Send test event")
    assert page.inner_text("h1") == "license.expired"
    # Without anybody reloading the page.
    expect(page.get_by_text("Attempt 1", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Check its logs for this time").first).to_be_visible()
    expect(page.get_by_text('{"error":"no"}').first).to_be_visible()
    emit_some(app, 3)
    wait_for_states(app, failed=4)
    expect(page.locator("#wh-part-state")).to_contain_text("Failed", timeout=PATIENCE)
    faults += faults_of(watched)
    [test] = [told for told in map(body_of, receiver.requests) if told["type"] == "license.expired"]
    assert test["data"] == {"license_id": "edited"}

    # Its URL is put right, and the test is sent again.
    go(page, "Shop")
    go(page, "Edit")
    tab_to(page, "Endpoint URL")
    page.keyboard.press("Control+A")
    page.keyboard.type(receiver.url("/slow/0.01"))
    go(page, "Save changes")
    assert "The changes were saved." in page.inner_text("main")
    go(page, "license.expired")
    go(page, "Resend")
    expect(page.get_by_text("Attempt 2", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#wh-part-state")).to_contain_text("Succeeded")
    told = verified(receiver.requests[-1], secret)
    assert told["data"] == {"license_id": "edited"}
    assert apart(states, app) == {"failed": 3, "succeeded": 1}

    # What has failed meanwhile, and what it was never sent: first how many, then the button.
    go(page, "Shop")
    for opener, title, button, count, sent in (
        ("Recover failed…", "Recover failed deliveries", "Recover them", "3 deliveries", 4),
        ("Replay missed…", "Replay missed events", "Replay them", "2 events", 6),
    ):
        before = apart(states, app)
        press(page, opener)
        expect(page.get_by_role("dialog", name=title)).to_be_visible()
        faults += faults_of(watched)
        go(page, "Last 24 hours")
        assert page.inner_text(".wh-count") == count
        assert apart(states, app) == before
        faults += faults_of(watched)
        go(page, button)
        expect(page.locator("#wh-part-state")).to_have_text("Finished", timeout=PATIENCE)
        wait_for_states(app, succeeded=sent)
        go(page, "Shop")

    # A new secret, and the old one for a while.
    go(page, "Rotate secret")
    tab_to(page, "for 24 hours")
    page.keyboard.press("ArrowDown")
    assert page.locator("input[name=overlap_seconds]:checked").input_value() == "604800"
    go(page, "Rotate secret")
    fresh = page.inner_text("#wh-secret")
    assert fresh != secret
    go(page, "I have saved it")
    assert "The old one is used until" in page.inner_text("main")
    emit_some(app, 1)
    wait_for_states(app, succeeded=7)
    assert verified(receiver.requests[-1], secret) == verified(receiver.requests[-1], fresh)
    faults += faults_of(watched)
    press(page, "Switch now")
    expect(page.get_by_role("dialog", name="Switch to the new secret")).to_be_visible()
    faults += faults_of(watched)
    go(page, "Switch now")
    assert "only signed with the newest secret" in page.inner_text("main")

    # What happens during a pause is held, and is sent afterwards.
    press(page, "Pause")
    expect(page.get_by_role("dialog", name="Pause webhook")).to_be_visible()
    tab_to(page, "Reason")
    page.keyboard.type("Moving house")
    faults += faults_of(watched)
    go(page, "Pause webhook")
    assert "Moving house" in page.inner_text("main")
    emit_some(app, 1)
    assert apart(states, app) == {"succeeded": 7, "held": 1}
    page.reload()
    assert "1 delivery is held until it is resumed." in page.inner_text("main")
    faults += faults_of(watched)
    press(page, "Resume")
    expect(page.get_by_role("dialog", name="Resume webhook")).to_be_visible()
    tab_to(page, "Send them now")
    faults += faults_of(watched)
    go(page, "Resume webhook")
    assert "The webhook is active again." in page.inner_text("main")
    wait_for_states(app, succeeded=8)
    with pytest.raises(WebhookVerificationError):
        verified(receiver.requests[-1], secret)
    assert verified(receiver.requests[-1], fresh)["type"] == "license.created"

    press(page, "Delete")
    expect(page.get_by_role("dialog", name="Delete webhook")).to_be_visible()
    go(page, "Delete webhook")
    assert "No webhooks configured yet." in page.inner_text("main")
    faults += faults_of(watched)
    assert faults == []


@pytest.mark.timeout(300)
def test_the_journey_without_javascript(
    chromium: Browser, origin: str, app: Flask, receiver: Receiver, worker: WorkerProcess
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    watched = Watched(context.new_page(), origin)
    page = watched.open("/")
    page.click("text=Add webhook")
    page.fill("#wh-url", receiver.url())
    page.select_option("#wh-format", "custom")
    page.fill("#wh-template", '{"what": "{{ event.type }}"}')
    page.click("button:has-text('Preview')")
    assert json.loads(page.inner_text("#wh-preview pre")) == {"what": "license.created"}
    page.click("button:has-text('Add webhook')")
    assert page.inner_text("#wh-secret").startswith("whsec_")
    page.click("text=I have saved it")
    page.click("text=Send test event")
    page.select_option("#wh-event_type", "user.banned")
    page.click("button:has-text('Load the example')")
    assert "banned_by" in page.input_value("#wh-sample")
    page.click("button:has-text('Send test event')")
    link = page.get_by_role("link", name="Refresh")
    for _ in range(300):
        if not link.count() or page.get_by_text("Attempt 1", exact=True).count():
            break
        page.wait_for_timeout(200)
        link.click()
    assert json.loads(receiver.requests[0].body) == {"what": "user.banned"}
    assert watched.faults == []
    context.close()


@pytest.mark.timeout(300)
def test_the_banner_goes_when_a_worker_comes(watched: Watched, app: Flask, tmp_path: Path) -> None:
    page = watched.open("/health")
    assert page.is_visible("text=No worker has sent a heartbeat.")
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log"):
        # The table of workers refreshes itself.
        expect(page.get_by_text("Alive").first).to_be_visible(timeout=PATIENCE)
        page.reload()
        assert not page.is_visible("text=No worker has sent a heartbeat.")


@pytest.mark.timeout(300)
def test_the_form_shows_what_concerns_the_format(watched: Watched) -> None:
    page = watched.open("/endpoints/new")
    assert page.is_visible("#wh-secret")
    assert page.is_visible("text=all other URLs get Standard Webhooks")
    assert not page.is_visible("#wh-template")
    faults = []
    for name, there, away in (
        ("custom", ["template", "secret", "signing-key_pair"], ["source", "chat_id"]),
        ("cloudevents", ["source", "secret"], ["template"]),
        ("telegram", ["chat_id", "message_thread_id", "show_keys"], ["secret", "template"]),
        ("discord", ["show_keys"], ["chat_id", "secret"]),
        ("aureva", ["secret", "signing-none"], ["signing-key_pair", "show_keys"]),
        ("authon", ["secret"], ["signing-none"]),
    ):
        page.select_option("#wh-format", name)
        for field in there:
            assert page.is_visible(f"#wh-{field}"), (name, field)
        for field in away:
            assert not page.is_visible(f"#wh-{field}"), (name, field)
        assert page.locator("[data-wh-note]:visible").count() == 1, name
        faults += faults_of(watched)
    page.select_option("#wh-format", "")
    page.fill("#wh-url", "https://api.telegram.org/bot12345:abcdefghij/sendMessage")
    page.click("button:has-text('Add webhook')")
    # What is wrong is shown, though the format was not chosen.
    assert page.is_visible("#wh-chat_id")
    expect(page.locator("#wh-problems:focus")).to_be_visible()
    assert faults + faults_of(watched) == []


def test_an_edited_sample_is_not_overwritten(
    watched: Watched, app: Flask, receiver: Receiver
) -> None:
    endpoint = apart(lambda: add_endpoint(app, receiver.url()))
    page = watched.open(f"/endpoints/{endpoint.id}/test")
    page.fill("#wh-sample", '{"mine": 1}')
    page.select_option("#wh-event_type", "user.banned")
    page.wait_for_timeout(500)
    assert page.input_value("#wh-sample") == '{"mine": 1}'


def test_what_asks_first_is_a_dialog(watched: Watched, app: Flask, receiver: Receiver) -> None:
    apart(lambda: add_endpoint(app, receiver.url(), name="Shop"))
    page = watched.open("/")
    go_on = page.get_by_role("button", name="What to do with Shop")
    go_on.focus()
    page.keyboard.press("Enter")
    tab_to(page, "Delete Shop")
    faults = faults_of(watched)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Delete webhook")
    expect(dialog).to_be_visible()
    faults += faults_of(watched)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    go_on.click()
    page.get_by_role("link", name="Delete Shop").click()
    # The browser closes it by itself.
    cancel = dialog.get_by_role("button", name="Cancel")
    assert cancel.evaluate("item => [item.command, item.commandForElement.tagName]") == [
        "close",
        "DIALOG",
    ]
    cancel.click()
    expect(dialog).to_have_count(0)
    assert page.url.endswith("/webhooks/")
    go_on.click()
    page.get_by_role("link", name="Delete Shop").click()
    dialog.get_by_role("button", name="Delete webhook").click()
    expect(page.get_by_text("The webhook was deleted.")).to_be_visible()
    assert faults == []


def test_a_dialog_closes_where_buttons_know_no_commands(
    watched: Watched, app: Flask, receiver: Receiver
) -> None:
    endpoint = apart(lambda: add_endpoint(app, receiver.url(), name="Shop"))
    watched.page.add_init_script(
        """for (const name of ["command", "commandForElement"]) {
            delete HTMLButtonElement.prototype[name];
        }
        const set = Element.prototype.setAttribute;
        Element.prototype.setAttribute = function (name, value) {
            if (!name.startsWith("command")) set.call(this, name, value);
        };"""
    )
    page = watched.open(f"/endpoints/{endpoint.id}")
    page.get_by_role("link", name="Pause").click()
    dialog = page.get_by_role("dialog", name="Pause webhook")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert page.url.endswith(endpoint.id)


def test_a_dialog_that_cannot_be_had_is_a_page(
    watched: Watched, app: Flask, receiver: Receiver
) -> None:
    endpoint = apart(lambda: add_endpoint(app, receiver.url(), name="Shop"))
    page = watched.open(f"/endpoints/{endpoint.id}")
    page.evaluate("() => { HTMLDialogElement.prototype.showModal = undefined; }")
    page.get_by_role("link", name="Pause").click()
    page.wait_for_url("**/pause")
    page.click("button:has-text('Pause webhook')")
    assert page.is_visible("text=Paused by")


def fail_some(app: Flask, receiver: Receiver, count: int) -> str:
    """A webhook whose receiver was down for longer than retries last; returns its id."""
    endpoint = add_endpoint(app, receiver.url("/status/503"), name="Shop")
    emit(app, count)
    for _ in range(20):
        drain(app, retry_schedule=(0.0,), failing_after=1000)
        if states(app) == {"failed": count}:
            return endpoint.id
    raise AssertionError(states(app))


@pytest.mark.timeout(600)
def test_an_outage_is_repaired_with_the_keyboard_alone(
    watched: Watched, app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    def prepare() -> str:
        with app.app_context():
            return fail_some(app, receiver, 7)

    endpoint_id = apart(prepare)
    before = len(receiver.requests)
    page = watched.open(f"/endpoints/{endpoint_id}")
    go(page, "Edit")
    tab_to(page, "Endpoint URL")
    page.keyboard.press("Control+A")
    page.keyboard.type(receiver.url("/slow/0.01"))
    go(page, "Save changes")

    press(page, "Recover failed…")
    dialog = page.get_by_role("dialog", name="Recover failed deliveries")
    expect(dialog).to_be_visible()
    faults = faults_of(watched)
    go(page, "Last 24 hours")
    assert page.inner_text(".wh-count") == "7 deliveries"
    faults += faults_of(watched)
    # Nothing happens before the button is pressed.
    assert apart(states, app) == {"failed": 7}
    go(page, "Recover them")
    assert page.inner_text("h1") == "Recover failed deliveries"
    expect(page.locator("#wh-part-state")).to_have_text("Waiting")
    faults += faults_of(watched)
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log"):
        # Without anybody reloading the page.
        expect(page.locator("#wh-part-state")).to_have_text("Finished", timeout=PATIENCE)
        expect(page.get_by_text("7 of 7 deliveries")).to_be_visible()
        apart(receiver.wait_for, before + 7, 60)
        go(page, "See the results")
        expect(page.locator("tbody .wh-ok")).to_have_count(7, timeout=PATIENCE)
    faults += faults_of(watched)

    # All that match, from a list; and a stop.
    tab_to(page, "Status")
    page.keyboard.type("Succ")
    go(page, "Filter")
    press(page, "Resend all that match…")
    expect(page.get_by_role("dialog", name="Resend deliveries")).to_be_visible()
    assert page.inner_text("dialog .wh-count") == "7 deliveries"
    faults += faults_of(watched)
    go(page, "Resend them")
    go(page, "Stop Resend deliveries")
    assert "The task was stopped." in page.inner_text("main")
    faults += faults_of(watched)
    assert faults == []


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("settings", [JOURNEY], ids=["failing soon"])
def test_what_came_while_it_was_disabled_is_sent_with_the_keyboard_alone(
    watched: Watched, app: Flask, receiver: Receiver, worker: WorkerProcess
) -> None:
    endpoint = apart(lambda: add_endpoint(app, receiver.url("/status/410"), name="Shop"))
    page = watched.open(f"/endpoints/{endpoint.id}")
    emit_some(app, 1)
    # The receiver wants nothing more; what comes from then on is held, not sent to it.
    wait_for_states(app, failed=1)
    emit_some(app, 3)
    wait_for_states(app, failed=1, held=3)
    assert len(receiver.requests) == 1
    page.reload()
    assert page.is_visible("text=3 deliveries are held until it is resumed.")
    assert page.is_visible(".wh-status:has-text('Disabled')")
    faults = faults_of(watched)

    go(page, "Edit")
    tab_to(page, "Endpoint URL")
    page.keyboard.press("Control+A")
    page.keyboard.type(receiver.url("/slow/0.01"))
    go(page, "Save changes")
    # To mend it does not resume it.
    assert apart(states, app) == {"failed": 1, "held": 3}
    press(page, "Resume")
    dialog = page.get_by_role("dialog", name="Resume webhook")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_text("3 deliveries were held meanwhile.")).to_be_visible()
    tab_to(page, "Send them now")
    faults += faults_of(watched)
    go(page, "Resume webhook")
    assert "The webhook is active again." in page.inner_text("main")
    wait_for_states(app, failed=1, succeeded=3)

    # The one that it was disabled for had failed; the page knows since when to recover.
    page.reload()
    press(page, "Recover failed…")
    expect(page.get_by_role("dialog", name="Recover failed deliveries")).to_be_visible()
    go(page, "Since it was disabled")
    assert page.inner_text(".wh-count") == "1 delivery"
    go(page, "Recover them")
    expect(page.locator("#wh-part-state")).to_have_text("Finished", timeout=PATIENCE)
    wait_for_states(app, succeeded=4)
    assert len({request.id for request in receiver.requests}) == 4
    assert faults == []


@pytest.mark.timeout(300)
def test_an_outage_is_repaired_without_javascript(
    chromium: Browser, origin: str, app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    def prepare() -> str:
        with app.app_context():
            return fail_some(app, receiver, 3)

    endpoint_id = apart(prepare)
    before = len(receiver.requests)
    context = chromium.new_context(java_script_enabled=False)
    watched = Watched(context.new_page(), origin)
    page = watched.open(f"/endpoints/{endpoint_id}/edit")
    page.fill("#wh-url", receiver.url())
    page.click("button:has-text('Save changes')")
    page.click("text=Recover failed…")
    page.fill("#wh-since", "2020-01-01T00:00")
    page.click("button:has-text('Count them')")
    assert page.inner_text(".wh-count") == "3 deliveries"
    page.click("button:has-text('Recover them')")
    link = page.get_by_role("link", name="Refresh")
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log"):
        for _ in range(300):
            if not link.count():
                break
            page.wait_for_timeout(200)
            link.click()
        assert page.get_by_text("3 of 3 deliveries").count() == 1
        apart(receiver.wait_for, before + 3, 60)
    watched.open("/health")
    page.click("text=All tasks")
    assert page.locator("table").get_by_text("Finished").count() == 1
    assert watched.faults == []
    context.close()
