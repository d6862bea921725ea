"""Endpoints as the five services export them, read for the import."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_webhooks.errors import InvalidInput
from flask_webhooks.formats import ExportedEndpoint
from flask_webhooks.formats.vendors.base import Vendor
from tests.support import seeds
from tests.support.delivering import attempts, drain, emit, webhooks_of
from tests.support.receiver import Receiver
from tests.support.vendoring import VENDORS, vendor

URL = "https://shop.example/webhooks"

#: An endpoint of each service: as it is exported, and as it is read.
EXPORTS: dict[str, tuple[dict[str, Any], ExportedEndpoint]] = {
    "aureva": (
        {
            "name": "Shop",
            "url": URL,
            "events": '["key.created", "auth.failed"]',
            "is_active": False,
            "secret": None,
        },
        {
            "name": "Shop",
            "url": URL,
            "events": ["key.created", "auth.failed"],
            "active": False,
            "secret": None,
        },
    ),
    "authon": (
        {
            "id": "wh_1",
            "url": URL,
            "events": ["user.login", "user.ban"],
            "secret": "whsec_0a1b2c3d",
        },
        {
            "url": URL,
            "events": ["user.login", "user.ban"],
            "active": True,
            "secret": "whsec_0a1b2c3d",
        },
    ),
    "authvaultix": (
        {
            "endpoint_url": URL,
            "user_agent": "Shop/1",
            "created": "2026-03-04",
            "secret": "long enough",
        },
        {
            "url": URL,
            "events": None,
            "active": True,
            "secret": "long enough",
            "user_agent": "Shop/1",
        },
    ),
    "akuworks": (
        {"url": URL, "events": ["verification.success"], "enabled": True, "secret": "long enough"},
        {"url": URL, "events": ["verification.success"], "active": True, "secret": "long enough"},
    ),
    "authforge": (
        {"url": URL, "events": ["license.activated"], "enabled": False, "secret": "long enough"},
        {"url": URL, "events": ["license.activated"], "active": False, "secret": "long enough"},
    ),
}


def read(name: str, item: dict[str, Any]) -> ExportedEndpoint:
    wire = vendor(name)
    assert isinstance(wire, Vendor)
    return wire.read_export(item)


def changed(service: str, **values: Any) -> dict[str, Any]:
    """The example of a service, changed; the value `...` takes a member away."""
    item = {**EXPORTS[service][0], **values}
    return {member: value for member, value in item.items() if value is not ...}


@pytest.mark.parametrize("name", VENDORS)
def test_export_is_read(name: str) -> None:
    exported, expected = EXPORTS[name]
    assert read(name, exported) == expected


@pytest.mark.parametrize("name", VENDORS)
def test_endpoint_that_was_read_can_be_created_and_delivers(
    name: str, app: Flask, receiver: Receiver
) -> None:
    item = read(name, {**EXPORTS[name][0], "endpoint_url": receiver.url(), "url": receiver.url()})
    wire = vendor(name)
    events = item.get("events")
    ours = events and [kind for theirs in events for kind in wire.event_types(theirs)]
    created = webhooks_of(app).create_endpoint(
        item["url"],
        ours,
        format=name,
        secret=item.get("secret"),
        name=item.get("name", ""),
        user_agent=item.get("user_agent"),
    )
    assert created.secret == item["secret"] or item["secret"] is None
    emit(app, event_type=ours[0] if ours else "license.created")
    drain(app)
    [attempt] = attempts(app)
    assert attempt.outcome == "succeeded"


def test_answers_of_the_apis_on_the_pages_are_exports() -> None:
    [created] = [item for item in seeds.json_objects("authon") if "success" in item]
    assert read("authon", created) == {
        "url": created["data"]["url"],
        "events": created["data"]["events"],
        "secret": created["data"]["secret"],
        "active": True,
    }
    [asked] = [item for item in seeds.json_objects("authforge") if "enabled" in item]
    assert read("authforge", {**asked, "secret": "long enough"}) == {
        "url": asked["url"],
        "events": asked["events"],
        "secret": "long enough",
        "active": True,
    }


def test_fields_of_the_aureva_page_are_all_read() -> None:
    page = seeds.page("aureva")
    for field in EXPORTS["aureva"][0]:
        assert f"\n{field} | " in page
    assert EXPORTS["aureva"][0].keys() == {"name", "url", "events", "is_active", "secret"}


@pytest.mark.parametrize("agent", ["", "Default", None])
def test_default_user_agent_of_authvaultix_is_none(agent: str | None) -> None:
    assert read("authvaultix", changed("authvaultix", user_agent=agent)).get("user_agent") is None


@pytest.mark.parametrize("name", VENDORS)
def test_secret_that_is_null_is_made_anew(name: str) -> None:
    assert read(name, changed(name, secret=None))["secret"] is None


@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"url": ..., "endpoint_url": ...}, "url", 'no "(endpoint_)?url"'),
        ({"url": 7, "endpoint_url": 7}, "url", 'no "(endpoint_)?url"'),
        ({"events": 7}, "events", 'Its "events" is not a list'),
        ({"events": "license.created"}, "events", 'Its "events" is not a list'),
        ({"events": ["license.created", None]}, "events", 'Its "events" is not a list'),
        ({"secret": 7}, "secret", 'Its "secret" is not text'),
        ({"active": "perhaps"}, "active", "neither true nor false"),
        ({"name": 7}, "name", 'Its "name" is not text'),
        ({"user_agent": 7}, "user_agent", 'Its "user_agent" is not text'),
    ],
)
def test_export_that_cannot_be_read_says_what_is_wrong(
    name: str, values: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        read(name, changed(name, **values))
    assert raised.value.field == field


@pytest.mark.parametrize("name", ["authon", "authvaultix", "akuworks", "authforge"])
def test_missing_secret_is_told(name: str) -> None:
    with pytest.raises(InvalidInput, match='It has no "secret"') as raised:
        read(name, changed(name, secret=...))
    assert raised.value.field == "secret"


@pytest.mark.parametrize("name", ["aureva", "authon", "akuworks", "authforge"])
def test_missing_events_are_told(name: str) -> None:
    with pytest.raises(InvalidInput, match='It has no "events"') as raised:
        read(name, changed(name, events=...))
    assert raised.value.field == "events"


def test_missing_secret_of_aureva_is_none() -> None:
    assert read("aureva", changed("aureva", secret=...))["secret"] is None


@pytest.mark.parametrize(
    "url",
    [
        "https://discord.com/api/webhooks/1/a",
        "https://ptb.discord.com/api/webhooks/1/a",
        "https://hooks.slack.com/services/T/B/a",
        "https://api.telegram.org/bot1:a/sendMessage?chat_id=1",
    ],
)
def test_chat_needs_no_secret(url: str) -> None:
    assert read("authon", changed("authon", url=url, secret=...))["secret"] is None
