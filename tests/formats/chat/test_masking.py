"""What chats do not show: licence keys, hardware ids, secrets, addresses of people; wherever they stand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_webhooks.formats.chat.names import MaskReason, humanise, kind_of
from tests.support.chatting import CHATS, lines, message, rendered

KEY = "K7QF-29XM-4TRD-PL3B"
HWID = "9f2c4e7ab1d05836"


@pytest.mark.parametrize(
    "name",
    [
        "license_key",
        "licenseKey",
        "LICENCE_KEY",
        "licencekey",
        "key",
        "keys",
        "serial",
        "product_key",
        "activation_code",
        "hwid",
        "previous_hwids",
        "hardware_id",
        "hw_id",
        "machineId",
        "device_fingerprint",
        "newHWID",
    ],
)
def test_names_of_keys_and_hardware_ids(name: str) -> None:
    assert kind_of(name) is MaskReason.KEY


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "user_password",
        "passwordHash",
        "secret",
        "client_secret",
        "token",
        "accessToken",
        "refresh_token",
        "signature",
        "api_key",
        "apiKey",
        "Authorization",
        "auth",
        "cookie",
        "credentials",
        "otp",
        "otp_code",
        "pin",
        "cvv",
        "private_key",
        "session_id",
        "recovery_codes",
        "X-Webhook-Secret",
        "jwt",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert kind_of(name) is MaskReason.SECRET


@pytest.mark.parametrize(
    "name",
    [
        "license_id",
        "key_id",
        "token_id",
        "hwid_count",
        "hwid_limit",
        "require_hwid_enabled",
        "password_changed_at",
        "username",
        "status",
        "reason",
        "ip",
        "user_agent",
        "monkey_business",
        "keyboard",
        "tokens_used",
        "level",
        "expires_at",
        "pinned",
        "shipping",
        "author",
        "method",
        "license_type",
        "sha256",
        "1",
    ],
)
def test_names_of_what_is_shown(name: str) -> None:
    assert kind_of(name) is None


@pytest.mark.parametrize("name", CHATS)
def test_keys_are_masked_but_can_be_told_apart(name: str) -> None:
    data = {
        "license_key": KEY,
        "hwid": HWID,
        "key": "short",
        "previous_hwids": [HWID, "c05e71f3928ad64b"],
    }
    shown = lines(name, message(name, data))
    assert shown["License key"] == "••••PL3B"
    assert shown["HWID"] == "••••5836"
    assert shown["Key"] == "••••"
    assert shown["Previous HWIDs"] == "••••5836, ••••d64b"


@pytest.mark.parametrize("name", CHATS)
def test_endpoint_may_choose_to_see_keys_but_never_secrets(name: str) -> None:
    data = {"license_key": KEY, "hwid": HWID, "password": "hunter22", "email": "mira@example.com"}
    shown = lines(name, message(name, data, show_keys=True))
    assert (shown["License key"], shown["HWID"]) == (KEY, HWID)
    assert shown["Password"] == "••••"
    within = message(name, {"secret": {"license_key": KEY, "x": [{"y": "abcdef"}]}}, show_keys=True)
    assert list(lines(name, within).values()) == ["••••", "••••"]
    assert shown["Email"].replace("\\", "") == "m••••@example.com"
    assert lines(name, message(name, data, show_keys=False))["License key"] == "••••PL3B"


#: Data with a key, a password and an address in it, each somewhere else.
HIDING_PLACES: list[Any] = [
    {"license_key": KEY, "reason": f"The key {KEY} was shared"},
    {"reason": f"The key {KEY} was shared", "license": {"key": KEY}},
    {"licenses": [{"license_key": KEY}, {"license_key": "x"}]},
    {"license_keys": [KEY]},
    {"license_key": {"value": KEY}},
    {"license_key": {"parts": [{"text": KEY}]}},
    {"license": KEY},
    {"a": {"b": {"c": {"d": {"e": {"license_key": KEY}}}}}},
    {"a": {"b": {"c": {"d": {"license_key": [KEY, {"x": KEY}]}}}}},
    {"a": [[[[[{"license_key": KEY}]]]]]},
    {"license_key": KEY, "by_key": {KEY: 1}},
    {"license_key": KEY, "a": {"b": {"c": {"d": {"e": {KEY: KEY}}}}}},
    {"kind": "license_key", "value": KEY},
    {"type": "license", "entry": KEY},
    {"field": "license_key", "old": "K1", "new": KEY},
    {"changed": ["license_key"], "previous": {"license_key": "x"}, "new": {"license_key": KEY}},
    [{"license_key": KEY}],
    {"license_key": KEY, **{f"member_{number}": number for number in range(100)}},
    # The member that tells the secret is not shown, the one that repeats it is.
    {**{f"member_{number:03}": KEY for number in range(100)}, "zzz": {"license_key": KEY}},
    {"password": KEY, "note": KEY},
    {"token": KEY},
    {"session_id": KEY},
    {"kind": "password", "value": KEY},
]


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("data", HIDING_PLACES, ids=lambda data: json.dumps(data)[:60])
def test_key_is_nowhere_in_the_request(name: str, data: Any) -> None:
    body = rendered(name, data).body.decode().replace("\\", "")
    assert KEY not in body
    assert KEY[:-4] not in body


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(
    st.recursive(
        st.just(KEY),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(
                st.sampled_from(["a", "level", "token", "new", "hwid", KEY]), inner, min_size=1
            )
        ),
        max_leaves=30,
    )
)
def test_key_is_found_wherever_it_is_repeated(value: Any) -> None:
    for name in CHATS:
        body = rendered(name, {"deep": value, "license_key": KEY}).body.decode().replace("\\", "")
        assert KEY not in body


def test_masks_are_short_of_what_they_hide() -> None:
    shown = lines("slack", message("slack", {"hwid": 123456789, "keys": 5, "token": 7, "pin": ""}))
    assert shown == {"HWID": "••••", "Keys": "5", "Token": "••••", "Pin": "(empty)"}
    flags = {"password": True, "require_hwid": False, "hwid": None}
    assert lines("slack", message("slack", flags)) == {
        "Password": "yes",
        "Require HWID": "no",
        "HWID": "none",
    }


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mira@example.com", "m••••@example.com"),
        ("@example.com", "••••"),
        ("not an address", "••••"),
        ("a@b@c.example", "a••••@c.example"),
    ],
)
def test_addresses_are_masked_up_to_their_host(address: str, shown: str) -> None:
    assert lines("slack", message("slack", {"email": address}))["Email"] == shown


def test_value_of_a_list_entry_is_masked_by_its_kind() -> None:
    hwid = {"kind": "hwid", "value": HWID, "reason": "Test device"}
    assert lines("slack", message("slack", hwid))["Value"] == "••••5836"
    address = {"kind": "ip", "value": "198.51.100.66"}
    assert lines("slack", message("slack", address))["Value"] == "198.51.100.66"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("license_key", "License key"),
        ("licenseKey", "License key"),
        ("user_id", "User ID"),
        ("previous_hwids", "Previous HWIDs"),
        ("URL", "URL"),
        ("sha256", "SHA-256"),
        ("HTTPStatus", "HTTP status"),
        ("  odd--name!! ", "Odd name"),
        ("@everyone <b>*x*</b>", "Everyone b x b"),
        ("größe", "Größe"),
        ("ключ", "Ключ"),
        ("🔥", "🔥"),
        ("", ""),
        ("***", ""),
    ],
)
def test_names_are_humanised(name: str, label: str) -> None:
    assert humanise(name) == label


def test_members_stand_in_an_order_that_people_read() -> None:
    data = {
        "ip": "203.0.113.24",
        "custom": 1,
        "reason": "Shared",
        "userAgent": "x",
        "zebra": 2,
        "license_key": KEY,
        "username": "mira",
    }
    labels = list(lines("slack", message("slack", data)))
    assert labels == ["Username", "License key", "Reason", "Custom", "Zebra", "IP", "User agent"]


def test_nested_members_are_flattened_to_a_bound() -> None:
    data = {
        "user": {"id": 7, "tags": ["a", "b"], "none": {}},
        "items": [{"name": "x"}, {"name": "y"}],
        "deep": {"a": {"b": {"c": {"d": [1, {"e": "f"}]}}}},
        "many": list(range(30)),
        "at": "2026-03-02T10:30:00+01:00",
        "odd": "2026-13-45T10:30:00Z",
        "ratio": 0.5,
    }
    assert lines("slack", message("slack", data)) == {
        "User · ID": "7",
        "User · Tags": "a, b",
        "User · None": "none",
        "Items · 1 · Name": "x",
        "Items · 2 · Name": "y",
        "Deep · A · B · C": '{"d": [1, {"e": "f"}]}',
        "Many": ", ".join(map(str, range(20))) + " and 10 more",
        "At": "2026-03-02 09:30:00 UTC",
        "Odd": "2026-13-45T10:30:00Z",
        "Ratio": "0.5",
    }
