"""The pages for many deliveries at once, on both databases: count first, then start, watch, stop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.admin.filters import Filters
from flask_webhooks.admin.matching_views import choices, not_selectable
from flask_webhooks.app_state import state_of
from flask_webhooks.bulk.runner import run_next
from flask_webhooks.models import Endpoint, Task
from tests.admin.test_security import token
from tests.support.delivering import deliveries, drain, emit, states, webhooks_of
from tests.support.helpers import (
    accessing,
    activity,
    add_delivery,
    add_endpoint,
    close,
    database_time,
    statements,
    update,
)
from tests.support.pages import Browser, Page, make_app, populate
from tests.support.receiver import Receiver

HOUR = timedelta(hours=1)


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url, WEBHOOKS_MAX_ENDPOINTS=20)
    webhooks_of(app).hooks.current_actor = lambda: "ann@example.com"
    yield app
    close(app)


@pytest.fixture
def shop(app: Flask) -> Endpoint:
    return add_endpoint(app, name="Shop")


def failed(app: Flask, endpoint: Endpoint, age: timedelta = HOUR, **values: Any) -> str:
    """A delivery that was given up some time ago."""
    common: dict[str, Any] = {"last_status": 503, "attempt_count": 3, "reason": "exhausted"}
    return add_delivery(
        app, endpoint, "failed", completed_at=database_time(app) - age, **(common | values)
    )


def work(app: Flask) -> None:
    """Do what waits, as a worker does, but deliver nothing."""
    while run_next(state_of(app), lambda: False):
        pass


def tasks(app: Flask) -> list[Task]:
    return [row.task for row in queries.list_tasks(accessing(app)).items]


def local(moment: datetime) -> str:
    """As a ``datetime-local`` field sends it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")


def link(page: Page, part: str) -> str:
    """The only link whose target holds this."""
    found = {item.attributes["href"] for item in page.all("a") if part in item.attributes["href"]}
    assert len(found) == 1, f"{found} for {part}"
    return found.pop()


def presets(page: Page) -> dict[str, str]:
    """The times that the page offers, with where they lead."""
    links = page.one("ul", class_="wh-presets").all("a")
    return {item.text: unquote(item.attributes["href"]) for item in links}


# -- recover ------------------------------------------------------------------------------------------


def test_what_failed_is_counted_shown_and_only_then_recovered(
    app: Flask, browser: Browser, shop: Endpoint
) -> None:
    old, recent = failed(app, shop, 30 * HOUR), failed(app, shop, HOUR)
    failed(app, add_endpoint(app, name="Other"))
    page = browser.get(f"/endpoints/{shop.id}")
    page = browser.get(page.link("Recover failed…"))
    assert page.heading == "Recover failed deliveries"
    assert "Since (UTC)" in page.text

    page = browser.get(presets(page)["Last 24 hours"])
    assert page.one("strong", class_="wh-count").text == "1 delivery"
    assert "Webhook Shop" in page.text
    assert "Failed since" in page.text
    assert tasks(app) == []
    assert states(app) == {"failed": 3}

    page = browser.send(page, "/recover")
    [task] = tasks(app)
    assert page.response.request.path.endswith(f"/tasks/{task.id}")
    assert "The task is queued." in page.text
    assert "Waiting" in page.one(id="wh-part-state").text
    assert "0 of 1 delivery" in page.text
    assert "by ann@example.com" in page.text
    assert page.all(**{"data-wh-live": ""})

    work(app)
    page = browser.get(page.link("Refresh"))
    assert "Finished" in page.one(id="wh-part-state").text
    assert "1 of 1 delivery" in page.text
    assert "They are queued" in page.text
    assert not page.all(**{"data-wh-live": ""})
    assert "Stop" not in page.text
    found = {row.id: row for row in deliveries(app)}
    assert (found[recent].trigger, found[recent].actor) == ("replay", "ann@example.com")
    assert found[old].state == "failed"
    page = browser.get(page.link("See the results"))
    assert "To Shop" in page.text


def test_a_window_and_a_type_of_ones_own(app: Flask, browser: Browser, shop: Endpoint) -> None:
    for age in (2, 4, 6):
        failed(app, shop, age * HOUR)
    failed(app, shop, 4 * HOUR, event_type="user.banned")
    now = database_time(app)
    page = browser.get(f"/endpoints/{shop.id}/recover")
    values = {
        "since": local(now - 5 * HOUR),
        "until": local(now - 3 * HOUR),
        "type": "license.created",
    }
    page = browser.send(page, "/recover", values)
    assert page.one("strong", class_="wh-count").text == "1 delivery"
    assert "Failed before" in page.text
    assert "Event type license.created" in page.text
    again = browser.get(page.link("Change"))
    assert again.one("input", id="wh-since").attributes["value"] == f"{values['since']}:00"
    assert again.one("input", id="wh-until").attributes["value"] == f"{values['until']}:00"
    assert again.one("option", value="license.created", selected="").text == "license.created"
    browser.send(page, "/recover")
    work(app)
    assert states(app)["failed"] == 3


def test_presets_are_the_times_that_somebody_means(
    app: Flask, browser: Browser, shop: Endpoint
) -> None:
    path = f"/endpoints/{shop.id}/recover"
    assert list(presets(browser.get(path))) == [
        "Last 24 hours",
        "Last 7 days",
        "Since it was added",
    ]
    began = database_time(app) - 50 * HOUR
    update(app, "EndpointHealth", shop.id, failing_since=began)
    page = browser.get(path)
    assert next(iter(presets(page))) == "Since it began to fail"
    value = began.strftime("%Y-%m-%dT%H:%M")
    field = page.one("input", id="wh-since")
    assert field.attributes["value"] == value
    assert field.attributes["step"] == "any", "or browsers would refuse any other second"
    disabled = database_time(app) - 2 * HOUR
    update(app, "Endpoint", shop.id, state="disabled", state_since=disabled)
    page = browser.get(path)
    assert list(presets(page))[:2] == ["Since it began to fail", "Since it was disabled"]
    failed(app, shop)
    failed(app, shop, 3 * HOUR)
    page = browser.get(presets(page)["Since it was disabled"])
    assert page.one("strong", class_="wh-count").text == "1 delivery"
    assert "they are held until you resume it" in page.text


def test_the_time_at_which_it_was_disabled_is_known_after_the_resume(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    shop = add_endpoint(app, receiver.url("/status/410"))
    with app.app_context():
        emit(app)
    drain(app)
    [row] = [item for item in activity(app) if item.action == "endpoint.disabled"]
    at = database_time(app) - 5 * HOUR
    update(app, "Activity", row.id, at=at)
    page = browser.get("/activity")
    assert "Flask-Webhooks disabled the webhook" in page.text
    assert "The receiver responded with 410 Gone." in page.text
    actions.resume_endpoint(accessing(app), shop.id)
    page = browser.get(f"/endpoints/{shop.id}/recover")
    assert at.strftime("%Y-%m-%dT%H:%M") in presets(page)["Since it was disabled"]


def test_a_failing_webhook_says_that_it_is_only_probed(
    app: Flask, browser: Browser, shop: Endpoint
) -> None:
    failed(app, shop)
    update(app, "EndpointHealth", shop.id, probe_interval=60.0)
    page = browser.get(f"/endpoints/{shop.id}/recover?since=2020-01-01T00:00")
    assert "they wait until it succeeds" in page.text


def test_nothing_to_recover_offers_nothing(app: Flask, browser: Browser, shop: Endpoint) -> None:
    page = browser.get(f"/endpoints/{shop.id}/recover?since=2020-01-01T00:00")
    assert "There is nothing to do: none match." in page.text
    assert page.all("form", method="post") == []


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("since=", "since", "Enter a start time."),
        ("since=tuesday", "since", "Write the time as 2026-01-31T12:00"),
        ("since=2026-01-02T00:00&until=soon", "until", "Write the time as"),
        ("since=2026-01-02T00:00&until=2026-01-01T00:00", "until", "later than the start"),
        ("since=2026-01-02T00:00&type=%00", "type", "printable"),
    ],
)
def test_bad_times_are_refused_at_their_field(
    app: Flask, browser: Browser, shop: Endpoint, query: str, field: str, message: str
) -> None:
    for kind in ("recover", "replay"):
        page = browser.get(f"/endpoints/{shop.id}/{kind}?{query}", 422)
        problems = page.one(id="wh-problems")
        assert message in problems.text
        assert problems.one("a").attributes["href"] == f"#wh-{field}"
        assert message in page.one(id=f"wh-{field}-error").text
    values = dict(part.split("=") for part in unquote(query).split("&"))
    values["csrf_token"] = token(browser)
    page = browser.post(f"/endpoints/{shop.id}/recover", values, 422)
    assert message in page.one(id=f"wh-{field}-error").text
    assert tasks(app) == []


# -- replay -------------------------------------------------------------------------------------------


def test_what_was_missed_is_replayed(app: Flask, browser: Browser) -> None:
    actions.pause_endpoint(accessing(app), add_endpoint(app, name="First").id)
    with app.app_context():
        emit(app, 3)
    late = add_endpoint(app, name="Late")
    page = browser.get(f"/endpoints/{late.id}")
    page = browser.get(page.link("Replay missed…"))
    assert page.heading == "Replay missed events"
    page = browser.get(presets(page)["Whole history"])
    assert page.one("strong", class_="wh-count").text == "3 events"
    assert "History since" in page.text
    page = browser.send(page, "/replay")
    assert "0 of 3 events" in page.text
    work(app)
    assert "3 of 3 events" in browser.get(page.link("Refresh")).text
    assert len([row for row in deliveries(app) if row.endpoint_id == late.id]) == 3


# -- lists --------------------------------------------------------------------------------------------


def test_everything_that_a_list_shows_is_resent(
    app: Flask, browser: Browser, shop: Endpoint
) -> None:
    for status in (503, 503, 404):
        failed(app, shop, last_status=status)
    failed(app, add_endpoint(app, name="Other"))
    add_delivery(app, shop, "succeeded", last_status=200)
    page = browser.get(f"/deliveries?webhook={shop.id}&state=failed&status=5xx")
    page = browser.get(page.link("Resend all that match…"))
    assert page.heading == "Resend deliveries"
    assert page.one("strong", class_="wh-count").text == "2 deliveries"
    assert "Status Failed" in page.text
    assert "Response 5xx" in page.text
    page = browser.send(page, "/resend-all")
    [task] = tasks(app)
    assert (task.kind, task.endpoint_id) == ("resend", shop.id)
    assert task.filter == {"state": "failed", "status": "5xx"}
    work(app)
    assert "2 of 2 deliveries" in browser.get(page.link("Refresh")).text
    assert states(app) == {"pending": 2, "failed": 2, "succeeded": 1}


def test_everything_that_waits_is_cancelled_but_not_what_is_being_sent(
    app: Flask, browser: Browser, shop: Endpoint
) -> None:
    for state in ("pending", "held", "sending", "failed"):
        add_delivery(app, shop, state)
    page = browser.get(f"/deliveries?webhook={shop.id}&type=license.created")
    page = browser.get(page.link("Cancel all that match…"))
    assert page.one("strong", class_="wh-count").text == "2 deliveries"
    assert "Of which are" in page.text
    browser.send(page, "/cancel-all")
    work(app)
    assert states(app) == {"cancelled": 2, "sending": 1, "failed": 1}


def test_an_event_id_selects_its_deliveries(app: Flask, browser: Browser, shop: Endpoint) -> None:
    failed(app, shop, event_id="evt_one")
    failed(app, shop)
    page = browser.get("/deliveries?id=evt_one")
    page = browser.get(page.link("Resend all that match…"))
    assert page.one("strong", class_="wh-count").text == "1 delivery"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, []),
        ({"q": "lic_1"}, []),
        ({"q": "lic_1", "state": "failed"}, []),
        ({"id": "dlv_1"}, []),
        ({"state": "failed"}, ["resend_all"]),
        ({"state": "pending"}, ["resend_all", "cancel_all"]),
        ({"state": "sending"}, []),
        ({"type": "license.created"}, ["resend_all", "cancel_all"]),
        ({"webhook": "ep_1"}, ["resend_all", "cancel_all"]),
    ],
)
def test_what_a_list_offers_follows_from_its_filters(
    app: Flask, query: dict[str, str], expected: list[str]
) -> None:
    filters = Filters(query, "webhook", "state", "type", "id", "q")
    with app.app_context():
        assert choices(filters) == expected
        assert (not_selectable(filters) is not None) is ("q" in query or "id" in query)


def test_a_text_is_no_scope_and_the_page_says_why(
    app: Flask, browser: Browser, shop: Endpoint
) -> None:
    failed(app, shop)
    page = browser.get("/deliveries?q=lic_1&state=failed")
    assert (
        "This cannot be done for all at once: Text is only searched in the newest deliveries"
        in page.text
    )
    assert "Resend all that match…" not in page.links()
    for action in ("resend-all", "cancel-all"):
        assert "Remove the text" in browser.get(f"/deliveries/{action}?q=lic_1", 422).text
        # Nor by a form that somebody has made up.
        values = {"q": "lic_1", "csrf_token": token(browser)}
        browser.post(f"/deliveries/{action}", values, 422)
    browser.get("/deliveries/resend-all?id=dlv_1", 422)
    assert "Filter the list" in browser.get("/deliveries").text
    assert tasks(app) == []


@pytest.mark.parametrize("query", ["status=6xx", "state=nothing", "since=x", "type=%00"])
def test_filters_that_make_no_sense_are_refused(browser: Browser, query: str) -> None:
    browser.get(f"/deliveries/resend-all?{query}", 422)


def test_a_deleted_webhook_is_not_sent_to(app: Flask, browser: Browser, shop: Endpoint) -> None:
    failed(app, shop)
    actions.delete_endpoint(accessing(app), shop.id)
    page = browser.get(f"/deliveries?webhook={shop.id}")
    assert "Resend all that match…" not in page.links()
    assert "Shop (deleted)" in page.one("select", id="wh-filter-webhook").text
    browser.get(f"/deliveries/resend-all?webhook={shop.id}", 404)


# -- the filter for a webhook -------------------------------------------------------------------------


def test_a_list_is_of_a_webhook_that_is_chosen(app: Flask, browser: Browser) -> None:
    one, two = add_endpoint(app, name="One"), add_endpoint(app, name="Two")
    for endpoint in (one, two, two):
        add_delivery(app, endpoint)
    page = browser.get("/deliveries")
    assert [item.text for item in page.one("select", id="wh-filter-webhook").all("option")] == [
        "Any",
        "Two",
        "One",
    ]
    page = browser.send(page, "/deliveries", {"webhook": two.id})
    assert len(page.one("tbody").all("tr")) == 2
    assert page.one("option", value=two.id, selected="").text == "Two"
    page = browser.send(page, "/deliveries", {"webhook": ""})
    assert len(page.one("tbody").all("tr")) == 3


def test_of_very_many_webhooks_one_is_found_by_its_name(
    app: Flask, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("webhook_choices", "delivery_views"):
        monkeypatch.setattr(f"flask_webhooks.admin.{module}.MOST", 2)
    endpoints = [
        add_endpoint(app, f"https://{name}.example/in", name=f"Shop {name}") for name in "abc"
    ]
    add_delivery(app, endpoints[1])
    page = browser.get("/deliveries")
    assert page.all("select", id="wh-filter-webhook") == []
    answer = browser.client.get("/webhooks/deliveries?webhook=shop+b&state=pending")
    assert answer.status_code == 303
    page = browser.get(answer.location)
    assert "To Shop b" in page.text
    assert len(page.one("tbody").all("tr")) == 1
    assert page.one("input", name="webhook", type="hidden").attributes["value"] == endpoints[1].id
    page = browser.send(browser.get("/deliveries"), "/deliveries", {"webhook": "shop"})
    section = page.one("section", aria_labelledby="wh-which")
    assert [item.text for item in section.all("a")] == ["Shop c", "Shop b"]
    assert "There may be more. Search for one by its name, URL or id." in section.text
    assert "Resend all that match…" not in page.links()
    assert "No webhook matches “nowhere”." in browser.get("/deliveries?webhook=nowhere").text


# -- tasks --------------------------------------------------------------------------------------------


def test_a_task_is_stopped_and_the_trail_says_by_whom(
    app: Flask, browser: Browser, shop: Endpoint
) -> None:
    failed(app, shop)
    browser.send(browser.get(f"/endpoints/{shop.id}/recover?since=2020-01-01T00:00"), "/recover")
    webhooks_of(app).hooks.current_actor = lambda: "bob@example.com"
    [task] = tasks(app)
    form = browser.get(f"/tasks/{task.id}")
    page = browser.send(form, "/stop")
    assert "The task was stopped. What it has done is not undone." in page.text
    assert "Stopped" in page.one(id="wh-part-state").text
    assert page.all("form", method="post") == []
    work(app)
    assert states(app) == {"failed": 1}
    assert [(row.actor, row.action) for row in activity(app)][-2:] == [
        ("ann@example.com", "task.started"),
        ("bob@example.com", "task.stopped"),
    ]
    text = browser.get("/activity").text
    assert "bob@example.com stopped a task Shop · Recover failed deliveries Done 0" in text
    assert (
        "ann@example.com started a task Shop · Recover failed deliveries Failed since 2020-01-01"
        in text
    )
    page = browser.get(link(browser.get(f"/activity?webhook={shop.id}"), "/tasks/"))
    assert page.heading == "Recover failed deliveries"
    assert "The task is already stopped." in browser.send(form, "/stop").text


def test_one_that_is_running_already_is_shown_instead(
    app: Flask, browser: Browser, shop: Endpoint
) -> None:
    failed(app, shop)
    form = browser.get(f"/endpoints/{shop.id}/recover?since=2020-01-01T00:00")
    browser.send(form, "/recover")
    page = browser.send(form, "/recover")
    [task] = tasks(app)
    assert page.response.request.path.endswith(f"/tasks/{task.id}")
    assert "is already waiting" in page.text


def test_tasks_are_on_the_page_of_their_webhook_and_on_the_health_page(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    world = populate(app, receiver)
    page = browser.get(f"/endpoints/{world.endpoints['refusing']}")
    section = page.one("section", aria_labelledby="wh-outage")
    assert "412 of 1,284 deliveries" in section.text
    assert float(section.one("progress").attributes["value"]) == pytest.approx(412 / 1284, abs=1e-4)
    assert "data-wh-live" in section.attributes
    health = browser.get("/health").one("section", aria_labelledby="wh-tasks")
    found = [item.attributes["href"].rpartition("/")[2] for item in health.one("tbody").all("a")]
    found = [id_ for id_ in found if id_.startswith("task_")]
    tasks = world.tasks
    running = [tasks["waiting"], tasks["running"], tasks["counting"]]
    assert found == [*running, tasks["failed"], tasks["stopped"], tasks["finished"]]
    assert len(health.all("button")) == 3
    assert "200 so far" in health.text
    assert "value" not in health.all("progress")[2].attributes, "nobody knows how many there are"
    page = browser.get(browser.get("/health").link("All tasks"))
    assert len(page.one("tbody").all("tr")) == 6
    page = browser.get(f"/tasks?webhook={world.endpoints['paused']}")
    assert "600 of 2,500 deliveries" in page.text
    assert len(page.one("tbody").all("tr")) == 1


def test_without_redis_the_task_is_saved_and_the_page_says_so(database_url: str) -> None:
    app = make_app(database_url, "redis://127.0.0.1:1025/0")
    browser = Browser(app)
    endpoint = add_endpoint(app)
    failed(app, endpoint)
    page = browser.get(f"/endpoints/{endpoint.id}/recover?since=2020-01-01T00:00")
    page = browser.send(page, "/recover")
    assert "Redis does not respond, so no worker could be woken. The task is saved" in page.text
    assert [task.state for task in tasks(app)] == ["waiting"]
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    own = add_endpoint(app, tenant="app_1")
    page = browser.get(f"/endpoints/{own.id}/recover?since=2020-01-01T00:00")
    failed(app, own)
    page = browser.get(f"/endpoints/{own.id}/recover?since=2020-01-01T00:00")
    page = browser.send(page, "/recover")
    assert "It is saved, and starts as soon as a worker is free." in page.text
    assert "Redis" not in page.text, "whose machines these are is nothing to a tenant"
    close(app)


# -- who may ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_read_only_person_sees_tasks_and_no_button(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    world = populate(app, receiver)
    webhooks_of(app).authorize(lambda action, endpoint: action in ("view", "view_payload"))
    good = world.endpoints["good"]
    unwanted = {
        "Recover failed…",
        "Replay missed…",
        "Resend all that match…",
        "Cancel all that match…",
    }
    for path in (
        f"/endpoints/{good}",
        "/deliveries?state=failed",
        "/deliveries?state=pending",
        "/deliveries",
        "/health",
        "/tasks",
        *(f"/tasks/{id_}" for id_ in world.tasks.values()),
    ):
        page = browser.get(path)
        assert page.all("form", method="post") == [], path
        assert not unwanted & set(page.links()), path
        assert "Filter the list to resend" not in page.text
    for path in (f"/endpoints/{good}/recover", "/deliveries/cancel-all?state=pending"):
        browser.get(path, 403)
        browser.post(path, {"since": "2020-01-01T00:00"}, 403)
    browser.post(f"/tasks/{world.tasks['running']}/stop", {}, 403)


def test_a_tenant_sees_its_own_tasks_only(app: Flask, browser: Browser) -> None:
    own, other = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_2")
    access = accessing(app)
    mine = actions.start_task(access, "cancel", own.id)
    theirs = [actions.start_task(access, "cancel", other.id), actions.start_task(access, "cancel")]
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    for path in ("/tasks", "/health"):
        text = browser.get(path).response.text
        assert mine.id in text
        assert not [task.id for task in theirs if task.id in text]
    browser.get(f"/tasks/{mine.id}")
    for task in theirs:
        browser.get(f"/tasks/{task.id}", 404)
        browser.post(f"/tasks/{task.id}/stop", {}, 404)
    failed(app, own)
    failed(app, other)
    page = browser.get("/deliveries/resend-all?state=failed")
    assert page.one("strong", class_="wh-count").text == "1 delivery"
    browser.send(page, "/resend-all")
    work(app)
    assert {row.endpoint_id: row.state for row in deliveries(app)} == {
        own.id: "pending",
        other.id: "failed",
    }


def test_a_person_with_one_webhook_only_sees_its_tasks(app: Flask, browser: Browser) -> None:
    """Hosts may allow by endpoint, and nothing about all of them."""
    own, other = add_endpoint(app, name="Own"), add_endpoint(app, name="Other")
    failed(app, own)
    webhooks_of(app).authorize(
        lambda action, endpoint: endpoint is not None and endpoint.id == own.id
    )
    page = browser.get(f"/endpoints/{own.id}/recover?since=2020-01-01T00:00")
    page = browser.send(page, "/recover")
    assert "Waiting" in page.text
    assert "Own" in browser.get(f"/deliveries?webhook={own.id}").text
    browser.send(page, "/stop")
    browser.get(f"/endpoints/{other.id}/recover", 403)
    browser.get("/deliveries/resend-all?state=failed", 403)


# -- statements ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pages_of_tasks_take_few_statements_however_much_there_is(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    world = populate(app, receiver)
    good = world.endpoints["good"]
    paths = [
        f"/endpoints/{good}",
        f"/endpoints/{good}/recover",
        f"/endpoints/{good}/recover?since=2020-01-01T00:00",
        f"/endpoints/{good}/recover?since=",
        f"/endpoints/{good}/replay?since=2020-01-01T00:00",
        f"/deliveries?webhook={good}&state=failed",
        f"/deliveries/resend-all?webhook={good}&state=failed",
        "/deliveries/cancel-all",
        "/deliveries?webhook=good",
        "/tasks",
        f"/tasks?webhook={good}",
        f"/tasks/{world.tasks['running']}",
        f"/tasks/{world.tasks['waiting']}",
        "/health",
        "/activity",
    ]

    def counts() -> dict[str, int]:
        found = {}
        for path in paths:
            with statements(app) as executed:
                browser.client.get(f"/webhooks{path}")
            found[path] = len(executed)
        return found

    before = counts()
    assert max(before.values()) <= 12, before
    for _ in range(20):
        endpoint = add_endpoint(app, name="good")
        failed(app, endpoint)
        actions.start_task(accessing(app), "discard", endpoint.id)
    assert counts() == before
