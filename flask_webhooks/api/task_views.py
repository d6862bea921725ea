"""Tasks over many deliveries: what one would do, start, progress, stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Response

from .. import actions, queries
from ..access import Access
from ..serializers import PreviewObject, TaskObject
from .answering import answer, answer_page, location_of
from .reading import (
    Reader,
    boolean,
    moment,
    read_body,
    read_query,
    scoped,
    scoped_to_many,
    text,
    whole,
)

_WISH: Final[dict[str, Reader]] = {
    "kind": text,
    "endpoint_id": text,
    "tenant": text,
    "all_tenants": boolean,
    "since": moment,
    "until": moment,
    "state": text,
    "event_type": text,
    "status": text,
    "event_id": text,
}


def task_list(access: Access) -> Response:
    """Tasks in scope, newest first."""
    query = read_query(endpoint_id=text, unfinished=boolean, tenant=text, before=text, limit=whole)
    return answer_page(queries.list_tasks(scoped(access, query), **query), TaskObject)


def task(access: Access, task_id: str) -> Response:
    """One task, and how far it is."""
    read_query()
    return answer(TaskObject.serialize(queries.get_task(access, task_id)))


def task_preview(access: Access) -> Response:
    """What a task would do, without starting it."""
    access, kind, endpoint_id, filter = _wish(access, scoped)
    return answer(
        PreviewObject.serialize(queries.preview_task(access, kind, endpoint_id, **filter))
    )


def task_start(access: Access) -> Response:
    """Have workers do it, a batch at a time."""
    access, kind, endpoint_id, filter = _wish(access, scoped_to_many)
    started = actions.start_task(access, kind, endpoint_id, **filter)
    where = location_of("task", task_id=started.id)
    return answer(TaskObject.serialize(queries.TaskRow(started, None)), 202, location=where)


def task_stop(access: Access, task_id: str) -> Response:
    """Stop it; what is done stays done."""
    read_body(access.state)
    return answer(TaskObject.serialize(queries.TaskRow(actions.stop_task(access, task_id), None)))


ROUTES = (
    ("GET", "/tasks", task_list),
    ("POST", "/tasks", task_start),
    ("POST", "/tasks/preview", task_preview),
    ("GET", "/tasks/<task_id>", task),
    ("POST", "/tasks/<task_id>/stop", task_stop),
)


def _wish(
    access: Access, scope_of_all: Callable[[Access, dict[str, Any]], Access]
) -> tuple[Access, Any, str | None, Any]:
    """The arguments of `queries.preview_task` and of `actions.start_task`.

    :param scope_of_all: how far it goes where no endpoint is named.
    """
    body = read_body(access.state, **_WISH)
    endpoint_id = body.pop("endpoint_id", None)
    access = (scope_of_all if endpoint_id is None else scoped)(access, body)
    body.pop("all_tenants", None)
    return access, body.pop("kind", None), endpoint_id, body
