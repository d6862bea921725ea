"""Chats end to end: a real ``rq worker``, real HTTP, services that check and throttle as the real ones do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.catalog.event_types import BUILTIN_EVENT_TYPES
from tests.support.chat_servers import (
    TELEGRAM_TOKEN,
    ChatServer,
    FakeDiscord,
    FakeSlack,
    FakeTeams,
    FakeTelegram,
    Reply,
)
from tests.support.chatting import CHATS, title
from tests.support.delivering import attempts, deliveries, drain, emit, health, states, webhooks_of
from tests.support.processes import OURS, PLAIN, WorkerProcess, config_of, wait_until

SERVICES: dict[str, type[ChatServer]] = {
    "discord": FakeDiscord,
    "slack": FakeSlack,
    "telegram": FakeTelegram,
    "teams": FakeTeams,
}
KEY = "K7QF-29XM-4TRD-PL3B"


@pytest.fixture
def services() -> Iterator[dict[str, ChatServer]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(service()) for name, service in SERVICES.items()}


def add(app: Flask, service: ChatServer, name: str, **values: Any) -> str:
    created = webhooks_of(app).create_endpoint(service.url(), format=name, **values)
    assert created.secret is None
    return created.endpoint.id


def start(app: Flask, folder: Path, command: list[str] = OURS) -> WorkerProcess:
    # A request that a busy machine let time out would come twice.
    patient = {"WEBHOOKS_TIMEOUT": 20.0, "WEBHOOKS_LEASE": 40.0}
    return WorkerProcess(command, {**config_of(app), **patient}, folder / "worker.log")


def left(app: Flask) -> str:
    """What has not arrived, and why."""
    waiting = [item for item in deliveries(app) if item.state != "succeeded"]
    failed = [item for item in attempts(app) if item.outcome != "succeeded"]
    return "\n".join(
        [
            f"{item.state} {item.reason} due {item.due_at}, leased until {item.lease_until}"
            for item in waiting
        ]
        + [f"{item.started_at} {item.outcome} {item.error}" for item in failed]
        + [""]
    )


def throttled(name: str, seconds: int) -> Reply:
    return {
        "discord": FakeDiscord.throttled,
        "slack": FakeSlack.throttled,
        "telegram": FakeTelegram.throttled,
        "teams": FakeTeams.throttled,
    }[name](seconds)


@pytest.mark.slow
@pytest.mark.parametrize("command", [OURS, PLAIN], ids=["ours", "plain"])
def test_rq_worker_delivers_every_event_type_to_every_chat(
    command: list[str], app: Flask, services: dict[str, ChatServer], tmp_path: Path
) -> None:
    for name, service in services.items():
        add(app, service, name)
    sent = [item for item in BUILTIN_EVENT_TYPES if item.subscribable and not item.operational]
    with start(app, tmp_path, command) as worker:
        for event_type in sent:
            emit(app, event_type=event_type.name, data=dict(event_type.example), tenant="app_1")
        expected = {"succeeded": len(sent) * len(CHATS)}
        wait_until(lambda: states(app) == expected, what=lambda: left(app) + worker.output())
    for name, service in services.items():
        assert service.problems == []
        assert len(service.accepted) == len(service.calls) == len(sent)
        titles = {title(name, call.message).strip("🟢🔴🟠🔵⚪ ") for call in service.accepted}
        assert len(titles) == len(sent)
        assert {"User logged in", "License created", "HWID reset"} <= titles


@pytest.mark.slow
@pytest.mark.parametrize("name", CHATS)
def test_throttled_message_comes_later_and_once(
    name: str, app: Flask, services: dict[str, ChatServer], tmp_path: Path
) -> None:
    service = services[name]
    service.first = [throttled(name, 2)]
    endpoint_id = add(app, service, name)
    with start(app, tmp_path) as worker:
        emit(app)
        wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
    refused, accepted = service.calls
    assert (refused.status, accepted.status < 300) == (429, True)
    # The schedule alone would have tried again after 0.2 s.
    assert accepted.at - refused.at >= 2
    assert refused.body == accepted.body
    assert [attempt.outcome for attempt in attempts(app)] == ["refused", "succeeded"]
    assert health(app, endpoint_id).probe_interval is None


def test_discord_says_with_a_success_that_it_was_the_last_for_now(
    app: Flask, services: dict[str, ChatServer]
) -> None:
    service = services["discord"]
    service.first = [FakeDiscord.last_for_now(600.0)]
    endpoint_id = add(app, service, "discord")
    emit(app)
    drain(app)
    assert states(app) == {"succeeded": 1}
    held = health(app, endpoint_id)
    assert held.hold_until is not None
    emit(app)
    drain(app)
    # Held back without an attempt, and not a failure.
    assert states(app) == {"succeeded": 1, "pending": 1}
    assert len(service.calls) == 1
    assert held.probe_interval is None


@pytest.mark.slow
def test_discord_gets_a_burst_at_the_pace_that_it_allows(
    app: Flask, services: dict[str, ChatServer], tmp_path: Path
) -> None:
    service = services["discord"]
    assert isinstance(service, FakeDiscord)
    service.limit = 5
    endpoint_id = add(app, service, "discord")
    with start(app, tmp_path) as worker:
        emit(app, 18)
        wait_until(lambda: states(app) == {"succeeded": 18}, what=worker.output)
    assert len({call.body for call in service.accepted}) == len(service.accepted) == 18
    # One window after another, without hammering between them.
    assert service.accepted[-1].at - service.accepted[0].at >= 2.5 * service.window
    assert len(service.calls) <= 18 + 13 + 8 + 3
    # More refusals in a row than make an endpoint failing; this one is well.
    assert health(app, endpoint_id).consecutive_failures == 0
    assert not any(attempt.outcome not in ("refused", "succeeded") for attempt in attempts(app))


def test_telegram_that_says_no_with_200_is_a_failure(
    app: Flask, services: dict[str, ChatServer]
) -> None:
    service = services["telegram"]
    service.first = [
        Reply(
            200, '{"ok":false,"error_code":400,"description":"Bad Request: message text is empty"}'
        )
    ]
    add(app, service, "telegram")
    emit(app)
    drain(app, retry_schedule=(60.0,))
    [attempt] = attempts(app)
    assert (attempt.outcome, attempt.status) == ("refused", 200)
    assert attempt.error == (
        "The receiver responded with 200, but did not confirm that it has the event: Bad Request: message text is empty"
    )
    assert states(app) == {"pending": 1}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            404,
            '{"description":"Route POST:/bot%s/sendMessage not found"}',
            "responded with 404: Route POST:/••••/sendMessage not found",
        ),
        (400, '{"ok":false,"description":"<b>\\u202eno"}', "responded with 400: <b>no"),
        (
            400,
            '{"ok":false,"description":"%s"}' % ("x" * 5000),
            "responded with 400: " + "x" * 199 + "…",
        ),
    ],
)
def test_what_a_service_says_is_bounded_and_does_not_repeat_its_url(
    app: Flask, services: dict[str, ChatServer], status: int, body: str, said: str
) -> None:
    service = services["telegram"]
    service.first = [Reply(status, body.replace("%s", TELEGRAM_TOKEN))]
    add(app, service, "telegram")
    emit(app)
    drain(app, retry_schedule=(60.0,))
    [attempt] = attempts(app)
    assert attempt.error == f"The receiver {said}"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("discord", "/api/webhooks/1/nobody"),
        ("slack", "/services/T1/B1/nobody"),
        ("telegram", "/bot1:nobody/sendMessage?chat_id=1"),
        ("teams", "/workflows/1/triggers/manual/paths/invoke"),
    ],
)
def test_unknown_webhook_is_a_failure(
    name: str, wrong: str, app: Flask, services: dict[str, ChatServer]
) -> None:
    webhooks_of(app).create_endpoint(services[name].url(wrong), format=name)
    emit(app)
    drain(app, retry_schedule=(60.0,))
    assert [attempt.outcome for attempt in attempts(app)] == ["refused"]


@pytest.mark.slow
def test_neither_url_nor_key_is_stored_in_the_clear_or_logged(
    app: Flask, services: dict[str, ChatServer], tmp_path: Path
) -> None:
    secrets = []
    for name, service in services.items():
        add(app, service, name)
        whole = service.url()
        secrets.append(whole.rpartition("=" if name == "teams" else "/")[2])
    secrets[CHATS.index("telegram")] = TELEGRAM_TOKEN.partition(":")[2]
    with start(app, tmp_path) as worker:
        emit(app, data={"license_id": "lic_1", "license_key": KEY})
        wait_until(lambda: states(app) == {"succeeded": len(CHATS)}, what=worker.output)
    output = worker.output()
    state = state_of(app)
    with state.engine.connect() as connection:
        stored = ""
        for model in ("Endpoint", "Delivery", "Attempt", "Activity", "EndpointHealth"):
            table = state.table(model)
            rows = connection.execute(sa.select(table)).all()
            stored += json.dumps([list(row) for row in rows], default=str, ensure_ascii=False)
    assert "••••" in stored
    for secret in secrets:
        assert len(secret) > 10
        assert secret not in stored
        assert secret not in output
    # Of the key, only the event itself holds more than its end.
    assert KEY not in stored
    assert KEY not in output
    assert len(deliveries(app)) == len(CHATS)
