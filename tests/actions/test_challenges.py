"""A new URL gets nothing but challenges until its receiver has echoed one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, request

from flask_webhooks import actions
from flask_webhooks.errors import InvalidTransition, SendLimitReached
from flask_webhooks.receiver import verified
from tests.support.api_calls import Api
from tests.support.delivering import (
    attempts,
    close,
    deliveries,
    drain,
    emit,
    endpoint,
    make_app,
    webhooks_of,
)
from tests.support.helpers import accessing, activity, add_endpoint, as_tenant
from tests.support.pages import Browser
from tests.support.receiver import Receiver
from tests.support.serving import serving

DISCORD = "https://discord.com/api/webhooks/1234567890/abcDEF-token_very_secret"


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url, WEBHOOKS_VERIFY_ENDPOINTS=True)
    with app.app_context():
        yield app
        close(app)


class Echo:
    """A receiver whose answer is a function of the challenge that it got."""

    def __init__(self) -> None:
        self.url = ""
        self.types: list[str] = []
        self.answer: Callable[[str], Any] = str
        self.app = Flask("echo")
        self.app.post("/")(self.receive)

    def receive(self) -> Any:
        body = request.get_json()
        self.types.append(body["type"])
        if body["type"] != "webhook.challenge":
            return ""
        assert request.headers["webhook-challenge"] == body["data"]["challenge"]
        return self.answer(body["data"]["challenge"])


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    with serving(echo.app) as echo.url:
        yield echo


def state(app: Flask, endpoint_id: str) -> tuple[str, bool]:
    found = endpoint(app, endpoint_id)
    return found.state, found.challenge is None


@pytest.mark.parametrize("answer", [str, lambda token: {"challenge": token}], ids=["text", "json"])
def test_echo_lets_through_what_was_held(app: Flask, echo: Echo, answer: Any) -> None:
    echo.answer = answer
    made = add_endpoint(app, echo.url)
    assert state(app, made.id) == ("unverified", False)
    emit(app)
    assert sorted(item.state for item in deliveries(app)) == ["held", "pending"]
    drain(app)
    drain(app)
    assert state(app, made.id) == ("active", True)
    assert echo.types == ["webhook.challenge", "license.created"]
    assert "endpoint.verified" in [item.action for item in activity(app)]


def late(token: str) -> str:
    time.sleep(2.5)
    return token


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda token: "", "not_echoed"),
        (lambda token: token + "x", "not_echoed"),
        (lambda token: {"challenge": 1}, "not_echoed"),
        (lambda token: {"data": {"challenge": token}}, "not_echoed"),
        (lambda token: "{" * 5000, "not_echoed"),
        (lambda token: Response(token, 302, {"Location": "/"}), "redirected"),
        (lambda token: Response(token, 500), "refused"),
        (late, "answer_timeout"),
    ],
)
def test_other_answers_do_not_verify(app: Flask, echo: Echo, answer: Any, error: str) -> None:
    echo.answer = answer
    made = add_endpoint(app, echo.url)
    emit(app)
    drain(app)
    assert state(app, made.id) == ("unverified", False)
    [attempt] = attempts(app)
    assert attempt.error_code == error
    assert echo.types == ["webhook.challenge"]
    echo.answer = str
    actions.send_challenge(accessing(app), made.id)
    drain(app)
    assert state(app, made.id)[0] == "active"


def test_echo_of_an_older_challenge_does_not_count(app: Flask, echo: Echo) -> None:
    made = add_endpoint(app, echo.url)
    tokens: list[str] = []

    def first(token: str) -> str:
        tokens.append(token)
        return tokens[0] if len(tokens) > 1 else "later"

    echo.answer = first
    drain(app)
    actions.send_challenge(accessing(app), made.id)
    drain(app)
    assert state(app, made.id) == ("unverified", False)


def test_challenge_that_was_superseded_while_it_waited_does_not_count(
    app: Flask, echo: Echo, receiver: Receiver
) -> None:
    made = add_endpoint(app, echo.url)
    actions.update_endpoint(accessing(app), made.id, url=receiver.url("/ok"))
    drain(app)
    assert state(app, made.id) == ("unverified", False)
    assert echo.types == []


def test_changed_url_is_unverified_again(app: Flask, echo: Echo, receiver: Receiver) -> None:
    made = add_endpoint(app, echo.url)
    drain(app)
    emit(app)
    access = accessing(app)
    actions.update_endpoint(access, made.id, name="Shop")
    assert state(app, made.id) == ("active", True)
    actions.send_test(access, made.id)
    actions.update_endpoint(access, made.id, url=receiver.url("/ok"))
    drain(app)
    drain(app)
    assert state(app, made.id) == ("unverified", False)
    [request] = receiver.requests
    assert json.loads(request.body)["type"] == "webhook.challenge"
    assert sorted(item.state for item in deliveries(app)) == ["failed", "held", "held", "succeeded"]


def test_nothing_else_is_sent_on_demand(app: Flask, receiver: Receiver) -> None:
    access = accessing(app)
    made = add_endpoint(app, receiver.url("/ok"))
    emit(app)
    [held] = [item for item in deliveries(app) if item.state == "held"]
    for act in (
        lambda: actions.send_test(access, made.id),
        lambda: actions.resend(access, held.id),
        lambda: actions.resume_endpoint(access, made.id),
    ):
        with pytest.raises(InvalidTransition, match="has not echoed"):
            act()
    drain(app)
    assert len(receiver.requests) == 1


def test_paused_endpoint_is_verified_and_stays_paused(app: Flask, echo: Echo) -> None:
    made = add_endpoint(app, echo.url, active=False)
    access = accessing(app)
    with pytest.raises(InvalidTransition, match="has not echoed"):
        actions.resume_endpoint(access, made.id)
    drain(app)
    assert state(app, made.id) == ("paused", True)
    actions.resume_endpoint(access, made.id)
    with pytest.raises(InvalidTransition, match="does not need to echo"):
        actions.send_challenge(access, made.id)


def test_chats_need_not_echo_where_they_are(app: Flask) -> None:
    assert state(app, add_endpoint(app, DISCORD).id) == ("active", True)


def test_url_of_a_chat_ends_the_need(app: Flask, receiver: Receiver) -> None:
    made = add_endpoint(app, receiver.url("/ok"))
    emit(app)
    actions.update_endpoint(accessing(app), made.id, url=DISCORD, format="discord")
    assert state(app, made.id) == ("active", True)
    assert "held" not in {item.state for item in deliveries(app)}


def test_challenges_are_limited_as_tests_are(
    database_url: str, redis_url: str, receiver: Receiver
) -> None:
    app = make_app(
        database_url, redis_url, WEBHOOKS_VERIFY_ENDPOINTS=True, WEBHOOKS_MAX_SENDS_PER_HOUR=2
    )
    with app.app_context():
        customer = as_tenant(app, "app_1")
        made = actions.create_endpoint(customer, receiver.url("/ok"), tenant="app_1").endpoint
        actions.send_challenge(customer, made.id)
        with pytest.raises(SendLimitReached):
            actions.send_challenge(customer, made.id)
        with pytest.raises(SendLimitReached):
            actions.update_endpoint(customer, made.id, url=receiver.url("/status/200"))
        assert endpoint(app, made.id).url_shown == receiver.url("/ok")
        close(app)


def test_without_the_setting_nothing_is_asked(
    database_url: str, redis_url: str, receiver: Receiver
) -> None:
    app = make_app(database_url, redis_url)
    with app.app_context():
        made = add_endpoint(app, receiver.url("/ok"))
        assert state(app, made.id) == ("active", True)
        drain(app)
        assert receiver.requests == []
        close(app)


@pytest.mark.parametrize("format", ["standard", "cloudevents", "aureva"])
def test_our_receiver_echoes(app: Flask, format: str) -> None:
    handled: list[Any] = []
    secrets: list[str] = []
    host = Flask("receiver")

    @host.post("/")
    @verified(lambda: secrets, format)
    def received(event: Any) -> None:
        handled.append(event)

    with serving(host) as url:
        made = actions.create_endpoint(accessing(app), url, format=format)
        secrets.append(made.secret or "")
        emit(app)
        drain(app)
        drain(app)
    assert state(app, made.endpoint.id) == ("active", True)
    assert len(handled) == 1


def test_challenge_is_sent_again_by_page_api_and_command(
    database_url: str, redis_url: str, receiver: Receiver
) -> None:
    app = make_app(
        database_url, redis_url, WEBHOOKS_VERIFY_ENDPOINTS=True, WEBHOOKS_URL_PREFIX="/webhooks"
    )
    api = webhooks_of(app).api_blueprint(authenticate=lambda: True)
    app.register_blueprint(api, url_prefix="/api/webhooks")
    with app.app_context():
        made = add_endpoint(app, receiver.url("/ok"))
    program, browser = Api(app), Browser(app)
    shown = program.get(f"/endpoints/{made.id}")
    assert (shown["state"], shown["verified"]) == ("unverified", False)
    page = browser.get(f"/endpoints/{made.id}")
    assert "Not verified" in page.text
    assert "Resume" not in page.text
    path = f"/endpoints/{made.id}/challenge"
    assert program.post(path, None, 202)["event_type"] == "webhook.challenge"
    sent = browser.send(browser.get(path), path)
    assert "Cancel delivery" in sent.buttons()
    assert not {"Resend", "Send now"} & set(sent.buttons())
    result = app.test_cli_runner().invoke(args=["webhooks", "endpoints", "challenge", made.id])
    assert result.exit_code == 0, result.output
    problem = program.post(f"/endpoints/{made.id}/test", {}, 409)
    assert (problem["code"], problem["state"]) == ("invalid_transition", "unverified")
    assert program.post("/endpoints/ep_none/challenge", None, 404)
    with app.app_context():
        assert len(deliveries(app)) == 4
    close(app)
