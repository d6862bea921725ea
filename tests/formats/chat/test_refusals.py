"""What a chat refuses for good, and a group whose number changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions, signals
from flask_webhooks.actions import checks
from flask_webhooks.app_state import state_of
from tests.support.chat_servers import (
    TELEGRAM_CHAT,
    TELEGRAM_PATH,
    ChatServer,
    FakeDiscord,
    FakeSlack,
    FakeTeams,
    FakeTelegram,
    Reply,
)
from tests.support.delivering import (
    attempts,
    close,
    deliveries,
    drain,
    emit,
    endpoint,
    health,
    webhooks_of,
)
from tests.support.helpers import accessing, activity
from tests.support.pages import Browser, make_app

SERVICES: dict[str, type[ChatServer]] = {
    "discord": FakeDiscord,
    "slack": FakeSlack,
    "telegram": FakeTelegram,
    "teams": FakeTeams,
}
GROUP, SUPERGROUP = -987654321, TELEGRAM_CHAT
UPGRADED = FakeTelegram.failure(
    400,
    "Bad Request: group chat was upgraded to a supergroup chat",
    migrate_to_chat_id=SUPERGROUP,
)


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    yield app
    close(app)


def add(app: Flask, url: str, name: str, **values: Any) -> str:
    with app.app_context():
        return webhooks_of(app).create_endpoint(url, format=name, **values).endpoint.id


def send(app: Flask, count: int = 1) -> None:
    """Emit and deliver."""
    with app.app_context():
        emit(app, count)
    drain(app, retry_schedule=(60.0, 60.0))


def discord(status: int, code: int, message: str) -> tuple[str, Reply]:
    return "discord", Reply(status, json.dumps({"message": message, "code": code}))


def slack(status: int, said: str) -> tuple[str, Reply]:
    return "slack", Reply(status, said, "text/plain")


def telegram(status: int, said: str) -> tuple[str, Reply]:
    return "telegram", FakeTelegram.failure(status, said)


def teams(status: int, code: str) -> tuple[str, Reply]:
    return "teams", Reply(status, json.dumps({"error": {"code": code, "message": code}}))


FOR_GOOD = [
    discord(404, 10015, "Unknown Webhook"),
    discord(401, 50027, "Invalid Webhook Token"),
    discord(404, 10003, "Unknown Channel"),
    slack(404, "no_service"),
    slack(403, "invalid_token"),
    slack(404, "channel_not_found"),
    slack(410, "channel_is_archived"),
    slack(403, "action_prohibited"),
    telegram(401, "Unauthorized"),
    telegram(404, "Not Found"),
    telegram(403, "Forbidden: bot was blocked by the user"),
    telegram(403, "Forbidden: bot was kicked from the supergroup chat"),
    telegram(400, "Bad Request: chat not found"),
    telegram(400, "Bad Request: message thread not found"),
    teams(404, "WorkflowNotFound"),
    teams(401, "DirectApiAuthorizationRequired"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reply"), FOR_GOOD, ids=lambda value: getattr(value, "body", value)
)
def test_what_a_chat_refuses_for_good_is_tried_once_and_held(
    app: Flask, name: str, reply: Reply
) -> None:
    with SERVICES[name]() as service:
        service.first = [reply] * 3
        endpoint_id = add(app, service.url(), name)
        told: list[dict[str, Any]] = []

        def hear(sender: Any, **values: Any) -> None:
            told.append(values)

        with signals.endpoint_disabled.connected_to(hear):
            send(app)
        send(app, 2)
        drain(app)
    assert len(service.calls) == len(attempts(app)) == 1
    first, *others = deliveries(app)
    assert (first.state, first.reason) == ("failed", "gone")
    assert {item.state for item in others} == {"held"}
    found = endpoint(app, endpoint_id)
    assert found.state == "disabled"
    [attempt] = attempts(app)
    assert attempt.error is not None
    assert found.state_reason is not None
    assert found.state_reason.endswith(attempt.error)
    assert attempt.error in Browser(app).get(f"/endpoints/{endpoint_id}").text
    assert [item["reason"] for item in told] == ["gone"]


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        discord(404, 0, "404: Not Found"),
        discord(400, 50035, "Invalid Form Body"),
        ("discord", Reply(404, "<html>", "text/html")),
        slack(400, "invalid_payload"),
        slack(500, "rollup_error"),
        telegram(400, "Bad Request: can't parse entities"),
        telegram(500, "Internal Server Error"),
        ("telegram", Reply(404, "<html>", "text/html")),
        ("telegram", Reply(403, "<html>", "text/html")),
        teams(502, "BadGateway"),
        ("teams", Reply(404)),
    ],
    ids=lambda value: getattr(value, "body", value),
)
def test_what_may_pass_is_tried_again(app: Flask, name: str, reply: Reply) -> None:
    with SERVICES[name]() as service:
        service.first = [reply]
        endpoint_id = add(app, service.url(), name)
        send(app)
    assert endpoint(app, endpoint_id).state == "active"
    assert [item.state for item in deliveries(app)] == ["pending"]


def test_refused_test_event_disables_nothing(app: Flask) -> None:
    with FakeDiscord() as service:
        endpoint_id = add(app, service.url("/api/webhooks/1/unknown"), "discord")
        actions.send_test(accessing(app), endpoint_id)
        drain(app)
    assert len(service.calls) == 1
    assert endpoint(app, endpoint_id).state == "active"


@pytest.mark.parametrize("place", ["url", "option"])
def test_group_that_became_a_supergroup_is_followed(app: Flask, place: str) -> None:
    with FakeTelegram() as service:
        service.first = [UPGRADED] * 8
        given: dict[str, Any] = {"options": {"chat_id": GROUP}}
        url = service.url(TELEGRAM_PATH + "?protect_content=true")
        if place == "url":
            url, given = service.url(f"{TELEGRAM_PATH}?chat_id={GROUP}&protect_content=true"), {}
        endpoint_id = add(app, url, "telegram", **given)
        before = endpoint(app, endpoint_id)
        send(app, 8)
        # Nothing of it counts against the endpoint, also where many were refused at once.
        found = health(app, endpoint_id)
        assert (found.consecutive_failures, found.probe_interval) == (0, None)
        send(app)
    assert [call.message["chat_id"] for call in service.calls] == [GROUP] * 8 + [SUPERGROUP]
    assert service.calls[-1].query == {"protect_content": "true"}
    after = endpoint(app, endpoint_id)
    assert after.version == before.version + 1
    assert after.bucket == before.bucket
    entries = [row for row in activity(app) if row.action == "endpoint.updated"]
    assert [row.actor for row in entries] == ["Flask-Webhooks"]
    assert entries[0].changes == {"chat_id": [GROUP, SUPERGROUP]}
    if place == "url":
        assert f"chat_id={SUPERGROUP}" in after.url_shown
        whole = service.url(f"{TELEGRAM_PATH}?protect_content=true&chat_id={SUPERGROUP}")
        assert checks.whole_url(state_of(app), after) == whole
    else:
        assert after.options == {"chat_id": SUPERGROUP}
    said = Browser(app).get(f"/deliveries/{deliveries(app)[0].id}").text
    assert "The group became a supergroup" in said
    assert "changed the webhook" in Browser(app).get("/activity").text


def test_chat_is_followed_once_and_only_to_a_supergroup(app: Flask) -> None:
    wrong: list[Any] = [0, 5, -5, True, "x", None, [], 10**30, -1001]
    with FakeTelegram() as service:
        service.first = [
            FakeTelegram.failure(400, "Bad Request", migrate_to_chat_id=value) for value in wrong
        ]
        endpoint_id = add(app, service.url(f"{TELEGRAM_PATH}?chat_id={GROUP}"), "telegram")
        send(app, len(wrong))
        assert endpoint(app, endpoint_id).version == 1
        # A supergroup does not become anything else.
        service.first = [UPGRADED]
        other = add(app, service.url(f"{TELEGRAM_PATH}?chat_id={SUPERGROUP - 1}"), "telegram")
        send(app)
        assert endpoint(app, other).version == 1


def test_change_that_a_person_made_meanwhile_stays(app: Flask) -> None:
    with FakeTelegram() as service:
        url = service.url(f"{TELEGRAM_PATH}?chat_id={GROUP}")
        endpoint_id = add(app, url, "telegram")
        changed = service.url(f"{TELEGRAM_PATH}?chat_id=-55")
        hit: list[bool] = []

        def answer(*given: Any, **named: Any) -> Reply:
            if not hit:
                hit.append(True)
                actions.update_endpoint(accessing(app), endpoint_id, url=changed)
            return UPGRADED

        service.answer = answer  # type: ignore[method-assign]
        send(app)
    assert checks.whole_url(state_of(app), endpoint(app, endpoint_id)) == changed
