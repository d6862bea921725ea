"""The OpenAPI document is valid, and tells of every route what it takes and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import BaseSchema, GenerationMode
from schemathesis.checks import negative_data_rejection, not_a_server_error
from werkzeug.datastructures import Headers

from demo.services import RedisServer
from flask_webhooks import actions, queries
from flask_webhooks.actions import EndpointChanges
from flask_webhooks.api.document_views import routes_of
from flask_webhooks.api.openapi import document
from flask_webhooks.api.security_schemes import Signing
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import ConfigurationError
from tests.support.api_calls import NAME, PREFIX, Api, make_app, rules, template
from tests.support.delivering import db_of, drain, webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    add_portal_link,
    add_scheduled,
    close,
)
from tests.support.hostapp import create_app
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

PAGE = ROOT / "docs/reference/api.md"
SIGNING = Signing(authenticate=lambda: True, tokens=True)
with create_app(SQLALCHEMY_DATABASE_URI="sqlite://").app_context():
    WHOLE = document(state_of(), routes_of(SIGNING), SIGNING, server=PREFIX)


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url, WEBHOOKS_MAX_ENDPOINTS=1000
    )
    yield app
    close(app)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in WHOLE["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_told_of_and_nothing_else(app: Flask) -> None:
    told = {(method, path): operation["operationId"] for method, path, operation in operations()}
    routes = {
        (method, template(rule)): rule.endpoint.removeprefix(f"{NAME}.")
        for method, rule in rules(app)
    }
    assert told == routes


def test_arguments_of_paths_are_told_of() -> None:
    for _, path, operation in operations():
        named = {item["name"] for item in operation.get("parameters", ()) if item["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


def test_what_changes_something_takes_json() -> None:
    for method, path, operation in operations():
        assert ("requestBody" in operation) == (method in ("POST", "PATCH")), path


def test_every_schema_is_one_and_is_used() -> None:
    schemas = WHOLE["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    used = set(re.findall(r"#/components/schemas/(\w+)", str(WHOLE)))
    assert used == set(schemas)


def test_changes_are_those_that_the_action_knows() -> None:
    told = WHOLE["components"]["schemas"]["EndpointChanges"]["properties"]
    # What the request asks for beside the changes.
    assert set(told) == {*EndpointChanges.__annotations__, "allow_duplicate"}


def test_every_request_stands_in_the_reference_with_its_parameters() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]+ /\S+)` \| `\w+` \| (.+) \|$", PAGE.read_text(), re.M))
    told = {
        f"{method} {re.sub(r'{.+?}', '<id>', path)}": operation
        for method, path, operation in operations()
    }
    assert set(rows) == set(told)
    for request, operation in told.items():
        for item in operation.get("parameters", ()):
            if item["in"] == "query" and item["name"] not in ("before", "limit"):
                assert f"`{item['name']}`" in rows[request], request


# -- how to sign in, and what is sent -----------------------------------------------------------------


def signed_in_by(**options: Any) -> dict[str, Any]:
    """What the document says of an API that is mounted so."""
    app = create_app(SQLALCHEMY_DATABASE_URI="sqlite://")
    webhooks = webhooks_of(app)
    app.register_blueprint(webhooks.api_blueprint(**options), url_prefix=PREFIX)
    token = None
    if options.get("tokens"):
        with app.app_context():
            db_of(app).create_all()
            token = actions.create_token(accessing(app), "CI", ["view"]).secret
    found: dict[str, Any] = (
        app.test_client()
        .get(f"{PREFIX}/openapi.json", headers={"Authorization": f"Bearer {token}"})
        .get_json()
    )
    schemes = found["components"]["securitySchemes"]
    assert found["security"] == [{name: []} for name in schemes]
    assert ("/tokens" in found["paths"]) == bool(options.get("tokens"))
    return dict(schemes)


@pytest.mark.slow
def test_document_says_how_to_sign_in() -> None:
    key = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
    tokens = signed_in_by(tokens=True)
    assert list(tokens) == ["token"]
    assert tokens["token"]["scheme"] == "bearer"
    assert tokens["token"]["bearerFormat"].startswith("whtok_")
    assert signed_in_by(authenticate=lambda: True, security_scheme=key) == {"application": key}
    assert list(signed_in_by(authenticate=lambda: True, tokens=True)) == ["token", "application"]
    session = signed_in_by()["application"]
    assert (session["in"], session["name"]) == ("cookie", "session")
    assert signed_in_by(authenticate=lambda: True)["application"]["type"] == "http"


@pytest.mark.parametrize(
    "options",
    [
        {"authenticate": lambda: True, "security_scheme": {"type": "basic"}},
        {"authenticate": lambda: True, "security_scheme": "X-Api-Key"},
        {"tokens": True, "security_scheme": {"type": "http", "scheme": "basic"}},
    ],
)
def test_a_scheme_that_is_none_is_refused(app: Flask, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="security_scheme"):
        webhooks_of(app).api_blueprint(**options)
    assert webhooks_of(app).hooks.tokens == app.extensions["test_webhooks"].hooks.tokens


def test_every_event_type_is_told_of_as_it_is_sent(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).add_event_type(
        "shop.ordered",
        description="Something was ordered.",
        schema={"$defs": {"id": {"type": "string"}}, "properties": {"id": {"$ref": "#/$defs/id"}}},
        example={"id": "o_1"},
    )
    catalog = state_of(app).catalog
    with app.app_context():
        told = Api(app).document["webhooks"]
        assert set(told) == {kind.name for kind in catalog}
        endpoint = add_endpoint(app, receiver.url("/ok"))
        for kind in catalog:
            actions.send_test(accessing(app), endpoint.id, kind.name)
        drain(app)
    bodies = [(json.loads(item.body), item.headers) for item in receiver.requests]
    assert {body["type"] for body, _ in bodies} == set(told)
    for body, headers in bodies:
        name = body["type"]
        operation = told[name]["post"]
        [(media_type, content)] = operation["requestBody"]["content"].items()
        assert headers["content-type"].partition(";")[0] == media_type
        validator = jsonschema.Draft202012Validator(content["schema"])
        validator.check_schema(content["schema"])
        validator.validate(body)
        validator.validate(content["examples"]["example"]["value"])
        assert {item["name"] for item in operation["parameters"]} <= set(headers)
    schema = told["shop.ordered"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    wrong = {"type": "shop.ordered", "timestamp": "2026-01-31T12:00:00Z", "data": {"id": 1}}
    assert not jsonschema.Draft202012Validator(schema).is_valid(wrong)


# -- found by trying ----------------------------------------------------------------------------------

#: Requests of each kind to each operation.
TRIES = 6


@dataclass(frozen=True)
class Tried:
    """An application that random requests go to."""

    app: Flask
    api: Api
    schema: BaseSchema

    def known(self, path: str) -> dict[str, str]:
        """Arguments of a path, of things that are there just now."""
        endpoint = add_endpoint(self.app)
        delivery = add_delivery(self.app, endpoint)
        access = accessing(self.app)
        values = {
            "endpoint_id": endpoint.id,
            "delivery_id": delivery,
            "event_id": queries.get_delivery(access, delivery).event.id,
            "task_id": actions.start_task(access, "resend", endpoint.id).id,
            "name": "license.created",
            "scheduled_id": add_scheduled(self.app),
            "token_id": actions.create_token(access, "CI", ["view"]).token.id,
            "link_id": add_portal_link(self.app),
        }
        return {name: values[name] for name in re.findall(r"{(\w+)}", path)}


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Tried]:
    redis_server.resume()
    redis_server.start()
    folder = tmp_path_factory.mktemp("tried")
    url = f"sqlite:///{folder / 'database.sqlite'}"
    app = make_app(
        url, redis_server.url, WEBHOOKS_MAX_TOKENS=None, WEBHOOKS_PORTAL_PREFIX="/portal"
    )
    yield Tried(app, Api(app), schemathesis.openapi.from_wsgi(f"{PREFIX}/openapi.json", app))
    close(app)


def attempts() -> Iterator[Any]:
    """Every operation with good requests, and with bad ones where there is anything to be wrong."""
    for method, path, operation in operations():
        yield pytest.param(method, path, GenerationMode.POSITIVE, id=f"{method} {path}")
        query = any(item["in"] == "query" for item in operation.get("parameters", ()))
        if query or "requestBody" in operation:
            yield pytest.param(method, path, GenerationMode.NEGATIVE, id=f"bad {method} {path}")


@pytest.mark.parametrize(("method", "path", "mode"), list(attempts()))
def test_random_requests_are_answered_as_the_document_tells(
    tried: Tried, method: str, path: str, mode: GenerationMode
) -> None:
    """Schemathesis makes them out of the document, the same each time."""
    operation = tried.schema[path][method]
    known = tried.known(path)
    strategy = operation.as_strategy(
        generation_mode=mode, path_parameters=known if mode is GenerationMode.POSITIVE else None
    )

    @settings(
        max_examples=TRIES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def try_one(case: Any) -> None:
        response = case.call()
        headers = Headers(
            [(name, value) for name, values in response.headers.items() for value in values]
        )
        told = tried.api.document["paths"][path][method.lower()]
        tried.api.check_answer(told, response.status_code, headers, response.content)
        case.validate_response(response, checks=[not_a_server_error, negative_data_rejection])

    try_one()
