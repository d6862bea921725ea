"""A program that uses the API. Every answer is held against the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import Any

import jsonschema
from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from tests.support.delivering import webhooks_of
from tests.support.helpers import make_app as make_bare_app

PREFIX = "/api/webhooks"
NAME = "flask_webhooks_api"

#: What answers for all paths that are none.
ELSEWHERE = f"{NAME}.elsewhere"

PROBLEM = "application/problem+json"

_FORMATS = jsonschema.FormatChecker(())


@_FORMATS.checks("date-time", ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() is not None


def make_app(database_url: str, redis_url: str, **config: Any) -> Flask:
    """A host with the API, and without pages."""
    app = make_bare_app(database_url, redis_url, **config)
    api = webhooks_of(app).api_blueprint(authenticate=lambda: True, tokens=True)
    app.register_blueprint(api, url_prefix=PREFIX)
    return app


def rules(app: Flask) -> Iterator[tuple[str, Rule]]:
    """Every route with each of its methods, but for what catches all else."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith(f"{NAME}.") and rule.endpoint != ELSEWHERE:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, rule


def template(rule: Rule) -> str:
    """A route as the document writes it."""
    return rule.rule.removeprefix(PREFIX).replace("<", "{").replace(">", "}")


class Api:
    """Calls the API and reads its answers.

    :param options: of every request, such as ``headers``.
    """

    def __init__(self, app: Flask, **options: Any) -> None:
        self.app = app
        self.client = app.test_client()
        self.options = options

    def get(self, path: str, expected: int = 200, /, **query: Any) -> Any:
        return self.call("GET", path, expected, **({"query_string": query} if query else {}))

    def post(self, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        return self.call("POST", path, status, json={} if body is None else body, **options)

    def patch(self, path: str, body: Any, status: int = 200) -> Any:
        return self.call("PATCH", path, status, json=body)

    def delete(self, path: str, status: int = 204) -> Any:
        return self.call("DELETE", path, status)

    def call(self, method: str, path: str, status: int, **options: Any) -> Any:
        response = self.send(method, path, **options)
        assert response.status_code == status, response.text[:2000]
        return response.get_json() if response.data else None

    def send(self, method: str, path: str, **options: Any) -> TestResponse:
        """One request; `path` is below the prefix."""
        response = self.client.open(PREFIX + path, method=method, **self.options, **options)
        self.check(method, path, response)
        return response

    # -- the document ------------------------------------------------------------------------------

    @cached_property
    def document(self) -> dict[str, Any]:
        hooks = webhooks_of(self.app).hooks
        before = hooks.authorize, hooks.current_tenant
        hooks.authorize, hooks.current_tenant = (lambda action, endpoint: True), None
        try:
            document: dict[str, Any] = self.client.get(f"{PREFIX}/openapi.json").get_json()
        finally:
            hooks.authorize, hooks.current_tenant = before
        _close(document["components"]["schemas"])
        return document

    def check(self, method: str, path: str, response: TestResponse) -> None:
        """The answer is one that the document tells of."""
        self.check_answer(
            self._operation(method, path), response.status_code, response.headers, response.data
        )

    def check_answer(
        self, operation: dict[str, Any] | None, status: int, headers: Headers, data: bytes
    ) -> None:
        """The same, of any client's answer; without an operation it is a refusal."""
        assert headers["Cache-Control"] == "no-store"
        if data:
            assert headers["Content-Type"] == (PROBLEM if status >= 400 else "application/json")
        if operation is None:
            assert status >= 400
            return
        assert str(status) in operation["responses"], f"{operation['operationId']}: {status}"
        told = operation["responses"][str(status)]
        for name in told.get("headers", ()):
            assert name in headers
        assert bool(data) == ("content" in told)
        if data:
            [(media_type, content)] = told["content"].items()
            assert headers["Content-Type"] == media_type
            self.validate(json.loads(data), content["schema"])

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        whole = {**schema, "components": self.document["components"]}
        _close(whole)
        jsonschema.Draft202012Validator(whole, format_checker=_FORMATS).validate(value)

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        with self.app.test_request_context(
            PREFIX + path.partition("?")[0], method=method
        ) as context:
            rule = context.request.url_rule
        if rule is None or rule.endpoint == ELSEWHERE:
            return None
        operation: dict[str, Any] = self.document["paths"][template(rule)][method.lower()]
        return operation


def _close(schema: Any) -> None:
    """Answers must not have members that the document does not tell of."""
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            schema.setdefault("additionalProperties", "code" in schema["properties"])
        for item in list(schema.values()):
            _close(item)
    elif isinstance(schema, list):
        for item in schema:
            _close(item)
