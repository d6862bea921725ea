"""Equal endpoints, of which each gets every event: asked about first, and made where they are wanted."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.access import system_access
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import DuplicateEndpoint
from tests.support.api_calls import PREFIX, Api
from tests.support.delivering import endpoint, webhooks_of
from tests.support.pages import Browser

URL = "http://127.0.0.1:1025/webhooks"
TELEGRAM = "https://api.telegram.org/bot123456:AAExampleToken/sendMessage"


def create(app: Flask, url: str = URL, **settings: Any) -> actions.CreatedEndpoint:
    access = system_access(state_of(app), "test")
    return actions.create_endpoint(access, url, allow_duplicate=False, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tenant": "app_1"},
        {"events": ["license.created", "license.revoked"]},
        {"url": TELEGRAM, "options": {"chat_id": 1}},
    ],
    ids=str,
)
def test_equal_endpoint_is_refused_and_named(app: Flask, settings: dict[str, Any]) -> None:
    first = create(app, **settings).endpoint
    again = {**settings, "name": "Another name", "headers": {"X-Team": "billing"}}
    if "events" in settings:
        again["events"] = settings["events"][::-1]
    with pytest.raises(DuplicateEndpoint, match=first.id) as caught:
        create(app, **again)
    assert caught.value.endpoint_id == first.id


@pytest.mark.parametrize(
    "settings",
    [
        {"url": URL + "/2"},
        {"tenant": "app_2"},
        {"format": "cloudevents"},
        {"events": ["license.*"]},
        {"events": None},
    ],
    ids=str,
)
def test_what_differs_is_no_duplicate(app: Flask, settings: dict[str, Any]) -> None:
    given: dict[str, Any] = {"tenant": "app_1", "events": ["license.created"]}
    create(app, **given)
    create(app, **{**given, **settings})


def test_chat_of_another_number_or_bot_is_no_duplicate(app: Flask) -> None:
    create(app, TELEGRAM, options={"chat_id": 1})
    create(app, TELEGRAM, options={"chat_id": 2})
    create(app, TELEGRAM.replace("Example", "Other"), options={"chat_id": 1})


def test_deleted_endpoint_is_in_nobodys_way(app: Flask) -> None:
    first = create(app).endpoint
    actions.delete_endpoint(system_access(state_of(app), "test"), first.id)
    create(app)


def test_only_one_of_two_at_the_same_time_is_made(app: Flask) -> None:
    outcomes: list[str] = []

    def run() -> None:
        with app.app_context():
            try:
                create(app)
                outcomes.append("made")
            except DuplicateEndpoint:
                outcomes.append("refused")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", "refused", "refused", "refused"]


def test_python_makes_it_and_warns(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    first = webhooks_of(app).create_endpoint(URL).endpoint
    second = webhooks_of(app).create_endpoint(URL).endpoint
    assert first.id != second.id
    [record] = [item for item in caplog.records if first.id in item.getMessage()]
    assert (record.levelname, second.id in record.getMessage()) == ("WARNING", True)


def test_api_answers_409_unless_it_is_asked_for(app: Flask) -> None:
    webhooks_of(app).authorize(lambda action, endpoint: True)
    app.register_blueprint(webhooks_of(app).api_blueprint(), url_prefix=PREFIX)
    api = Api(app)
    first = api.post("/endpoints", {"url": URL}, 201)
    answer = api.send("POST", "/endpoints", json={"url": URL})
    said = answer.get_json(force=True)
    assert (answer.status_code, said["code"]) == (409, "duplicate_endpoint")
    assert said["endpoint_id"] == first["id"]
    second = api.post("/endpoints", {"url": URL, "allow_duplicate": True}, 201)
    # A repeated request is still that.
    key = {"Idempotency-Key": "one"}
    third = api.post("/endpoints", {"url": URL + "/3"}, 201, headers=key)
    assert api.post("/endpoints", {"url": URL + "/3"}, 200, headers=key)["id"] == third["id"]
    # What is equal already can be changed in other things, and nothing becomes equal unasked.
    api.patch(f"/endpoints/{second['id']}", {"name": "The second", "url": URL})
    api.patch(f"/endpoints/{third['id']}", {"url": URL}, 409)
    api.patch(f"/endpoints/{third['id']}", {"url": URL, "allow_duplicate": True})


def test_command_asks_for_force(app: Flask) -> None:
    run = app.test_cli_runner().invoke
    arguments = ["webhooks", "endpoints", "add", URL]
    assert run(args=arguments).exit_code == 0
    refused = run(args=arguments)
    assert refused.exit_code == 1
    assert "--force" in refused.output
    assert run(args=[*arguments, "--force"]).exit_code == 0


@pytest.mark.slow
def test_form_warns_and_takes_a_yes(app: Flask) -> None:
    webhooks_of(app).authorize(lambda action, endpoint: True)
    first = create(app).endpoint
    browser = Browser(app)
    page = browser.get("/endpoints/new")
    assert "allow_duplicate" not in [item.attributes.get("name") for item in page.all("input")]
    page = browser.send(page, "/endpoints/new", {"url": URL, "name": "Twice"}, status=409)
    assert first.id in page.text
    page = browser.send(page, "/endpoints/new", {"allow_duplicate": "y"}, status=200)
    assert "whsec_" in page.text

    third = create(app, URL + "/3").endpoint
    action = f"/endpoints/{third.id}/edit"
    page = browser.send(browser.get(action), action, {"url": URL}, status=409)
    assert endpoint(app, third.id).url_shown == URL + "/3"
    browser.send(page, action, {"allow_duplicate": "y"})
    assert endpoint(app, third.id).url_shown == URL
