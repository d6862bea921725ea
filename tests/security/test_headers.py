"""Custom headers of customers."""

from __future__ import annotations

from typing import Any

import pytest

from flask_webhooks.delivery.http.client import Client
from flask_webhooks.delivery.http.exchange import Request
from flask_webhooks.errors import InvalidHeader
from flask_webhooks.security.addresses import NetworkPolicy
from flask_webhooks.security.headers import check_header, check_headers, product_token
from tests.support.raw_server import RawServer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Team", "billing"),
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("X-Api-Key", "k_" + "0" * 500),
        ("Accept", "application/json; q=0.9, */*"),
        ("x_odd.but!legal~1", "a"),
        ("X-Webhooks", "only looks like ours"),
        ("Content-Language", "de"),
        ("N" * 100, "v" * 4096),
    ],
)
def test_usable_header_is_kept_as_written(name: str, value: str) -> None:
    assert check_header(name, value) == (name, value)


def test_outer_spaces_are_dropped() -> None:
    assert check_header(" X-Team\t", "\t red  green ") == ("X-Team", "red  green")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "a name, like X-Team"),
        ("X Team", "letters, digits and hyphens"),
        ("X-Team:", "without a colon"),
        ("X-Team\r\nX-Evil", "letters, digits and hyphens"),
        ("X-Team\n", "letters, digits and hyphens"),
        ("X-Tëam", "letters, digits and hyphens"),
        ("X-Team\u2028", "letters, digits and hyphens"),
        ("X-Te\x00am", "letters, digits and hyphens"),
        ("(comment)", "letters, digits and hyphens"),
        (":authority", "letters, digits and hyphens"),
        ("N" * 101, "to 100 characters"),
        ("Host", "Leave out Host"),
        ("content-LENGTH", "Leave out content-LENGTH"),
        ("Content-Type", "the endpoint's format decides it"),
        ("Content-Encoding", "Leave out"),
        ("Transfer-Encoding", "Leave out"),
        ("Connection", "Leave out"),
        ("Keep-Alive", "Leave out"),
        ("Upgrade", "Leave out"),
        ("TE", "Leave out"),
        ("Trailer", "Leave out"),
        ("Expect", "Leave out"),
        ("Proxy-Authorization", "Leave out"),
        ("proxy-anything", "Leave out"),
        ("Cookie", "Leave out"),
        ("User-Agent", "user agent field"),
        ("Webhook-Signature", "id and signature"),
        ("webhook-id", "id and signature"),
        ("X-Webhook-Secret", "id and signature"),
        ("X-AuthForge-Event", "id and signature"),
        (" Host ", "Leave out Host"),
    ],
)
def test_unusable_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(InvalidHeader, match=says) as caught:
        check_header(name, "value")
    assert caught.value.field == "headers"


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nX-Evil: 1",
        "a\n",
        "a\nb",
        "a\rb",
        "a\x00b",
        "a\tb",
        "a\x7fb",
        "\x1b[0m",
        "é",
        "a\u2028b",
    ],
    ids=ascii,
)
def test_value_that_could_break_the_request_is_refused(value: str) -> None:
    with pytest.raises(InvalidHeader, match="in one line of ASCII"):
        check_header("X-Team", value)


@pytest.mark.parametrize("value", ["", "  ", "\t"], ids=ascii)
def test_empty_value_is_refused(value: str) -> None:
    with pytest.raises(InvalidHeader, match="a value, or leave it out"):
        check_header("X-Team", value)


def test_too_long_value_is_refused() -> None:
    with pytest.raises(InvalidHeader, match="to 4096 characters"):
        check_header("X-Team", "v" * 4097)


def test_messages_do_not_repeat_values() -> None:
    with pytest.raises(InvalidHeader) as caught:
        check_header("Authorization", "Bearer top-secret\n")
    assert "top-secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [(1, "a"), ("X-Team", None), ("X-Team", ["a"])])
def test_what_is_not_text_is_refused(name: object, value: object) -> None:
    with pytest.raises(InvalidHeader, match="must be text"):
        check_header(name, value)  # type: ignore[arg-type]


def test_all_headers_of_an_endpoint_keep_their_order() -> None:
    given = {f"X-{number}": " v " for number in range(20)}
    assert list(check_headers(given).items()) == [(name, "v") for name in given]
    assert check_headers({}) == {}


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(InvalidHeader, match="At most 20 headers are allowed; there are 21"):
        check_headers({f"X-{number}": "v" for number in range(21)})


@pytest.mark.parametrize("twin", ["x-team", "X-TEAM", " X-Team "])
def test_same_name_twice_is_refused(twin: str) -> None:
    with pytest.raises(InvalidHeader, match="appears twice"):
        check_headers({"X-Team": "a", twin: "b"})


@pytest.mark.parametrize("given", ["X-Team: a", 3, ["X-Team"], [("X-Team",)]])
def test_what_is_neither_a_mapping_nor_pairs_is_refused(given: Any) -> None:
    with pytest.raises(InvalidHeader, match="names and values"):
        check_headers(given)
    assert check_headers([("X-Team", "a")]) == {"X-Team": "a"}


def test_every_character_that_is_let_through_reaches_the_receiver_unchanged() -> None:
    name = "!#$%&'*+-.^_`|~09azAZ"
    value = "".join(map(chr, range(0x21, 0x7F))) + " ."
    client = Client(NetworkPolicy.from_config(["127.0.0.0/8"]), 1000)
    with RawServer(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        headers = [("Host", "h"), ("Content-Length", "0"), *check_headers({name: value}).items()]
        exchange = client.start(Request(server.url(), headers, b"", 30.0))
        while not client.take_ended():
            client.run(1.0)
    client.close()
    assert exchange.status == 204
    [head] = server.requests
    assert f"\r\n{name}: {value}\r\n" in head


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("Acme", "Acme"),
        (" Acme  Licensing (EU) ", "Acme-Licensing-EU"),
        ("☃", ""),
        ("a/b\r\n", "a-b"),
    ],
)
def test_product_token_fits_into_a_user_agent(name: str, token: str) -> None:
    assert product_token(name) == token
