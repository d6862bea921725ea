"""Limits and pauses of chats: who shares them, how long they last, and what people are told of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions
from tests.support.chat_servers import (
    DISCORD_PATH,
    SLACK_PATH,
    TEAMS_PATH,
    TELEGRAM_CHAT,
    TELEGRAM_PATH,
    ChatServer,
    FakeDiscord,
    FakeSlack,
    FakeTeams,
    FakeTelegram,
    Reply,
)
from tests.support.chatting import URLS
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
from tests.support.helpers import accessing, update
from tests.support.pages import Browser, make_app
from tests.support.working import Worker, ended

DAY = 86_400
PATHS = {
    "discord": DISCORD_PATH,
    "slack": SLACK_PATH,
    "telegram": f"{TELEGRAM_PATH}?chat_id={TELEGRAM_CHAT}",
    "teams": TEAMS_PATH,
}
KINDS: dict[str, type[ChatServer]] = {
    "discord": FakeDiscord,
    "slack": FakeSlack,
    "telegram": FakeTelegram,
    "teams": FakeTeams,
}
each_chat = pytest.mark.parametrize("name", KINDS)


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    """A host with pages."""
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    yield app
    close(app)


@pytest.fixture
def services() -> Iterator[list[ChatServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeDiscord()) for _ in range(2)]


def add(app: Flask, url: str, name: str, tenant: str | None, **values: Any) -> str:
    with app.app_context():
        created = webhooks_of(app).create_endpoint(url, format=name, tenant=tenant)
    if values:
        update(app, "Endpoint", created.endpoint.id, **values)
    return created.endpoint.id


def send(app: Flask, *given: Any, **values: Any) -> None:
    """Emit and deliver."""
    with app.app_context():
        emit(app, *given, **values)
    drain(app)


def bucket(app: Flask, endpoint_id: str) -> str:
    found = endpoint(app, endpoint_id).bucket
    assert found is not None
    return found


# -- whose limit it is -------------------------------------------------------------------------------------


@each_chat
def test_no_limit_is_shared_between_tenants_or_servers(name: str, app: Flask) -> None:
    own, same = add(app, URLS[name], name, "a"), add(app, URLS[name], name, "a")
    assert bucket(app, own) == bucket(app, same)
    others = [
        # Another tenant, the whole server, and an id that reads like no tenant.
        add(app, URLS[name], name, "b"),
        add(app, URLS[name], name, None),
        add(app, URLS[name], name, "None"),
        # Another host, port and scheme with the same path.
        *(
            add(app, server + PATHS[name], name, "a")
            for server in ("https://evil.example", "https://evil.example:8443")
        ),
    ]
    assert len({bucket(app, endpoint_id) for endpoint_id in (own, *others)}) == 1 + len(others)


def test_discord_limit_is_that_of_one_token(app: Flask) -> None:
    one = add(app, URLS["discord"], "discord", "a")
    other = add(app, URLS["discord"] + "x", "discord", "a")
    assert bucket(app, one) != bucket(app, other)


def test_tenant_cannot_silence_the_chat_of_another(app: Flask, services: list[ChatServer]) -> None:
    mine, evil = services
    evil.first = [FakeDiscord.throttled(DAY)]
    add(app, mine.url(), "discord", "a")
    attacker = add(app, evil.url(DISCORD_PATH.rpartition("/")[0] + "/x"), "discord", "b")
    actions.send_test(accessing(app), attacker)
    drain(app)
    assert len(evil.calls) == 1
    emit(app, tenant="a")
    drain(app)
    assert len(mine.accepted) == 1


def test_tenant_cannot_slow_the_chat_of_another(app: Flask, services: list[ChatServer]) -> None:
    mine, _ = services
    add(app, mine.url(), "discord", "a")
    add(app, mine.url(), "discord", "b", rate_limit=0.001)
    emit(app, 3, tenant="a")
    drain(app)
    assert len(mine.accepted) == 3


# -- why nothing is sent -----------------------------------------------------------------------------------


def test_page_says_that_a_webhook_waits_for_the_pause_of_another(
    site: Flask, services: list[ChatServer]
) -> None:
    service, _ = services
    service.first = [FakeDiscord.throttled(DAY)]
    asked = add(site, service.url(), "discord", "a")
    waits = add(site, service.url() + "?thread_id=5", "discord", "a", events=["user.*"])
    update(site, "Endpoint", asked, events=["license.*"])
    send(site, tenant="a")
    send(site, event_type="user.logged_in", tenant="a")
    browser = Browser(site)
    assert "The receiver asked us to wait" in browser.get(f"/endpoints/{asked}").text
    page = browser.get(f"/endpoints/{waits}").text
    assert "The destination asked us to wait" in page
    assert "Next try after" in page
    [*_, waiting] = deliveries(site)
    assert "has been reached" in browser.get(f"/deliveries/{waiting.id}").text
    assert "has been reached" in browser.get(f"/events/{waiting.event_id}?webhook={waits}").text


def test_page_says_that_a_webhook_waits_for_a_limit(
    site: Flask, services: list[ChatServer]
) -> None:
    service, _ = services
    slow = add(site, service.url(), "discord", "a", rate_limit=0.001, events=["license.*"])
    other = add(site, service.url() + "?thread_id=5", "discord", "a", events=["user.*"])
    send(site, 2, tenant="a")
    browser = Browser(site)
    assert "Its rate limit has been reached" in browser.get(f"/endpoints/{slow}").text
    # Nothing waits here yet.
    assert "rate limit of another" not in browser.get(f"/endpoints/{other}").text
    send(site, event_type="user.logged_in", tenant="a")
    assert "rate limit of another webhook" in browser.get(f"/endpoints/{other}").text


def test_pause_that_is_over_is_not_told(site: Flask, services: list[ChatServer]) -> None:
    service, _ = services
    service.first = [FakeDiscord.last_for_now(0.2)]
    endpoint_id = add(site, service.url(), "discord", "a")
    send(site, tenant="a")
    since = health(site, endpoint_id).hold_until
    assert since is not None
    update(site, "EndpointHealth", endpoint_id, hold_until=since - timedelta(minutes=5))
    assert "asked us to wait" not in Browser(site).get(f"/endpoints/{endpoint_id}").text


# -- 429 ---------------------------------------------------------------------------------------------------

USELESS = [
    Reply(429),
    Reply(429, "error code: 1015", "text/plain"),
    Reply(429, "<html>slow down</html>", "text/html"),
    *(Reply(429, json.dumps({"retry_after": wait})) for wait in (0, -1, "soon")),
    Reply(429, '{"retry_after": NaN}'),
    *(Reply(429, headers={"Retry-After": wait}) for wait in ("0", "-1", "NaN", "nonsense")),
]


@pytest.mark.parametrize("reply", USELESS, ids=lambda reply: f"{reply.body}{dict(reply.headers)}")
def test_429_without_a_usable_wait_is_a_pause_and_no_failure(
    site: Flask, services: list[ChatServer], reply: Reply
) -> None:
    service, _ = services
    service.first = [reply] * 8
    endpoint_id = add(site, service.url(), "discord", "a")
    send(site, 8, tenant="a")
    found = health(site, endpoint_id)
    assert found.hold_reason == "retry_after"
    assert found.hold_until is not None
    assert found.last_failure_at is not None
    assert 55 < (found.hold_until - found.last_failure_at).total_seconds() < 65
    assert (found.consecutive_failures, found.failing_since, found.probe_interval) == (
        *(0, None),
        None,
    )
    assert {attempt.outcome for attempt in attempts(site)} == {"refused"}


@pytest.mark.slow
@pytest.mark.parametrize("wait", [None, 30.0])
def test_429_that_goes_on_for_weeks_disables_nothing(
    app: Flask, worker: Worker, wait: float | None
) -> None:
    endpoint_id = add(app, "https://example.com/hook", "standard", None)
    for _ in range(30):
        emit(app)
        worker.wait(DAY)
        for flying in worker.take():
            worker.answer(flying, 429, retry_after=wait)
    found = health(app, endpoint_id)
    assert (found.warned, found.probe_interval, found.failing_since) == (0, None, None)
    assert endpoint(app, endpoint_id).state == "active"


def test_429_neither_ends_nor_counts_towards_an_incident(app: Flask, worker: Worker) -> None:
    endpoint_id = add(app, "https://example.com/hook", "standard", None)
    emit(app, 7)
    first, *others = worker.take()
    worker.answer(first, 500)
    worker.settle(*(ended(flying, 429) for flying in others))
    found = health(app, endpoint_id)
    assert (found.consecutive_failures, found.probe_interval) == (1, None)
    assert found.failing_since is not None


def test_longest_wait_of_the_operator_holds_for_a_pause_of_our_own(app: Flask) -> None:
    endpoint_id = add(app, "https://example.com/hook", "standard", None)
    emit(app)
    with closing(Worker(app, max_retry_after=5.0)) as worker:
        worker.answer(worker.take_one(), 429)
        until = health(app, endpoint_id).hold_until
        assert until is not None
        assert (until - worker.now).total_seconds() == 5


GLOBAL = [
    Reply(429, json.dumps({"global": True, "retry_after": DAY})),
    Reply(429, json.dumps({"retry_after": DAY}), headers={"X-RateLimit-Global": "true"}),
    Reply(429, json.dumps({"retry_after": DAY}), headers={"X-RateLimit-Scope": "global"}),
    Reply(429, "error code: 1015", "text/plain", headers={"Retry-After": str(DAY)}),
    Reply(429, "<html>banned</html>", "text/html", headers={"Retry-After": str(DAY)}),
    Reply(429, "<html>banned</html>", "text/html"),
]


@pytest.mark.slow
@pytest.mark.parametrize("reply", GLOBAL, ids=lambda reply: f"{reply.body}{dict(reply.headers)}")
def test_answer_about_the_whole_host_holds_all_of_the_tenant_there(
    site: Flask, services: list[ChatServer], reply: Reply
) -> None:
    service, elsewhere = services
    service.first = [reply]
    asked = add(site, service.url(), "discord", "a")
    path = DISCORD_PATH.rpartition("/")[0]
    # One that has never sent anything, so that its limit has no row yet.
    same_host = add(site, service.url(path + "/other"), "discord", "a", events=["user.*"])
    other_host = add(site, elsewhere.url(), "discord", "a", events=["user.*"])
    other_tenant = add(site, service.url(), "discord", "b")
    update(site, "Endpoint", asked, events=["license.*"])
    send(site, tenant="a")
    send(site, event_type="user.logged_in", tenant="a")
    send(site, tenant="b")
    made = [(attempt.outcome, delivery.endpoint_id) for attempt, delivery in made_for(site)]
    assert sorted(made) == sorted(
        [("refused", asked), ("succeeded", other_host), ("succeeded", other_tenant)]
    )
    page = Browser(site).get(f"/endpoints/{same_host}").text
    assert "The destination asked us to wait" in page


@pytest.mark.parametrize(
    "reply",
    [
        FakeDiscord.throttled(DAY),
        Reply(429),
        Reply(429, json.dumps({"retry_after": DAY}), headers={"X-RateLimit-Scope": "shared"}),
    ],
)
def test_answer_about_one_webhook_holds_that_alone(
    site: Flask, services: list[ChatServer], reply: Reply
) -> None:
    service, _ = services
    service.first = [reply]
    add(site, service.url(), "discord", "a")
    send(site, tenant="a")
    other = add(site, service.url(DISCORD_PATH.rpartition("/")[0] + "/other"), "discord", "a")
    send(site, tenant="a")
    assert [delivery.endpoint_id for _, delivery in made_for(site)].count(other) == 1


def made_for(app: Flask) -> list[tuple[Any, Any]]:
    """Attempts, each with its delivery."""
    found = {delivery.id: delivery for delivery in deliveries(app)}
    return [(attempt, found[attempt.delivery_id]) for attempt in attempts(app)]
