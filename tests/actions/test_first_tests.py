"""A new endpoint can be held back until its receiver has answered a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, request

from flask_webhooks import actions
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import Forbidden, InvalidEndpoint, SendLimitReached
from tests.support.api_calls import Api
from tests.support.delivering import deliveries, drain, emit, endpoint, make_app, webhooks_of
from tests.support.helpers import accessing, activity, add_endpoint, as_tenant, close
from tests.support.pages import Browser
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver
from tests.support.serving import serving

DISCORD = "https://discord.com/api/webhooks/1234567890/abcDEF-token_very_secret"


class Answering:
    """A receiver that does something before it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.types: list[str] = []
        self.status = 204
        self.first: Callable[[], object] = lambda: None
        self.app = Flask("answering")
        self.app.post("/")(self.receive)

    def receive(self) -> tuple[str, int]:
        self.types.append(request.get_json()["type"])
        self.first()
        return "", self.status


@pytest.fixture
def answering() -> Iterator[Answering]:
    answering = Answering()
    with serving(answering.app) as answering.url:
        yield answering


def state(app: Flask, endpoint_id: str) -> tuple[str, bool]:
    found = endpoint(app, endpoint_id)
    return found.state, found.challenge is None


def test_second_test_succeeds_and_lets_through_what_was_held(
    app: Flask, answering: Answering
) -> None:
    answering.status = 401
    made = add_endpoint(app, answering.url, test_first=True)
    emit(app)
    assert sorted(item.state for item in deliveries(app)) == ["held", "pending"]
    drain(app)
    assert state(app, made.id) == ("unverified", False)
    answering.status = 200
    actions.send_test(accessing(app), made.id)
    drain(app)
    drain(app)
    assert state(app, made.id) == ("active", True)
    assert answering.types == ["test", "test", "license.created"]
    # One test of the two succeeded, and did so once.
    assert sorted(item.action for item in activity(app)) == [
        "endpoint.created",
        "endpoint.tested",
        "endpoint.tested",
        "endpoint.verified",
    ]


def test_resent_test_counts_as_one(app: Flask, answering: Answering) -> None:
    answering.status = 500
    made = add_endpoint(app, answering.url, test_first=True)
    drain(app)
    answering.status = 200
    [test] = deliveries(app)
    actions.resend(accessing(app), test.id)
    drain(app)
    assert state(app, made.id) == ("active", True)


def test_answer_of_the_url_before_a_change_does_not_count(
    app: Flask, answering: Answering, receiver: Receiver
) -> None:
    made = add_endpoint(app, answering.url, test_first=True)
    access = accessing(app)

    def move() -> None:
        with app.app_context():
            actions.update_endpoint(access, made.id, url=receiver.url("/ok"))

    answering.first = move
    drain(app)
    assert [item.state for item in deliveries(app)] == ["succeeded"]
    assert state(app, made.id) == ("unverified", False)
    actions.send_test(access, made.id)
    drain(app)
    assert state(app, made.id) == ("active", True)
    assert [json.loads(item.body)["type"] for item in receiver.requests] == ["test"]


def test_going_live_by_hand_ends_the_wait(app: Flask, answering: Answering) -> None:
    made = add_endpoint(app, answering.url, test_first=True)
    emit(app)
    resumed = actions.resume_endpoint(accessing(app), made.id)
    assert (resumed.state, resumed.challenge) == ("active", None)
    drain(app)
    assert sorted(answering.types) == ["license.created", "test"]
    assert "endpoint.verified" not in [item.action for item in activity(app)]


def test_paused_endpoint_stays_paused(app: Flask, answering: Answering) -> None:
    made = add_endpoint(app, answering.url, test_first=True, active=False)
    drain(app)
    assert answering.types == ["test"]
    assert state(app, made.id) == ("paused", True)


def test_chat_is_tried_with_what_it_is_tested_with(app: Flask) -> None:
    made = add_endpoint(app, DISCORD, test_first=True)
    assert state(app, made.id) == ("unverified", False)
    [test] = deliveries(app)
    assert (test.event_type, test.trigger, test.state) == ("test", "test", "pending")


def test_challenge_takes_the_place_of_the_test(
    database_url: str, redis_url: str, receiver: Receiver
) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_VERIFY_ENDPOINTS=True)
    with app.app_context():
        made = add_endpoint(app, receiver.url("/ok"), test_first=True)
        drain(app)
        assert [item.event_type for item in deliveries(app)] == ["webhook.challenge"]
        assert state(app, made.id) == ("unverified", False)
        # A chat cannot echo, and can answer a test.
        chat = add_endpoint(app, DISCORD, test_first=True)
        assert not actions.is_unverified(state_of(app), chat)
        actions.send_test(accessing(app), chat.id)
        close(app)


def test_endpoint_resumed_without_the_setting_needs_no_challenge_later(
    database_url: str, redis_url: str, receiver: Receiver
) -> None:
    """As the documentation says to skip it for one endpoint."""
    app = make_app(database_url, redis_url, WEBHOOKS_VERIFY_ENDPOINTS=True)
    with app.app_context():
        made = add_endpoint(app, receiver.url("/ok"))
        close(app)
    without = make_app(database_url, redis_url)
    with without.app_context():
        actions.resume_endpoint(accessing(without), made.id)
        close(without)
    with app.app_context():
        assert not actions.is_unverified(state_of(app), endpoint(app, made.id))
        actions.send_test(accessing(app), made.id)
        close(app)


def test_nothing_is_created_if_no_test_can_be_sent(
    database_url: str, redis_url: str, receiver: Receiver
) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_MAX_SENDS_PER_HOUR=1)
    with app.app_context():
        customer = as_tenant(app, "app_1")
        actions.create_endpoint(customer, receiver.url("/ok"), test_first=True)
        with pytest.raises(SendLimitReached):
            actions.create_endpoint(customer, receiver.url("/ok"), test_first=True)
        viewer = Access(state_of(app), "x", "app_1", lambda action, endpoint: action == "manage")
        with pytest.raises(Forbidden):
            actions.create_endpoint(viewer, receiver.url("/ok"), test_first=True)
        with pytest.raises(InvalidEndpoint, match="whether a test must succeed"):
            actions.create_endpoint(customer, receiver.url("/ok"), test_first="yes")  # type: ignore[arg-type]
        assert len(deliveries(app)) == 1
        close(app)


def test_page_api_command_and_python_try_first(
    database_url: str, redis_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    """The whole way, with a worker's process."""
    app = make_app(database_url, redis_url, WEBHOOKS_URL_PREFIX="/webhooks")
    api = webhooks_of(app).api_blueprint(authenticate=lambda: True)
    app.register_blueprint(api, url_prefix="/api/webhooks")
    program, browser = Api(app), Browser(app)
    add = ["webhooks", "endpoints", "add", receiver.url("/command"), "--test-first"]
    result = app.test_cli_runner().invoke(args=add)
    assert "It is not live yet" in result.output
    body = {"url": receiver.url("/program"), "test_first": True}
    made = program.post("/endpoints", body, 201)
    assert (made["state"], made["verified"]) == ("unverified", False)
    values = {"url": receiver.url("/page"), "test_first": "y"}
    browser.send(browser.get("/endpoints/new"), "/endpoints/new", values, status=200)
    with app.app_context():
        webhooks_of(app).create_endpoint(receiver.url("/python"), test_first=True)
        ids = [item.endpoint_id for item in deliveries(app)]
        assert {state(app, endpoint_id)[0] for endpoint_id in ids} == {"unverified"}
        page = browser.get(f"/endpoints/{made['id']}")
        assert "Not live yet" in page.text
        assert "Go live without a test" in page.text
        with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log"):
            wait_until(lambda: all(state(app, id_) == ("active", True) for id_ in ids), 30)
    assert len({item.path for item in receiver.requests}) == 4
    assert "Not live yet" not in browser.get(f"/endpoints/{made['id']}").text
    close(app)


def test_form_keeps_what_was_typed_if_no_test_can_be_sent(
    tmp_path: Path, redis_url: str, receiver: Receiver
) -> None:
    app = make_app(
        f"sqlite:///{tmp_path}/x.sqlite",
        redis_url,
        WEBHOOKS_URL_PREFIX="/webhooks",
        WEBHOOKS_MAX_SENDS_PER_HOUR=1,
    )
    with app.app_context():
        webhooks_of(app).hooks.current_tenant = lambda: "app_1"
        webhooks_of(app).hooks.authorize = lambda action, endpoint: True
    browser = Browser(app)
    for status in (200, 429):
        url = receiver.url(f"/ok/{status}")
        values = {"url": url, "name": "Shop", "test_first": "y"}
        page = browser.send(browser.get("/endpoints/new"), "/endpoints/new", values, status=status)
    assert page.one(id="wh-name").attributes["value"] == "Shop"
    close(app)


def test_form_offers_it_only_where_it_is_of_use(tmp_path: Path, redis_url: str) -> None:
    for setting in (False, True):
        app = make_app(
            f"sqlite:///{tmp_path}/x.sqlite",
            redis_url,
            WEBHOOKS_URL_PREFIX="/webhooks",
            WEBHOOKS_VERIFY_ENDPOINTS=setting,
        )
        offered = "Send a test before it goes live" in Browser(app).get("/endpoints/new").text
        assert offered is not setting
        close(app)


def test_held_delivery_says_what_it_waits_for(tmp_path: Path, redis_url: str) -> None:
    app = make_app(f"sqlite:///{tmp_path}/x.sqlite", redis_url, WEBHOOKS_URL_PREFIX="/webhooks")
    with app.app_context():
        add_endpoint(app, test_first=True)
        emit(app)
        [held] = [item for item in deliveries(app) if item.state == "held"]
    page = Browser(app).get(f"/deliveries/{held.id}")
    assert "because the webhook is not verified yet" in page.text
    close(app)
