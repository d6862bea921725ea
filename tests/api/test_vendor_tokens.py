"""The APIs of the services where programs are let in by tokens of ours, since the host has no keys for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_webhooks import actions
from tests.support.delivering import webhooks_of
from tests.support.helpers import accessing, close, make_app
from tests.support.vendor_calls import EVENTS, PATHS, SERVICES


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    webhooks = webhooks_of(app)
    # The functions of the host know people only.
    webhooks.authorize(lambda action, endpoint: False)
    for service in SERVICES:
        blueprint = webhooks.vendor_api_blueprint(service, tokens=True)
        app.register_blueprint(blueprint, url_prefix="/v1")
    with app.app_context():
        yield app
        close(app)


def secret_of(app: Flask, *allowed: str) -> str:
    return actions.create_token(accessing(app), "CI", allowed, tenant="app_1").secret


def create(app: Flask, service: str, secret: str | None, tenant: str = "app_1") -> TestResponse:
    headers: dict[str, Any] = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    body = {"url": "https://hooks.example.com/in", "events": [EVENTS[service][0]]}
    path = PATHS[service].format(tenant)
    return app.test_client().post(path, json=body, headers=headers)


@pytest.mark.parametrize("service", SERVICES)
def test_program_with_a_token_creates_and_tests_its_webhooks(app: Flask, service: str) -> None:
    secret = secret_of(app, "view", "manage", "send")
    created = create(app, service, secret)
    assert created.status_code == 201
    made = created.get_json()
    webhook = made["data"] if service == "authon" else made
    path = f"{PATHS[service].format('app_1')}/{webhook['id']}/test"
    tested = app.test_client().post(path, headers={"Authorization": f"Bearer {secret}"})
    assert tested.status_code == 202


@pytest.mark.parametrize("service", SERVICES)
def test_token_is_for_its_tenant_and_its_rights(app: Flask, service: str) -> None:
    assert create(app, service, secret_of(app, "view", "manage"), "app_2").status_code == 404
    assert create(app, service, secret_of(app, "view")).status_code == 403


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("secret", [None, "key-of-app-1", "whtok_" + "x" * 43])
def test_nobody_else_is_let_in(app: Flask, service: str, secret: str | None) -> None:
    refused = create(app, service, secret)
    assert refused.status_code == 401
    assert "whtok_" in refused.get_data(as_text=True) or "token" in refused.get_data(as_text=True)
