"""Each page when there is nothing, when nothing matches, when it is asked for nonsense, and for who may only look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.admin.test_security import rules
from tests.support.delivering import webhooks_of
from tests.support.helpers import add_endpoint, close
from tests.support.pages import PREFIX, Browser, make_app, populate
from tests.support.receiver import Receiver


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url, WEBHOOKS_MAX_ENDPOINTS=20
    )
    yield app
    close(app)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", ["No webhooks configured yet.", "Add the URL that receives webhooks."]),
        ("/overview", ["No attempts have failed.", "None. Failed attempts are retried"]),
        ("/deliveries", ["Nothing has been sent yet."]),
        ("/events", ["No events have been recorded yet."]),
        ("/activity", ["No activity yet."]),
        ("/health", ["No worker has been seen in the last hour."]),
        ("/delete-all", ["No webhooks configured yet."]),
    ],
)
def test_a_page_with_nothing_on_it_says_so(app: Flask, path: str, words: list[str]) -> None:
    page = Browser(app).get(path)
    for text in words:
        assert text in page.text


def test_a_new_webhook_has_a_page_with_nothing_on_it(app: Flask) -> None:
    endpoint = add_endpoint(app)
    page = Browser(app).get(f"/endpoints/{endpoint.id}")
    assert "Nothing has been sent to it yet." in page.text
    assert "There were no attempts in this period." in page.text
    assert "Never" in page.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/?q=nothing", "No webhook matches “nothing”."),
        ("/?tenant=nobody", "belongs to a tenant with the id “nobody”"),
        ("/?before=ep_0", "There are no older webhooks."),
        ("/deliveries?status=404", "No deliveries match."),
        ("/events?id=evt_nothing", "No events match."),
        ("/activity?actor=nobody", "No activity matches."),
    ],
)
def test_a_list_in_which_nothing_matches_says_so(app: Flask, path: str, words: str) -> None:
    add_endpoint(app)
    page = Browser(app).get(path)
    assert words in page.text
    # And leads back to all.
    assert page.all("a", href="/webhooks" + path.partition("?")[0])


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/endpoints/nothing", 404, "There is no endpoint"),
        ("/deliveries/nothing", 404, "There is no delivery"),
        ("/events/nothing", 404, "There is no event"),
        ("/event-types/nothing", 404, "There is no event type"),
        ("/overview?period=1y", 422, "Choose one of these periods"),
        ("/deliveries?state=lost", 422, "There is no state"),
        ("/deliveries?status=9", 422, "There is no status"),
        ("/events?since=soon", 422, "Write the time as"),
        ("/activity?until=soon", 422, "Write the time as"),
    ],
)
def test_nonsense_is_answered_in_words(app: Flask, path: str, status: int, words: str) -> None:
    page = Browser(app).get(path, status)
    assert words in page.text
    assert "All webhooks" in page.links()


def test_who_may_only_look_sees_every_page_and_nothing_to_press(
    app: Flask, receiver: Receiver
) -> None:
    world = populate(app, receiver, hostile="Acme")
    webhooks_of(app).authorize(lambda action, endpoint: action == "view")
    browser = Browser(app)
    one = world.endpoints["paused"]
    for path in (
        "/",
        f"/endpoints/{one}",
        "/overview",
        "/deliveries",
        *(f"/deliveries/{id_}" for id_ in world.deliveries.values()),
        "/events",
        f"/events/{world.events['emitted']}",
        "/event-types",
        "/event-types/license.created",
        "/activity",
        "/health",
    ):
        page = browser.get(path)
        assert [form for form in page.all("form") if form.attributes["method"] != "get"] == [], path
        assert not {"Add webhook", "Edit", "Pause", "Resume", "Delete"} & set(page.links()), path
    for page_name in ("edit", "pause", "resume", "delete", "test", "rotate", "debugger"):
        assert "You are not allowed to" in browser.get(f"/endpoints/{one}/{page_name}", 403).text
    assert "You are not allowed to" in browser.get("/endpoints/new", 403).text


@pytest.mark.slow
def test_the_browser_tests_open_every_page(app: Flask, receiver: Receiver) -> None:
    """Who adds a page, adds it to `World.paths`: policy, accessibility and width are looked at there."""
    world = populate(app, receiver)
    adapter = app.url_map.bind("")
    opened = {adapter.match(PREFIX + path.partition("?")[0])[0] for path in world.paths()}
    assert {rule.endpoint for rule in rules(app, "GET")} - opened == set()
