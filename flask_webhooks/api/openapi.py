"""The OpenAPI 3.1 document, generated from the routes; tests compare it with real responses."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from ..app_state import AppState
from ..serializers import JsonObject
from .bodies import NothingBody
from .json_schema import JsonSchema, components, properties, reference
from .problems import ProblemObject, RefusalObject
from .routes import AllOf, PageOf, Route
from .scalars import FORMAT_NAMES
from .security_schemes import Signing
from .webhook_section import webhooks

#: The version of the API: the first number is increased when something is removed or changes its meaning.
VERSION: Final = "1.0"

_DESCRIPTION: Final = """\
Endpoints, deliveries, events and tasks of Flask-Webhooks.

The application that this API is mounted in decides on permissions and tenants.
Objects of other tenants are 404.

Every request that changes something needs `Content-Type: application/json` and a JSON object, `{}` if there is
nothing to send. A DELETE needs neither.

Every error is a problem detail (RFC 9457, `application/problem+json`). `detail` says what to write or do instead,
`code` is stable, `field` names the member, parameter or option at fault. With 422, `errors` lists all errors.

Times are in UTC, `2026-01-31T12:00:00.250Z`. Lists are newest first; pass `next_before` of a page as `before` to get
the next one.
"""

_REFUSALS: Final = {
    400: "The body is not a JSON object, or the request is malformed.",
    401: "Authentication is required.",
    403: "Not allowed, or the application has not configured who is allowed.",
    404: "There is no such object in scope.",
    409: "The current state does not allow it.",
    410: "Events that came after the cursor have been removed.",
    411: "The length of the body is missing.",
    413: "The body is too large.",
    415: "The request lacks Content-Type: application/json.",
    422: "A value is invalid; `errors` lists all of them.",
    429: "The tenant has reached its limit of tests and resends; `Retry-After` says when to try again.",
    503: "The database does not respond, is busy, or refuses.",
}
#: Also of requests that change nothing: a tenant, or an endpoint to filter by, may not exist.
_REFUSALS_TO_ALL: Final = (401, 403, 404, 422, 503)
_REFUSALS_TO_CHANGES: Final = (400, 409, 411, 413, 415)
_DONE: Final = {200: "Done.", 201: "Done.", 202: "Queued.", 204: "Done."}


def document(
    state: AppState, routes: tuple[Route, ...], signing: Signing, *, server: str
) -> dict[str, Any]:
    """Return the document of one application.

    :param signing: how programs authenticate.
    :param server: the path that the API is mounted at.
    """
    names = json.dumps([item.name for item in state.offered_formats])
    described = json.loads(_described(routes).replace(json.dumps([FORMAT_NAMES]), names))
    schemes = signing.schemes(state.app.config["SESSION_COOKIE_NAME"])
    return {
        "openapi": "3.1.0",
        "info": {"title": "Webhooks", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": server or "/"}],
        "security": [{name: []} for name in schemes],
        "paths": described["paths"],
        "webhooks": webhooks(state.offered_types),
        "components": {**described["components"], "securitySchemes": schemes},
    }


@cache
def _described(routes: tuple[Route, ...]) -> str:
    """Return the part that all applications have in common, as JSON: generating it takes a quarter of a second."""
    paths: dict[str, Any] = {}
    for route in routes:
        path = re.sub("<(.+?)>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    schemas = components(_objects(routes), _bodies(routes))
    return json.dumps({"paths": paths, "components": {"schemas": schemas}})


def _objects(routes: Iterable[Route]) -> list[type]:
    answers = (
        route.answer.kind if isinstance(route.answer, PageOf | AllOf) else route.answer
        for route in routes
    )
    others = (route.otherwise for route in routes)
    return list(
        dict.fromkeys([*filter(None, answers), *filter(None, others), ProblemObject, RefusalObject])
    )


def _bodies(routes: Iterable[Route]) -> list[type]:
    return list(dict.fromkeys([NothingBody, *(route.body for route in routes if route.body)]))


def _operation(route: Route) -> dict[str, Any]:
    summary, _, description = (inspect.getdoc(route.view) or route.name).partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": summary.removesuffix("."),
        "responses": _responses(route),
    }
    if description:
        operation["description"] = description
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.method in ("POST", "PATCH"):
        schema = reference(route.body or NothingBody)
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall("<(.+?)>", route.path)
    ]
    in_query = [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in (properties(route.query) if route.query else {}).items()
    ]
    return [*in_path, *in_query, *route.headers]


def _responses(route: Route) -> dict[str, Any]:
    schema = _schema(route.answer)
    if route.otherwise is not None:
        schema = {"anyOf": [schema, reference(route.otherwise)]}
    found = _content("Found." if route.method == "GET" else _DONE[route.status], schema)
    if route.located:
        where = {"description": "Where it is.", "schema": {"type": "string"}, "required": True}
        found["headers"] = {"Location": where}
    responses = {str(route.status): found}
    if route.repeated is not None:
        responses["200"] = _content(route.repeated, schema)
    refusals = [
        *_REFUSALS_TO_ALL,
        *(_REFUSALS_TO_CHANGES if route.method != "GET" else ()),
        *([429] if route.limited else []),
        *([410] if route.expires else []),
        *([409] if route.converts else []),
    ]
    for status in sorted(refusals):
        kind = RefusalObject if status == 422 else ProblemObject
        responses[str(status)] = _content(_REFUSALS[status], reference(kind), "problem+json")
    responses["default"] = _content("Any error.", reference(ProblemObject), "problem+json")
    return responses


def _content(description: str, schema: JsonSchema | None, kind: str = "json") -> dict[str, Any]:
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {f"application/{kind}": {"schema": schema}}}


def _schema(
    answer: type[JsonObject] | type[dict[str, Any]] | PageOf | AllOf | None,
) -> JsonSchema | None:
    if answer is None:
        return None
    if not isinstance(answer, PageOf | AllOf):
        return reference(answer) if issubclass(answer, JsonObject) else {"type": "object"}
    members: dict[str, JsonSchema] = {"items": {"type": "array", "items": reference(answer.kind)}}
    if isinstance(answer, PageOf):
        members["next_before"] = {
            "type": ["string", "null"],
            "description": "Pass it as `before`; null on the last page.",
        }
    return {"type": "object", "properties": members, "required": list(members)}
