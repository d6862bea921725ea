"""Whatever a page may have to tell has words of its own, and an endpoint's pages tell all that they promise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.admin import advice, task_wording, wording
from flask_webhooks.app_state import state_of
from flask_webhooks.audited import AUDITED
from flask_webhooks.bulk.changes import CANCELLED, DISCARDED
from flask_webhooks.delivery.outcome import Outcome, Reason
from flask_webhooks.delivery.settle.health import Hold
from flask_webhooks.models import DeliveryState, EndpointState, TaskKind, TaskState, Trigger
from flask_webhooks.queries import Why
from tests.support.delivering import drain, emit, models_of, webhooks_of
from tests.support.helpers import accessing, add_delivery, add_endpoint, close, update
from tests.support.pages import Browser, Element, Page, make_app
from tests.support.receiver import Receiver


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    webhooks_of(app).hooks.current_actor = lambda: "ann@example.com"
    yield app
    close(app)


# -- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "values"),
    [
        (lambda value: wording.delivery_status(value).word, DeliveryState),
        (lambda value: wording.endpoint_status(value).word, EndpointState),
        (lambda value: wording.outcome_status(value).word, Outcome),
        (wording.trigger_text, Trigger),
        (wording.reason_text, [*Reason, CANCELLED, DISCARDED]),
        (wording.hold_text, Hold),
        (lambda value: wording.routing_text(value, "license.created"), Why),
        (lambda value: task_wording.task_status(value).word, TaskState),
        (task_wording.task_title, TaskKind),
        (task_wording.task_question, ["recover", "replay", "resend", "cancel"]),
        (wording.phase_text, ["dns", "connect", "tls", "send", "wait", "read"]),
    ],
)
def test_whatever_may_stand_in_a_column_has_words(
    app: Flask, told: Callable[[str], str], values: Iterable[str]
) -> None:
    with app.app_context():
        for value in values:
            words = told(str(value))
            assert words, value
            # Not the value itself, as something unknown is shown.
            assert words != value


def test_whatever_is_done_has_words_in_the_trail(app: Flask) -> None:
    sources = [path.read_text() for path in Path(actions.__file__).parent.glob("*.py")]
    kinds = "endpoints?|delivery|event|scheduled|task|token|portal_link"
    written = set(re.findall(rf'"((?:{kinds})\.[a-z_]+)"', "".join(sources)))
    assert len(written) > 10
    with app.app_context():
        # The rest is what workers write.
        assert set(wording.action_texts()) - written == {
            "endpoint.disabled",
            "endpoint.verified",
            "task.finished",
            "task.failed",
        }
        assert written <= set(wording.action_texts())
        assert list(wording.action_texts()) == list(AUDITED)


def test_every_failure_comes_with_advice(app: Flask) -> None:
    with app.app_context():
        assert advice.advice(Outcome.SUCCEEDED, 200) == ""
        for outcome in set(Outcome) - {Outcome.SUCCEEDED, Outcome.REFUSED}:
            assert advice.advice(outcome), outcome
        # The very status, or what its class has in common.
        found = {status: advice.advice("refused", status) for status in range(100, 600)}
    assert all(found.values())
    assert len(set(found.values())) == 12
    with app.app_context():
        assert "challenge" in advice.advice("refused", 200, code="not_echoed")
    assert found[500] == found[599] != found[503] == found[502]


# -- the list of endpoints ----------------------------------------------------------------------------


def cells(page: Page) -> dict[str, dict[str, str]]:
    """The list, by the name of the endpoint."""
    found = {}
    for row in page.one("tbody").all("tr"):
        name = row.one("th").all("a")[0].text
        found[name] = {item.attributes["data-label"]: item.text for item in row.all("td")}
    return found


def test_the_list_tells_how_each_endpoint_stands(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    made = {
        name: add_endpoint(
            app, receiver.url(f"/{path}/{name}"), name=name, user_agent=agent, events=["license.*"]
        )
        for name, path, agent in (
            ("active", "ok", "Acme/1.0"),
            ("failing", "status/503", None),
            ("paused", "ok", None),
            ("disabled", "status/410", None),
        )
    }
    with app.app_context():
        emit(app)
    drain(app, failing_after=1)
    actions.pause_endpoint(accessing(app, "bob"), made["paused"].id, "Moving house")
    for _ in range(2):
        add_delivery(app, made["paused"], "held")
    page = browser.get("/")
    head = [item.text for item in page.one("thead").all("th")]
    assert head == [
        "Endpoint URL",
        "Status",
        "Last 24 hours",
        "Last delivery",
        "User Agent",
        "Created",
        "Action",
    ]
    rows = cells(page)
    assert rows["active"]["Status"] == "Active"
    assert rows["failing"]["Status"].startswith("Failing since 20")
    assert rows["paused"]["Status"] == "Paused by bob: Moving house 2 held"
    assert rows["disabled"]["Status"].startswith(
        "Disabled by Flask-Webhooks: The receiver responded with 410 Gone."
    )
    assert (rows["active"]["User Agent"], rows["paused"]["User Agent"]) == ("Acme/1.0", "Default")
    assert rows["active"]["Last 24 hours"] == "100 % of 1"
    assert rows["failing"]["Last 24 hours"] == "0 % of 1"
    today = datetime.now(UTC).strftime("%Y-%m-")
    assert rows["active"]["Last delivery"].startswith(today)
    assert rows["active"]["Last delivery"].endswith(" Succeeded")
    assert rows["failing"]["Last delivery"].endswith(" Failed")
    for row in rows.values():
        assert row["Created"].startswith(today)
        assert "⋮" in row["Action"]
    # What is in the menu asks first.
    menu = page.one("tbody").all("ul")[0]
    assert "popover" in menu.attributes
    href = next(item.attributes["href"] for item in menu.all("a") if item.text.startswith("Delete"))
    assert "Are you sure you want to delete this webhook?" in browser.get(href).text
    assert len(cells(browser.get("/"))) == 4


def test_an_endpoint_that_was_never_tried(app: Flask, browser: Browser) -> None:
    add_endpoint(app, name="new")
    row = cells(browser.get("/"))["new"]
    assert (row["Last 24 hours"], row["Last delivery"]) == ("No attempts", "Never")


# -- the form -----------------------------------------------------------------------------------------


def test_what_comes_very_often_is_said_where_it_is_chosen(app: Flask, browser: Browser) -> None:
    often = {kind.name for kind in state_of(app).catalog if kind.high_volume}
    assert "license.validated" in often
    form = browser.get("/endpoints/new").form("/endpoints/new")
    marked = {
        item.one("input").attributes["value"]
        for item in form.walk()
        if item.has_class("wh-check") and "High volume" in item.text
    }
    assert marked == often
    listed = {
        item.all("a")[0].text
        for item in browser.get("/event-types").all("li", _class="wh-rowitem")
        if "High volume" in item.text
    }
    assert listed == often
    assert "High volume" in browser.get("/event-types/license.validated").text
    assert "High volume" not in browser.get("/event-types/license.created").text


def test_each_group_of_events_can_be_taken_whole(app: Flask, browser: Browser) -> None:
    page = browser.send(
        browser.get("/endpoints/new"),
        "/endpoints/new",
        {"url": "https://shop.example/in", "scope": "chosen", "events": ["license.*"]},
        200,
    )
    [row] = browser.get("/").one("tbody").all("tr")
    page = browser.get(row.all("a")[0].attributes["href"])
    assert "license.*" in [item.text for item in page.all("li", _class="wh-tag")]
    webhooks_of(app).add_event_type("license.invented", description="Later.", group="Licences")
    with app.app_context():
        assert len(emit(app, event_type="license.invented")) == 1
    assert "license.invented" in browser.get("/deliveries").one("tbody").text


# -- the page of an endpoint --------------------------------------------------------------------------


def tiles(page: Page) -> dict[str, str]:
    section = page.one("section", aria_labelledby="wh-performance")
    [listed] = section.all("dl")
    return {item.one("dt").text: item.one("dd").text for item in listed.all("div")}


def test_an_endpoint_is_told_in_numbers(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    values: dict[str, Any] = {"succeeded": 950, "failed": 50, "duration_ms": 80_000.0}
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.insert(models_of(app).Statistic).values(
                endpoint_id=made.id, hour=hour, ms_100=900, ms_250=100, **values
            )
        )
    for state in ("pending", "pending", "held"):
        add_delivery(app, made, state)
    page = browser.get(f"/endpoints/{made.id}")
    assert tiles(page) == {
        "Successful": "95 % 950",
        "Failed": "5 % 50",
        "Average response time": "80 ms",
        "95th percentile": "175 ms",
    }
    assert "Pending 2 queued, 1 held" in page.text
    assert len(page.all("figure")) == 2
    periods = [item.text for item in page.one("nav", aria_label="Period").all("a")]
    assert periods == ["24 hours", "7 days", "30 days"]
    month = browser.get(f"/endpoints/{made.id}?period=30d")
    assert tiles(month) == tiles(page)


def open_details(page: Page) -> set[str]:
    """The parts of the troubleshooting that are open."""
    section = page.one("section", aria_labelledby="wh-trouble")
    return {
        item.attributes["id"].removeprefix("wh-trouble-")
        for item in section.all("details")
        if "open" in item.attributes
    }


def test_troubleshooting_opens_itself_where_there_is_trouble(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    def add(path: str, **values: Any) -> Any:
        return add_endpoint(app, receiver.url(path), events=["license.*"], **values)

    good, bad, gone = add("/ok"), add("/status/500"), add("/status/410")
    paused, failing = add("/paused", active=False), add("/failing")
    update(app, "EndpointHealth", failing.id, probe_interval=60.0)
    for endpoint in (good, bad, gone):
        add_delivery(app, endpoint)
    drain(app)

    def opened(endpoint: Any) -> set[str]:
        return open_details(browser.get(f"/endpoints/{endpoint.id}"))

    assert opened(good) == set()
    assert opened(bad) == {"failures"}
    assert opened(failing) == {"failures"}
    assert opened(gone) == {"nothing", "failures"}
    assert opened(paused) == {"nothing"}
    chat = add_endpoint(app, "https://discord.com/api/webhooks/1234567890/abcDEF-token_very_secret")
    page = browser.get(f"/endpoints/{chat.id}")
    # It has no signatures that might not fit.
    assert [item.text for item in section_summaries(page)] == [
        "It receives nothing",
        "Many of its deliveries fail",
    ]


def section_summaries(page: Page) -> list[Element]:
    return page.one("section", aria_labelledby="wh-trouble").all("summary")


def test_the_overlap_of_a_rotation_is_chosen(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app)
    page = browser.get(f"/endpoints/{made.id}/rotate")
    offered = [
        (item.attributes["value"], "checked" in item.attributes)
        for item in page.all("input", name="overlap_seconds")
    ]
    assert offered == [("0", False), ("3600", False), ("86400", True), ("604800", False)]


# -- an attempt ---------------------------------------------------------------------------------------


def test_very_many_headers_of_an_answer_are_cut_with_a_note(app: Flask, browser: Browser) -> None:
    made = add_endpoint(app)
    delivery = add_delivery(app, made, "succeeded")
    headers = [[f"X-{number}", "x" * 5000] for number in range(100)]
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.insert(models_of(app).Attempt).values(
                delivery_id=delivery,
                number=1,
                endpoint_id=made.id,
                trigger="event",
                started_at=datetime.now(UTC),
                outcome="succeeded",
                status=200,
                url=made.url_shown,
                request_headers=[],
                response_headers=headers,
            )
        )
    page = browser.get(f"/deliveries/{delivery}")
    assert "X-59" in page.text
    assert "X-60" not in page.text
    assert "More headers are not shown." in page.text
    assert "x" * 2000 in page.text
    assert "x" * 2001 not in page.text


def test_status_filter_has_the_words_of_the_rows(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app)
    for state in ("pending", "sending", "succeeded", "failed", "cancelled", "held"):
        add_delivery(app, endpoint, state)
    add_delivery(app, endpoint, "pending", attempt_count=1, trigger="retry")
    page = browser.get("/deliveries")
    options = {
        item.attributes["value"]: item.text for item in page.one(id="wh-filter-state").all("option")
    }
    shown = set()
    for state, words in options.items():
        rows = browser.get(f"/deliveries?state={state}").one("tbody").all("tr")
        found = {
            next(item.text for item in row.all("span") if item.has_class("wh-status"))
            for row in rows
        }
        shown |= found
        if state:
            assert {word.lower() for word in found} == set(words.lower().split(" or "))
    assert shown == {
        *("Queued", "Retrying", "Sending", "Succeeded", "Failed", "Cancelled", "Held"),
    }
