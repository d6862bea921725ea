"""Short forms for operations: what nearly all of them take and answer. The id of one is the name of its view."""

from __future__ import annotations

from typing import Any, Final

from ...models import DeliveryState
from ...queries import MAX_LIMIT, PERIODS
from .parts import (
    Schema,
    flag,
    list_of,
    members,
    one_of,
    optional_text,
    reference,
    text,
    time,
    value,
    whole,
)

_TITLES: Final = {
    400: "The body is not a JSON object, or the request is malformed.",
    401: "The application does not know who this is.",
    403: "Not allowed, or the application has not said who may.",
    404: "There is no such thing in scope.",
    409: "The state of things does not allow it.",
    411: "The length of the body is not told.",
    413: "The body is too large.",
    415: "The request does not say Content-Type: application/json.",
    429: "The tenant has had as many tests and resends sent as it may; `Retry-After` says when there is room again.",
    422: "A value cannot be accepted; `errors` tells of all of them.",
    503: "The database does not answer, is busy, or refuses.",
}

#: What a tenant may do so often only.
_LIMITED: Final = frozenset({"endpoint_test", "delivery_resend", "task_start"})

_FILTERS: Final[dict[str, Schema]] = {
    "endpoint_id": text("Only of this endpoint."),
    "state": one_of(DeliveryState),
    "event_type": text(),
    "status": text(
        "The last answer: a number (`503`), a class (`5xx`) or `none`.",
        pattern="^([1-5]([0-9][0-9]|xx)|none)$",
    ),
    "since": time("Created at this time or later."),
    "until": time("Created before it."),
    "id": text("Of the thing itself, of a delivery also of its event."),
    "text": text("A part of the event's data as JSON text; needs the action `view_payload`."),
    "search": text("A part of the name, description or URL, or an id."),
    "period": one_of(PERIODS, "`24h` by default."),
    "unfinished": flag("Only those that are not over."),
    "format": text("The default format where it is left out."),
    "tenant": text("Only this tenant's."),
    "before": text("Only what is older than this id; see `next_before`."),
    "limit": whole("50 by default.", minimum=1, maximum=MAX_LIMIT),
}


def read(
    name: str,
    summary: str,
    answer: Schema,
    *,
    path: str | None = None,
    query: dict[str, Schema] | None = None,
) -> dict[str, Any]:
    parameters = [
        {"name": item, "in": "query", "schema": schema} for item, schema in (query or {}).items()
    ]
    return _operation(name, summary, {"200": answered("Found.", answer)}, path, parameters)


def listed(name: str, summary: str, item: str, filters: str) -> dict[str, Any]:
    page = members(
        {
            "items": list_of(reference(item)),
            "next_before": optional_text("Pass it as `before`; null on the last page."),
        }
    )
    return read(name, f"{summary}, newest first", page, query=chosen(f"{filters} before limit"))


def write(
    name: str,
    summary: str,
    body: str | None,
    answer: Schema | None,
    *,
    status: int | None = None,
    path: str | None = None,
) -> dict[str, Any]:
    """:param answer: ``None`` for one without a body."""
    status = status or (204 if answer is None else 200)
    found = answered("Done." if status != 202 else "Queued.", answer)
    if status in (201, 202) and name != "delivery_resend":
        found["headers"] = {
            "Location": {"description": "Where it is.", "schema": value("string"), "required": True}
        }
    problems = [400, 409, 411, 413, 415, *([429] if name in _LIMITED else [])]
    operation = _operation(name, summary, {str(status): found}, path, [], *problems)
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": reference(body)}},
        }
    return operation


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    path: str | None,
    parameters: list[dict[str, Any]],
    *problems: int,
) -> dict[str, Any]:
    if path is not None:
        parameters = [
            {"name": path, "in": "path", "required": True, "schema": text(minLength=1)},
            *parameters,
        ]
    # A tenant, or an endpoint to filter by, may not be there either.
    refused = {
        str(status): _problem(_TITLES[status], "Refusal" if status == 422 else "Problem")
        for status in (401, 403, 404, 422, 503, *problems)
    }
    found: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {
            **answers,
            **dict(sorted(refused.items())),
            "default": _problem("Any error."),
        },
    }
    return {**found, "parameters": parameters} if parameters else found


def answered(description: str, schema: Schema | None) -> dict[str, Any]:
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str, schema: str = "Problem") -> dict[str, Any]:
    content = {"application/problem+json": {"schema": reference(schema)}}
    return {"description": description, "content": content}


def everything(item: str) -> Schema:
    return members({"items": list_of(reference(item))})


def chosen(names: str) -> dict[str, Schema]:
    return {name: _FILTERS[name] for name in names.split()}
