"""URLs that hold a secret, whatever the host: how they are stored and shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.formats import builtin_formats
from tests.support.chatting import URLS
from tests.support.delivering import close, drain, emit, endpoint, webhooks_of
from tests.support.helpers import accessing, activity
from tests.support.pages import Browser, make_app
from tests.support.receiver import Receiver

FORMATS = builtin_formats()
TOKEN = "a1B2c3D4e5F6g7H8i9J0k1L2"
UUID = "3f2a9c1e-7b44-4d0a-9a61-0c5d2e8f1b77"


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    yield app
    close(app)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"https://hooks.slack-gov.com/services/T1/B1/{TOKEN}", "slack"),
        *(
            (f"https://x.{host}/workflows/1/triggers/manual/paths/invoke?sig={TOKEN}", "teams")
            for host in (
                "westeurope.logic.azure.com",
                "usgovvirginia.logic.azure.us",
                "chinaeast2.logic.azure.cn",
                "environment.api.powerplatform.com",
                "environment.api.gov.powerplatform.microsoft.us",
                "environment.api.high.powerplatform.microsoft.us",
                "environment.api.appsplatform.us",
                "environment.api.powerplatform.partner.microsoftonline.cn",
            )
        ),
        (
            URLS["teams"].replace("/workflows/", "/Workflows/").replace("/paths/", "/Paths/"),
            "teams",
        ),
        (f"https://acme.webhook.office.com/webhookb2/{UUID}@{UUID}/IncomingWebhook/1/2", "teams"),
        (f"https://outlook.office.com/webhook/{UUID}/IncomingWebhook/1/2", "teams"),
        (f"https://discord.com/API/Webhooks/1/{TOKEN}", "discord"),
        (f"https://ptb.discord.com/api/V10/webhooks/1/{TOKEN}", "discord"),
        (f"https://api.telegram.org/BOT1:{TOKEN}/SendMessage?chat_id=1", "telegram"),
        (f"https://chat.googleapis.com/v1/spaces/AAAA/messages?key=AIza&token={TOKEN}", "standard"),
    ],
)
def test_url_of_a_known_family_is_recognised_and_shown_masked(url: str, name: str) -> None:
    style = FORMATS.detect(url, "standard")
    assert style.name == name
    shown = style.mask_url(url)
    assert "••••" in shown
    assert TOKEN not in shown
    assert UUID not in shown
    style.check_options({}, url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://example.com/in/{TOKEN}", "https://example.com/in/••••"),
        (f"https://example.com/in/{UUID}/events", "https://example.com/in/••••/events"),
        (f"https://example.com:8443/in?{UUID}", "https://example.com:8443/in?••••"),
        (f"https://example.com/in?a=1&t={TOKEN}&b=", "https://example.com/in?a=1&t=••••&b="),
        ("https://example.com/in?token=abc", "https://example.com/in?token=••••"),
        ("https://example.com/in?API_KEY=abc", "https://example.com/in?API_KEY=••••"),
        ("https://example.com/%61" + TOKEN, "https://example.com/••••"),
        ("https://example.com/qzxjvkwpfmhrtbnlcsdg", "https://example.com/••••"),
        ("https://example.com/0123456789abcdef0123", "https://example.com/••••"),
        # Long, but words and numbers.
        *(
            (url, url)
            for url in (
                "https://example.com/",
                "https://example.com/webhooks/license-activation-callback-v2",
                "https://example.com/licenseActivationCallback",
                "https://example.com/flask_webhooks.receiver/LICENSE_EVENTS",
                "https://example.com/tenants/1174502939573518396/events?since=2026-01-31",
                "https://example.com/hook?application=acme-licensing-server&token=",
                "https://example.com/a%20long%20name%20with%20spaces",
            )
        ),
    ],
)
def test_what_looks_random_is_masked_and_words_are_not(url: str, shown: str) -> None:
    assert FORMATS["standard"].mask_url(url) == shown


def test_random_url_is_encrypted_and_whole_only_for_those_who_may(
    app: Flask, receiver: Receiver
) -> None:
    url = receiver.url(f"/ok/{TOKEN}")
    with app.app_context():
        created = webhooks_of(app).create_endpoint(url)
        emit(app)
    drain(app)
    assert [request.path for request in receiver.requests] == [f"/ok/{TOKEN}"]
    found = endpoint(app, created.endpoint.id)
    assert (found.url_shown, found.url_sealed is None) == (receiver.url("/ok/••••"), False)
    state = state_of(app)
    with state.engine.connect() as connection:
        for model in ("Endpoint", "Attempt", "Activity", "Event"):
            rows = connection.execute(sa.select(state.table(model))).all()
            assert TOKEN not in json.dumps([list(row) for row in rows], default=str)
    path = f"/endpoints/{found.id}"
    assert url in Browser(app).get(path).text
    webhooks_of(app).authorize(lambda action, endpoint: action != "secret")
    for page in ("/", path, f"{path}/edit", "/activity", "/deliveries"):
        response = app.test_client().get("/webhooks" + page)
        assert response.status_code == 200
        assert TOKEN not in response.text


def test_random_url_stays_when_other_things_change(app: Flask, receiver: Receiver) -> None:
    with app.app_context():
        created = webhooks_of(app).create_endpoint(receiver.url(f"/ok/{TOKEN}"))
        before = endpoint(app, created.endpoint.id)
        actions.update_endpoint(accessing(app), before.id, name="renamed")
        assert endpoint(app, before.id).url_shown == before.url_shown
        plain = receiver.url("/ok/plain")
        actions.update_endpoint(accessing(app), before.id, url=plain)
    after = endpoint(app, before.id)
    assert (after.url_shown, after.url_sealed) == (plain, None)
    assert activity(app)[-1].changes["url"] == [before.url_shown, plain]  # type: ignore[index]
