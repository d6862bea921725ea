"""Messages for chats: recognised URLs, what they look like, limits and harmless text, whatever the data holds."""

from __future__ import annotations

import cProfile
import json
import re
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_webhooks.catalog.event_types import BUILTIN_EVENT_TYPES
from flask_webhooks.errors import InvalidEndpoint
from flask_webhooks.formats import Answer, builtin_formats
from flask_webhooks.formats.chat.base import Tone, tone_of
from flask_webhooks.formats.chat.text import clean_text, fair_cap
from tests.support.chat_servers import (
    DISCORD_PATH,
    SLACK_PATH,
    TEAMS_PATH,
    TELEGRAM_CHAT,
    TELEGRAM_PATH,
    TELEGRAM_TOKEN,
    FakeDiscord,
    FakeTelegram,
    Reply,
    discord_problems,
    slack_problems,
    telegram_text,
)
from tests.support.chatting import (
    CHATS,
    MOMENT,
    URLS,
    chat,
    event,
    lines,
    message,
    problems,
    rendered,
    target,
    title,
)
from tests.test_encoding import JSON_VALUES, TEXT

each_chat = pytest.mark.parametrize("name", CHATS)

# -- recognised by the URL ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URLS["discord"], "discord"),
        (f"https://discordapp.com{DISCORD_PATH}", "discord"),
        (f"https://ptb.discord.com{DISCORD_PATH}?thread_id=1", "discord"),
        ("https://discord.com/api/v10/webhooks/1/abc", "discord"),
        (URLS["slack"], "slack"),
        (URLS["telegram"], "telegram"),
        (URLS["teams"], "teams"),
        (
            "https://prod-23.westeurope.logic.azure.com/workflows/ab/triggers/manual/paths/invoke?sig=x",
            "teams",
        ),
        ("https://discord.com/channels/1/2", "standard"),
        ("https://evildiscord.com/api/webhooks/1/abc", "standard"),
        ("https://discord.com.evil.example/api/webhooks/1/abc", "standard"),
        ("https://example.com/api/webhooks/1/abc", "standard"),
        ("https://hooks.slack.com.evil.example/services/T/B/x", "standard"),
        ("https://api.telegram.org/bot1:a/getMe", "standard"),
        ("https://example.com/bot1:a/sendMessage", "standard"),
        ("https://logic.azure.com.evil.example/workflows/a/triggers/b/paths/invoke", "standard"),
        ("https://prod-23.westeurope.logic.azure.com/other", "standard"),
    ],
)
def test_format_is_recognised_by_the_url(url: str, expected: str) -> None:
    assert builtin_formats().detect(url, "standard").name == expected


@each_chat
def test_url_is_the_only_secret(name: str) -> None:
    assert chat(name).secret_url
    assert not chat(name).signed
    assert rendered(name, {}).headers == {}


@pytest.mark.parametrize(
    ("name", "url", "shown"),
    [
        (
            "discord",
            URLS["discord"] + "?thread_id=7&wait=true&x=secret",
            "https://discord.com/api/webhooks/1174502939573518396/••••?thread_id=7&wait=true&x=••••",
        ),
        (
            "discord",
            "https://discord.com/api/v10/webhooks/1/abc/",
            "https://discord.com/api/v10/webhooks/1/••••",
        ),
        ("slack", URLS["slack"], "https://hooks.slack.com/services/T024BE7LD/B0G9QF9GZ/••••"),
        ("slack", "https://hooks.slack.com/secret?secret", "https://hooks.slack.com/••••?••••"),
        (
            "telegram",
            URLS["telegram"] + "&text=secret",
            f"https://api.telegram.org/bot••••/sendMessage?chat_id={TELEGRAM_CHAT}&text=••••",
        ),
        (
            "teams",
            URLS["teams"],
            URLS["teams"].partition("?")[0] + "?api-version=1&sp=••••&sv=••••&sig=••••",
        ),
        # A proxy of the customer's, with the format chosen by hand.
        ("discord", "https://proxy.example/s3cret", "https://proxy.example/••••"),
        ("telegram", "https://proxy.example/s3cret?k=s", "https://proxy.example/••••?k=••••"),
        ("teams", "https://proxy.example:8443/s3cret", "https://proxy.example:8443/••••"),
    ],
)
def test_url_is_shown_without_its_secret(name: str, url: str, shown: str) -> None:
    assert chat(name).mask_url(url) == shown


def test_limits_are_shared_by_webhook_and_by_bot() -> None:
    discord, slack, telegram = chat("discord"), chat("slack"), chat("telegram")
    assert discord.bucket(URLS["discord"] + "?thread_id=1") == discord.bucket(
        URLS["discord"].replace("/api/", "/api/v10/")
    )
    assert discord.bucket(URLS["discord"]) != discord.bucket("https://discord.com/api/webhooks/1/a")
    assert slack.bucket(URLS["slack"]) != slack.bucket(URLS["slack"] + "x")
    bots = {
        telegram.bucket(f"https://api.telegram.org/bot{token}/sendMessage?chat_id=1")
        for token in ("1:a", "1%3Aa", "2:b")
    }
    assert len(bots) == 2
    assert telegram.bucket(URLS["telegram"]) == telegram.bucket(URLS["telegram"] + "9")


# -- options -----------------------------------------------------------------------------------------------


@each_chat
def test_show_keys_is_taken_and_nothing_unknown(name: str) -> None:
    style, url = chat(name), URLS[name]
    assert style.check_options({}, url) == {}
    assert style.check_options({"show_keys": True}, url) == {"show_keys": True}
    assert style.check_options({"show_keys": "true"}, url) == {"show_keys": True}
    assert style.check_options({"show_keys": False}, url) == {}
    with pytest.raises(InvalidEndpoint, match="Write true") as caught:
        style.check_options({"show_keys": "maybe"}, url)
    assert caught.value.field == "show_keys"
    with pytest.raises(InvalidEndpoint, match="Leave out colour"):
        style.check_options({"colour": "red"}, url)


def test_telegram_chat_is_named_once() -> None:
    style = chat("telegram")
    url = f"https://api.telegram.org{TELEGRAM_PATH}"
    assert style.check_options({"chat_id": "-100"}, url) == {"chat_id": -100}
    assert style.check_options({"chat_id": "@acme_news", "message_thread_id": "5"}, url) == {
        "chat_id": "@acme_news",
        "message_thread_id": 5,
    }
    # As forms send what nobody filled in.
    assert style.check_options({"chat_id": "", "message_thread_id": ""}, URLS["telegram"]) == {}
    assert style.check_options({"chat_id": TELEGRAM_CHAT}, URLS["telegram"]) == {}
    refused: list[tuple[dict[str, Any], str, str]] = [
        ({}, url, "The chat is missing"),
        ({"chat_id": 5}, URLS["telegram"], "different chat_id"),
        ({"chat_id": "acme news"}, url, "as a number"),
        ({"chat_id": True}, url, "as a number"),
        ({}, url + "?chat_id=acme news", "as a number"),
        ({"message_thread_id": "last"}, URLS["telegram"], "message_thread_id as a number"),
    ]
    for options, wrong, said in refused:
        with pytest.raises(InvalidEndpoint, match=said) as caught:
            style.check_options(options, wrong)
        assert caught.value.field in ("chat_id", "message_thread_id")


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("discord", URLS["discord"] + "/slack", "Leave out /slack"),
        ("discord", URLS["discord"] + "/github", "Leave out /github"),
        ("slack", "https://hooks.slack.com/workflows/T1/A1/1/x", "incoming webhook"),
        ("slack", "https://hooks.slack.com/triggers/T1/1/x", "incoming webhook"),
        ("teams", URLS["teams"].partition("&sig")[0], "Copy the whole URL"),
    ],
)
def test_url_that_takes_something_else_is_refused(name: str, url: str, said: str) -> None:
    with pytest.raises(InvalidEndpoint, match=said) as caught:
        chat(name).check_options({}, url)
    assert caught.value.field == "url"


# -- what it looks like --------------------------------------------------------------------------------------


@each_chat
@pytest.mark.parametrize("event_type", BUILTIN_EVENT_TYPES, ids=lambda item: str(item.name))
def test_every_event_type_renders_well(name: str, event_type: Any) -> None:
    sent = message(name, event_type.example, event_type.name)
    words = event_type.name.replace(".", " ").replace("_", " ").split()
    expected = ["test", "message"] if event_type.name == "test" else words
    assert (
        title(name, sent).lower().removeprefix(tone_of(event_type.name).value).split() == expected
    )
    shown = lines(name, sent)
    assert len(shown) == sum(_count(value) for value in event_type.example.values()) - (
        event_type.name == "test"
    )
    text = json.dumps(sent, ensure_ascii=False)
    for secret in ("K7QF-29XM-4TRD-PL3B", "9f2c4e7ab1d05836", "mira@example.com", "ses_7d3f9a"):
        assert secret not in text
    assert "Acme Licensing · My App" in text.replace("\u2060", "")


def _count(value: Any) -> int:
    return sum(map(_count, value.values())) if isinstance(value, dict) else 1


def test_discord_message_in_full() -> None:
    data = {
        "user_id": 7,
        "username": "mi*ra",
        "reason": "Shared the account",
        "hwid": "9f2c4e7ab1d05836",
    }
    assert message("discord", data, "user.banned") == {
        "embeds": [
            {
                "title": "User banned",
                "color": 0xE74C3C,
                "fields": [
                    {"name": "Username", "value": "mi\\*ra", "inline": True},
                    {"name": "User ID", "value": "7", "inline": True},
                    {"name": "Reason", "value": "Shared the account", "inline": True},
                    {"name": "HWID", "value": "••••5836", "inline": True},
                ],
                "footer": {"text": "Acme Licensing · My App"},
                "timestamp": "2026-03-02T09:30:00.000+00:00",
            }
        ],
        "allowed_mentions": {"parse": []},
    }


def test_telegram_message_in_full() -> None:
    request = rendered("telegram", {"username": "<mira>", "level": 2}, "user.registered")
    # The chat is in the body; a second one in the URL could contradict it.
    assert request.url == f"https://api.telegram.org{TELEGRAM_PATH}"
    assert request.body.decode() == (
        f'{{"chat_id":{TELEGRAM_CHAT},"text":"🔵 <b>User registered</b>\\n'
        "<b>Username:</b> <code>&lt;mira&gt;</code>\\n<b>Level:</b> <code>2</code>\\n"
        '<i>Acme Licensing · My App · 2026-03-02 09:30:00 UTC</i>",'
        '"parse_mode":"HTML","link_preview_options":{"is_disabled":true}}'
    )


def test_telegram_takes_chat_and_topic_from_url_or_options() -> None:
    style = chat("telegram")
    url = f"https://api.telegram.org{TELEGRAM_PATH}"
    by_options = target(
        "telegram", url=url, options={"chat_id": "@acme_news", "message_thread_id": 5}
    )
    body = json.loads(style.render(event({}), by_options, MOMENT).body)
    assert (body["chat_id"], body["message_thread_id"]) == ("@acme_news", 5)
    by_url = target(
        "telegram",
        url=url + "?disable_notification=true&chat_id=%40acme_news&message_thread_id=6&text=Hello",
    )
    request = style.render(event({}), by_url, MOMENT)
    assert request.url == url + "?disable_notification=true"
    body = json.loads(request.body)
    assert (body["chat_id"], body["message_thread_id"]) == ("@acme_news", 6)
    assert "Hello" not in body["text"]


def test_slack_notification_says_what_happened() -> None:
    sent = message("slack", {"username": "mira <3", "reason": "Shared"}, "user.banned")
    assert sent["text"] == "🔴 User banned · mira &lt;3 · Shared"
    assert lines("slack", sent) == {"Username": "mira &lt;3", "Reason": "Shared"}
    assert "<!date^1772443800^{date_num} {time_secs}|2026-03-02 09:30:00 UTC>" in json.dumps(sent)


@each_chat
def test_test_message_is_a_sentence(name: str) -> None:
    greeting = "This is a test ping from Acme Licensing"
    with_one = message(name, {"message": greeting, "endpoint_id": "ep_1"}, "test")
    assert greeting in json.dumps(with_one)
    assert "message" not in {label.lower() for label in lines(name, with_one)}
    # Other data may be sent as a test, too.
    assert greeting in json.dumps(message(name, {}, "test"))
    assert greeting in json.dumps(message(name, {"message": 7}, "test"))


def test_colours_follow_the_pages() -> None:
    def colour(event_type: str) -> int:
        found = message("discord", {}, event_type)["embeds"][0]["color"]
        assert isinstance(found, int)
        return found

    def strongest(event_type: str) -> str:
        shades = {"red": colour(event_type) >> 16, "green": colour(event_type) >> 8 & 255}
        shades["blue"] = colour(event_type) & 255
        return max(shades, key=shades.__getitem__)

    assert strongest("user.logged_in") == "green"
    assert strongest("user.banned") == "red"
    assert strongest("user.registered") == "blue"
    assert len({colour(f"my.{word}") for word in ("bound", "failed", "expired", "added", "x")}) == 5


@pytest.mark.parametrize(
    ("event_type", "tone"),
    [
        ("user.logged_in", Tone.GOOD),
        ("payment.succeeded", Tone.GOOD),
        ("user.banned", Tone.BAD),
        ("payment.failed", Tone.BAD),
        ("hwid.mismatched", Tone.BAD),
        ("security.alert", Tone.BAD),
        ("blacklist.added", Tone.BAD),
        ("whitelist.added", Tone.NEW),
        ("license.expired", Tone.WARNING),
        ("license.expiring", Tone.WARNING),
        ("license.check_in_overdue", Tone.WARNING),
        ("usage.threshold_reached", Tone.WARNING),
        ("device.heartbeat_missed", Tone.WARNING),
        ("license.checked_out", Tone.NEUTRAL),
        ("session.ended", Tone.NEUTRAL),
        ("license.created", Tone.NEW),
        ("config.updated", Tone.NEUTRAL),
        # Of the host's own.
        ("shop.order.payment_failed", Tone.BAD),
        ("shop.order.shipped", Tone.NEUTRAL),
        ("build.crashed", Tone.BAD),
        ("build.agent_crashed", Tone.BAD),
        ("shop.order_refused", Tone.BAD),
        ("card.declined", Tone.BAD),
        ("shop.order.completed", Tone.GOOD),
        ("ticket.resolved", Tone.GOOD),
        ("staff.admin_logged_in", Tone.GOOD),
        ("staff.admin_login_failed", Tone.BAD),
        ("job.timed_out", Tone.WARNING),
        ("job.nightly_timed_out", Tone.WARNING),
        ("subscription.cancelled", Tone.WARNING),
        ("subscription.canceled", Tone.WARNING),
        ("subscription.paused", Tone.WARNING),
        ("payment.refunded", Tone.WARNING),
        ("ticket.opened", Tone.NEW),
        ("build.started", Tone.NEW),
        ("build.crashed_twice", Tone.NEUTRAL),
        ("shop.order.not_paid", Tone.NEUTRAL),
    ],
)
def test_tone_of_event_types(event_type: str, tone: Tone) -> None:
    assert tone_of(event_type) is tone


@each_chat
def test_time_is_shown_in_utc_whatever_zone_it_came_in(name: str) -> None:
    moment = MOMENT.astimezone(timezone(timedelta(hours=9)))
    here, there = (
        chat(name).render(event({}, occurred_at=at), target(name), MOMENT).body
        for at in (MOMENT, moment)
    )
    assert here == there


@each_chat
def test_no_tenant_is_left_out(name: str) -> None:
    for tenant_name in (None, "App"):
        body = (
            chat(name)
            .render(event({}, tenant=None, tenant_name=tenant_name), target(name), MOMENT)
            .body
        )
        assert "None" not in body.decode().replace('"spacing":"None"', "")
        assert "·" not in body.decode().replace(" · 2026", "").replace("· This", "")
        assert problems(name, body) == []


@each_chat
def test_names_of_product_and_tenant_are_no_markup_either(name: str) -> None:
    hostile = "@everyone <!channel> **x** [a](https://evil.example) \u202e" + "n" * 500
    body = (
        chat(name)
        .render(event({"x": 1}, tenant_name=hostile), target(name, product_name=hostile), MOMENT)
        .body
    )
    assert problems(name, body) == []
    assert "\u202e" not in body.decode()


# -- limits ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(JSON_VALUES | st.dictionaries(TEXT, JSON_VALUES, max_size=40))
@each_chat
def test_any_data_is_within_the_limits(name: str, data: Any) -> None:
    first, again = rendered(name, data), rendered(name, data)
    assert first == again
    assert problems(name, first.body) == []


#: Characters that each cost more than they look.
EXPENSIVE = [
    "😀",
    "&",
    "<",
    "\\",
    "*",
    "`",
    '"',
    "x\n",
    "e\u0301",
    "👩\u200d👩\u200d👧",
    "€",
    "@",
    "_",
    " #",
]


@each_chat
@pytest.mark.parametrize("text", EXPENSIVE)
@pytest.mark.parametrize("count", [1, 30, 300])
def test_long_texts_are_cut_with_a_note(name: str, text: str, count: int) -> None:
    data = {f"member_{number}{text * 200}": "a" + text * 9000 + "z" for number in range(count)}
    sent = message(name, data)
    shown = lines(name, sent)
    assert len(shown) <= 25
    values = list(shown.values())
    if count > 25:
        assert values.pop() == f"and {count - 24} more"
    for value in values:
        assert re.search(r"… \\?\([\d,]+ more characters\\?\)$", value), value[-60:]


@each_chat
def test_hundreds_of_members_are_counted(name: str) -> None:
    shown = lines(name, message(name, {f"member_{number:03}": number for number in range(300)}))
    assert len(shown) == 25
    assert shown["Member 000"] == "0"
    assert shown["More"] == "and 276 more"
    exactly = lines(name, message(name, {f"m{number}": number for number in range(25)}))
    assert len(exactly) == 25
    assert "More" not in exactly


HUGE: dict[str, Any] = {
    "members": {hex(number)[2:]: 1 for number in range(33_000)},
    "lies deep": {"a": {"b": {"c": {"d": {f"k{number}": "é" for number in range(21_000)}}}}},
    "list of members": {"a": [{"x": number} for number in range(30_000)]},
    "list of lists": {"a": [[number] for number in range(50_000)]},
    "accents": {f"m{number}": "e\u0301" * 3_000 for number in range(25)},
    "addresses": {f"m{number}": {"email": "é" * 3_000 + "@x"} for number in range(50)},
}


@each_chat
@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE)
def test_event_of_300_kb_takes_a_bounded_part_of_the_event_loop(name: str, data: Any) -> None:
    """In calls, which do not depend on what else the machine does; 600,000 are some 30 ms."""
    given = event(data)
    profile = cProfile.Profile()
    profile.enable()
    sent = chat(name).render(given, target(name), MOMENT)
    profile.disable()
    assert sum(entry.callcount for entry in profile.getstats()) < 600_000
    assert problems(name, sent.body) == []


@each_chat
def test_what_is_not_looked_at_is_counted(name: str) -> None:
    shown = lines(name, message(name, HUGE["members"]))
    assert shown["More"] == "and 32,976 more"
    [deep] = lines(name, message(name, HUGE["lies deep"])).values()
    rest = re.search(r"([\d,]+) more characters", deep)
    assert rest is not None
    whole = len(json.dumps(HUGE["lies deep"]["a"]["b"]["c"]["d"], ensure_ascii=False))
    assert 0 <= whole - int(rest[1].replace(",", "")) <= 1000
    # Nothing of what only stands for it is seen.
    assert deep.count("…") == 1


@each_chat
def test_short_lines_leave_their_room_to_long_ones(name: str) -> None:
    data = {f"short_{number}": number for number in range(20)} | {"reason": "r" * 950}
    assert lines(name, message(name, data))["Reason"] == "r" * 950


@pytest.mark.parametrize(
    ("sizes", "room", "cap"),
    [
        ([], 10, 0),
        ([1, 2, 3], 10, 3),
        ([1, 100, 100], 21, 10),
        ([50, 50], 10, 5),
        ([4, 4, 9], 12, 4),
    ],
)
def test_fair_cap(sizes: list[int], room: int, cap: int) -> None:
    assert fair_cap(sizes, room) == cap
    assert sum(min(size, cap) for size in sizes) <= room or not sizes


@each_chat
def test_nothing_is_cut_between_a_letter_and_its_accents(name: str) -> None:
    family = "👩\u200d👩\u200d👧\u200d👦"
    for pad in range(12):
        shown = lines(name, message(name, {"note": "x" * pad + family * 400}))["Note"]
        kept = shown.partition("…")[0].lstrip("x")
        assert kept
        assert kept.replace(family, "") == ""
    shown = lines(name, message(name, {"note": "e\u0301" * 3000}))["Note"]
    assert shown.partition("…")[0].endswith("e\u0301")


# -- harmless ------------------------------------------------------------------------------------------------

HOSTILE = [
    "@everyone @here <@1> <@&2> <#3> </ban:4>",
    "<!channel> <!here> <@U1> <http://evil.example|Log in>",
    "**bold** __under__ ~~gone~~ ||spoiler|| `code` ```block``` > quote",
    "[Log in](https://evil.example/login)",
    "![x](https://evil.example/pixel.png)",
    "<b>bold</b> <a href='https://evil.example'>x</a> &lt; &amp; &#60;",
    "# Heading\n## Another\n- list\n+ list\n-# small",
    "{{DATE(2026-03-02T09:30:00Z,SHORT)}} ${x} <at>Mira</at>",
    "https://evil.example @durov #tag /start $USD evil.com",
    "\\*not bold\\* \\",
    "abc\u202egnp.exe \u2066x\u2069 \u200b\u200e\ufeff",
]


@each_chat
@pytest.mark.parametrize("text", HOSTILE)
def test_markup_and_mentions_of_the_data_are_plain_text(name: str, text: str) -> None:
    sent = message(name, {text: 1, "note": text, "list": [text], "deep": {text: {text: [text]}}})
    shown = lines(name, sent)
    if name == "discord":
        # What a reader sees is what was in the data.
        assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", shown["Note"]) == clean_text(text)
        assert re.search(r"(?<!\\)(?:\\\\)*[@<`*_~|\[]", shown["Note"]) is None
    elif name == "slack":
        decoded = shown["Note"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        assert decoded == clean_text(text)
    elif name == "telegram":
        assert shown["Note"] == clean_text(text)
    elif name == "teams":
        assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", shown["Note"]) == clean_text(text)


@each_chat
def test_title_of_a_type_of_the_hosts_own_is_plain_text(name: str) -> None:
    sent = message(name, {}, "my_app.order_2.paid")
    assert title(name, sent).removeprefix("🟢 ") == "My app order 2 paid"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("  a\tb\r\nc  ", "a b\nc"),
        ("a\x00\x1b[31mb\x7f", "a[31mb"),
        ("a\u202eb\u2066c\u200bd\ufeffe\u00adf", "abcdef"),
        ("\u200b\u2060\ufeff", ""),
        ("\u3164\u115f", ""),
        ("\u200d\ufe0f", ""),
        ("a\u2028b\u00a0c", "a\nb c"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("z" + "\u0301" * 50, "z" + "\u0301" * 6),
        ("\ud83d", ""),
        ("a\udc00b", "ab"),
        (
            "👩\u200d👧 ❤\ufe0f \u0645\u06cc\u200c\u062e",
            "👩\u200d👧 ❤\ufe0f \u0645\u06cc\u200c\u062e",
        ),
        ("مرحبا שלום", "مرحبا שלום"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean_text(text) == expected


@each_chat
@pytest.mark.parametrize(
    "value", ["", " ", "\u200b", "\u3164", None, [], {}, [[]], [{}], "\ud83d", {"": ""}]
)
def test_nothing_is_shown_as_something(name: str, value: Any) -> None:
    for label, shown in lines(name, message(name, {"note": value})).items():
        assert label.strip()
        assert shown.strip()


@each_chat
@pytest.mark.parametrize("data", [[], {}, None, 7, "text", [1, 2], [{"a": 1}], True])
def test_data_need_not_be_an_object(name: str, data: Any) -> None:
    message(name, data)


# -- answers -------------------------------------------------------------------------------------------------


def answer(reply: Reply) -> Answer:
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return Answer(reply.status, headers, reply.body.encode())


def wait(name: str, reply: Reply, longest: float = 3600) -> float | None:
    return chat(name).retry_after(answer(reply), MOMENT, longest)


def test_discord_says_when_it_wants_more() -> None:
    assert wait("discord", FakeDiscord.throttled(0.65)) == 0.65
    assert wait("discord", FakeDiscord.last_for_now(1.25)) == 1.25
    assert wait("discord", FakeDiscord.throttled(9999), longest=60) == 60
    # From the network in front of Discord.
    assert wait("discord", Reply(429, "<html>", headers={"Retry-After": "30"})) == 30
    assert wait("discord", Reply(503, "", headers={"Retry-After": "7"})) == 7
    left = {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset-After": "2"}
    assert wait("discord", Reply(204, headers=left)) is None
    # Only what was accepted speaks of the limit of this webhook.
    gone = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "2"}
    assert wait("discord", Reply(404, headers=gone)) is None


def test_telegram_says_when_it_wants_more() -> None:
    assert wait("telegram", FakeTelegram.throttled(5)) == 5
    assert wait("telegram", Reply(429, "", headers={"Retry-After": "4"})) == 4
    assert wait("telegram", Reply(200, '{"ok":true,"result":{}}')) is None


@pytest.mark.parametrize("name", ["slack", "teams"])
def test_header_says_when_slack_and_teams_want_more(name: str) -> None:
    assert wait(name, Reply(429, "", headers={"Retry-After": "30"})) == 30
    assert wait(name, Reply(200, "ok")) is None


@pytest.mark.parametrize(
    "value", ['"soon"', "null", "true", "-1", "NaN", "[]", "{}", "1" * 400, '"' + "9" * 5000 + '"']
)
def test_waits_that_make_no_sense_are_not_believed(value: str) -> None:
    for name, body in [
        ("discord", f'{{"retry_after":{value}}}'),
        ("telegram", f'{{"ok":false,"parameters":{{"retry_after":{value}}}}}'),
    ]:
        seconds = wait(name, Reply(429, body), longest=60)
        assert seconds is None or seconds == 60
    for body in (
        "[" * 50_000,
        "{",
        '{"parameters":7}',
        "null",
        "\udcff".encode("utf-8", "ignore").decode(),
    ):
        assert wait("telegram", Reply(429, body)) is None
        assert wait("discord", Reply(429, body)) is None


@pytest.mark.parametrize(
    ("status", "body", "succeeded"),
    [
        (200, '{"ok":true,"result":{"message_id":1}}', True),
        (200, '{"ok": true}', True),
        (200, '{"ok":false,"error_code":400}', False),
        (200, '{"ok":"true"}', False),
        (200, '{"result":{}}', False),
        (200, "<html>Hotel Wi-Fi: please log in</html>", False),
        (200, "", False),
        (400, '{"ok":true}', False),
        # Too long to be read to its end.
        (200, '{"ok":true,"result":{"text":"' + "x" * 100, True),
        (200, '{"ok":false,"description":"' + "x" * 100, False),
    ],
)
def test_telegram_succeeds_only_when_it_says_ok(status: int, body: str, succeeded: bool) -> None:
    assert chat("telegram").succeeded(answer(Reply(status, body))) is succeeded


@pytest.mark.parametrize(
    ("name", "status", "body", "succeeded", "said"),
    [
        ("slack", 200, "ok", True, "ok"),
        ("slack", 200, '{"ok":false,"error":"invalid_blocks"}', False, "invalid_blocks"),
        ("slack", 404, "no_service", False, "no_service"),
        ("slack", 502, "<html><title>Bad gateway</title></html>", False, None),
        ("slack", 500, "x" * 401, False, None),
        ("slack", 500, "", False, None),
        ("teams", 202, "", True, None),
        ("teams", 200, "1", True, "1"),
        (
            "teams",
            200,
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413",
            False,
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413",
        ),
        (
            "teams",
            401,
            '{"error":{"code":"DirectApiAuthorizationRequired","message":"The signature is wrong."}}',
            False,
            "The signature is wrong.",
        ),
        ("discord", 404, '{"message":"Unknown Webhook","code":10015}', False, "Unknown Webhook"),
        ("telegram", 403, '{"ok":false,"description":"Forbidden: bot was kicked"}', False, "Forbidden: bot was kicked"),
        ("telegram", 400, '{"ok":false,"description":["odd"],"error":{"message":7}}', False, None),
        ("telegram", 400, '{"ok":false,"description":"\\u200b\\u202e"}', False, None),
    ],
)  # fmt: skip
def test_services_say_what_is_wrong(
    name: str, status: int, body: str, succeeded: bool, said: str | None
) -> None:
    given = answer(Reply(status, body))
    assert chat(name).succeeded(given) is succeeded
    assert chat(name).explanation(given) == said


# -- the checks themselves -------------------------------------------------------------------------------------


def test_fake_services_refuse_what_the_real_ones_refuse() -> None:
    def changed(name: str, old: str, new: str) -> list[str]:
        body = rendered(name, {"note": "here"}).body.decode()
        assert old in body
        return problems(name, body.replace(old, new).encode())

    assert changed("discord", "here", "x" * 1025)
    assert changed("discord", '"here"', '" "')
    assert changed("discord", "License created", "x" * 257)
    assert changed("discord", '{"parse":[]}', '{"parse":["everyone"]}')
    assert not changed("discord", "here", "😀" * 1024)
    embed = json.loads(rendered("discord", {}).body)["embeds"][0]
    field = {"name": "n" * 256, "value": "v" * 1024}
    sent = {"embeds": [{**embed, "fields": [field] * 5}], "allowed_mentions": {"parse": []}}
    assert discord_problems(sent) == ["embeds exceed 6000 characters"]
    for bad in ("<!channel>", "a & b", "x" * 2001):
        assert changed("slack", "here", bad)
    assert changed("slack", "License created", "x" * 150)
    fallback = json.loads(rendered("slack", {}).body)
    assert slack_problems({**fallback, "text": "x" * 4000}) == []
    for bad in ("x" * 4001, "😀" * 2001):
        assert slack_problems({**fallback, "text": bad}) == ["text must be 4000 or fewer in length"]
    assert not changed("slack", "here", "a &amp; b")
    for bad in ("<x>", "</code>", "a & b", "&nbsp;", "x" * 4096, "<b>"):
        assert changed("telegram", "here", bad)
    assert changed("telegram", "Acme", "@durov")
    assert changed("teams", "here", "**x**")
    assert changed("teams", "here", "x" * 15_000)
    assert telegram_text("<b>a</b> &lt;<code>@x</code> @you")[::2] == ("a <@x @you", ["@you"])


def test_secrets_of_the_fakes_are_what_the_formats_mask() -> None:
    for name, secret in [
        ("discord", DISCORD_PATH.rpartition("/")[2]),
        ("slack", SLACK_PATH.rpartition("/")[2]),
        ("telegram", TELEGRAM_TOKEN),
        ("teams", TEAMS_PATH.rpartition("=")[2]),
    ]:
        assert secret in URLS[name]
        assert secret not in chat(name).mask_url(URLS[name])
