"""URLs of chats that were pasted wrong, threads of Discord, and the advice to owners of channels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_webhooks.errors import InvalidEndpoint, InvalidURL
from tests.support.chat_servers import DISCORD_PATH, FakeDiscord, Reply
from tests.support.chatting import MOMENT, URLS, chat, event, target
from tests.support.delivering import attempts, close, drain, emit, webhooks_of
from tests.support.pages import Browser, make_app


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    yield app
    close(app)


@pytest.mark.parametrize(
    "url",
    [
        URLS["telegram"] + "&amp;message_thread_id=5",
        URLS["discord"] + "?wait=true&amp;thread_id=5",
        URLS["teams"].replace("&sig", "&amp;sig"),
        "https://example.com/in?a=1&amp;b=2",
        "https://example.com/in?a=1&AMP;b=2",
        "https://example.com/in?a=1&#38;b=2",
        "https://example.com/in?a=1&#x26;b=2",
    ],
)
def test_ampersand_out_of_html_is_named(app: Flask, url: str) -> None:
    with app.app_context(), pytest.raises(InvalidURL, match="Write & instead of &amp; in the URL"):
        webhooks_of(app).create_endpoint(url)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?thread_id=general", "thread_id in the URL as a number"),
        ("?thread_id=5%20", "thread_id in the URL as a number"),
        ("?thread_name=" + "x" * 101, "thread_name of 1 to 100 characters"),
        ("?thread_name=%20", "thread_name of 1 to 100 characters"),
        ("?thread_name=News&thread_id=5", "either thread_id or thread_name"),
        ("?thread_id=0", "thread_id in the URL as a number"),
        ("?thread_id=", "a value for thread_id"),
        ("?wait=true&thread_id", "a value for thread_id"),
        ("?thread_name=", "a value for thread_name"),
        ("?thread_id=5&thread_id=6", "thread_id in the URL once"),
        ("?thread_id=5&thread_id=", "thread_id in the URL once|a value for thread_id"),
        ("?thread_name=a&wait=true&thread_name=a", "thread_name in the URL once"),
        ("?Thread_ID=5", "thread_id in the URL in lower case"),
    ],
)
def test_thread_of_discord_is_checked(query: str, said: str) -> None:
    with pytest.raises(InvalidEndpoint, match=said) as caught:
        chat("discord").check_options({}, URLS["discord"] + query)
    assert caught.value.field == "url"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("&message_thread_id=", "a value for message_thread_id"),
        ("&message_thread_id", "a value for message_thread_id"),
        ("&message_thread_id=5&message_thread_id=6", "message_thread_id in the URL once"),
        ("&message_thread_id=0", "message_thread_id as a number"),
        ("&Message_Thread_Id=5", "message_thread_id in the URL in lower case"),
        ("&chat_id=5", "chat_id in the URL once"),
    ],
)
def test_thread_and_chat_of_telegram_are_checked(query: str, said: str) -> None:
    url = URLS["telegram"]
    with pytest.raises(InvalidEndpoint, match=said):
        chat("telegram").check_options({}, url + query)
    with pytest.raises(InvalidEndpoint, match="The chat is missing"):
        chat("telegram").check_options({}, url.partition("?")[0] + "?chat_id=")


def test_thread_name_of_discord_goes_into_the_body() -> None:
    url = URLS["discord"] + "?wait=true&thread_name=Licence%20news"
    style = chat("discord")
    assert style.check_options({}, url) == {}
    made = style.render(event({"a": 1}), target("discord", url=url), MOMENT)
    assert made.url == URLS["discord"] + "?wait=true"
    assert json.loads(made.body)["thread_name"] == "Licence news"
    assert style.mask_url(url).endswith("••••?wait=true&thread_name=Licence%20news")
    plain = style.render(event({"a": 1}), target("discord"), MOMENT)
    assert "thread_name" not in json.loads(plain.body)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_advice_on_a_chat_speaks_of_the_chat(app: Flask, status: int) -> None:
    with FakeDiscord() as service:
        service.first = [Reply(status, json.dumps({"message": "no", "code": 0}))]
        with app.app_context():
            webhooks_of(app).create_endpoint(service.url(DISCORD_PATH), format="discord")
            emit(app)
        drain(app, retry_schedule=(60.0,))
    [attempt] = attempts(app)
    page = Browser(app).get(f"/deliveries/{attempt.delivery_id}").text
    assert "The chat" in page
    assert "signature" not in page
    assert "raw bytes" not in page
    assert "current secret" not in page
