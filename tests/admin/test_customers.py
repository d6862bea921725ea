"""Customers read no names of settings, which they cannot set, and no addresses of the inside. Operators do."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import ALL_TENANTS, state_of
from flask_webhooks.delivery.http import resolver
from flask_webhooks.errors import WebhooksError
from flask_webhooks.security.vault import Vault
from flask_webhooks.texts import OperatorText, Text, for_customer
from tests.support.api_calls import PREFIX as API
from tests.support.api_calls import Api, rules, template
from tests.support.delivering import attempts, deliveries, drain, emit, webhooks_of
from tests.support.helpers import accessing, add_endpoint, close
from tests.support.pages import Browser, Page, World, make_app, populate
from tests.support.receiver import Receiver

#: What only those can do something with who run the application.
SETTINGS = re.compile(r"WEBHOOKS_|FLASK_|SECRET_KEY|REDIS_URL|init_app|add_event_type|@webhooks")
HOOK = "https://hooks.example.com/in"
LARGE = {"license_id": "x" * 2000}


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}",
        redis_url,
        WEBHOOKS_MAX_ENDPOINTS=8,
        WEBHOOKS_MAX_DATA_BYTES=1024,
        # The receiver's address only.
        WEBHOOKS_ALLOWED_NETWORKS=["127.0.0.1/32"],
    )
    webhooks = webhooks_of(app)
    app.register_blueprint(
        webhooks.api_blueprint(authenticate=lambda: True, tokens=True), url_prefix=API
    )
    yield app
    close(app)


@pytest.fixture
def world(app: Flask, receiver: Receiver) -> World:
    return populate(app, receiver, "app_1", hostile="said")


def as_customer(app: Flask) -> None:
    webhooks_of(app).current_tenant(lambda: "app_1")


def as_operator(app: Flask) -> None:
    webhooks_of(app).current_tenant(lambda: ALL_TENANTS)


def lose_key(app: Flask) -> None:
    """Nothing that is encrypted can be read any more."""
    state_of(app).vault = Vault.from_config([Fernet.generate_key().decode()], [])


@pytest.mark.slow
def test_no_page_names_a_setting_to_a_customer(app: Flask, world: World) -> None:
    as_customer(app)
    for lost in (False, True):
        if lost:
            lose_key(app)
        for path in world.paths():
            response = Browser(app).client.get(f"/webhooks{path}")
            assert response.status_code in (200, 302, 303, 403, 404, 409, 422), path
            assert SETTINGS.findall(response.text) == [], path


def refusals_of_forms(browser: Browser, world: World) -> Iterator[Page]:
    """What forms say to values that a setting forbids."""
    new = browser.get("/endpoints/new")
    for url in ("https://10.0.0.7/", "https://[::1]/", "https://hooks.example.com:6379/"):
        yield browser.send(new, "/endpoints/new", {"url": url}, 422)
    test = browser.get(f"/endpoints/{world.endpoints['good']}/test")
    sample = '{"license_id": "' + "x" * 2000 + '"}'
    yield browser.send(test, "/test", {"sample": sample}, 422)
    values = {"sample": "{}", "event_type": "license.creatd"}
    yield browser.send(test, "/test", values, 422)
    window = browser.get(f"/endpoints/{world.endpoints['good']}/edit")
    yield browser.send(window, "/edit", {"timeout": "99999"}, 422)


def debugged(app: Flask, world: World) -> Page:
    """What the debugger says where the secret cannot be read any more."""
    browser = Browser(app)
    page = browser.get(f"/endpoints/{world.endpoints['good']}/debugger")
    lose_key(app)
    return browser.send(page, "/debugger", {"headers": "webhook-id: x", "body": "{}"}, 409)


@pytest.mark.slow
def test_no_form_names_a_setting_to_a_customer(app: Flask, world: World) -> None:
    as_customer(app)
    for page in refusals_of_forms(Browser(app), world):
        assert page.one(id="wh-problems").text
        assert SETTINGS.findall(page.response.text) == [], page.one(id="wh-problems").text
    page = debugged(app, world)
    assert "no longer configured" in page.text
    assert SETTINGS.findall(page.response.text) == []


@pytest.mark.slow
def test_operators_read_which_setting_it_is(app: Flask, world: World) -> None:
    as_operator(app)
    found = [
        match
        for page in refusals_of_forms(Browser(app), world)
        for match in re.findall(r"WEBHOOKS_\w+", page.one(id="wh-problems").text)
    ]
    assert found == [
        *["WEBHOOKS_ALLOWED_NETWORKS"] * 2,
        "WEBHOOKS_ALLOWED_PORTS",
        "WEBHOOKS_MAX_DATA_BYTES",
    ]
    assert "WEBHOOKS_ENCRYPTION_KEYS" in debugged(app, world).text
    page = Browser(app).get(f"/endpoints/{world.endpoints['good']}")
    assert "WEBHOOKS_ENCRYPTION_KEYS" in page.text


def refusals_of_the_api(app: Flask, world: World) -> list[dict[str, Any]]:
    api = Api(app)
    good = f"/endpoints/{world.endpoints['good']}"
    found = [
        api.post("/endpoints", {"url": url, "tenant": "app_1"}, 422)
        for url in ("https://10.0.0.7/", "https://[::1]/", "https://hooks.example.com:6379/")
    ]
    found.append(api.post(f"{good}/test", {"data": LARGE}, 422))
    found.append(api.post(f"{good}/test", {"event_type": "license.creatd"}, 422))
    api.post("/endpoints", {"url": f"{HOOK}/last", "tenant": "app_1"}, 201)
    found.append(api.post("/endpoints", {"url": f"{HOOK}/more", "tenant": "app_1"}, 409))
    lose_key(app)
    found.append(api.patch(good, {"headers": {"X-Team": None}}, 422))
    return found


@pytest.mark.slow
def test_no_answer_of_the_api_names_a_setting_to_a_customer(app: Flask, world: World) -> None:
    as_customer(app)
    api = Api(app)
    assert SETTINGS.findall(str(api.get("/openapi.json"))) == []
    values = {
        "endpoint_id": world.endpoints["good"],
        "delivery_id": world.deliveries["pending"],
        "event_id": world.events["emitted"],
        "task_id": world.tasks["waiting"],
        "token_id": world.tokens["active"],
        "scheduled_id": world.scheduled,
        "link_id": world.portal_link,
        "name": "license.created",
    }
    for method, rule in rules(app):
        if method == "GET":
            for given in (values, dict.fromkeys(values, "nothing")):
                text = api.send("GET", template(rule).format(**given)).text
                assert SETTINGS.findall(text) == [], rule
    for problem in refusals_of_the_api(app, world):
        assert SETTINGS.findall(str(problem)) == [], problem
        assert problem["detail"].endswith((".", "?")), problem


def test_the_api_tells_operators_which_setting_it_is(app: Flask, world: World) -> None:
    as_operator(app)
    said = " ".join(str(problem) for problem in refusals_of_the_api(app, world))
    assert set(re.findall(r"WEBHOOKS_\w+", said)) == {
        "WEBHOOKS_ALLOWED_NETWORKS",
        "WEBHOOKS_ALLOWED_PORTS",
        "WEBHOOKS_MAX_DATA_BYTES",
        "WEBHOOKS_MAX_ENDPOINTS",
    }


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["10.66.7.8", "fd00:66::78"])
def test_address_inside_is_told_to_operators_only(
    app: Flask, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer whose name leads inside would else learn by it where the names of the inside lead."""

    def lookup(host: str, port: int, family: int) -> list[Any]:
        family = socket.AF_INET6 if ":" in inside else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (inside, port))]

    monkeypatch.setattr(resolver, "_lookup", lookup)
    with app.app_context():
        endpoint = add_endpoint(app, "http://database.example.com:8080/", tenant="app_1")
        emit(app, tenant="app_1")
        actions.send_test(accessing(app), endpoint.id)
        drain(app)
        first, second = deliveries(app)
        assert {item.outcome for item in attempts(app)} == {"blocked"}
    below = [f"/deliveries/{first.id}", f"/deliveries/{second.id}", f"/endpoints/{endpoint.id}"]
    pages = [*below, f"/endpoints/{endpoint.id}/debugger", f"/events/{first.event_id}"]
    pages += ["/", "/deliveries", "/overview", "/activity", "/health"]
    answers = [*below, "/endpoints", "/deliveries", "/activity", "/health", "/statistics"]
    told = []
    for role in (as_operator, as_customer):
        role(app)
        texts = [Browser(app).get(path).response.text for path in pages]
        texts += [json.dumps(Api(app).get(path)) for path in answers]
        told.append(sum(inside in text for text in texts))
    assert told[0] >= 4
    assert told[1] == 0


def test_text_is_whole_without_what_is_for_operators() -> None:
    hint = OperatorText(" Or raise %(name)s.", name="WEBHOOKS_X")
    inner = Text("Too many.%(hint)s", hint=hint)
    outer = Text("%(what)s Stop.", what=inner)
    assert outer == "Too many. Or raise WEBHOOKS_X. Stop."
    assert for_customer(outer) == "Too many. Stop."
    assert for_customer(Text("100 %")) == "100 %"
    error = WebhooksError("Too many.%(hint)s", hint=hint)
    assert (error.message, for_customer(error.text)) == (inner, "Too many.")
