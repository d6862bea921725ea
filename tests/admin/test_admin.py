"""The pages: what a person sees and does, on a real database, with a real receiver, without JavaScript."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from jinja2 import DictLoader, StrictUndefined

from flask_webhooks import Format, actions, queries
from flask_webhooks.admin import banners, display
from flask_webhooks.admin.snippets import snippets
from flask_webhooks.app_state import state_of
from flask_webhooks.formats import OutgoingEvent, Rendered, Target
from flask_webhooks.queries import MOST_COUNTED, HealthReport
from flask_webhooks.security import signing
from tests.support.delivering import attempts, db_of, drain, endpoint, webhooks_of
from tests.support.helpers import accessing, add_delivery, add_endpoint, close, statements, update
from tests.support.node import node
from tests.support.pages import HOSTILE, Browser, Page, World, make_app, populate
from tests.support.receiver import Receiver

URL = "https://hooks.example.com/in"


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    webhooks_of(app).hooks.current_actor = lambda: "ann@example.com"
    yield app
    close(app)


def add(browser: Browser, **values: Any) -> Page:
    """Add a webhook; the page with its secret, or the form with what is wrong."""
    status = values.pop("status", 200)
    return browser.send(
        browser.get("/endpoints/new"), "/endpoints/new", {"url": URL, **values}, status
    )


def secret_on(page: Page) -> str:
    return page.one("code", id="wh-secret").text


def the_endpoint(app: Flask) -> queries.EndpointDetail:
    [row] = queries.list_endpoints(accessing(app))
    return queries.get_endpoint(accessing(app), row.endpoint.id)


def headers_sent(app: Flask) -> dict[str, str]:
    """The custom headers of the only endpoint, decrypted."""
    sealed = the_endpoint(app).endpoint.headers_sealed
    opened: dict[str, str] = {} if sealed is None else state_of(app).vault.decrypt(sealed)
    return opened


# -- the journey --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_journey_from_adding_to_deleting(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    page = browser.get("/")
    assert page.heading == "Webhooks"
    assert "Send secure event notifications to external services" in page.text
    assert "No webhooks configured yet." in page.text
    assert "Delete all" not in page.links()

    page = browser.get(page.link("Add webhook"))
    assert "Ensure your endpoint can verify signatures." in page.text
    page = browser.send(
        page,
        "/endpoints/new",
        {"url": receiver.url("/flaky/1"), "name": "Billing", "scope": "chosen"}
        | {"events": ["license.*", "user.banned"], "user_agent": "Acme/1.0"}
        | {"headers-0-name": "X-Team", "headers-0-value": "billing"},
        status=200,
    )
    assert page.heading == "Save your webhook secret"
    secret = secret_on(page)
    assert page.response.headers["Cache-Control"] == "no-store"

    page = browser.get(page.link("I have saved it"))
    assert page.heading == "Billing"
    assert [item.text for item in page.all("li", **{"class": "wh-tag"})] == [
        "license.*",
        "user.banned",
        "X-Team",
    ]
    page = browser.get(page.link("Send test event"))
    page = browser.send(page, "/test", {"event_type": "license.activated"}, 200, button="load")
    sample = json.loads(page.one("textarea", id="wh-sample").raw_text)
    assert sample == state_of(app).catalog["license.activated"].example
    page = browser.send(page, "/test", {"sample": json.dumps({**sample, "hwid": "edited"})})
    assert page.heading == "license.activated"
    assert "The test event is queued." in page.text
    assert "Queued" in page.text
    assert page.all(**{"data-wh-live": ""})

    drain(app)
    page = browser.get(page.link("Refresh"))
    assert "A test is only attempted once." in page.text
    assert "Attempt 1 Refused 500" in page.text
    assert "Check its logs for this time" in page.text
    page = browser.send(page, "/resend")
    assert "It is queued to be sent again." in page.text
    drain(app)
    page = browser.get(page.response.request.path)
    assert "Attempt 2 Succeeded 200" in page.text
    # It stays a test: it is not retried, and does not count against the webhook.
    assert page.text.count("Test event, by ann@example.com") == 2
    assert "Refresh" not in page.links()
    assert not page.all(**{"data-wh-live": ""})
    request = receiver.requests[-1]
    assert request.headers["user-agent"] == "Acme/1.0"
    assert request.headers["x-team"] == "billing"
    assert request.body.decode() in page.text
    assert request.id in page.text

    page = browser.get(page.link("Billing"))
    assert "50 % of 2" in page.text
    page = browser.get(page.link("Rotate secret"))
    page = browser.send(page, "/rotate", {"overlap_seconds": "3600", "label": "Berlin"}, status=200)
    rotated = secret_on(page)
    assert rotated not in ("", secret)
    page = browser.get(page.link("I have saved it"))
    assert f"Berlin …{rotated[-4:]} Created " in page.text
    assert "The old one is used until" in page.text
    page = browser.get(page.link("Switch now"))
    assert "1 older secret ends now instead of" in page.text
    page = browser.send(page, "/end-overlap")
    assert "From now on, requests are only signed with the newest secret." in page.text
    assert "Switch now" not in page.links()

    page = browser.send(browser.get(page.link("Pause")), "/pause", {"reason": "Moving house"})
    assert "Paused by ann@example.com" in page.text
    assert "Moving house" in page.text
    with app.app_context():
        add_delivery(app, the_endpoint(app).endpoint, "held")
    page = browser.get(page.link("Resume"))
    assert "1 delivery was held meanwhile." in page.text
    page = browser.send(page, "/resume", {"held": "discard"})
    assert "The webhook is active again." in page.text

    page = browser.get(page.link("Delete"))
    assert "Are you sure you want to delete this webhook?" in page.text
    page = browser.send(page, "/delete")
    assert "The webhook was deleted." in page.text
    assert "No webhooks configured yet." in page.text


def test_everything_can_be_deleted_at_once(app: Flask, browser: Browser) -> None:
    for number in range(3):
        add_endpoint(app, f"{URL}/{number}")
    page = browser.get(browser.get("/").link("Delete all"))
    assert "Are you sure you want to delete ALL webhooks?" in page.text
    assert "This deletes 3 webhooks" in page.text
    page = browser.send(page, "/delete-all")
    assert "3 webhooks were deleted." in page.text
    assert "No webhooks configured yet." in page.text
    assert "No webhooks configured yet." in browser.get("/delete-all").text


def test_a_message_is_shown_once(app: Flask, browser: Browser) -> None:
    add_endpoint(app)
    page = browser.send(browser.get("/delete-all"), "/delete-all")
    assert "1 webhook was deleted." in page.text
    assert "was deleted" not in browser.get("/").text


# -- adding and editing -------------------------------------------------------------------------------


def test_what_is_wrong_is_said_at_its_field_and_the_values_stay(browser: Browser) -> None:
    page = add(
        browser,
        url="http://user:password@10.0.0.1/",
        name="Kept",
        scope="chosen",
        events=["license.created"],
        secret="whsec_Qm9yaW5nIHNlY3JldCBmb3IgdGVzdHMgb25seQ==",
        status=422,
        **{"headers-1-name": "X-Kept", "headers-1-value": "kept"},
    )
    links = [item.attributes["href"] for item in page.one(id="wh-problems").all("a")]
    # The secret has to be written again.
    assert links == ["#wh-url", "#wh-secret"]
    field = page.one("input", id="wh-url")
    assert field.attributes["aria-invalid"] == "true"
    described = field.attributes["aria-describedby"].split()
    assert "password" in " ".join(page.one(id=name).text for name in described)
    assert page.one("input", id="wh-name").attributes["value"] == "Kept"
    assert "checked" in page.one("input", name="events", value="license.created").attributes
    assert "checked" in page.one("input", name="scope", value="chosen").attributes
    assert page.one("input", name="headers-1-value").attributes["value"] == "kept"
    assert page.one("input", name="secret").attributes["value"] == ""
    assert "Qm9yaW5n" not in page.response.text
    assert page.response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ({"url": ""}, "#wh-url"),
        ({"url": "javascript:alert(1)"}, "#wh-url"),
        ({"url": "https://10.0.0.1/"}, "#wh-url"),
        ({"name": "a\nb"}, "#wh-name"),
        ({"format": "morse"}, "#wh-format"),
        ({"secret": "short"}, "#wh-secret"),
        ({"scope": "chosen", "events": None}, "#wh-events"),
        ({"headers-0-name": "Host", "headers-0-value": "x"}, "#wh-headers-0-name"),
        ({"headers-0-name": "X-No-Value"}, "#wh-headers-0-value"),
        ({"user_agent": "\N{SNOWMAN}"}, "#wh-user_agent"),
        ({"tenant": "x" * 256}, "#wh-tenant"),
    ],
)
def test_each_refusal_links_to_its_field(
    app: Flask, browser: Browser, values: dict[str, Any], target: str
) -> None:
    page = browser.get("/endpoints/new")
    fields = {"url": URL, **values}
    if "format" in values:
        # No browser would send it.
        token = page.one("form").one("input", name="csrf_token").attributes["value"]
        page = browser.post("/endpoints/new", {**fields, "csrf_token": token}, 422)
    else:
        page = browser.send(page, "/endpoints/new", fields, 422)
    assert page.one(id="wh-problems").one("a").attributes["href"] == target
    assert page.all(id=target[1:])
    assert queries.list_endpoints(accessing(app)) == []


def test_more_headers_can_be_asked_for_without_javascript(app: Flask, browser: Browser) -> None:
    page = browser.get("/endpoints/new")
    values = {"url": URL, "name": "Kept", "headers-0-name": "X-A", "headers-0-value": "a"}
    page = browser.send(page, "/endpoints/new", values, 200, button="more_headers")
    assert queries.list_endpoints(accessing(app)) == []
    assert page.one("input", id="wh-name").attributes["value"] == "Kept"
    browser.send(
        page, "/endpoints/new", {"headers-3-name": "X-D", "headers-3-value": "d"}, status=200
    )
    assert headers_sent(app) == {"X-A": "a", "X-D": "d"}


def test_a_secret_of_ones_own_is_used(app: Flask, browser: Browser) -> None:
    secret = signing.generate_secret()
    assert secret_on(add(browser, secret=secret)) == secret


def test_an_operator_says_whose_webhook_it_is(app: Flask, browser: Browser) -> None:
    add(browser, tenant=" app_1 ")
    assert the_endpoint(app).endpoint.tenant == "app_1"
    assert "app_1" in browser.get("/").text


@pytest.mark.slow
def test_a_tenant_is_not_asked_and_cannot_choose(app: Flask, browser: Browser) -> None:
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    page = browser.get("/endpoints/new")
    assert page.all(id="wh-tenant") == []
    token = page.one("input", name="csrf_token").attributes["value"]
    browser.post("/endpoints/new", {"url": URL, "tenant": "app_2", "csrf_token": token}, 200)
    assert the_endpoint(app).endpoint.tenant == "app_1"


def test_editing_changes_what_was_changed_and_keeps_the_rest(app: Flask, browser: Browser) -> None:
    headers = {"X-Keep": "kept", "X-Change": "before", "X-Drop": "dropped"}
    made = add_endpoint(
        app, URL, name="Before", events=["license.*", "user.banned"], headers=headers
    )
    page = browser.get(f"/endpoints/{made.id}/edit")
    assert "kept" not in [item.attributes.get("value") for item in page.all("input")]
    page = browser.send(
        page,
        "/edit",
        {
            "name": "After",
            "headers-1-value": "after",
            "headers-2-remove": "y",
            "headers-3-name": "X-New",
            "headers-3-value": "new",
        },
    )
    assert "The changes were saved." in page.text
    assert page.heading == "After"
    assert headers_sent(app) == {"X-Keep": "kept", "X-Change": "after", "X-New": "new"}
    assert the_endpoint(app).endpoint.events == ["license.*", "user.banned"]
    page = browser.send(browser.get(page.link("Edit")), "/edit", {"scope": "all"})
    assert "All events, including future ones" in page.text


def test_what_is_no_longer_allowed_stays_until_it_is_changed(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app, URL)
    update(app, "Endpoint", made.id, events=["old.type", "license.created"], url_shown="ftp://old/")
    page = browser.get(f"/endpoints/{made.id}/edit")
    assert "checked" in page.one("input", value="old.type").attributes
    page = browser.send(page, "/edit", {"name": "Renamed"})
    assert page.heading == "Renamed"
    assert endpoint(app, made.id).url_shown == "ftp://old/"


def test_a_refused_edit_keeps_headers_and_what_was_typed(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app, URL, headers={"X-Keep": "kept"})
    page = browser.get(f"/endpoints/{made.id}/edit")
    page = browser.send(page, "/edit", {"url": "https://10.0.0.1/", "name": "Typed"}, 422)
    page = browser.send(page, "/edit", {"url": f"{URL}/2"})
    assert page.heading == "Typed"
    assert headers_sent(app) == {"X-Keep": "kept"}


def test_headers_that_cannot_be_decrypted_are_not_lost_by_a_rename(
    app: Flask, browser: Browser
) -> None:
    made = add_endpoint(app, URL, headers={"X-Keep": "kept"})
    sealed = endpoint(app, made.id).headers_sealed
    assert sealed is not None
    broken = type(sealed)("of another key")
    update(app, "Endpoint", made.id, headers_sealed=broken, secrets_sealed=broken)
    page = browser.get(f"/endpoints/{made.id}")
    assert "Nothing can be sent." in page.text
    browser.send(browser.get(page.link("Edit")), "/edit", {"name": "Renamed"})
    assert endpoint(app, made.id).headers_sealed == broken


class Chat(Format):
    """As a chat service: no signature, and the URL is the secret."""

    name = "chat"
    label = "Chat"
    signed = False
    secret_url = True

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        raise NotImplementedError

    def mask_url(self, url: str) -> str:
        return "https://chat.example.com/••••"


def test_a_url_that_is_a_secret_is_never_shown_and_stays_when_left_empty(
    app: Flask, browser: Browser
) -> None:
    webhooks_of(app).add_format(Chat())
    page = browser.send(
        browser.get("/endpoints/new"),
        "/endpoints/new",
        {"url": "https://chat.example.com/token123", "format": "chat"},
    )
    assert "The webhook was added." in page.text
    assert "Rotate secret" not in page.links()
    sealed = the_endpoint(app).endpoint.url_sealed
    page = browser.get(page.link("Edit"))
    assert "token123" not in page.response.text
    page = browser.send(page, "/edit", {"name": "Renamed"})
    assert the_endpoint(app).endpoint.url_sealed == sealed
    assert "token123" not in page.response.text + browser.get("/").response.text


# -- the secret ---------------------------------------------------------------------------------------


def test_sending_the_form_again_neither_adds_nor_shows_anything(
    app: Flask, browser: Browser
) -> None:
    form = browser.get("/endpoints/new")
    secret = secret_on(browser.send(form, "/endpoints/new", {"url": URL}, status=200))
    page = browser.send(form, "/endpoints/new", {"url": URL})
    assert "its secret was shown once" in page.text
    assert secret not in page.response.text
    assert len(queries.list_endpoints(accessing(app))) == 1

    form = browser.get(page.link("Rotate secret"))
    secret = secret_on(browser.send(form, "/rotate", status=200))
    page = browser.send(form, "/rotate")
    assert "The secret was already replaced" in page.text
    assert secret not in page.response.text
    assert len(the_endpoint(app).secrets_until) == 2


@pytest.mark.parametrize("values", [{"overlap_seconds": None}, {"secret": "short"}])
def test_a_refused_rotation_changes_nothing(
    app: Flask, browser: Browser, values: dict[str, Any]
) -> None:
    add(browser)
    made = the_endpoint(app)
    page = browser.get(f"/endpoints/{made.endpoint.id}/rotate")
    if "overlap_seconds" in values:
        token = page.one("form").one("input", name="csrf_token").attributes["value"]
        fields = {"overlap_seconds": "for ever", "csrf_token": token}
        page = browser.post(f"/endpoints/{made.endpoint.id}/rotate", fields, 422)
    else:
        page = browser.send(page, "/rotate", values, 422)
    assert page.all(id="wh-problems")
    assert the_endpoint(app).endpoint.secrets_sealed == made.endpoint.secrets_sealed


# -- test events and deliveries -----------------------------------------------------------------------


def test_a_test_event_with_data_of_ones_own(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    made = add_endpoint(app, receiver.url())
    page = browser.get(f"/endpoints/{made.id}/test")
    browser.send(page, "/test", {"event_type": "license.created", "sample": '{"license_id": 7}'})
    drain(app)
    assert json.loads(receiver.requests[0].body)["data"] == {"license_id": 7}


@pytest.mark.parametrize("sample", ["{", "[]", "NaN", '{"a": Infinity}', "[" * 100_000, "1" * 5000])
def test_data_that_is_no_json_object_is_refused_and_stays(
    app: Flask, browser: Browser, sample: str
) -> None:
    made = add_endpoint(app)
    values = {"event_type": "license.created", "sample": sample}
    page = browser.send(browser.get(f"/endpoints/{made.id}/test"), "/test", values, 422)
    assert page.one(id="wh-problems").one("a").attributes["href"] == "#wh-sample"
    area = page.one("textarea", id="wh-sample")
    assert area.raw_text.removeprefix("\n") == sample
    chosen = page.one("select", id="wh-event_type").all("option", selected="")
    assert [item.text for item in chosen] == ["license.created"]


def test_deliveries_are_filtered_and_paged(app: Flask, browser: Browser) -> None:
    one, other = add_endpoint(app, name="One"), add_endpoint(app, name="Other")
    made = [add_delivery(app, one, "succeeded") for _ in range(60)]
    failed = add_delivery(app, other, "failed", "user.banned")

    def ids(page: Page) -> list[str]:
        links = (item.attributes["href"] for item in page.one("tbody").all("a"))
        return [link.rpartition("/")[2] for link in links if "/deliveries/" in link]

    page = browser.get("/deliveries")
    assert ids(page) == [failed, *made[:10:-1]]
    page = browser.get(page.link("Older"))
    assert ids(page) == made[10::-1]
    assert ids(browser.get(page.link("Newest")))[0] == failed

    page = browser.send(browser.get("/deliveries"), "/deliveries", {"state": "failed"})
    assert ids(page) == [failed]
    page = browser.send(page, "/deliveries", {"type": "license.created"})
    assert "No deliveries match." in page.text
    page = browser.get(f"/deliveries?webhook={one.id}")
    assert "To One" in page.text
    page = browser.send(page, "/deliveries", {"state": "succeeded"})
    page = browser.get(page.link("Older"))
    assert ids(page) == made[9::-1]
    assert ids(browser.get(page.link("Show those of all webhooks"))) == made[:9:-1]


def test_deliveries_before_anything_was_sent(browser: Browser) -> None:
    assert "Nothing has been sent yet." in browser.get("/deliveries").text


def test_a_delivery_that_waits_can_be_cancelled(app: Flask, browser: Browser) -> None:
    delivery = add_delivery(app, add_endpoint(app), "pending")
    page = browser.get(f"/deliveries/{delivery}")
    assert "No attempt has ended yet." in page.text
    assert "Send now" in page.buttons()
    page = browser.send(page, "/cancel")
    assert "It was cancelled manually." in page.text
    assert "Cancel delivery" not in page.buttons()


def test_a_delivery_that_failed_says_when_it_is_tried_again(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    delivery = add_delivery(app, add_endpoint(app, receiver.url("/status/503")))
    drain(app, retry_schedule=(1000.0,))
    page = browser.get(f"/deliveries/{delivery}")
    assert "Retrying Next attempt 20" in page.text
    assert "Attempt 1 Refused 503 First attempt" in page.text


def test_each_outcome_is_explained(app: Flask, browser: Browser, receiver: Receiver) -> None:
    expected = {
        "/redirect": "The URL responds with a redirect",
        "/close": "Connection broke",
        "/status/404": "There is nothing at this path.",
        "/status/401": "uses this endpoint's current secret",
        "/status/410": "no more events are wanted",
        "/big": "only its beginning was read",
    }
    for path, text in expected.items():
        made = add_endpoint(app, receiver.url(path))
        delivery = actions.send_test(accessing(app), made.id)
        drain(app)
        page = browser.get(f"/deliveries/{delivery.id}")
        assert text in page.text, path
        for word in ("Total", "Address", "webhook-signature"):
            assert word in page.text


@pytest.mark.slow
def test_only_the_latest_attempts_of_many_are_shown(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    made = add_endpoint(app, receiver.url("/status/500"))
    delivery = actions.send_test(accessing(app), made.id).id
    for _ in range(25):
        drain(app)
        actions.resend(accessing(app), delivery)
    count = len(attempts(app))
    assert count >= 25
    page = browser.get(f"/deliveries/{delivery}")
    assert len(page.one("ol", **{"class": "wh-timeline"}).all("h3")) == 20
    assert f"{count - 20} older attempts are not shown." in page.text


def test_long_bodies_are_cut_with_a_note(app: Flask, browser: Browser, receiver: Receiver) -> None:
    made = add_endpoint(app, receiver.url())
    delivery = actions.send_test(accessing(app), made.id, data={"text": "x" * 100_000})
    drain(app)
    page = browser.get(f"/deliveries/{delivery.id}")
    assert "more characters are not shown." in page.text
    assert len(page.response.text) < 70_000


def test_a_person_without_payload_rights_sees_no_data(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    made = add_endpoint(app, receiver.url())
    delivery = actions.send_test(accessing(app), made.id, data={"text": "the data"})
    drain(app)
    assert "the data" in browser.get(f"/deliveries/{delivery.id}").text
    webhooks_of(app).authorize(lambda action, endpoint: action != "view_payload")
    page = browser.get(f"/deliveries/{delivery.id}")
    assert "You are not allowed to see the data of events." in page.text
    assert "the data" not in page.text.replace("see the data of events", "")


# -- limits, banners, faults --------------------------------------------------------------------------


def test_at_the_limit_adding_is_off_and_says_why(app: Flask, browser: Browser) -> None:
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    form = browser.get("/endpoints/new")
    for number in range(4):
        add_endpoint(app, f"{URL}/{number}", tenant="app_1")
    page = browser.get("/")
    assert "4 of 5 used" in page.text
    page.link("Add webhook")

    add_endpoint(app, f"{URL}/5", tenant="app_1")
    page = browser.get("/")
    assert "5 of 5 used" in page.text
    [button] = [item for item in page.all("button") if item.text == "Add webhook"]
    assert "disabled" in button.attributes
    assert "Delete one" in page.one(id=button.attributes["aria-describedby"]).text
    page = browser.send(form, "/endpoints/new", {"url": URL, "name": "Kept"}, 409)
    assert "5 of 5 endpoints are in use" in page.one(id="wh-problems").text
    assert page.one("input", id="wh-name").attributes["value"] == "Kept"


@pytest.mark.slow
def test_a_read_only_person_sees_no_buttons(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    world = populate(app, receiver)
    webhooks_of(app).authorize(lambda action, endpoint: action in ("view", "view_payload"))
    for path in ("/", *(f"/endpoints/{id_}" for id_ in world.endpoints.values())):
        page = browser.get(path)
        assert [item for item in page.all("form") if item.attributes["method"] == "post"] == []
        unwanted = {
            "Add webhook",
            "Delete all",
            "Edit",
            "Pause",
            "Resume",
            "Delete",
            "Rotate secret",
            "Send test event",
            "Switch now",
        }
        assert not unwanted & set(page.links())
    for delivery in world.deliveries.values():
        assert browser.get(f"/deliveries/{delivery}").all("form") == []


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def report(seen: float | None = None, late: float | None = None, due: int = 3) -> HealthReport:
    """A report with times in seconds before now."""
    return HealthReport(
        now=NOW,
        heartbeats=[],
        last_seen_at=None if seen is None else NOW - timedelta(seconds=seen),
        alive_at=None if seen is None else NOW - timedelta(seconds=seen),
        pending=due,
        sending=0,
        held=0,
        due=0 if late is None else due,
        oldest_due_at=None if late is None else NOW - timedelta(seconds=late),
    )


@pytest.mark.parametrize(
    ("given", "operator", "expected"),
    [
        (report(seen=5), True, []),
        (report(seen=5, late=30), True, []),
        (report(seen=5, late=300), True, ["Deliveries are late."]),
        (report(seen=31), True, ["No worker has sent a heartbeat."]),
        (report(), True, ["No worker has sent a heartbeat."]),
        (report(seen=31, late=2), True, ["No worker has sent a heartbeat."]),
        (report(seen=31, late=6), True, ["No worker is running."]),
        (report(late=300), True, ["No worker is running."]),
        (report(), False, []),
        (report(late=30), False, []),
        (report(late=300), False, ["Deliveries are delayed."]),
    ],
)
def test_banners_follow_from_signs_of_life_and_backlog(
    app: Flask, given: HealthReport, operator: bool, expected: list[str]
) -> None:
    with app.app_context():
        shown = banners.from_report(given, operator=operator)
        assert [item.title for item in shown] == expected


def test_banner_says_that_it_did_not_count_to_the_end(app: Flask) -> None:
    with app.app_context():
        (banner,) = banners.from_report(report(seen=5, late=300, due=MOST_COUNTED), operator=True)
    assert banner.text.startswith("At least 10,000 deliveries are waiting, the oldest for 5 min")


def test_a_backlog_without_worker_is_said_on_every_page(app: Flask, browser: Browser) -> None:
    add_delivery(app, add_endpoint(app), due_at=datetime(2026, 1, 1, tzinfo=UTC))
    for path in ("/", "/deliveries", "/endpoints/new"):
        page = browser.get(path)
        assert "No worker is running." in page.text
        assert "1 delivery is waiting" in page.text
        assert "flask webhooks worker" in page.text
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    assert "worker" not in browser.get("/").text


def test_faults_are_shown_inside_the_layout(app: Flask, browser: Browser) -> None:
    page = browser.get("/endpoints/nothing", 404)
    assert page.heading == "Not found"
    page.link("All webhooks")
    assert browser.get("/deliveries?state=odd", 422).heading == "Invalid request"
    delivery = add_delivery(app, add_endpoint(app), "pending")
    form = browser.get(f"/deliveries/{delivery}")
    update(app, "Delivery", delivery, state="sending")
    page = browser.send(form, "/cancel", status=409)
    assert page.heading == "Not possible now"
    assert "being sent right now" in page.text
    webhooks_of(app).authorize(lambda action, endpoint: False)
    page = browser.get("/", 403)
    assert page.heading == "Not allowed"
    assert page.all("nav") == []


# -- the host -----------------------------------------------------------------------------------------

HOST_LAYOUT = """<!doctype html><html lang="en"><head><title>{% block title %}Host{% endblock %}</title></head>
<body><p>{{ _("of the host") }}</p><main>{% block content %}{% endblock %}</main></body></html>"""


def test_pages_go_into_the_layout_of_the_host(tmp_path: Path, redis_url: str) -> None:
    database = f"sqlite:///{tmp_path / 'hosted.sqlite'}"
    app = make_app(database, redis_url, WEBHOOKS_BASE_TEMPLATE="base.html")
    app.jinja_loader = DictLoader({"base.html": HOST_LAYOUT})
    app.jinja_env.globals["_"] = str.upper
    app.jinja_env.globals["csp_nonce"] = lambda: "n0nce"
    page = Browser(app).get("/")
    assert "OF THE HOST" in page.text
    assert page.one("title").text == "Webhooks · Flask-Webhooks"
    assert page.one("main").one("h1").text == "Webhooks"
    assert page.one("link", rel="stylesheet").attributes["nonce"] == "n0nce"
    assert page.one("script").attributes["nonce"] == "n0nce"
    assert "Content-Security-Policy" not in page.response.headers
    close(app)


def test_the_host_replaces_a_page_by_its_name(app: Flask, browser: Browser) -> None:
    own = '{% extends "flask_webhooks/page.html" %}{% block wh_body %}<h1>Own</h1>{% endblock %}'
    app.jinja_loader = DictLoader({"flask_webhooks/endpoint_list.html": own})
    assert browser.get("/").heading == "Own"
    assert browser.get("/deliveries").heading == "Deliveries"


def test_a_host_that_asks_its_database_who_it_is_does_not_lock_itself_out(
    tmp_path: Path, redis_url: str
) -> None:
    database = f"sqlite:///{tmp_path / 'immediate.sqlite'}"
    app = make_app(database, redis_url, SQLITE_IMMEDIATE=True)

    def authorize(action: str, endpoint: object) -> bool:
        return bool(db_of(app).session.execute(sa.text("SELECT 1")).scalar_one())

    webhooks_of(app).authorize(authorize)
    browser = Browser(app)
    page = browser.get(add(browser).link("I have saved it"))
    page = browser.send(browser.get(page.link("Send test event")), "/test")
    page = browser.send(page, "/cancel")
    browser.send(browser.get("/delete-all"), "/delete-all")
    close(app)


@pytest.mark.slow
def test_before_all_are_deleted_some_are_named_and_all_are_counted(
    app: Flask, browser: Browser
) -> None:
    for number in range(25):
        add_endpoint(app, name=f"Webhook {number}", tenant=f"app_{number % 5}")
    page = browser.get("/delete-all")
    assert "This deletes 25 webhooks" in page.text
    form = page.form("/delete-all")
    named = [item.text for item in form.all("li")]
    assert (len(named), named[0], named[-1]) == (21, "Webhook 24 (app_4)", "and 5 more")
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    page = browser.get("/delete-all")
    assert "This deletes 5 webhooks" in page.text
    assert len(page.form("/delete-all").all("li")) == 5


@pytest.mark.slow
def test_a_page_takes_few_statements_however_much_it_lists(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    def counts(world: World) -> dict[str, int]:
        paths = {
            "list": "/",
            "endpoint": f"/endpoints/{world.endpoints['good']}",
            "edit": f"/endpoints/{world.endpoints['good']}/edit",
            "test": f"/endpoints/{world.endpoints['good']}/test",
            "deliveries": "/deliveries",
            "deliveries of one": f"/deliveries?webhook={world.endpoints['good']}",
            "delivery": f"/deliveries/{world.deliveries['attempt succeeded']}",
            "delete all": "/delete-all",
            "new": "/endpoints/new",
            **{
                name: f"/endpoints/{world.endpoints['good']}/{name}"
                for name in ("rotate", "end-overlap", "remove-secret", "pause", "delete")
            },
            "resume": f"/endpoints/{world.endpoints['paused']}/resume",
        }
        found = {}
        for name, path in paths.items():
            with statements(app) as executed:
                browser.get(path)
            found[name] = len(executed)
        return found

    world = populate(app, receiver)
    before = counts(world)
    assert max(before.values()) <= 12, before
    for _ in range(30):
        add_delivery(app, add_endpoint(app))
    assert counts(world) == before


@pytest.mark.slow
def test_pages_need_no_leniency_of_the_host(
    tmp_path: Path, redis_url: str, receiver: Receiver
) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'strict.sqlite'}", redis_url)
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    world = populate(app, receiver)
    for path in world.paths():
        Browser(app).get(path)
    close(app)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.5, "50 %"),
        (0.9999, "99.9 %"),
        (0.00001, "0.1 %"),
        (2 / 3, "66.7 %"),
    ],
)
def test_shares_are_never_rounded_to_all_or_nothing(share: float, text: str) -> None:
    assert display.percent(share) == text


def test_texts_are_english_without_flask_babel(browser: Browser) -> None:
    page = browser.get("/")
    assert page.one("html").attributes == {"lang": "en", "dir": "ltr"}


# -- the snippets on the page with the secret ---------------------------------------------------------


def signed(secret: str, body: bytes) -> dict[str, str]:
    now = int(datetime.now(UTC).timestamp())
    signature = signing.sign_standard("evt_1", now, body, [signing.standard_key(secret)])
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature,
        "content-type": "application/json",
    }


PYTHON, NODE, CURL = (snippet.code for snippet in snippets("standard"))
BODY = b'{"type":"test","timestamp":"2026-01-01T00:00:00.000Z","data":{"n":1}}'


def test_the_page_offers_all_snippets(browser: Browser) -> None:
    page = add(browser)
    shown = [item.raw_text.removeprefix("\n") for item in page.all("pre")]
    assert shown == [PYTHON, NODE, CURL]


def test_the_python_snippet_verifies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = signing.generate_secret()
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(PYTHON, names)
    client = names["app"].test_client()
    headers = signed(secret, BODY)
    assert client.post("/webhooks", data=BODY, headers=headers).status_code == 204
    assert client.post("/webhooks", data=BODY + b" ", headers=headers).status_code == 401
    assert "evt_1" in capsys.readouterr().out


EXPRESS = """
const express = () => ({
  post(path, parser, handler) { this.handler = handler; },
  listen() {
    const answer = (request) => {
      let status = null;
      this.handler(request, { sendStatus(code) { status = code; } });
      console.log(status);
    };
    for (const item of JSON.parse(require("fs").readFileSync(0))) {
      answer({ headers: item.headers, body: Buffer.from(item.body) });
    }
  },
});
express.raw = () => null;
module.exports = express;
"""


def test_the_node_snippet_verifies(tmp_path: Path) -> None:
    secret = signing.generate_secret()
    package = tmp_path / "node_modules" / "express"
    package.mkdir(parents=True)
    (package / "index.js").write_text(EXPRESS)
    (tmp_path / "receiver.js").write_text(NODE)
    headers = signed(secret, BODY)
    two = headers["webhook-signature"].replace("v1,", "v1,b3RoZXI= v1,")
    old = {**headers, "webhook-timestamp": "1700000000"}
    requests = [
        {"headers": headers, "body": BODY.decode()},
        {"headers": {**headers, "webhook-signature": two}, "body": BODY.decode()},
        {"headers": headers, "body": BODY.decode() + " "},
        {"headers": old, "body": BODY.decode()},
        {"headers": {}, "body": "{}"},
    ]
    result = subprocess.run(
        [node(), "receiver.js"],
        cwd=tmp_path,
        env={**os.environ, "WEBHOOK_SECRET": secret},
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert re.findall(r"^\d+$", result.stdout, re.MULTILINE) == ["204", "204", "401", "401", "401"]


@pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "curl", "openssl", "od"))), reason="needs curl and openssl"
)
def test_the_curl_snippet_signs(receiver: Receiver) -> None:
    from standardwebhooks import Webhook

    secret = signing.generate_secret()
    script = CURL.replace("http://localhost:3000/webhooks", receiver.url())
    subprocess.run(
        ["sh", "-eu", "-c", script],
        env={**os.environ, "WEBHOOK_SECRET": secret},
        capture_output=True,
        check=True,
        timeout=30,
    )
    [request] = receiver.requests
    event = Webhook(secret).verify(request.body, request.headers)
    assert event["data"] == {"message": "Hello"}


def test_hostile_text_reads_as_it_was_written(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    world = populate(app, receiver)
    page = browser.get(f"/endpoints/{world.endpoints['good']}")
    assert page.heading == f"good {HOSTILE}"
    page = browser.get(f"/deliveries/{world.deliveries['attempt succeeded']}")
    assert page.text.count(HOSTILE) >= 4
    # What turns the direction of text around is written out.
    assert "\u202e" not in page.response.text
    assert "\\u202e" in page.response.text
