"""Tasks over many deliveries: preview, start, show and stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response

from .. import actions, queries
from ..access import Access
from ..serializers import PreviewObject, TaskObject
from .answering import answer, answer_page, location_of
from .bodies import NewTaskBody
from .parameters import TaskListQuery
from .request_reader import tenant_of_many, wanted_tenant
from .routes import PageOf, Route


def task_list(access: Access, query: dict[str, Any]) -> Response:
    """Tasks, newest first."""
    tenant = wanted_tenant(access, query)
    return answer_page(queries.list_tasks(access, tenant=tenant, **query), TaskObject)


def task(access: Access, task_id: str) -> Response:
    """One task with its progress."""
    return answer(TaskObject.serialize(queries.get_task(access, task_id)))


def task_preview(access: Access, body: dict[str, Any]) -> Response:
    """Count what a task would affect, without starting it."""
    kind, endpoint_id, filter = _arguments(access, body, wanted_tenant)
    seen = queries.preview_task(access, kind, endpoint_id, **filter)
    return answer(PreviewObject.serialize(seen))


def task_start(access: Access, body: dict[str, Any]) -> Response:
    """Start a task over many deliveries."""
    kind, endpoint_id, filter = _arguments(access, body, tenant_of_many)
    started = actions.start_task(access, kind, endpoint_id, **filter)
    where = location_of("task", task_id=started.id)
    return answer(TaskObject.serialize(queries.TaskRow(started, None)), 202, location=where)


def task_stop(access: Access, task_id: str) -> Response:
    """Stop a task; what it has done is not undone."""
    return answer(TaskObject.serialize(queries.TaskRow(actions.stop_task(access, task_id), None)))


ROUTES = (
    Route("GET", "/tasks", task_list, PageOf(TaskObject), query=TaskListQuery),
    Route(
        "POST",
        "/tasks",
        task_start,
        TaskObject,
        body=NewTaskBody,
        status=202,
        located=True,
        limited=True,
    ),
    Route("POST", "/tasks/preview", task_preview, PreviewObject, body=NewTaskBody),
    Route("GET", "/tasks/<task_id>", task, TaskObject),
    Route("POST", "/tasks/<task_id>/stop", task_stop, TaskObject),
)


def _arguments(
    access: Access,
    body: dict[str, Any],
    tenant_of_all: Callable[[Access, dict[str, Any]], str | None],
) -> tuple[Any, str | None, Any]:
    """Return the arguments of `queries.preview_task` and of `actions.start_task`.

    :param tenant_of_all: returns the tenant if no endpoint is named.
    """
    endpoint_id = body.pop("endpoint_id", None)
    tenant = (tenant_of_all if endpoint_id is None else wanted_tenant)(access, body)
    body.pop("all_tenants", None)
    return body.pop("kind"), endpoint_id, {**body, "tenant": tenant}
