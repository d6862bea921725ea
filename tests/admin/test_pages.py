"""The pages that only show: overview, events, event types, health, activity, debugger; filters and refreshing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from flask import Flask
from jinja2 import DictLoader
from standardwebhooks import Webhook

from flask_webhooks import Format, actions
from flask_webhooks.admin import banners, display, wording
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.heartbeat import Sign, beat
from flask_webhooks.formats import OutgoingEvent, Rendered, Target
from flask_webhooks.formats.examples import EXAMPLE_SECRET
from flask_webhooks.queries import Backlog, EngineReport
from flask_webhooks.wakeup.redis_trouble import RedisTrouble, TroubleKind
from tests.support.delivering import deliveries, drain, emit, webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    close,
    database_time,
    statements,
    update,
)
from tests.support.pages import Browser, Page, make_app, populate
from tests.support.receiver import Receiver


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    webhooks_of(app).hooks.current_actor = lambda: "ann@example.com"
    yield app
    close(app)


def ids(page: Page) -> list[str]:
    """Of the deliveries in a list."""
    if not page.all("tbody"):
        return []
    links = (item.attributes["href"] for item in page.all("tbody")[0].all("a"))
    return [link.rpartition("/")[2] for link in links if "/deliveries/" in link]


@pytest.mark.slow
def test_counts_that_ended_are_shown_as_such(
    app: Flask, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = add_endpoint(app)
    actions.pause_endpoint(accessing(app), endpoint.id)
    for _ in range(3):
        add_delivery(app, endpoint, "held")
    path = f"/endpoints/{endpoint.id}"
    assert "3 deliveries are held until it is resumed." in browser.get(path).text
    monkeypatch.setattr("flask_webhooks.queries.endpoints.MOST_COUNTED", 2)
    monkeypatch.setattr("flask_webhooks.admin.page.Toolbox.most_counted", 2)
    assert "2+ held" in browser.get("/").text
    assert "2+ deliveries are held until it is resumed." in browser.get(path).text
    assert "2+ deliveries were held meanwhile." in browser.get(f"{path}/resume").text
    assert "2+ waiting deliveries are cancelled." in browser.get(f"{path}/delete").text


# -- the overview -------------------------------------------------------------------------------------


def test_the_overview_of_a_fresh_installation(browser: Browser) -> None:
    page = browser.get("/overview")
    assert page.heading == "Overview"
    assert "No attempts have failed." in page.text
    assert "There were no attempts in this period." in page.text


def test_the_overview_leads_to_what_fails(app: Flask, browser: Browser, receiver: Receiver) -> None:
    good = add_endpoint(app, receiver.url(), name="Good")
    bad = add_endpoint(app, receiver.url("/status/500"), name="Bad")
    for _ in range(3):
        actions.send_test(accessing(app), good.id)
    actions.send_test(accessing(app), bad.id)
    drain(app)
    page = browser.get("/overview")
    assert "75 % 3" in page.text
    assert "25 % 1" in page.text
    [chart, _] = page.all("svg", role="img")
    assert chart.attributes["aria-label"] == "Attempts over time: 3 succeeded, 1 failed."
    failing = page.one("section", aria_labelledby="wh-failing")
    assert [item.text for item in failing.all("a")] == ["Bad"]
    assert ids(page.all("section", aria_labelledby="wh-failed")[0]) != []  # type: ignore[arg-type]
    assert page.one("a", aria_current="true").text == "24 hours"
    page = browser.get(page.link("7 days"))
    assert "75 % 3" in page.text


def test_periods_that_do_not_exist(app: Flask, browser: Browser) -> None:
    assert "24h, 7d." in browser.get("/overview?period=30d", 422).text
    endpoint = add_endpoint(app)
    assert "24h, 7d, 30d." in browser.get(f"/endpoints/{endpoint.id}?period=0", 422).text


def test_the_list_draws_the_day_of_each_endpoint(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    busy = add_endpoint(app, receiver.url(), name="Busy")
    add_endpoint(app, name="Quiet")
    actions.send_test(accessing(app), busy.id)
    drain(app)
    page = browser.get("/")
    assert len(page.all("svg", **{"class": "wh-spark"})) == 1
    assert "100 % of 1" in page.text


def test_many_endpoints_are_paged(app: Flask, browser: Browser) -> None:
    for number in range(51):
        add_endpoint(app, name=f"Number {number}")
    page = browser.get("/")
    assert len(page.one("tbody").all("tr")) == 50
    page = browser.get(page.link("Older"))
    assert page.one("tbody").all("th")[0].text.startswith("Number 0")
    assert len(browser.get(page.link("Newest")).one("tbody").all("tr")) == 50


# -- filters ------------------------------------------------------------------------------------------


def test_deliveries_are_found_by_answer_time_id_and_text(app: Flask, browser: Browser) -> None:
    one = add_endpoint(app)
    refused = add_delivery(app, one, "failed", last_status=404)
    broken = add_delivery(app, one, "failed", last_status=503)
    silent = add_delivery(app, one, "failed")
    with app.app_context():
        [event] = emit(app, data={"license_id": 'say "50%"'})
    [told] = [row.id for row in deliveries(app) if row.event_id == event]

    def found(query: str) -> list[str]:
        return ids(browser.get(f"/deliveries?{query}"))

    assert found("status=4xx") == [refused]
    assert found("status=503") == [broken]
    assert found("status=none") == [told, silent]
    assert found(f"id={broken}") == [broken]
    assert found(f"id={event}") == [told]
    assert found("id=nothing") == []
    assert found("q=50%25") == [told]
    assert found("q=5_%25") == []
    assert found("q=nowhere") == []
    assert found("since=2020-01-01T00:00") == [told, silent, broken, refused]
    assert found("until=2020-01-01T00:00") == []
    assert found("until=0001-01-01T00:00") == []
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    assert found(f"since={tomorrow}") == []
    page = browser.get(f"/deliveries?status=503&id={broken}")
    assert page.one("input", id="wh-filter-id").attributes["value"] == broken
    assert [
        item.text for item in page.one("select", id="wh-filter-status").all("option", selected="")
    ] == ["503"]
    assert ids(browser.get(page.link("Clear"))) == [told, silent, broken, refused]


@pytest.mark.parametrize("query", ["status=6xx", "status=x", "since=yesterday", "until=9"])
def test_filters_that_make_no_sense_are_refused(browser: Browser, query: str) -> None:
    assert browser.get(f"/deliveries?{query}", 422).heading == "Invalid request"


def test_text_is_looked_for_a_stretch_at_a_time(
    app: Flask, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.queries.searching.SEARCHED", 5)
    endpoint = add_endpoint(app)
    with app.app_context():
        [wanted] = emit(app, data={"license_id": "needle"})
        emit(app, 7)
    page = browser.get("/deliveries?q=needle")
    assert ids(page) == []
    assert "None of the newest" in page.text
    page = browser.get(page.link("Search older deliveries"))
    assert len(ids(page)) == 1
    assert "Search older deliveries" not in page.links()
    assert [row.endpoint_id for row in deliveries(app) if row.event_id == wanted] == [endpoint.id]


def test_text_is_not_looked_for_by_those_who_may_not_see_it(app: Flask, browser: Browser) -> None:
    webhooks_of(app).authorize(lambda action, endpoint: action != "view_payload")
    assert browser.get("/deliveries").all("input", name="q") == []
    browser.get("/deliveries?q=needle", 403)


# -- events -------------------------------------------------------------------------------------------


def test_events_lead_to_their_deliveries(app: Flask, browser: Browser) -> None:
    assert "No events have been recorded yet." in browser.get("/events").text
    add_endpoint(app, name="One")
    add_endpoint(app, name="Two")
    with app.app_context():
        [first] = emit(app, tenant="app_1", idempotency_key="order 7")
        emit(app, event_type="user.banned")
    page = browser.get("/events")
    assert page.text.index("user.banned") < page.text.index(first)
    assert "2 Queued" in page.text
    page = browser.send(page, "/events", {"type": "license.created"})
    page = browser.get(page.link("license.created"))
    assert page.heading == "license.created"
    assert "order 7" in page.text
    assert "lic_0" in page.text
    assert len(ids(page)) == 2
    assert page.response.headers["Cache-Control"] == "no-store"
    assert "No events match." in browser.get("/events?id=evt_nothing").text


@pytest.mark.parametrize("path", ["/deliveries", "/events", "/activity"])
def test_times_of_links_stand_in_the_fields_as_these_take_them(browser: Browser, path: str) -> None:
    query = "?since=2026-01-31T13:00:00%2B01:00&until=2026-02-01T00:00:30.5Z"
    page = browser.get(path + query)
    assert page.one("input", name="since").attributes["value"] == "2026-01-31T12:00:00"
    assert page.one("input", name="until").attributes["value"] == "2026-02-01T00:00:30.500"


def reasons(page: Page) -> dict[str, str]:
    """What the page of an event says of the others, by the name of the endpoint."""
    rows = page.one("section", aria_labelledby="wh-why").all("tr")[1:]
    return {row.all("th")[0].text: row.all("td")[0].text for row in rows}


@pytest.mark.slow
def test_an_event_page_says_why_the_others_did_not_get_it(app: Flask, browser: Browser) -> None:
    access = accessing(app)
    add_endpoint(app, name="has it", tenant="app_1")
    add_endpoint(app, name="other", tenant="app_2")
    add_endpoint(app, name="other type", tenant="app_1", events=["user.*"])
    changed = add_endpoint(app, name="changed", tenant="app_1", events=["user.*"])
    deleted = add_endpoint(app, name="deleted", tenant="app_1")
    actions.delete_endpoint(access, deleted.id)
    with app.app_context():
        [event] = emit(app, tenant="app_1")
    actions.update_endpoint(access, changed.id, events=["license.*"])
    later = add_endpoint(app, name="later", tenant="app_1")
    update(app, "Endpoint", later.id, created_at=datetime.now(UTC) + timedelta(seconds=60))
    update(app, "Endpoint", deleted.id, deleted_at=datetime.now(UTC) - timedelta(seconds=60))
    page = browser.get(f"/events/{event}")
    assert reasons(page) == {
        "later": "Added later",
        "changed": "Subscribed later",
        "other type": "Not subscribed",
    }
    assert "Changed by tester" in page.text
    assert "It was subscribed to: user.*" in page.text
    page = browser.send(page, f"/events/{event}", {"webhook": "other"})
    assert reasons(page) == {"other": "Other tenant", "other type": "Not subscribed"}
    page = browser.get(f"/events/{event}?webhook={deleted.id}")
    assert list(reasons(page).values()) == ["Already deleted"]
    assert "No webhook matches “nobody”." in browser.get(f"/events/{event}?webhook=nobody").text
    # A tenant learns nothing of the others.
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    assert "No webhook matches" in browser.get(f"/events/{event}?webhook=app_2").text


def test_an_event_page_says_where_its_delivery_stands(app: Flask, browser: Browser) -> None:
    access = accessing(app)
    names = ("paused", "waiting", "failing", "ordered", "limited", "given up")
    made = {
        name: add_endpoint(
            app, name=name, ordered=name == "ordered", rate_limit=1 if name == "limited" else None
        )
        for name in names
    }
    actions.pause_endpoint(access, made["paused"].id)
    with app.app_context():
        [event] = emit(app)
    [given_up] = [row for row in deliveries(app) if row.endpoint_id == made["given up"].id]
    update(app, "Delivery", given_up.id, state="failed", reason="exhausted", due_at=None)
    update(
        app,
        "EndpointHealth",
        made["failing"].id,
        hold_until=datetime(2199, 1, 1, tzinfo=UTC),
        hold_reason="failing",
    )
    assert "There are no others." in browser.get(f"/events/{event}").text

    def answer(name: str) -> str:
        page = browser.get(f"/events/{event}?webhook={made[name].id}")
        [row] = page.one("section", aria_labelledby="wh-why").all("tr")[1:]
        browser.get(row.one("td", data_label="Reason").one("a").attributes["href"])
        return " ".join(cell.text for cell in row.all("td")).removesuffix(" Its delivery")

    assert answer("paused") == (
        "Held It is held, because the webhook is paused. Resume the webhook to send it."
    )
    assert answer("waiting").startswith("Queued It is queued")
    assert answer("failing") == (
        "Queued It waits for the webhook. It keeps failing, so it is only tried occasionally."
    )
    assert answer("ordered").endswith("the webhook receives one delivery at a time.")
    assert answer("limited").endswith("the webhook has a rate limit.")
    assert answer("given up") == "Failed Every attempt of the retry schedule has failed."
    actions.resume_endpoint(access, made["paused"].id, "keep")
    assert "stayed on hold" in answer("paused")
    [kept] = [row for row in deliveries(app) if row.endpoint_id == made["paused"].id]
    page = browser.get(f"/deliveries/{kept.id}")
    assert "It stayed on hold when the webhook was resumed." in page.text


def test_a_test_event_was_for_one_endpoint_only(app: Flask, browser: Browser) -> None:
    one = add_endpoint(app, name="One")
    add_endpoint(app, name="Two")
    delivery = actions.send_test(accessing(app), one.id, "license.created")
    assert reasons(browser.get(f"/events/{delivery.event_id}")) == {"Two": "Test for another"}


# -- event types --------------------------------------------------------------------------------------


class Shouting(Format):
    """A format with names of its own."""

    name = "shouting"
    label = "Shouting"
    event_names: ClassVar[Mapping[str, str]] = {"license.created": "LICENSE!"}

    def generate_secret(self) -> str:
        return "hush"

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        headers = {"X-Secret": target.secrets[0], "X-Event": self.event_name(event.type)}
        return Rendered(target.url, headers, b'{"shout": 1}', frozenset({"x-secret"}))


class Needy(Shouting):
    name = "needy"
    label = "Needy"

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        raise KeyError("chat_id")


def test_the_catalogue_with_each_formats_name_and_example(app: Flask, browser: Browser) -> None:
    webhooks_of(app).add_format(Shouting())
    webhooks_of(app).add_format(Needy())
    page = browser.get("/event-types")
    for kind in state_of(app).catalog:
        assert kind.name in page.links()
        assert kind.description in page.text
    page = browser.get(page.link("license.created"))
    assert page.heading == "license.created"
    assert "Data includes" in page.text
    assert "Shouting LICENSE!" in page.text
    # Only that of the one that fails.
    assert page.text.count("It cannot be shown without a webhook of this format.") == 1
    assert '"kind": "license.created"' in page.text
    assert '"parse_mode": "HTML"' in page.text
    assert EXAMPLE_SECRET not in page.response.text
    assert '"shout": 1' in page.text
    assert "hush" not in page.response.text
    assert browser.get("/event-types/license.nothing", 404).heading == "Not found"
    browser.get("/event-types/%E2%80%AE", 404)


# -- health -------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)


SILENT = RedisTrouble(TroubleKind.SILENT, "Connection refused")
REPLICA = RedisTrouble(TroubleKind.REPLICA, "You can't write against a read only replica")


def engine(**values: object) -> EngineReport:
    known = {"queue": "webhooks", "reachable": True, "scheduler": True, "workers": 1, **values}
    return EngineReport(**known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "late", "given", "expected"),
    [
        (5, None, engine(), []),
        (5, None, engine(scheduler=False), []),
        (5, None, engine(suspended=True), ["The queue is suspended."]),
        (5, None, engine(reachable=False, workers=0, trouble=SILENT), ["Redis does not respond."]),
        (
            5,
            None,
            engine(trouble=REPLICA),
            ["Redis is a read-only replica."],
        ),
        (
            None,
            300,
            engine(reachable=False, workers=0, trouble=REPLICA),
            ["Redis is a read-only replica."],
        ),
        (None, None, engine(scheduler=False), ["No scheduler is running."]),
        (None, None, engine(), []),
        (None, None, engine(workers=0), ["No worker has sent a heartbeat."]),
        (None, None, engine(workers=0, scheduler=False), ["No worker has sent a heartbeat."]),
        (None, 300, engine(), ["Deliveries are late."]),
        (
            None,
            300,
            engine(reachable=False, workers=0, trouble=SILENT),
            ["No worker is running.", "Redis does not respond."],
        ),
    ],
)
def test_banners_from_the_registries_of_rq(
    app: Flask, seen: float | None, late: float | None, given: EngineReport, expected: list[str]
) -> None:
    report = Backlog(
        NOW,
        None if seen is None else NOW - timedelta(seconds=seen),
        3 if late else 0,
        None if late is None else NOW - timedelta(seconds=late),
        alive_at=None if seen is None else NOW - timedelta(seconds=seen),
    )
    with app.app_context():
        shown = banners.from_report(report, operator=True, engine=given)
    assert [item.title for item in shown] == expected


def test_health_of_an_installation_at_work(app: Flask, browser: Browser, redis_url: str) -> None:
    add_delivery(app, add_endpoint(app), due_at=datetime(2026, 1, 1, tzinfo=UTC))
    client = state_of(app).worker_queue.connect()
    client.sadd("rq:workers:webhooks", "rq:worker:one", "rq:worker:killed-long-ago")
    client.hset("rq:worker:one", "queues", "webhooks")
    client.set("rq:scheduler-lock:webhooks", "one")
    client.lpush("rq:queue:webhooks", "job")
    client.close()
    page = browser.get("/health")
    assert "Responds" in page.text
    assert "Scheduler Running" in page.text
    assert "RQ workers of this queue 1" in page.text
    assert "Waiting jobs 1" in page.text
    assert "Overdue 1 oldest for" in page.text
    assert "No worker has been seen in the last hour." in page.text
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    page = browser.get("/health")
    assert "Scheduler" not in page.text
    assert "Overdue 0" in page.text


def test_health_says_how_far_the_history_was_removed(app: Flask, browser: Browser) -> None:
    def history(browser: Browser) -> str:
        [shown] = [
            item.one("dd").text
            for item in browser.get("/health").all("div")
            if [name.text for name in item.all("dt")] == ["History since"]
        ]
        return shown

    assert history(browser) == "\u2013"
    endpoint = add_endpoint(app)
    for _ in range(2):
        add_delivery(app, endpoint, "succeeded")
    oldest, newest = sorted(row.event_id for row in deliveries(app))
    now = database_time(app)
    update(app, "Event", newest, created_at=now - timedelta(days=1))
    update(app, "Event", oldest, created_at=now - timedelta(days=2))
    assert history(browser) == display.utc_text(now - timedelta(days=2))
    update(app, "Event", oldest, created_at=now - timedelta(days=60))
    shown = history(browser)
    assert shown.startswith(display.utc_text(now - timedelta(days=60)))
    assert shown.endswith("are being removed, except those with undelivered deliveries.")
    # A tenant is not told of others' events.
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    assert "History since" not in browser.get("/health").text


@pytest.mark.parametrize(
    ("registered", "shown"), [(["ours"], True), (["ours", "plain"], False), ([], True)]
)
def test_worker_of_ours_that_was_killed_is_not_believed(
    app: Flask, browser: Browser, registered: list[str], shown: bool
) -> None:
    state = state_of(app)
    client = state.worker_queue.connect()
    for name in registered:
        client.sadd("rq:workers:webhooks", f"rq:worker:{name}")
        client.hset(f"rq:worker:{name}", "queues", "webhooks")
    client.close()
    with state.engine.connect() as connection:
        then = database_time(app) - timedelta(seconds=60)
        beat(state, connection, Sign("ours", "worker", "host", 1), then)
    # A plain worker gives no sign of life of its own.
    assert ("No worker has sent a heartbeat." in browser.get("/").text) is shown


@pytest.mark.slow
def test_pages_work_without_redis(tmp_path: Path) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'alone.sqlite'}", "redis://127.0.0.1:1025/0")
    browser = Browser(app)
    page = browser.get("/")
    assert "Redis does not respond." in page.text
    assert "Does not respond" in browser.get("/health").text
    endpoint = add_endpoint(app)
    page = browser.send(browser.get(f"/endpoints/{endpoint.id}/test"), "/test")
    assert "The test event is queued." in page.text
    close(app)


# -- activity -----------------------------------------------------------------------------------------


def test_activity_says_who_did_what(app: Flask, browser: Browser) -> None:
    assert "No activity yet." in browser.get("/activity").text
    access = accessing(app)
    one = add_endpoint(app, name="One")
    two = add_endpoint(app, name="Two")
    actions.update_endpoint(access, one.id, name="Renamed")
    delivery = actions.send_test(access, one.id)
    page = browser.get("/activity")
    assert "tester sent a test event Renamed · Delivery" in page.text
    assert "tester changed the webhook Renamed" in page.text
    assert page.one("del").text == "One"
    assert browser.get(page.link("Delivery")).heading == delivery.event_type
    page = browser.get(f"/activity?webhook={two.id}")
    assert "Of Two" in page.text
    assert "Renamed" not in page.one("section", aria_label="Activity").text
    update(app, "Delivery", delivery.id, state="failed", due_at=None)
    actions.resend(access, delivery.id)
    actions.rotate_secret(access, one.id)
    actions.pause_endpoint(access, two.id, "Moving house")
    actions.delete_endpoint(access, two.id)
    page = browser.get("/activity")
    told = [item.one("strong").text for item in page.all("li", **{"class": "wh-rowitem"})]
    assert told == ["tester"] * 8
    for text in (
        "added the webhook Renamed",
        "resent a delivery Renamed · Delivery",
        "rotated the secret Renamed",
        "paused the webhook Two (deleted)",
        "deleted the webhook Two (deleted)",
    ):
        assert f"tester {text}" in page.text
    assert "Reason Moving house" in page.text


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({"name": ["a", "b"]}, [("Name", "a", "b")]),
        ({"name": [None, ""], "headers": [None, []]}, []),
        ({"name": ["a", ""]}, [("Name", "a", "\N{EN DASH}")]),
        ({"events": [None, ["user.*"]]}, [("Events", "all events", "user.*")]),
        (
            {"url": [None, "u"], "events": [None, None]},
            [("URL", "", "u"), ("Events", "", "all events")],
        ),
        ({"overlap_seconds": 86_400}, [("Overlap in seconds", "", "86,400")]),
        (
            {"held": "discard", "deliveries": 1234},
            [("Held deliveries", "", "Discard them"), ("Deliveries", "", "1,234")],
        ),
        ({"held": 3}, [("Held deliveries", "", "3")]),
        ({"rate_limit": [None, 0.5]}, [("Rate limit", "", "0.5")]),
        ({"headers": [["X-A"], ["X-A", "X-B"]]}, [("Custom headers", "X-A", "X-A, X-B")]),
        ({"state": ["active", "paused"]}, [("State", "Active", "Paused")]),
        ({"ordered": [False, True]}, [("In order", "No", "Yes")]),
        (
            {"options": [None, {"source": "x", "n": 1}]},
            [("Options of the format", "", "source: x, n: 1")],
        ),
        ({"something_new": 3}, [("something new", "", "3")]),
    ],
)
def test_what_changed_is_told_without_what_says_nothing(
    app: Flask, recorded: dict[str, object], expected: list[tuple[str, str, str]]
) -> None:
    with app.app_context():
        assert wording.changes(recorded) == expected


def test_activity_is_paged(app: Flask, browser: Browser) -> None:
    one = add_endpoint(app)
    for number in range(60):
        actions.update_endpoint(accessing(app), one.id, name=str(number))
    page = browser.get("/activity")
    assert len(page.one("ol").all("li", **{"class": "wh-rowitem"})) == 50
    page = browser.get(page.link("Older"))
    assert len(page.one("ol").all("li", **{"class": "wh-rowitem"})) == 11


# -- the signature debugger ---------------------------------------------------------------------------


def test_the_debugger_compares_with_what_was_sent(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    endpoint = actions.create_endpoint(accessing(app), receiver.url())
    actions.send_test(accessing(app), endpoint.endpoint.id)
    drain(app)
    [request] = receiver.requests
    page = browser.get(browser.get(f"/endpoints/{endpoint.endpoint.id}").link("Check a signature"))
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    body = request.body.decode()

    def verdict(headers: str, body: str) -> str:
        answer = browser.send(page, "/debugger", {"headers": headers, "body": body}, 200)
        assert answer.response.headers["Cache-Control"] == "no-store"
        assert str(endpoint.secret) not in answer.response.text
        return answer.one(id="wh-verdict").text

    text = verdict(headers, body)
    assert "The signature matches" in text
    ending = str(endpoint.secret)[-4:]
    assert f"The secret that signed it ends in {ending}. If the receiver refuses" in text
    assert f"…{ending} Created " in page.text
    assert "The body was re-serialised" in verdict(headers, body.replace('":', '": '))
    text = verdict(headers, body[:20])
    assert "The body was truncated" in text
    assert f"20 of {len(body)} bytes" in text
    assert "Compared with attempt 1" in text
    # Signed at the same time by somebody else.
    forged = Webhook("whsec_" + "A" * 44).sign(request.id, datetime.now(UTC), body)
    lines = [line for line in headers.splitlines() if not line.startswith("webhook-signature")]
    assert "Wrong secret" in verdict("\n".join([*lines, f"webhook-signature: {forged}"]), body)
    assert "No signature" in verdict("\n".join(lines), body)
    # Signed an hour ago, and not before it came.
    then = datetime.now(UTC) - timedelta(hours=1)
    old = [line for line in lines if not line.startswith("webhook-timestamp")]
    signature = Webhook(str(endpoint.secret)).sign(request.id, then, body)
    old += [f"webhook-timestamp: {int(then.timestamp())}", f"webhook-signature: {signature}"]
    text = verdict("\n".join(old), body)
    assert "The signature matches" in text
    assert "set the receiver's clock" in text
    actions.rotate_secret(accessing(app), endpoint.endpoint.id, overlap_seconds=3600)
    assert "older secret" in verdict(headers, body)


def test_the_debugger_knows_every_format_that_signs(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    signing = [item for item in state_of(app).formats if item.signed]
    assert len(signing) >= 8
    for item in [*signing, None]:
        created = actions.create_endpoint(
            accessing(app),
            receiver.url(),
            format="standard" if item is None else item.name,
            key_pair=item is None,
            options={"template": '{"what": "{{ event.type }}"}'}
            if item is not None and item.name == "custom"
            else None,
        )
        actions.send_test(accessing(app), created.endpoint.id)
        drain(app)
        request = receiver.requests[-1]
        page = browser.get(f"/endpoints/{created.endpoint.id}/debugger")
        pasted = {
            "headers": "\n".join(f"{name}: {value}" for name, value in request.headers.items()),
            "body": request.body.decode(),
        }
        text = browser.send(page, "/debugger", pasted, 200).one(id="wh-verdict").text
        name = "a key pair" if item is None else item.name
        fits = "The secret matches" if name == "authon" else "The signature matches"
        assert fits in text, name
        assert "older secret" not in text, name
        actions.rotate_secret(accessing(app), created.endpoint.id, overlap_seconds=0)
        text = browser.send(page, "/debugger", pasted, 200).one(id="wh-verdict").text
        assert "Wrong secret" in text, name


def test_the_debugger_is_for_those_who_look_after_secrets(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app)
    webhooks_of(app).authorize(lambda action, endpoint: action != "secret")
    browser.get(f"/endpoints/{endpoint.id}/debugger", 403)
    assert "Check a signature" not in browser.get(f"/endpoints/{endpoint.id}").links()


# -- refreshing ---------------------------------------------------------------------------------------


LIVE = {"Flask-Webhooks-Fragment": "live"}


@pytest.mark.slow
def test_a_script_is_told_that_nothing_changed(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    endpoint = add_endpoint(app, receiver.url())
    delivery = actions.send_test(accessing(app), endpoint.id)
    path = f"/webhooks/deliveries/{delivery.id}"
    whole = browser.client.get(path)
    assert "Flask-Webhooks-Fragment" in whole.headers["Vary"]
    assert "ETag" not in whole.headers
    first = browser.client.get(path, headers=LIVE)
    known = {**LIVE, "If-None-Match": first.headers["ETag"]}
    again = browser.client.get(path, headers=known)
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Referrer-Policy"] == "same-origin"
    drain(app)
    changed = browser.client.get(path, headers=known)
    assert changed.status_code == 200
    assert "Attempt 1" in changed.text
    # It can change no more, so nobody asks again.
    assert "data-wh-live" in first.text
    assert "data-wh-live" not in changed.text


def test_a_fragment_is_what_can_change_and_nothing_else(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    world = populate(app, receiver)
    pending = f"/deliveries/{world.deliveries['pending']}"
    for path in ("/deliveries", "/health", pending):
        with statements(app) as for_page:
            page = browser.get(path)
        with statements(app) as for_fragment:
            fragment = browser.get(path, headers=LIVE)
        assert fragment.all("html") == fragment.all("nav") == fragment.all("script") == []
        parts = [item.attributes["id"] for item in fragment.all(data_wh_part="")]
        assert parts == [item.attributes["id"] for item in page.all(data_wh_part="")]
        assert "wh-part-banners" in parts
        assert len(fragment.response.data) < len(page.response.data)
        assert len(for_fragment) <= len(for_page)
    with statements(app) as executed:
        browser.get("/health", headers=LIVE)
    # The charts of the page are not read again.
    assert not [statement for statement in executed if "webhooks_statistic" in statement]


def test_a_fragment_leaves_messages_to_the_next_page(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app)
    form = browser.get(f"/endpoints/{endpoint.id}/test").form("/test")
    values = {item.attributes["name"]: item.attributes["value"] for item in form.all("input")}
    values |= {"event_type": "license.created", "sample": "{}"}
    response = browser.client.post(f"/webhooks/endpoints/{endpoint.id}/test", data=values)
    assert response.status_code == 303
    assert "is queued" not in browser.get("/deliveries", headers=LIVE).text
    assert "The test event is queued." in browser.get("/deliveries").text


def test_a_page_that_does_not_say_what_changes_is_refreshed_as_a_whole(
    app: Flask, browser: Browser
) -> None:
    own = (
        '{% extends "flask_webhooks/page.html" %}'
        "{% block wh_body %}<div data-wh-live>Own</div>{% endblock %}"
    )
    app.jinja_loader = DictLoader({"flask_webhooks/health.html": own})
    fragment = browser.get("/health", headers=LIVE)
    assert fragment.all("html") == []
    assert fragment.one("div", data_wh_live="").text == "Own"


def test_a_refusal_has_no_etag(browser: Browser) -> None:
    page = browser.get("/endpoints/nothing", 404, headers=LIVE)
    assert page.heading == "Not found"
    assert "ETag" not in page.response.headers


def test_what_is_resent_is_queued_until_an_attempt_has_ended(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    delivery = add_delivery(app, add_endpoint(app, receiver.url("/status/503")))
    drain(app, retry_schedule=(1000.0,))
    page = browser.get(f"/deliveries/{delivery}")
    assert "Retrying Next attempt" in page.text
    page = browser.send(page, "/resend")
    assert page.one(id="wh-part-state").text == "Queued"
    assert "Queued" in browser.get("/deliveries").one("tbody").text
    drain(app, retry_schedule=(1000.0,))
    assert "Retrying Next attempt" in browser.get(f"/deliveries/{delivery}").text


def test_what_is_resent_is_queued_on_the_page_of_its_event_too(
    app: Flask, browser: Browser
) -> None:
    made = add_endpoint(app, name="mine")
    delivery = add_delivery(app, made, trigger="retry", attempt_count=3)
    update(
        app,
        "EndpointHealth",
        made.id,
        hold_until=datetime(2199, 1, 1, tzinfo=UTC),
        hold_reason="failing",
    )
    [event] = {row.event_id for row in deliveries(app)}

    def stands() -> str:
        page = browser.get(f"/events/{event}?webhook=mine")
        [row] = page.one("section", aria_labelledby="wh-why").all("tr")[1:]
        return " ".join(cell.text for cell in row.all("td")).removesuffix(" Its delivery")

    waits = "It waits for the webhook. It keeps failing, so it is only tried occasionally."
    assert stands() == f"Retrying {waits}"
    page = browser.get(f"/deliveries/{delivery}")
    assert page.one(id="wh-part-state").text == (
        f"Retrying {waits} Next try after 2199-01-01 00:00:00 UTC"
    )
    # What a person asks for does not wait for it.
    page = browser.send(page, "/resend")
    assert page.one(id="wh-part-state").text == "Queued"
    assert stands() == "Queued It is queued, and is sent as soon as a worker is free."


def test_a_page_of_an_event_that_went_to_very_many_says_that_there_are_more(
    app: Flask, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.queries.events.MAX_LIMIT", 2)
    for name in ("queries", "queries.routing"):
        monkeypatch.setattr(f"flask_webhooks.{name}.EXPLAINED", 2)
    for number in range(3):
        add_endpoint(app, name=f"has it {number}")
        add_endpoint(app, name=f"has not {number}", events=["user.banned"])
    with app.app_context():
        [event] = emit(app)
    page = browser.get(f"/events/{event}")
    assert len(page.one("section", aria_labelledby="wh-went").all("tr")) == 3
    assert len(page.one("section", aria_labelledby="wh-why").all("tr")) == 3
    assert "There may be more. Search for one by its name, URL or id." in page.text
    every = browser.get(page.link("All deliveries of this event"))
    assert len(every.one("tbody").all("tr")) == 3
    monkeypatch.undo()
    page = browser.get(f"/events/{event}")
    assert "There may be more" not in page.text
    assert "All deliveries of this event" not in page.links()


# -- statements ---------------------------------------------------------------------------------------


def test_the_new_pages_take_few_statements_however_much_they_list(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    def counts(paths: list[str]) -> dict[str, int]:
        found = {}
        for path in paths:
            with statements(app) as executed:
                browser.get(path)
            found[path] = len(executed)
        return found

    world = populate(app, receiver)
    search = "/deliveries?status=5xx&q=x"
    paths = [
        "/overview",
        search,
        "/events",
        f"/events/{world.events['emitted']}",
        "/event-types",
        "/event-types/license.created",
        "/health",
        "/activity",
        f"/endpoints/{world.endpoints['good']}/debugger",
    ]
    before = counts(paths)
    assert max(before.values()) <= 12, before
    for _ in range(30):
        add_delivery(app, add_endpoint(app), "failed", last_status=500)
    with app.app_context():
        emit(app, 20)
    after = counts(paths)
    # A search for a text goes on by parts that grow: six statements for all that one page looks through.
    assert after.pop(search) - before.pop(search) < 6
    assert after == before
