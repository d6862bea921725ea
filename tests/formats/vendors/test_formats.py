"""The formats of the five services: bodies, headers, names and signatures, as their pages show them."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.catalog.registry import builtin_catalog
from flask_webhooks.delivery.render import deadline
from flask_webhooks.errors import InvalidSecret
from flask_webhooks.formats import Answer
from tests.support import seeds
from tests.support.delivering import attempts, deliveries, drain, emit, webhooks_of, with_settings
from tests.support.receiver import Receiver
from tests.support.vendoring import (
    ATTEMPTED,
    ENDPOINT_ID,
    OCCURRED,
    SECRET,
    VENDORS,
    body_of,
    data_of,
    outgoing,
    rendered,
    target_of,
    vendor,
)

SIGNED = [name for name in VENDORS if name != "authon"]
SIGNATURES = {
    "aureva": "X-Webhook-Signature",
    "authvaultix": "X-Webhook-Signature",
    "akuworks": "X-Webhook-Signature",
    "authforge": "X-AuthForge-Signature",
}


def hex_hmac(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


# -- bodies ----------------------------------------------------------------------------------------


def test_aureva_envelope_has_the_project_and_unix_seconds() -> None:
    event = outgoing(
        "license.validated",
        {"license_id": "lic_1", "license_key": "K7QF", "hwid": "h", "ip": "::1", "file_id": "f_1"},
        tenant="proj_1",
    )
    assert rendered("aureva", event).body == (
        b'{"event":"key.used","project_id":"proj_1","timestamp":1775835000,'
        b'"data":{"key_id":"lic_1","script_id":"f_1","hwid":"h","ip":"::1"}}'
    )


@pytest.mark.parametrize("event_type", [item.name for item in builtin_catalog()])
def test_aureva_never_sends_a_licence_key(event_type: str) -> None:
    data = {
        **builtin_catalog()[event_type].example,
        "license_key": "K7QF-29XM",
        "licenseKey": "K7QF-29XM",
        "license": {"license_key": "K7QF-29XM", "id": 7},
        "new": {"license_key": "K7QF-29XM"},
        "licenses": [{"license_key": "K7QF-29XM"}],
    }
    body = rendered("aureva", outgoing(event_type, data)).body
    assert b"K7QF" not in body
    assert json.loads(body)["data"]["license"] == {"id": 7}


def test_authon_envelope_has_milliseconds_and_camel_case() -> None:
    event = outgoing(
        "user.logged_in",
        {"user_id": 7, "username": "mira", "hwid": "h", "ip": "::1", "session_id": "ses_1"},
    )
    assert rendered("authon", event).body == (
        b'{"event":"user.login","timestamp":"2026-04-10T15:30:00.123Z","data":'
        b'{"userId":7,"username":"mira","ip":"::1","hwid":"h","appId":"app_1","sessionId":"ses_1"}}'
    )


def test_authvaultix_envelope_holds_the_data_as_it_is() -> None:
    event = outgoing("hwid.mismatched", {"hwid": "h", "license_id": "lic_1", "nested": {"a_b": 1}})
    assert rendered("authvaultix", event).body == (
        b'{"event":"hwid.mismatch","timestamp":"2026-04-10T15:30:00.123Z","data":'
        b'{"hwid":"h","license_id":"lic_1","nested":{"a_b":1}}}'
    )


def test_akuworks_body_is_flat_and_carries_its_own_signature() -> None:
    data = {"user": {"id": "1", "username": "mira"}, "verification": {"method": "turnstile"}}
    event = outgoing("verification.succeeded", data, tenant="srv_1", tenant_name="Mira's server")
    unsigned = (
        '{"event":"verification.success","timestamp":"2026-04-10T15:30:00Z",'
        '"server":{"id":"srv_1","name":"Mira\'s server"},'
        '"user":{"id":"1","username":"mira"},"verification":{"method":"turnstile"}}'
    )
    signature = hex_hmac(unsigned.encode())
    body = (unsigned[:-1] + f',"signature":"sha256={signature}"}}').encode()
    request = rendered("akuworks", event)
    assert request.body == body
    assert request.headers["X-Webhook-Signature"] == f"sha256={hex_hmac(body)}"


def test_akuworks_server_is_named_by_its_id_where_it_has_no_name() -> None:
    body = body_of("akuworks", outgoing("security.alert", {"threat": {}}, tenant="srv_1"))
    assert body["server"] == {"id": "srv_1", "name": "srv_1"}


def test_authforge_envelope_and_headers_tell_the_same() -> None:
    data = {"license_id": "lic_1", "license_key": "K7QF", "status": "active", "hwid": "h"}
    request = rendered("authforge", outgoing("license.validated", data))
    assert request.body == (
        b'{"event":"license.validated","timestamp":"2026-04-10T15:30:00.123Z","data":'
        b'{"licenseKey":"K7QF","appId":"app_1","status":"active","hwid":"h","licenseId":"lic_1"}}'
    )
    assert request.headers == {
        "webhook-id": "evt_1",
        "X-AuthForge-Event": "license.validated",
        "X-AuthForge-Timestamp": "2026-04-10T15:30:00.123Z",
        "X-AuthForge-Signature": hex_hmac(request.body),
    }


#: What the pages show, by service, event, and their members with ours; `None` is the tenant.
SAMPLES: list[tuple[str, str, str, dict[str, str | None]]] = [
    (
        "aureva",
        "key.used",
        "license.validated",
        {"key_id": "license_id", "script_id": "file_id", "hwid": "hwid", "ip": "ip"},
    ),
    (
        "authon",
        "user.login",
        "user.logged_in",
        {"userId": "user_id", "username": "username", "ip": "ip", "hwid": "hwid", "appId": None},
    ),
    (
        "authon",
        "user.register",
        "user.registered",
        {
            "userId": "user_id",
            "username": "username",
            "licenseKey": "license_key",
            "ip": "ip",
            "appId": None,
        },
    ),
    (
        "authon",
        "license.activate",
        "license.activated",
        {
            "licenseId": "license_id",
            "key": "license_key",
            "durationType": "duration_type",
            "level": "level",
            "activatedBy": "activated_by",
            "appId": None,
        },
    ),
    (
        "authon",
        "user.ban",
        "user.banned",
        {
            "userId": "user_id",
            "username": "username",
            "reason": "reason",
            "bannedBy": "banned_by",
            "appId": None,
        },
    ),
    (
        "authforge",
        "license.validated",
        "license.validated",
        {"licenseKey": "license_key", "appId": None, "status": "status", "hwid": "hwid"},
    ),
]
SAMPLE_IDS = [f"{name}-{event}" for name, event, _, _ in SAMPLES]


@pytest.mark.parametrize(("name", "event", "event_type", "members"), SAMPLES, ids=SAMPLE_IDS)
def test_data_begins_with_the_members_of_the_page(
    name: str, event: str, event_type: str, members: dict[str, str | None]
) -> None:
    example = builtin_catalog()[event_type].example
    message = body_of(name, outgoing(event_type, example))
    assert message["event"] == event
    shown = {theirs: "app_1" if ours is None else example[ours] for theirs, ours in members.items()}
    assert list(message["data"].items())[: len(shown)] == list(shown.items())
    # What the page does not show comes after, and nothing is lost but what Aureva never tells.
    kept = {ours for ours in example if name != "aureva" or ours != "license_key"}
    assert len(message["data"]) == len(kept | {ours or "the tenant" for ours in members.values()})


@pytest.mark.parametrize(("name", "event", "event_type", "members"), SAMPLES, ids=SAMPLE_IDS)
def test_sample_of_the_page_is_sent_to_the_letter(
    name: str, event: str, event_type: str, members: dict[str, str | None]
) -> None:
    [sample] = [
        item for item in seeds.payloads(name) if item["event"] == event and item["data"].keys()
    ]
    assert sample["data"].keys() == members.keys()
    tenant = sample.get("project_id") or sample["data"].get("appId")
    data = {ours: sample["data"][theirs] for theirs, ours in members.items() if ours is not None}
    event_sent = outgoing(event_type, data, tenant, moment(sample["timestamp"]))
    assert rendered(name, event_sent).body == compact(sample)


def test_sample_of_the_akuworks_page_is_sent_to_the_letter_but_for_its_signature() -> None:
    [sample] = seeds.payloads("akuworks")
    envelope = ("event", "timestamp", "server", "signature")
    event = outgoing(
        "verification.succeeded",
        {name: value for name, value in sample.items() if name not in envelope},
        sample["server"]["id"],
        moment(sample["timestamp"]),
        sample["server"]["name"],
    )
    body = rendered("akuworks", event).body
    signature = json.loads(body)["signature"]
    assert re.fullmatch("sha256=[0-9a-f]{64}", signature)
    assert body == compact({**sample, "signature": signature})


def test_test_ping_of_the_authon_page_is_sent_to_the_letter() -> None:
    [sample] = [item for item in seeds.payloads("authon") if item["event"] == "test"]
    event = outgoing("test", {}, sample["data"]["appId"], moment(sample["timestamp"]))
    request = rendered("authon", event, id=sample["data"]["webhookId"], product_name="Authon")
    assert request.body == compact(sample)


def test_structure_of_the_authon_page_is_that_of_every_event() -> None:
    [sample] = [item for item in seeds.payloads("authon") if item["data"] == {}]
    for event_type in builtin_catalog():
        sent = body_of("authon", outgoing(event_type.name, event_type.example))
        assert list(sent) == list(sample)


def test_every_sample_of_every_page_is_looked_at() -> None:
    shown = {name: [item["event"] for item in seeds.payloads(name)] for name in VENDORS}
    assert shown == {
        "aureva": ["key.used"],
        "authon": [
            "user.login",  # the structure, without data
            *("user.login", "user.register", "license.activate", "user.ban", "test"),
        ],
        "authvaultix": [],
        "akuworks": ["verification.success"],
        "authforge": ["license.validated"],
    }


def moment(timestamp: str | int) -> datetime:
    if isinstance(timestamp, int):
        return datetime.fromtimestamp(timestamp, UTC)
    return datetime.fromisoformat(timestamp)


def compact(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("name", VENDORS)
def test_body_is_the_same_on_each_attempt_and_its_time_is_the_events(name: str) -> None:
    event_type = builtin_catalog()["license.validated"]
    event = outgoing(event_type.name, event_type.example)
    first = rendered(name, event)
    later = rendered(name, event, attempted_at=ATTEMPTED + timedelta(days=3))
    assert first == later
    earlier = rendered(name, replace(event, occurred_at=OCCURRED - timedelta(seconds=1)))
    assert earlier.body != first.body


@pytest.mark.parametrize("name", VENDORS)
def test_time_is_that_of_the_event_in_utc(name: str) -> None:
    there = datetime.fromisoformat("2026-04-10T17:30:00.123+02:00")
    here = datetime.fromisoformat("2026-04-10T15:30:00.123+00:00")
    sent = [
        rendered(name, outgoing("license.created", {}, occurred_at=time)) for time in (there, here)
    ]
    assert sent[0] == sent[1]


# -- members ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("aureva", "project_id"),
        ("authon", "appId"),
        ("akuworks", "server"),
        ("authforge", "appId"),
        ("authvaultix", "tenant"),
    ],
)
def test_without_a_tenant_its_member_is_left_out(name: str, gone: str) -> None:
    for event_type in builtin_catalog():
        body = body_of(name, outgoing(event_type.name, event_type.example, tenant=None))
        assert gone not in body
        assert gone not in body.get("data", {})


@pytest.mark.parametrize("name", ["authon", "authforge"])
def test_unknown_members_go_out_in_camel_case(name: str) -> None:
    data = {
        "custom_member": {"inner_name": [{"deep_name": 1}]},
        "plain": 1,
        "Other_Name": 2,
        "_private": 3,
        "a__b": 4,
        "K7QF_29XM": 5,
        "sha_256": 6,
    }
    assert data_of(name, "user.deleted", data) == {
        "appId": "app_1",
        "customMember": {"innerName": [{"deepName": 1}]},
        "plain": 1,
        "Other_Name": 2,
        "_private": 3,
        "a__b": 4,
        "K7QF_29XM": 5,
        "sha256": 6,
    }


@pytest.mark.parametrize("name", ["authon", "authforge"])
def test_names_of_settings_are_no_members(name: str) -> None:
    change = builtin_catalog()["config.updated"].example["change"]
    sent = data_of(name, "config.updated", {"change": change})["change"]
    assert sent["settings"] == change["settings"]
    assert sent["previous"] == change["previous"]
    assert sent["new"] == change["new"]
    assert sent["changedBy"] == change["changed_by"]


@pytest.mark.parametrize("name", ["aureva", "authvaultix"])
def test_unknown_members_stay_in_snake_case(name: str) -> None:
    data = {"custom_member": {"inner_name": 1}}
    assert data_of(name, "user.deleted", data) == data


def test_other_events_of_authon_call_the_key_license_key() -> None:
    data = {"license_id": "lic_1", "license_key": "K7QF", "expires_at": None}
    assert data_of("authon", "license.expired", data) == {
        "appId": "app_1",
        "licenseId": "lic_1",
        "licenseKey": "K7QF",
        "expiresAt": None,
    }


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (
            {"license_key": "ours", "licenseKey": "theirs"},
            {"licenseKey": "ours", "appId": "app_1", "data": {"licenseKey": "theirs"}},
        ),
        (
            {"app_id": "x", "appId": "y", "data": 1},
            {"appId": "app_1", "data": {"app_id": "x", "appId": "y", "data": 1}},
        ),
        (
            {"a_b": 1, "aB": 2, "c": {"a_b": 3, "aB": 4}},
            {"appId": "app_1", "aB": 1, "c": {"aB": 3, "data": {"aB": 4}}, "data": {"aB": 2}},
        ),
    ],
)
def test_member_whose_name_is_taken_moves_under_data(
    data: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert data_of("authforge", "license.created", data) == sent


def test_data_of_the_host_cannot_pass_for_another_tenant() -> None:
    for name in ("authon", "authforge"):
        assert data_of(name, "license.created", {"appId": "app_2"}, "app_1")["appId"] == "app_1"
    event = outgoing("license.created", {"server": {"id": "app_2"}, "event": "x", "signature": "y"})
    body = body_of("akuworks", event)
    assert body["server"]["id"] == "app_1"
    assert body["event"] == "license.created"
    assert body["signature"].startswith("sha256=")
    assert body["data"] == {"server": {"id": "app_2"}, "event": "x", "signature": "y"}


def test_akuworks_members_that_clash_move_under_data_with_the_one_of_that_name() -> None:
    data = {"timestamp": 1, "data": {"x": 1}, "user": {}}
    body = body_of("akuworks", outgoing("license.created", data, tenant=None))
    assert body["data"] == {"timestamp": 1, "data": {"x": 1}}
    assert list(body) == ["event", "timestamp", "user", "data", "signature"]
    # Without a clash it stays where it is.
    assert body_of("akuworks", outgoing("license.created", {"data": 1}))["data"] == 1


# -- names of events -------------------------------------------------------------------------------

#: The rows of each service's page, and the event types of ours behind each.
NAMES = {
    "aureva": {
        "key.created": "license.created",
        "key.expired": "license.expired",
        "key.used": "license.validated",
        "key.deleted": "license.revoked license.deleted",
        "hwid.reset": "hwid.reset",
        "hwid.changed": "hwid.bound hwid.changed",
        "script.uploaded": "file.uploaded",
        "script.updated": "file.updated",
        "auth.failed": "license.rejected user.login_failed hwid.mismatched",
        "auth.success": "user.logged_in",
    },
    "authon": {
        "user.login": "user.logged_in",
        "user.register": "user.registered",
        "user.ban": "user.banned",
        "license.activate": "license.activated",
        "license.expire": "license.expired",
        "license.delete": "license.deleted",
        "file.download": "file.downloaded",
        "session.create": "session.created",
    },
    "authvaultix": {
        "auth.login.success": "user.logged_in",
        "auth.login.failed": "license.rejected user.login_failed",
        "user.register": "user.registered",
        "license.redeem": "license.activated",
        "license.expired": "license.expired",
        "hwid.mismatch": "hwid.mismatched",
        "hwid.reset": "hwid.reset",
        "blacklist.added": "blacklist.added",
        "whitelist.added": "whitelist.added",
        "payment.success": "payment.succeeded",
        "payment.failed": "payment.failed",
    },
    "akuworks": {
        "verification.success": "verification.succeeded",
        "verification.failed": "verification.failed",
        "security.alert": "security.alert",
        "config.updated": "config.updated",
    },
    "authforge": {
        "license.validated": "license.validated",
        "license.created": "license.created",
        "license.revoked": "license.revoked",
        "license.activated": "license.reinstated",
        "license.hwid_bound": "hwid.bound",
        "license.hwid_reset": "hwid.reset",
        "license.deleted": "license.deleted",
        # Not on the page, which has no word for the first use.
        "license.redeemed": "license.activated",
    },
}


@pytest.mark.parametrize("name", VENDORS)
def test_names_are_those_of_the_page_both_ways(name: str) -> None:
    wire = vendor(name)
    for theirs, ours in NAMES[name].items():
        assert set(wire.event_types(theirs)) == set(ours.split())
    for event_type in builtin_catalog():
        [*expected] = [
            theirs for theirs, ours in NAMES[name].items() if event_type.name in ours.split()
        ]
        sent = body_of(name, outgoing(event_type.name, event_type.example))["event"]
        assert sent == wire.event_name(event_type.name)
        # One of theirs, or one of ours that means nothing else there.
        assert [sent] == expected or (expected == [] and sent not in NAMES[name])


@pytest.mark.parametrize("name", VENDORS)
def test_page_names_these_events_and_no_others(name: str) -> None:
    groups = {theirs.partition(".")[0] for theirs in NAMES[name]}
    pattern = rf"(?<![\w.])(?:{'|'.join(groups)})(?:\.[a-z]+(?:_[a-z]+)*)+(?![a-z(])"
    shown = set(re.findall(pattern, seeds.page(name)))
    assert shown == NAMES[name].keys() - {"license.redeemed"}


def test_first_use_is_not_what_authforge_calls_activated() -> None:
    wire = vendor("authforge")
    assert wire.event_name("license.activated") == "license.redeemed"
    assert wire.event_name("license.reinstated") == "license.activated"
    assert wire.event_types("license.activated") == ("license.reinstated",)


# -- tests -----------------------------------------------------------------------------------------


def test_test_events_are_those_of_the_pages() -> None:
    sent = {name: vendor(name).event_name(vendor(name).test_event) for name in VENDORS}
    assert sent == {
        "aureva": "test",
        "authon": "test",
        "authvaultix": "test",
        "akuworks": "verification.success",
        "authforge": "license.validated",
    }
    for name in VENDORS:
        assert vendor(name).test_event in builtin_catalog()


def test_authon_ping_names_the_product_the_application_and_the_endpoint() -> None:
    assert data_of("authon", "test", {}) == {
        "message": "This is a test ping from Acme",
        "appId": "app_1",
        "webhookId": ENDPOINT_ID.replace("ep_", "wh_"),
    }
    example = builtin_catalog()["test"].example
    assert data_of("authon", "test", example, tenant=None) == {
        "message": example["message"],
        "webhookId": ENDPOINT_ID.replace("ep_", "wh_"),
    }


# -- headers and secrets ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", VENDORS)
def test_every_vendor_format_carries_the_id_of_the_event(name: str) -> None:
    assert rendered(name, outgoing("license.created", {})).headers["webhook-id"] == "evt_1"


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("secret", ["eight888", "whsec_MfKQ9r8GKYqrTwjU", "Ünï⁂ cödé secret"])
def test_key_is_the_utf8_text_of_the_whole_secret(name: str, secret: str) -> None:
    wire = vendor(name)
    assert wire.check_secret(secret) == secret
    request = rendered(name, outgoing("license.created", {}), secret)
    signature = request.headers[SIGNATURES[name]].removeprefix("sha256=")
    assert signature == hex_hmac(request.body, secret)


@pytest.mark.parametrize("name", VENDORS)
def test_old_secret_signs_until_the_overlap_ends(name: str) -> None:
    event = outgoing("license.created", {})
    newest_first = ("the newest secret", "the one between", "the oldest secret")
    assert rendered(name, event, *newest_first) == rendered(name, event, "the oldest secret")
    assert rendered(name, event, *newest_first[:1]) != rendered(name, event, "the oldest secret")


@pytest.mark.parametrize("name", VENDORS)
def test_generated_secrets_are_long_differ_and_pass_the_check(name: str) -> None:
    wire = vendor(name)
    generated = [wire.generate_secret() for _ in range(50)]
    assert len(set(generated)) == 50
    for secret in generated:
        assert secret is not None
        assert len(secret) >= 32
        assert wire.check_secret(secret) == secret


@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        "x" * 257,
        " " * 20,
        "'in quotation marks'",
        "two\nlines here",
        "\0" * 20,
        "\ud800" * 9,
    ],
)
def test_unusable_secret_is_refused(name: str, secret: str) -> None:
    with pytest.raises(InvalidSecret, match="Write"):
        vendor(name).check_secret(secret)


def test_secret_for_authon_must_fit_into_a_header() -> None:
    with pytest.raises(InvalidSecret, match="ASCII"):
        vendor("authon").check_secret("Ünïcödé secret")


def test_aureva_without_a_secret_is_not_signed() -> None:
    wire = vendor("aureva")
    assert wire.secret_optional
    event = outgoing("license.created", {})
    request = wire.render(event, target_of("aureva"), ATTEMPTED)
    assert request.headers == {"webhook-id": "evt_1"}
    assert request.body == rendered("aureva", event).body


@pytest.mark.parametrize("name", [name for name in VENDORS if name != "aureva"])
def test_others_are_not_sent_without_a_secret(name: str) -> None:
    assert not vendor(name).secret_optional
    with pytest.raises(InvalidSecret, match=f"{ENDPOINT_ID} has no secret"):
        vendor(name).render(outgoing("license.created", {}), target_of(name), ATTEMPTED)


def test_authon_carries_secret_event_and_agent() -> None:
    event = outgoing("user.banned", {"user_id": 1})
    request = rendered("authon", event, product_name="Acme Licensing")
    assert request.headers == {
        "webhook-id": "evt_1",
        "X-Webhook-Secret": SECRET,
        "X-Webhook-Event": "user.ban",
        "User-Agent": "Acme-Licensing-Webhook/1.0",
    }
    assert request.secret_headers == {"x-webhook-secret"}
    assert rendered("authon", event, product_name="☃").headers["User-Agent"] == "Webhook/1.0"
    # The customer's own comes from the endpoint.
    assert "User-Agent" not in rendered("authon", event, user_agent="Mine/2").headers


@pytest.mark.parametrize("name", [name for name in VENDORS if name != "authon"])
def test_user_agent_of_the_others_is_that_of_the_endpoint(name: str) -> None:
    headers = rendered(name, outgoing("license.created", {})).headers
    assert "user-agent" not in {header.lower() for header in headers}


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VENDORS)
def test_success_is_what_the_page_says(name: str) -> None:
    accepted = {
        status
        for status in (200, 201, 202, 204, 299, 302, 400, 401, 429, 500)
        if vendor(name).succeeded(Answer(status, {}, b""))
    }
    assert accepted == ({200} if name == "akuworks" else {200, 201, 202, 204, 299})


def test_akuworks_waits_five_seconds_and_the_others_as_set() -> None:
    waits = {name: vendor(name).timeout for name in VENDORS}
    assert waits == {**dict.fromkeys(VENDORS), "akuworks": 5.0}


def test_request_to_akuworks_receivers_takes_five_seconds_at_most(app: Flask) -> None:
    for timeout in (2.0, 30.0):
        state = with_settings(state_of(app), timeout=timeout, lease=60.0)
        assert deadline(state, target_of("akuworks")) == 5
        assert deadline(state, target_of("authforge")) == timeout
        assert deadline(state, target_of("akuworks", timeout=8.0)) == 8


def test_akuworks_answer_of_204_is_a_failure(app: Flask, receiver: Receiver) -> None:
    for name in ("akuworks", "authforge"):
        webhooks_of(app).create_endpoint(receiver.url(f"/status/204/{name}"), format=name)
    emit(app)
    drain(app)
    assert {item.url.rpartition("/")[2]: item.outcome for item in attempts(app)} == {
        "akuworks": "refused",
        "authforge": "succeeded",
    }


# -- on the wire, and in the record ----------------------------------------------------------------


@pytest.mark.parametrize("name", VENDORS)
def test_header_names_are_those_of_the_page(name: str, app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(
        receiver.url(), format=name, secret=SECRET, user_agent="Mine/2"
    )
    emit(app)
    drain(app)
    [request] = receiver.requests
    written = dict(request.raw_headers)
    assert written["Content-Type"] == "application/json"
    assert written["User-Agent"] == "Mine/2"
    names = {header for header in written if header.lower().startswith(("x-", "webhook-"))}
    every = {"webhook-hop", "webhook-attempt", "webhook-sequence"}
    assert every <= names
    assert (
        names - every
        == {
            "aureva": {"webhook-id", "X-Webhook-Signature"},
            "authon": {"webhook-id", "X-Webhook-Secret", "X-Webhook-Event"},
            "authvaultix": {"webhook-id", "X-Webhook-Signature"},
            "akuworks": {"webhook-id", "X-Webhook-Signature"},
            "authforge": {
                "webhook-id",
                "X-AuthForge-Event",
                "X-AuthForge-Timestamp",
                "X-AuthForge-Signature",
            },
        }[name]
    )


def test_default_agent_of_authon_is_a_webhook_of_the_product(
    app: Flask, receiver: Receiver
) -> None:
    for name in ("authon", "authvaultix"):
        webhooks_of(app).create_endpoint(receiver.url(f"/ok/{name}"), format=name)
    emit(app)
    drain(app)
    assert {item.path: item.headers["user-agent"] for item in receiver.requests} == {
        "/ok/authon": "Flask-Webhooks-Webhook/1.0",
        "/ok/authvaultix": "Flask-Webhooks/1.0",
    }


@pytest.mark.slow
def test_secret_of_authon_is_neither_stored_nor_logged(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "whsec_0123456789abcdef"
    caplog.set_level("DEBUG")
    paths = ("/ok", "/status/401", "/close", "/garbage")
    for path in paths:
        webhooks_of(app).create_endpoint(receiver.url(path), format="authon", secret=secret)
    emit(app)
    drain(app)
    assert {item.headers["x-webhook-secret"] for item in receiver.requests} == {secret}
    assert len(attempts(app)) == len(deliveries(app)) == len(paths)
    for attempt in attempts(app):
        sent = dict(attempt.request_headers or [])
        assert sent["X-Webhook-Secret"] == "••••"
        assert sent["X-Webhook-Event"] == "license.created"
    assert_nowhere_in_the_database(app, secret)
    assert secret not in caplog.text


def assert_nowhere_in_the_database(app: Flask, text: str) -> None:
    state = state_of(app)
    with state.engine.connect() as connection:
        for table in state.table("Endpoint").metadata.sorted_tables:
            for row in connection.execute(table.select()):
                assert text not in repr(tuple(row)), table.name
